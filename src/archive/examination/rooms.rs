//! Checks of rooms and members, of the ids of sent messages, and of the tables `outbox` and `outbox_refused`. Defines the checks
//! and the SQL that fixes faults; never runs a fix.

use rusqlite::Connection;

use super::check::{Check, RowFault};
use super::{Finding, Severity};
use crate::archive::read_only::ReadOnlyDatabase;
use crate::database::words::counted;
use crate::trust::for_shell;

/// Checks rooms, ids and the table `outbox`.
pub(super) fn check(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&MEMBERS, &PAST_MEMBERS, &ROOMS, &SENT_IDS] {
        check.run(database, &mut findings)?;
    }
    findings.extend(check_outbox(database)?);
    findings.extend(check_purges(database)?);
    findings.extend(check_refused(database)?);
    Ok(findings)
}

const MEMBERS: Check = Check {
    ok: "every member of a room is a peer, and joined at a message of the log",
    from: "member
           left join room on room.id = member.room
           left join peer on peer.id = member.peer",
    key: "coalesce(peer.name, 'peer ' || member.peer)",
    key_name: "",
    faults: &[
        RowFault {
            condition: "room.id is null and -member.room not in {purged}",
            severity: Severity::Problem,
            one: "member is in a room that is not in the table room, and may not receive its messages",
            many: "members are in a room that is not in the table room, and may not receive its messages",
            fix: Some(
                "insert into room (id, name, members)
                 select room, '#unknown-' || room, count(*) from member
                 where room not in (select id from room) group by room",
            ),
        },
        RowFault {
            condition: "peer.id is null",
            severity: Severity::Problem,
            one: "member of a room is not in the table peer; a new peer with the same number would be in the room",
            many: "members of rooms are not in the table peer; a new peer with the same number would be in the room",
            fix: Some(
                "delete from member where peer not in (select id from peer);
                 update room set members = (select count(*) from member where member.room = room.id)",
            ),
        },
        RowFault {
            condition: "member.joined > {newest}",
            severity: Severity::Problem,
            one: "member joined a room beyond the newest message; it would miss the room's next messages",
            many: "members joined a room beyond the newest message; they would miss the room's next messages",
            fix: Some("update member set joined = {newest} where joined > {newest}"),
        },
    ],
};

const PAST_MEMBERS: Check = Check {
    ok: "every earlier membership ended after it began",
    from: "past_member left join peer on peer.id = past_member.peer",
    key: "coalesce(peer.name, 'peer ' || past_member.peer)",
    key_name: "",
    faults: &[RowFault {
        condition: "typeof(past_member.joined) <> 'integer' or typeof(past_member.left) <> 'integer'
                    or past_member.joined not between 0 and past_member.left or past_member.left > {newest}",
        severity: Severity::Problem,
        one: "earlier membership lies outside of the log; it may show other messages of the room than the member could see",
        many: "earlier memberships lie outside of the log; they may show other messages of the rooms than the members could see",
        fix: Some(
            "delete from past_member where typeof(joined) <> 'integer' or typeof(left) <> 'integer'
                   or joined not between 0 and left or left > {newest}",
        ),
    }],
};

const ROOMS: Check = Check {
    ok: "every room counts its members correctly",
    from: "room",
    key: "room.name",
    key_name: "",
    faults: &[
        RowFault {
            condition: "room.members is not (select count(*) from member where member.room = room.id)",
            severity: Severity::Problem,
            one: "room counts its members wrongly; messages to it may be refused, or accepted without a recipient",
            many: "rooms count their members wrongly; messages to them may be refused, or accepted without a recipient",
            fix: Some("update room set members = (select count(*) from member where member.room = room.id)"),
        },
        RowFault {
            condition: "room.floor > {newest}",
            severity: Severity::Problem,
            one: "room has a floor beyond the newest message; members who are offline would miss its next messages",
            many: "rooms have a floor beyond the newest message; members who are offline would miss their next messages",
            fix: Some("update room set floor = {newest} where floor > {newest}"),
        },
    ],
};

const SENT_IDS: Check = Check {
    ok: "",
    from: "sent_id left join peer on peer.id = sent_id.sender",
    key: "sent_id.id",
    key_name: "",
    faults: &[
        RowFault {
            condition: "peer.id is null and sent_id.sender not in {purged}",
            severity: Severity::Warning,
            one: "message id belongs to a sender that is not in the table peer; a new peer with the same number could not use it",
            many: "message ids belong to a sender that is not in the table peer; a new peer with the same number could not use them",
            fix: Some("delete from sent_id where sender not in (select id from peer)"),
        },
        RowFault {
            condition: "sent_id.seq > {newest}",
            severity: Severity::Problem,
            one: "message id belongs to a message that does not exist; a sender that repeats it would get accepted, and nothing \
                  would be sent",
            many: "message ids belong to messages that do not exist; a sender that repeats one would get accepted, and nothing \
                   would be sent",
            fix: Some("delete from sent_id where seq > {newest}"),
        },
    ],
};

/// Reports rows that wait in `outbox` while no server runs; a running server sends them at once.
fn check_outbox(database: &ReadOnlyDatabase) -> rusqlite::Result<Option<Finding>> {
    let waiting = count(database.connection(), "outbox")?;
    Ok((waiting > 0 && database.is_at_rest()).then(|| {
        let (wait, them) = if waiting == 1 { ("waits", "it") } else { ("wait", "them") };
        Finding::note(format!("{} of the table outbox {wait}", counted(waiting, "row")))
            .advise(format!("the next start of the server sends {them}"))
    }))
}

/// Reports peers and rooms that must be removed while no server runs; a running server removes them at once.
fn check_purges(database: &ReadOnlyDatabase) -> rusqlite::Result<Option<Finding>> {
    let pending = count(database.connection(), "purge where name is not null and refused is null")?;
    Ok((pending > 0 && database.is_at_rest()).then(|| {
        let words = if pending == 1 { "1 peer or room is" } else { "several peers or rooms are" };
        Finding::note(format!("{words} not removed yet")).advise("the next start of the server goes on with it")
    }))
}

fn check_refused(database: &ReadOnlyDatabase) -> rusqlite::Result<Option<Finding>> {
    let refused = count(database.connection(), "outbox_refused")?;
    if refused == 0 {
        return Ok(None);
    }
    let last = "select cast(reason as text) from outbox_refused order by rowid desc limit 1";
    let reason: String = database.connection().query_row(last, [], |row| row.get(0))?;
    let shell = format!("sqlite3 -readonly {} \"select * from outbox_refused\"", for_shell(database.path()));
    let finding = Finding::note(format!(
        "{} of the table outbox could not be sent; reason of the last: {}",
        counted(refused, "row"),
        reason
    ));
    Ok(Some(
        finding.advise("this shows them; delete rows from outbox_refused once you have read them").with_command(shell),
    ))
}

fn count(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    connection.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0).map(i64::cast_unsigned))
}
