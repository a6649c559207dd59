//! What is to be so for all rows of a join, as SQL: how it is counted, named and told. Owns that; never what is to be so.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{Finding, Verdict, said};
use crate::archive::read_only::ReadOnlyDatabase;
use crate::limits::FAULTS_NAMED_MAX;
use crate::message::quoted;

/// Something that is to be so for all rows of a join.
pub(super) struct Check {
    /// How it is told that it is so.
    pub(super) fine: &'static str,
    /// The rows.
    pub(super) from: &'static str,
    /// The column by which a row is named to people.
    pub(super) key: &'static str,
    /// What the key is called; nothing where it speaks for itself.
    pub(super) key_name: &'static str,
    /// What may be wrong with a row.
    pub(super) faults: &'static [Fault],
}

/// What may be wrong with a row.
pub(super) struct Fault {
    /// When it is.
    pub(super) condition: &'static str,
    /// How bad it is.
    pub(super) verdict: Verdict,
    /// How it is told of one row, after the count.
    pub(super) one: &'static str,
    /// How it is told of more.
    pub(super) many: &'static str,
    /// What mends all such rows.
    pub(super) fix: Option<&'static str>,
}

impl Check {
    /// Says what is so.
    pub(super) fn look(&self, database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
        let before = findings.len();
        let counts = self.count(database.connection())?;
        for (fault, count) in self.faults.iter().zip(counts).filter(|(_, count)| *count > 0) {
            let named = self.name(fault, database.connection())?;
            findings.push(fault.finding(count, self.key_name, &named, database));
        }
        if findings.len() == before && !self.fine.is_empty() {
            findings.push(Finding::fine(self.fine));
        }
        Ok(())
    }

    /// How many rows have each of the faults, in one pass.
    fn count(&self, connection: &Connection) -> rusqlite::Result<Vec<u64>> {
        let counts = self.faults.iter().map(|fault| format!("count(*) filter (where {})", fault.condition));
        let sql = format!("select {} from {}", counts.collect::<Vec<_>>().join(", "), self.from);
        connection.query_row(&in_full(&sql), [], |row| {
            (0..self.faults.len()).map(|nth| row.get::<_, i64>(nth).map(|count| count as u64)).collect()
        })
    }

    /// The first rows that have a fault.
    fn name(&self, fault: &Fault, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let Check { key, from, .. } = self;
        let condition = fault.condition;
        let sql =
            format!("select distinct {key} from {from} where {condition} order by {key} limit {FAULTS_NAMED_MAX}");
        connection.prepare(&in_full(&sql))?.query_map([], |row| row.get_ref(0).map(key_name))?.collect()
    }
}

impl Fault {
    fn finding(&self, count: u64, key_name: &str, named: &[String], database: &ReadOnlyDatabase) -> Finding {
        let finding = Finding::of(self.verdict, said(count, self.one, self.many, key_name, named));
        match self.fix {
            Some(sql) => finding.mended_by_sql(database.path(), &in_full(sql)),
            None => finding,
        }
    }
}

/// What `{indexed}` stands for: inboxes hold every message up to there.
const INDEXED: &str = "(select coalesce(max(seq), 0) from indexed)";

/// What `{newest}` stands for: the newest message that there ever was. It may have been removed.
const NEWEST: &str =
    "(select max(coalesce((select max(seq) from message), 0), coalesce(max(max(cursor, sent)), 0)) from peer)";

/// What `{newest event}` stands for: the newest event that there ever was.
const NEWEST_EVENT: &str = "(select coalesce(max(seq), 0) from sqlite_sequence where name = 'event')";

/// What `{missed by a member}` stands for: somebody is in the room that is `missing.recipient`, and has not got a message
/// that is missing in its inbox.
const MISSED_BY_A_MEMBER: &str = "exists (
    select 1 from member join peer as reader on reader.id = member.peer
    where member.room = -missing.recipient and reader.id <> message.sender
    and max(reader.cursor, member.joined) < missing.seq)";

/// What `{addressed}` stands for: whom a message is for, and nobody where that cannot be read.
const ADDRESSED: &str = "json_each(iif(json_valid(message.recipients), message.recipients, '[]'))";

/// What `{entries}` stands for: the messages in a row of an inbox.
const ENTRIES: &str = "json_each(iif(json_valid(inbox.seqs), inbox.seqs, '[]'))";

fn in_full(sql: &str) -> String {
    let meant = [
        ("{addressed}", ADDRESSED),
        ("{entries}", ENTRIES),
        ("{indexed}", INDEXED),
        ("{missed by a member}", MISSED_BY_A_MEMBER),
        ("{newest}", NEWEST),
        ("{newest event}", NEWEST_EVENT),
    ];
    meant.iter().fold(sql.to_owned(), |sql, (word, meaning)| sql.replace(word, meaning))
}

fn key_name(key: ValueRef<'_>) -> String {
    match key {
        ValueRef::Integer(seq) => seq.to_string(),
        other => quoted(&String::from_utf8_lossy(other.as_bytes().unwrap_or_default())),
    }
}
