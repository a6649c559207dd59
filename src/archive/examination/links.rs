//! Checks of references between rows: a message and its sender, its recipients and their inboxes, a peer and its cursor. Defines
//! the checks and the SQL that fixes faults; never runs a fix.

use super::check::{Check, RowFault};
use super::{Finding, Severity};
use crate::archive::read_only::ReadOnlyDatabase;

/// Checks messages, inboxes and peers.
pub(super) fn check(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&SENDERS, &RECIPIENTS, &MISSING, &STRAYS, &ROWS, &INDEX, &PEERS] {
        check.run(database, &mut findings)?;
    }
    Ok(findings)
}

const SENDERS: Check = Check {
    ok: "every message has a sender, and refers to the sender's previous message",
    from: "message
           left join peer as sender on sender.id = message.sender
           left join message as before on before.seq = message.previous",
    key: "message.seq",
    key_name: "seq",
    faults: &[
        RowFault {
            condition: "message.seq not between 1 and 1e18",
            severity: Severity::Problem,
            one: "message has a seq below 1 or above 1e18, which no server writes, and is never delivered; remove it, or restore \
                  a backup",
            many: "messages have a seq below 1 or above 1e18, which no server writes, and are never delivered; remove them, or \
                   restore a backup",
            fix: None,
        },
        RowFault {
            condition: "sender.id is null and message.sender not in {purged}",
            severity: Severity::Problem,
            one: "message has a sender that is not in the table peer, and would never be delivered",
            many: "messages have a sender that is not in the table peer, and would never be delivered",
            fix: Some(
                "insert into peer (id, name, sent)
                 select sender, 'unknown-' || sender, max(seq) from message
                 where sender not in (select id from peer) group by sender",
            ),
        },
        RowFault {
            condition: "message.seq > sender.sent and message.seq <= {indexed}",
            severity: Severity::Problem,
            one: "message is newer than its sender's newest message according to the table peer; /history of the sender lacks it",
            many: "messages are newer than their sender's newest message according to the table peer; /history of the sender \
                   lacks them",
            fix: Some(SET_SENT),
        },
        RowFault {
            condition: "message.previous not between 0 and max(message.seq - 1, 0) or before.sender <> message.sender",
            severity: Severity::Problem,
            one: "message does not refer to an earlier message of its sender; /history of the sender is wrong from there on",
            many: "messages do not refer to an earlier message of their sender; /history of the sender is wrong from there on",
            fix: Some(
                "update message set previous = chain.previous
                 from (select seq, lag(seq, 1, 0) over (partition by sender order by seq) as previous from message) as chain
                 where chain.seq = message.seq
                 and (message.previous not between 0 and max(message.seq - 1, 0)
                      or message.sender <> (select before.sender from message as before where before.seq = message.previous))",
            ),
        },
    ],
};

const RECIPIENTS: Check = Check {
    ok: "",
    from: "message join {addressed} as addressed
           left join peer on peer.id = addressed.value
           left join room on room.id = -addressed.value",
    key: "message.seq",
    key_name: "seq",
    faults: &[
        RowFault {
            condition: "addressed.value >= 0 and peer.id is null and addressed.value not in {purged}",
            severity: Severity::Problem,
            one: "message is addressed to a peer that is not in the table peer, so nobody can log in and receive it",
            many: "messages are addressed to a peer that is not in the table peer, so nobody can log in and receive them",
            fix: Some(
                "insert into peer (id, name)
                 select distinct addressed.value, 'unknown-' || addressed.value
                 from message, {addressed} as addressed
                 where addressed.value >= 0 and addressed.value not in (select id from peer)",
            ),
        },
        RowFault {
            condition: "addressed.value < 0 and room.id is null and addressed.value not in {purged}",
            severity: Severity::Problem,
            one: "message was sent to a room that is not in the table room; the room's members may never receive it",
            many: "messages were sent to a room that is not in the table room; the room's members may never receive them",
            fix: Some(
                "insert into room (id, name, members)
                 select distinct -addressed.value, '#unknown-' || -addressed.value,
                     (select count(*) from member where member.room = -addressed.value)
                 from message, {addressed} as addressed
                 where addressed.value < 0 and -addressed.value not in (select id from room)",
            ),
        },
    ],
};

const MISSING: Check = Check {
    ok: "every message is in the inbox of each of its recipients",
    from: "(
               select addressed.value as recipient, message.seq as seq
               from message join {addressed} as addressed where message.seq <= {indexed}
               except
               select inbox.recipient, entry.value from inbox join {entries} as entry
           ) as missing
           join message on message.seq = missing.seq
           left join peer on peer.id = missing.recipient",
    key: "missing.seq",
    key_name: "seq",
    faults: &[
        RowFault {
            condition: "missing.seq > peer.cursor or {missed by a member}",
            severity: Severity::Problem,
            one: "waiting message is missing in the inbox of its recipient, and would never be delivered",
            many: "waiting messages are missing in the inboxes of their recipients, and would never be delivered",
            fix: Some(REBUILD_INBOXES),
        },
        RowFault {
            condition: "missing.seq <= peer.cursor or (missing.recipient < 0 and not {missed by a member})",
            severity: Severity::Warning,
            one: "older message is missing in the inbox of its recipient, who may never have received it and does not see it \
                  in /history",
            many: "older messages are missing in the inboxes of their recipients, who may never have received them and do not \
                   see them in /history",
            fix: Some(REBUILD_INBOXES),
        },
    ],
};

const STRAYS: Check = Check {
    ok: "no inbox contains any other message",
    from: "(
               select inbox.recipient as recipient, entry.value as seq from inbox join {entries} as entry
               except
               select addressed.value, message.seq from message join {addressed} as addressed
           ) as stray
           left join peer on peer.id = stray.recipient
           left join message on message.seq = stray.seq",
    key: "stray.seq",
    key_name: "seq",
    faults: &[
        RowFault {
            // One of the members who have not received the message may be its sender, for whom it does not wait: so a message
            // that two members have not received was removed too early.
            condition: "message.seq is null and stray.recipient not in {purged} and iif(stray.recipient >= 0,
                stray.seq > coalesce(peer.cursor, 0),
                1 < (
                    select count(*) from member join peer on peer.id = member.peer join room on room.id = member.room
                    where member.room = -stray.recipient and {member position} < stray.seq))",
            severity: Severity::Problem,
            one: "inbox entry has no message; it counts as waiting but is never delivered",
            many: "inbox entries have no message; they count as waiting but are never delivered",
            fix: Some(REBUILD_INBOXES),
        },
        RowFault {
            condition: "message.seq is not null and json_valid(message.recipients)",
            severity: Severity::Problem,
            one: "message is in the inbox of a recipient to which it was not sent",
            many: "messages are in the inbox of a recipient to which they were not sent",
            fix: Some(REBUILD_INBOXES),
        },
    ],
};

const ROWS: Check = Check {
    ok: "",
    from: "inbox",
    key: "inbox.last",
    key_name: "last",
    faults: &[RowFault {
        condition: "not json_valid(inbox.seqs) or inbox.last is not (select max(value) from {entries})",
        severity: Severity::Problem,
        one: "inbox row does not end with its last message; messages may not be delivered, or never count as delivered",
        many: "inbox rows do not end with their last message; messages may not be delivered, or never count as delivered",
        fix: Some(REBUILD_INBOXES),
    }],
};

const INDEX: Check = Check {
    ok: "",
    from: "indexed",
    key: "indexed.seq",
    key_name: "seq",
    faults: &[RowFault {
        condition: "indexed.seq > {newest}",
        severity: Severity::Problem,
        one: "row of the table indexed is beyond the newest message; the inboxes may lack the messages that are sent next",
        many: "rows of the table indexed are beyond the newest message; the inboxes may lack the messages that are sent next",
        fix: Some(REBUILD_INBOXES),
    }],
};

const PEERS: Check = Check {
    ok: "every cursor lies within the log",
    from: "peer left join message as last on last.seq = peer.sent",
    key: "peer.name",
    key_name: "",
    faults: &[
        RowFault {
            condition: "typeof(peer.cursor) = 'integer'
                and peer.cursor > max(coalesce((select max(seq) from message), 0), (select max(sent) from peer),
                                      coalesce((select max(seq) from removed_id), 0))",
            severity: Severity::Problem,
            one: "peer has a cursor beyond the newest message; the next messages to it would count as delivered already",
            many: "peers have a cursor beyond the newest message; the next messages to them would count as delivered already",
            fix: Some(
                "update peer set cursor = newest.seq
                 from (select max(coalesce((select max(seq) from message), 0), max(sent),
                                  coalesce((select max(seq) from removed_id), 0)) as seq from peer) as newest
                 where cursor > newest.seq",
            ),
        },
        RowFault {
            condition: "peer.cursor < 0 or peer.sent < 0",
            severity: Severity::Problem,
            one: "peer has a cursor or a newest message below 0",
            many: "peers have a cursor or a newest message below 0",
            fix: Some("update peer set cursor = max(cursor, 0), sent = max(sent, 0)"),
        },
        RowFault {
            condition: "last.sender <> peer.id",
            severity: Severity::Problem,
            one: "peer has a newest message in the table peer that another peer sent; its /history starts in the wrong place",
            many: "peers have a newest message in the table peer that another peer sent; their /history starts in the wrong place",
            fix: Some(SET_SENT),
        },
    ],
};

/// SQL that sets `peer.sent` from the log. A peer without messages in the log keeps its value, as its messages may have been
/// removed.
const SET_SENT: &str = "
    update peer set sent = newest.seq from (select sender, max(seq) as seq from message group by sender) as newest
    where newest.sender = peer.id";

/// SQL that empties the inbox index; the next start of the server rebuilds it from the log.
const REBUILD_INBOXES: &str = "delete from inbox; update indexed set seq = 0";
