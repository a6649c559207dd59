//! A check of all rows of a join, as data: SQL conditions for faulty rows, and words for the operator. Counts and names the
//! faulty rows; never defines a check.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{FaultWords, Finding, Severity};
use crate::archive::read_only::ReadOnlyDatabase;
use crate::database::schema;
use crate::database::visibility::MEMBER_POSITION;
use crate::limits::FAULTS_NAMED_MAX;
use crate::message::quoted;

/// Check of all rows of a join.
pub(super) struct Check {
    /// Text if no row is faulty; empty: nothing is reported then.
    pub(super) ok: &'static str,
    /// SQL of the join.
    pub(super) from: &'static str,
    /// SQL expression that names a row to people.
    pub(super) key: &'static str,
    /// Name of the key; empty if the key needs none.
    pub(super) key_name: &'static str,
    /// Faults that a row may have.
    pub(super) faults: &'static [RowFault],
}

/// Fault that a row may have.
pub(super) struct RowFault {
    /// SQL condition that is true for a faulty row.
    pub(super) condition: &'static str,
    /// Severity of the fault.
    pub(super) severity: Severity,
    /// Text for one faulty row, after the count.
    pub(super) one: &'static str,
    /// Text for several faulty rows, after the count.
    pub(super) many: &'static str,
    /// SQL that fixes all faulty rows.
    pub(super) fix: Option<&'static str>,
}

impl Check {
    /// Runs the check and adds its findings.
    pub(super) fn run(&self, database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
        let before = findings.len();
        let counts = self.count(database.connection())?;
        for (fault, count) in self.faults.iter().zip(counts).filter(|(_, count)| *count > 0) {
            let named = self.name(fault, database.connection())?;
            findings.push(fault.finding(count, self.key_name, &named, database));
        }
        if findings.len() == before && !self.ok.is_empty() {
            findings.push(Finding::ok(self.ok));
        }
        Ok(())
    }

    /// Counts the rows with each fault, in one pass.
    fn count(&self, connection: &Connection) -> rusqlite::Result<Vec<u64>> {
        let counts = self.faults.iter().map(|fault| format!("count(*) filter (where {})", fault.condition));
        let sql = format!("select {} from {}", counts.collect::<Vec<_>>().join(", "), self.from);
        connection.query_row(&expand(&sql), [], |row| {
            (0..self.faults.len()).map(|nth| row.get::<_, i64>(nth).map(|count| count as u64)).collect()
        })
    }

    /// Returns the keys of the first rows with a fault.
    fn name(&self, fault: &RowFault, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let Check { key, from, .. } = self;
        let condition = fault.condition;
        let sql =
            format!("select distinct {key} from {from} where {condition} order by {key} limit {FAULTS_NAMED_MAX}");
        connection.prepare(&expand(&sql))?.query_map([], |row| row.get_ref(0).map(key_name))?.collect()
    }
}

impl RowFault {
    fn finding(&self, count: u64, key_name: &str, named: &[String], database: &ReadOnlyDatabase) -> Finding {
        let words = FaultWords { one: self.one, many: self.many };
        let finding = Finding::of(self.severity, words.describe(count, key_name, named));
        match self.fix {
            Some(sql) => finding.with_sql(database.path(), &expand(sql)),
            None => finding,
        }
    }
}

/// SQL for `{indexed}`: the message up to which the inbox index is complete.
const INDEXED: &str = "(select coalesce(max(seq), 0) from indexed)";

/// SQL for `{newest}`: the newest message that there ever was. It may have been removed.
const NEWEST: &str = "(select {newest or 0})";

/// SQL for `{newest event}`: the newest event that there ever was.
const NEWEST_EVENT: &str = "(select coalesce(max(seq), 0) from sqlite_sequence where name = 'event')";

/// SQL for `{missed by a member}`: whether a member of the room `missing.recipient` has not received the message that is missing
/// in the room's inbox.
const MISSED_BY_A_MEMBER: &str = "exists (
    select 1 from member join peer on peer.id = member.peer join room on room.id = member.room
    where member.room = -missing.recipient and peer.id <> message.sender
    and {member position} < missing.seq)";

/// SQL for `{addressed}`: the recipients of a message; none if the column is not JSON.
const ADDRESSED: &str = "json_each(iif(json_valid(message.recipients), message.recipients, '[]'))";

/// SQL for `{entries}`: the messages in a row of an inbox; none if the column is not JSON.
const ENTRIES: &str = "json_each(iif(json_valid(inbox.seqs), inbox.seqs, '[]'))";

/// SQL for `{purged}`: the peer or the room that is being removed, whose row is gone already.
const PURGED: &str = "(select target from purge where target is not null)";

fn expand(sql: &str) -> String {
    let placeholders = [
        ("{addressed}", ADDRESSED),
        ("{entries}", ENTRIES),
        ("{indexed}", INDEXED),
        ("{missed by a member}", MISSED_BY_A_MEMBER),
        ("{member position}", MEMBER_POSITION),
        ("{newest}", NEWEST),
        ("{newest or 0}", schema::NEWEST),
        ("{newest event}", NEWEST_EVENT),
        ("{purged}", PURGED),
    ];
    placeholders.iter().fold(sql.to_owned(), |sql, (placeholder, expansion)| sql.replace(placeholder, expansion))
}

fn key_name(key: ValueRef<'_>) -> String {
    match key {
        ValueRef::Integer(seq) => seq.to_string(),
        other => quoted(&String::from_utf8_lossy(other.as_bytes().unwrap_or_default())),
    }
}
