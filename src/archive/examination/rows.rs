//! Checks of single rows: whether the server can read each message and each name, and how many rows there are. Never checks
//! references between rows.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::{FaultWords, Finding};
use crate::archive::read_only::ReadOnlyDatabase;
use crate::database::words::{at_most_counted, counted};
use crate::limits::{CLOCK_AHEAD_MS_MAX, FAULTS_NAMED_MAX, WAITING_COUNTED_MAX};
use crate::message::{PeerName, Room, Timestamp, quoted};

/// Checks all messages and names.
pub(super) fn check(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    check_messages(database, &mut findings)?;
    findings.extend(check_names(database.connection(), &PEER_NAMES)?);
    findings.extend(check_names(database.connection(), &ROOM_NAMES)?);
    if findings.is_empty() {
        findings.push(Finding::ok("every message and every name can be read"));
    }
    Ok(findings)
}

/// Counts messages, rooms, peers, and waiting messages.
pub(super) fn count(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    database.connection().query_row(COUNT, [WAITING_COUNTED_MAX as i64 + 1], |row| {
        let [messages, oldest, newest, peers, never_seen, rooms, members, waiting, recipients] = counts(row)?;
        let span = if messages == 0 { String::new() } else { format!(", seq {oldest} to {newest}") };
        let waiting = match waiting {
            0 => "no message waits".to_owned(),
            1 => "1 message waits".to_owned(),
            _ if waiting > WAITING_COUNTED_MAX => format!("{} messages wait for them", at_most_counted(waiting)),
            _ => format!("{waiting} messages wait for {recipients} of them"),
        };
        let mut findings = vec![
            Finding::ok(format!("{}{span}", counted(messages, "message"))),
            Finding::ok(format!("{}, {never_seen} never logged in; {waiting}", counted(peers, "peer"))),
        ];
        if rooms > 0 {
            findings.push(Finding::ok(format!("{}, {}", counted(rooms, "room"), counted(members, "member"))));
        }
        Ok(findings)
    })
}

const COUNT: &str = "
    select
        (select count(*) from message),
        (select coalesce(min(seq), 0) from message),
        (select coalesce(max(seq), 0) from message),
        (select count(*) from peer),
        (select count(*) from peer where not seen),
        (select count(*) from room),
        (select count(*) from member),
        (select count(*) from (select 1 from waiting limit ?1)),
        (select count(distinct recipient) from (select recipient from waiting limit ?1))";

fn counts<const N: usize>(row: &Row<'_>) -> rusqlite::Result<[u64; N]> {
    let mut counts = [0; N];
    for (column, count) in counts.iter_mut().enumerate() {
        *count = row.get::<_, i64>(column)?.max(0) as u64;
    }
    Ok(counts)
}

fn check_messages(database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
    let latest = Timestamp::now().millis().saturating_add(CLOCK_AHEAD_MS_MAX);
    let (mut texts, mut others, mut future) = (FaultyRows::default(), FaultyRows::default(), FaultyRows::default());
    let sql = "select seq, at, sender, previous, recipients, text from message order by seq";
    let mut statement = database.connection().prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        texts.note_if(!is_text(row.get_ref(5)?), seq);
        others.note_if(!is_message_without_text(row)?, seq);
        future.note_if(row.get_ref(1)?.as_i64().is_ok_and(|at| at > latest), seq);
    }
    findings.extend(texts.if_any(|texts| unreadable_text(texts, database.path())));
    findings.extend(others.if_any(unreadable));
    findings.extend(future.if_any(dated_in_the_future));
    Ok(())
}

fn is_text(value: ValueRef<'_>) -> bool {
    value.as_str().is_ok_and(|text| !text.is_empty())
}

fn is_message_without_text(row: &Row<'_>) -> rusqlite::Result<bool> {
    let is_number = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_i64().is_ok());
    let recipients = row.get_ref(4)?.as_str().is_ok_and(is_list_of_numbers);
    Ok(is_number(1)? && is_number(2)? && is_number(3)? && recipients)
}

/// Whether a text is a JSON list of integers, such as `[1,2]`.
fn is_list_of_numbers(json: &str) -> bool {
    let Some(list) = json.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']')) else { return false };
    list.trim().is_empty() || list.split(',').all(|number| number.trim().parse::<i64>().is_ok())
}

fn unreadable_text(FaultyRows { count, named }: &FaultyRows, database: &Path) -> Finding {
    let words = FaultWords {
        one: "message has a text that is not UTF-8, or none; it is shown with replacement characters",
        many: "messages have a text that is not UTF-8, or none; they are shown with replacement characters",
    };
    let sql = format!("update message set text = '(unreadable)' where seq in ({})", named.join(", "));
    Finding::problem(words.describe(*count, "seq", named))
        .advise("restore a backup; without one, this replaces the texts that are listed here")
        .with_sql(database, &sql)
}

fn unreadable(FaultyRows { count, named }: &FaultyRows) -> Finding {
    let words = FaultWords {
        one: "message has a value of the wrong type; its time, its sender or its recipients are wrong or missing",
        many: "messages have a value of the wrong type; their times, senders or recipients are wrong or missing",
    };
    Finding::problem(words.describe(*count, "seq", named)).advise("restore a backup")
}

fn dated_in_the_future(FaultyRows { count, named }: &FaultyRows) -> Finding {
    let words = FaultWords {
        one: "message has a time in the future: the clock of this machine is or was wrong",
        many: "messages have a time in the future: the clock of this machine is or was wrong",
    };
    Finding::note(words.describe(*count, "seq", named))
        .advise("this is harmless: messages are ordered by seq, not by time")
}

/// Check of all names in one table.
struct NameCheck {
    table: &'static str,
    /// Whether a name is valid and in its mapped form.
    is_valid: fn(&str) -> bool,
    words: FaultWords,
}

const PEER_NAMES: NameCheck = NameCheck {
    table: "peer",
    is_valid: |name| PeerName::parse(name).is_ok_and(|parsed| parsed.as_str() == name),
    words: FaultWords {
        one: "peer has an invalid name; nobody can log in with it",
        many: "peers have invalid names; nobody can log in with them",
    },
};

const ROOM_NAMES: NameCheck = NameCheck {
    table: "room",
    is_valid: |name| Room::parse(name).is_ok_and(|parsed| parsed.as_str() == name),
    words: FaultWords {
        one: "room has an invalid name; nobody can send to it",
        many: "rooms have invalid names; nobody can send to them",
    },
};

fn check_names(connection: &Connection, names: &NameCheck) -> rusqlite::Result<Option<Finding>> {
    let mut faulty = FaultyRows::default();
    let mut statement = connection.prepare(&format!("select id, name from {} order by id", names.table))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match row.get_ref(1)?.as_str() {
            Ok(name) => faulty.note_if(!(names.is_valid)(name), quoted(name)),
            Err(_) => faulty.note_if(true, format!("that of id {}", row.get::<_, i64>(0)?)),
        }
    }
    Ok(faulty.if_any(|FaultyRows { count, named }| {
        Finding::problem(names.words.describe(*count, "", named))
            .advise(format!("change it in the table {}, or restore a backup", names.table))
    }))
}

/// Rows with the same fault.
#[derive(Default)]
struct FaultyRows {
    count: u64,
    /// Names of the first rows.
    named: Vec<String>,
}

impl FaultyRows {
    fn note_if(&mut self, is_faulty: bool, name: impl ToString) {
        if is_faulty {
            self.count += 1;
            if self.named.len() < FAULTS_NAMED_MAX {
                self.named.push(name.to_string());
            }
        }
    }

    fn if_any(&self, find: impl FnOnce(&Self) -> Finding) -> Option<Finding> {
        (self.count > 0).then(|| find(self))
    }
}
