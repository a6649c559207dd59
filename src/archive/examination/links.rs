//! How the rows hang together: a message and its sender, its recipients and their inboxes, a peer and its cursor. Owns what
//! is to be so, as SQL, and the statements that mend what is not; never runs one of those.

use super::check::{Check, Fault};
use super::{Finding, Verdict};
use crate::archive::read_only::ReadOnlyDatabase;

/// What is so about messages, inboxes and peers.
pub(super) fn look(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&SENDERS, &RECIPIENTS, &MISSING, &STRAYS, &ROWS, &INDEX, &PEERS] {
        check.look(database, &mut findings)?;
    }
    Ok(findings)
}

const SENDERS: Check = Check {
    fine: "every message has its sender, and leads to the one that this one sent before",
    from: "message
           left join peer as sender on sender.id = message.sender
           left join message as before on before.seq = message.previous",
    key: "message.seq",
    key_name: "seq",
    faults: &[
        Fault {
            condition: "message.seq < 1",
            verdict: Verdict::Problem,
            one: "message has a seq below 1 and is never delivered: no server wrote that; remove it, or restore a backup",
            many: "messages have a seq below 1 and are never delivered: no server wrote that; remove them, or restore a backup",
            fix: None,
        },
        Fault {
            condition: "sender.id is null",
            verdict: Verdict::Problem,
            one: "message has a sender who is no peer, and would never be delivered",
            many: "messages have a sender who is no peer, and would never be delivered",
            fix: Some(
                "insert into peer (id, name, sent)
                 select sender, 'unknown-' || sender, max(seq) from message
                 where sender not in (select id from peer) group by sender",
            ),
        },
        Fault {
            condition: "message.seq > sender.sent and message.seq <= {indexed}",
            verdict: Verdict::Problem,
            one: "message is newer than the newest that is noted for its sender, whose history will miss it",
            many: "messages are newer than the newest that is noted for their sender, whose history will miss them",
            fix: Some(NOTE_NEWEST),
        },
        Fault {
            condition: "message.previous not between 0 and max(message.seq - 1, 0) or before.sender <> message.sender",
            verdict: Verdict::Problem,
            one: "message does not lead to one that its sender sent before: the history of the sender goes wrong there",
            many: "messages do not lead to one that their sender sent before: the history of the sender goes wrong there",
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
    fine: "",
    from: "message join {addressed} as addressed
           left join peer on peer.id = addressed.value
           left join room on room.id = -addressed.value",
    key: "message.seq",
    key_name: "seq",
    faults: &[
        Fault {
            condition: "addressed.value >= 0 and peer.id is null",
            verdict: Verdict::Problem,
            one: "message is for somebody who is no peer: nobody can log in and get it",
            many: "messages are for somebody who is no peer: nobody can log in and get them",
            fix: Some(
                "insert into peer (id, name)
                 select distinct addressed.value, 'unknown-' || addressed.value
                 from message, {addressed} as addressed
                 where addressed.value >= 0 and addressed.value not in (select id from peer)",
            ),
        },
        Fault {
            condition: "addressed.value < 0 and room.id is null",
            verdict: Verdict::Problem,
            one: "message was sent into a room that is not kept: whoever was in it may never get it",
            many: "messages were sent into a room that is not kept: whoever was in it may never get them",
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
    fine: "every message is in the inbox of each of its recipients",
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
        Fault {
            condition: "missing.seq > peer.cursor or {missed by a member}",
            verdict: Verdict::Problem,
            one: "waiting message is missing in the inbox of its recipient, and would never be delivered",
            many: "waiting messages are missing in the inboxes of their recipients, and would never be delivered",
            fix: Some(MAKE_ANEW),
        },
        Fault {
            condition: "missing.seq <= peer.cursor or (missing.recipient < 0 and not {missed by a member})",
            verdict: Verdict::Warning,
            one: "older message is missing in the inbox of its recipient, who may never have got it and will not see it in \
                  /history",
            many: "older messages are missing in the inboxes of their recipients, who may never have got them and will not \
                   see them in /history",
            fix: Some(MAKE_ANEW),
        },
    ],
};

const STRAYS: Check = Check {
    fine: "no inbox holds anything else",
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
        Fault {
            // Of members who have not got it one may have sent it: what waits only for its sender is removed as well.
            condition: "message.seq is null and iif(stray.recipient >= 0,
                stray.seq > coalesce(peer.cursor, 0),
                1 < (
                    select count(*) from member join peer as reader on reader.id = member.peer
                    where member.room = -stray.recipient and max(reader.cursor, member.joined) < stray.seq))",
            verdict: Verdict::Problem,
            one: "entry of an inbox has no message: it counts as waiting, and never arrives",
            many: "entries of inboxes have no message: they count as waiting, and never arrive",
            fix: Some(MAKE_ANEW),
        },
        Fault {
            condition: "message.seq is not null and json_valid(message.recipients)",
            verdict: Verdict::Problem,
            one: "message is in the inbox of somebody to whom it was not sent",
            many: "messages are in the inbox of somebody to whom they were not sent",
            fix: Some(MAKE_ANEW),
        },
    ],
};

const ROWS: Check = Check {
    fine: "",
    from: "inbox",
    key: "inbox.last",
    key_name: "last",
    faults: &[Fault {
        condition: "not json_valid(inbox.seqs) or inbox.last is not (select max(value) from {entries})",
        verdict: Verdict::Problem,
        one: "row of an inbox does not end where it says: messages may not be delivered, or never count as delivered",
        many: "rows of inboxes do not end where they say: messages may not be delivered, or never count as delivered",
        fix: Some(MAKE_ANEW),
    }],
};

const INDEX: Check = Check {
    fine: "",
    from: "indexed",
    key: "indexed.seq",
    key_name: "seq",
    faults: &[Fault {
        condition: "indexed.seq > {newest}",
        verdict: Verdict::Problem,
        one: "note says that inboxes hold every message up to one that is not there yet: those that are sent next may be missing",
        many: "notes say that inboxes hold every message up to one that is not there yet: those that are sent next may be missing",
        fix: Some(MAKE_ANEW),
    }],
};

const PEERS: Check = Check {
    fine: "every cursor lies within the log",
    from: "peer left join message as last on last.seq = peer.sent",
    key: "peer.name",
    key_name: "",
    faults: &[
        Fault {
            condition: "peer.cursor > max(coalesce((select max(seq) from message), 0), (select max(sent) from peer))",
            verdict: Verdict::Problem,
            one: "peer has a cursor beyond the newest message: what is sent to it next may count as delivered already",
            many: "peers have a cursor beyond the newest message: what is sent to them next may count as delivered already",
            fix: Some(
                "update peer set cursor = newest.seq
                 from (select max(coalesce((select max(seq) from message), 0), max(sent)) as seq from peer) as newest
                 where cursor > newest.seq",
            ),
        },
        Fault {
            condition: "peer.cursor < 0 or peer.sent < 0",
            verdict: Verdict::Problem,
            one: "peer has a cursor or a newest message below 0",
            many: "peers have a cursor or a newest message below 0",
            fix: Some("update peer set cursor = max(cursor, 0), sent = max(sent, 0)"),
        },
        Fault {
            condition: "last.sender <> peer.id",
            verdict: Verdict::Problem,
            one: "peer is noted to have sent last what somebody else sent: its history begins in the wrong place",
            many: "peers are noted to have sent last what somebody else sent: their history begins in the wrong place",
            fix: Some(NOTE_NEWEST),
        },
    ],
};

/// What a peer sent last may have been removed since, so one who sent nothing that is there keeps what is noted.
const NOTE_NEWEST: &str = "
    update peer set sent = newest.seq from (select sender, max(seq) as seq from message group by sender) as newest
    where newest.sender = peer.id";

/// The next start makes the inboxes from the log.
const MAKE_ANEW: &str = "delete from inbox; update indexed set seq = 0";
