//! The rows one by one: whether a server can read each message and each name, and how many there are. Owns these checks;
//! never asks how the rows hang together.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::{Finding, said};
use crate::archive::read_only::ReadOnlyDatabase;
use crate::database::words::{at_most_counted, counted};
use crate::limits::{CLOCK_AHEAD_MS_MAX, FAULTS_NAMED_MAX, WAITING_COUNTED_MAX};
use crate::message::{PeerName, Room, Timestamp, quoted};

/// What is so about messages and peers.
pub(super) fn look(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    look_at_messages(database, &mut findings)?;
    findings.extend(look_at_names(database.connection(), &PEER_NAMES)?);
    findings.extend(look_at_names(database.connection(), &ROOM_NAMES)?);
    if findings.is_empty() {
        findings.push(Finding::fine("every message and every name can be read"));
    }
    Ok(findings)
}

/// How many messages, rooms and peers there are, and how much waits.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<Vec<Finding>> {
    connection.query_row(COUNT, [WAITING_COUNTED_MAX as i64 + 1], |row| {
        let [messages, oldest, newest, peers, never_seen, rooms, members, waiting, recipients] = counts(row)?;
        let span = if messages == 0 { String::new() } else { format!(", seq {oldest} to {newest}") };
        let waiting = match waiting {
            0 => "nothing waits".to_owned(),
            1 => "1 message waits".to_owned(),
            _ if waiting > WAITING_COUNTED_MAX => format!("{} messages wait for them", at_most_counted(waiting)),
            _ => format!("{waiting} messages wait for {recipients} of them"),
        };
        let mut findings = vec![
            Finding::fine(format!("{}{span}", counted(messages, "message"))),
            Finding::fine(format!("{}, {never_seen} never seen; {waiting}", counted(peers, "peer"))),
        ];
        if rooms > 0 {
            findings.push(Finding::fine(format!("{}, {}", counted(rooms, "room"), counted(members, "member"))));
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

fn look_at_messages(database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
    let latest = Timestamp::now().millis().saturating_add(CLOCK_AHEAD_MS_MAX);
    let (mut texts, mut others, mut future) = (Faulty::default(), Faulty::default(), Faulty::default());
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
    findings.extend(future.if_any(from_the_future));
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

/// `[1,2]`, as JSON.
fn is_list_of_numbers(json: &str) -> bool {
    let Some(list) = json.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']')) else { return false };
    list.trim().is_empty() || list.split(',').all(|number| number.trim().parse::<i64>().is_ok())
}

fn unreadable_text(Faulty { count, named }: &Faulty, database: &Path) -> Finding {
    let one = "message has a text that cannot be read: whoever it waits for gets nothing";
    let many = "messages have a text that cannot be read: whoever they wait for gets nothing";
    let sql = format!("update message set text = '(unreadable)' where seq in ({})", named.join(", "));
    Finding::problem(said(*count, one, many, "seq", named))
        .advise("restore a backup; without one, this gives up the texts that were named")
        .mended_by_sql(database, &sql)
}

fn unreadable(Faulty { count, named }: &Faulty) -> Finding {
    let one = "message cannot be read: whoever it waits for gets nothing";
    let many = "messages cannot be read: whoever they wait for gets nothing";
    Finding::problem(said(*count, one, many, "seq", named)).advise("restore a backup")
}

fn from_the_future(Faulty { count, named }: &Faulty) -> Finding {
    let one = "message is dated later than now: this machine's clock was wrong, or is";
    let many = "messages are dated later than now: this machine's clock was wrong, or is";
    Finding::note(said(*count, one, many, "seq", named)).advise("nothing depends on it, seq is the order of everything")
}

/// Names of one kind.
struct Names {
    table: &'static str,
    /// Whether somebody who writes it means it.
    is_name: fn(&str) -> bool,
    one: &'static str,
    many: &'static str,
}

const PEER_NAMES: Names = Names {
    table: "peer",
    is_name: |name| PeerName::parse(name).is_ok_and(|parsed| parsed.as_str() == name),
    one: "peer has a name that is none: nobody can log in by it",
    many: "peers have names that are none: nobody can log in by them",
};

const ROOM_NAMES: Names = Names {
    table: "room",
    is_name: |name| Room::parse(name).is_ok_and(|parsed| parsed.as_str() == name),
    one: "room has a name that is none: nobody can write into it",
    many: "rooms have names that are none: nobody can write into them",
};

fn look_at_names(connection: &Connection, names: &Names) -> rusqlite::Result<Option<Finding>> {
    let mut faulty = Faulty::default();
    let mut statement = connection.prepare(&format!("select id, name from {} order by id", names.table))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match row.get_ref(1)?.as_str() {
            Ok(name) => faulty.note_if(!(names.is_name)(name), quoted(name)),
            Err(_) => faulty.note_if(true, format!("that of id {}", row.get::<_, i64>(0)?)),
        }
    }
    Ok(faulty.if_any(|Faulty { count, named }| {
        Finding::problem(said(*count, names.one, names.many, "", named))
            .advise(format!("give it one in the table {}, or restore a backup", names.table))
    }))
}

/// Rows with one fault.
#[derive(Default)]
struct Faulty {
    count: u64,
    /// The first of them.
    named: Vec<String>,
}

impl Faulty {
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
