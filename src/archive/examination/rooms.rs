//! Rooms and what programs leave: who is in which room, the ids of what they sent, and the tables through which a shell sends.
//! Owns what is to be so of these; never runs what mends it.

use rusqlite::Connection;

use super::check::{Check, Fault};
use super::{Finding, Verdict, for_shell};
use crate::archive::read_only::ReadOnlyDatabase;
use crate::database::words::counted;

/// What is so about rooms, ids and the table `outbox`.
pub(super) fn look(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&MEMBERS, &ROOMS, &SENT_IDS] {
        check.look(database, &mut findings)?;
    }
    findings.extend(look_at_outbox(database)?);
    findings.extend(look_at_refused(database)?);
    Ok(findings)
}

const MEMBERS: Check = Check {
    fine: "every member of a room is a peer, and is in it since a message that there was",
    from: "member
           left join room on room.id = member.room
           left join peer on peer.id = member.peer",
    key: "coalesce(peer.name, 'peer ' || member.peer)",
    key_name: "",
    faults: &[
        Fault {
            condition: "room.id is null",
            verdict: Verdict::Problem,
            one: "member is in a room that is not kept, and may get nothing any more",
            many: "members are in a room that is not kept, and may get nothing any more",
            fix: Some(
                "insert into room (id, name, members)
                 select room, '#unknown-' || room, count(*) from member
                 where room not in (select id from room) group by room",
            ),
        },
        Fault {
            condition: "peer.id is null",
            verdict: Verdict::Problem,
            one: "member of a room is no peer: should somebody new be given its number, that one is in the room",
            many: "members of rooms are no peers: should somebody new be given their number, that one is in the room",
            fix: Some(
                "delete from member where peer not in (select id from peer);
                 update room set members = (select count(*) from member where member.room = room.id)",
            ),
        },
        Fault {
            condition: "member.joined > {newest}",
            verdict: Verdict::Problem,
            one: "member is in a room since a message that is not there yet: it would not get what is sent there next",
            many: "members are in a room since a message that is not there yet: they would not get what is sent there next",
            fix: Some("update member set joined = {newest} where joined > {newest}"),
        },
    ],
};

const ROOMS: Check = Check {
    fine: "every room has as many members as it says",
    from: "room",
    key: "room.name",
    key_name: "",
    faults: &[Fault {
        condition: "room.members is not (select count(*) from member where member.room = room.id)",
        verdict: Verdict::Problem,
        one: "room does not have as many members as it says: what is sent into it may be refused, or accepted for nobody",
        many: "rooms do not have as many members as they say: what is sent into them may be refused, or accepted for nobody",
        fix: Some("update room set members = (select count(*) from member where member.room = room.id)"),
    }],
};

const SENT_IDS: Check = Check {
    fine: "",
    from: "sent_id left join peer on peer.id = sent_id.sender",
    key: "sent_id.id",
    key_name: "",
    faults: &[
        Fault {
            condition: "peer.id is null",
            verdict: Verdict::Warning,
            one: "id of a message is of a sender who is no peer: it counts as used for somebody new who is given that number",
            many: "ids of messages are of senders who are no peers: they count as used for somebody new who is given that number",
            fix: Some("delete from sent_id where sender not in (select id from peer)"),
        },
        Fault {
            condition: "sent_id.seq > {newest}",
            verdict: Verdict::Problem,
            one: "id is of a message that is not there: its sender would be told that it was accepted",
            many: "ids are of messages that are not there: their senders would be told that they were accepted",
            fix: Some("delete from sent_id where seq > {newest}"),
        },
    ],
};

/// What waits beside a running server is on its way.
fn look_at_outbox(database: &ReadOnlyDatabase) -> rusqlite::Result<Option<Finding>> {
    let waiting = count(database.connection(), "outbox")?;
    Ok((waiting > 0 && database.is_at_rest()).then(|| {
        let wait = if waiting == 1 { "waits" } else { "wait" };
        Finding::note(format!("{} of the table outbox {wait}", counted(waiting, "row")))
            .advise("the next start sends what is in it")
    }))
}

fn look_at_refused(database: &ReadOnlyDatabase) -> rusqlite::Result<Option<Finding>> {
    let refused = count(database.connection(), "outbox_refused")?;
    if refused == 0 {
        return Ok(None);
    }
    let last = "select cast(reason as text) from outbox_refused order by rowid desc limit 1";
    let reason: String = database.connection().query_row(last, [], |row| row.get(0))?;
    let shell = format!("sqlite3 -readonly {} \"select * from outbox_refused\"", for_shell(database.path()));
    let finding = Finding::note(format!(
        "{} of the table outbox could not be sent, the last as: {}",
        counted(refused, "row"),
        reason.replace(char::is_control, " ")
    ));
    Ok(Some(finding.advise("this shows them; delete from outbox_refused what you have seen").mended_by(shell)))
}

fn count(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    connection.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0).map(i64::cast_unsigned))
}
