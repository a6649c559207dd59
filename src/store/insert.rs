//! Inserting many rows into one table. Owns how they share a statement; never what they are.

use rusqlite::{Connection, Statement, ToSql};

use crate::limits::INSERT_ROWS_MAX;

/// The insertion into one table, prepared: rows by the batch while there are that many, then one by one. To run a statement
/// costs as much as a row or two.
pub(super) struct Insert<'c> {
    batch: Statement<'c>,
    single: Statement<'c>,
}

/// Takes the values of one row after the other, column by column.
pub(super) struct Values<'s, 'c> {
    statement: &'s mut Statement<'c>,
    bound: usize,
}

impl Values<'_, '_> {
    pub(super) fn add(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)
    }
}

impl<'c> Insert<'c> {
    /// `into` is what stands before `values`, for so many columns.
    pub(super) fn prepare(connection: &'c Connection, into: &str, columns: usize) -> rusqlite::Result<Self> {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let rows = |count| connection.prepare(&format!("{into} values {}", vec![&*row; count].join(", ")));
        Ok(Insert { batch: rows(INSERT_ROWS_MAX)?, single: rows(1)? })
    }

    /// Inserts rows, of each of which `bind` adds the values.
    pub(super) fn insert<T>(
        &mut self,
        rows: impl Iterator<Item = T>,
        mut bind: impl FnMut(&T, &mut Values<'_, '_>) -> rusqlite::Result<()>,
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
    bind: &mut impl FnMut(&T, &mut Values<'_, '_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut values = Values { statement, bound: 0 };
    rows.iter().try_for_each(|row| bind(row, &mut values))?;
    statement.raw_execute().map(drop)
}
