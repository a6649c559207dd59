//! Batched inserts into one table. Owns the prepared statements; never knows the table.

use rusqlite::{Connection, Statement, ToSql};

use crate::limits::INSERT_ROWS_MAX;

/// Prepared insert statements for one table: one for a whole batch of rows, one for a single row. A batch saves time because
/// running a statement costs as much as inserting one or two rows.
pub(super) struct Insert<'c> {
    batch: Statement<'c>,
    single: Statement<'c>,
}

/// Binder for the parameters of a statement: row after row, column after column.
pub(super) struct RowBinder<'s, 'c> {
    statement: &'s mut Statement<'c>,
    bound: usize,
}

impl RowBinder<'_, '_> {
    pub(super) fn add(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)
    }
}

impl<'c> Insert<'c> {
    /// Prepares `{into} values (…)` for this number of columns.
    pub(super) fn prepare(connection: &'c Connection, into: &str, columns: usize) -> rusqlite::Result<Self> {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let rows = |count| connection.prepare(&format!("{into} values {}", vec![&*row; count].join(", ")));
        Ok(Insert { batch: rows(INSERT_ROWS_MAX)?, single: rows(1)? })
    }

    /// Inserts rows. `bind` adds the values of one row.
    pub(super) fn insert<T>(
        &mut self,
        rows: impl Iterator<Item = T>,
        mut bind: impl FnMut(&T, &mut RowBinder<'_, '_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut rows = rows.fuse();
        let mut batch = Vec::new();
        loop {
            batch.clear();
            batch.extend(rows.by_ref().take(INSERT_ROWS_MAX));
            if batch.len() < INSERT_ROWS_MAX {
                return batch.chunks(1).try_for_each(|row| execute(&mut self.single, row, &mut bind));
            }
            execute(&mut self.batch, &batch, &mut bind)?;
        }
    }
}

fn execute<T>(
    statement: &mut Statement<'_>,
    rows: &[T],
    bind: &mut impl FnMut(&T, &mut RowBinder<'_, '_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut binder = RowBinder { statement, bound: 0 };
    rows.iter().try_for_each(|row| bind(row, &mut binder))?;
    statement.raw_execute().map(drop)
}
