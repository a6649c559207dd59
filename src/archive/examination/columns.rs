//! Checks of values that no server writes: of the wrong type, or out of range. Somebody wrote them by hand. Defines the checks and the
//! SQL that fixes faults; never runs a fix. The columns of `message` are checked with its rows.

use super::check::{Check, RowFault};
use super::{Finding, Severity};
use crate::archive::read_only::ReadOnlyDatabase;

/// Checks the columns of all tables.
pub(super) fn check(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&PEERS, &ROOMS, &MEMBERS, &INBOXES, &INDEXED, &SEARCHED, &SENT_IDS, &OBSERVERS, &EVENTS, &VALUES] {
        check.run(database, &mut findings)?;
    }
    Ok(findings)
}

const PEERS: Check = Check {
    ok: "",
    from: "peer",
    key: "iif(typeof(name) = 'text', name, 'id ' || id)",
    key_name: "",
    faults: &[
        RowFault {
            condition: "id not between 1 and 1e18",
            severity: Severity::Problem,
            one: "peer has an id that no server gives; nobody can log in by this name or write to it. Delete the row, or give it a \
                  free id here and in all other tables",
            many: "peers have an id that no server gives; nobody can log in by these names or write to them. Delete the rows, or \
                   give them free ids here and in all other tables",
            fix: None,
        },
        RowFault {
            condition: "typeof(seen) <> 'integer' or seen not in (0, 1) or typeof(cursor) <> 'integer' or typeof(sent) <> 'integer'",
            severity: Severity::Problem,
            one: "peer has a seen, cursor or sent that is no number; it gets its messages once more, or its /history lacks some",
            many: "peers have a seen, cursor or sent that is no number; they get their messages once more, or their /history lacks \
                   some",
            fix: Some(
                "update peer set seen = iif(seen is 0, 0, 1), cursor = iif(typeof(cursor) = 'integer', cursor, 0),
                 sent = iif(typeof(sent) = 'integer', sent, 0)",
            ),
        },
    ],
};

const ROOMS: Check = Check {
    ok: "",
    from: "room",
    key: "iif(typeof(name) = 'text', name, 'id ' || id)",
    key_name: "",
    faults: &[
        RowFault {
            condition: "id not between 1 and 1e18",
            severity: Severity::Problem,
            one: "room has an id that no server gives; nobody can join it or write to it. Delete the row, or give it a free id here \
                  and in all other tables",
            many: "rooms have an id that no server gives; nobody can join them or write to them. Delete the rows, or give them free \
                   ids here and in all other tables",
            fix: None,
        },
        RowFault {
            condition: "typeof(floor) <> 'integer' or floor < 0",
            severity: Severity::Warning,
            one: "room has a floor that is no number; all its messages are replayed",
            many: "rooms have a floor that is no number; all their messages are replayed",
            fix: Some("update room set floor = 0 where typeof(floor) <> 'integer' or floor < 0"),
        },
        RowFault {
            condition: "topic is not null and (typeof(topic) <> 'text' or topic = '')",
            severity: Severity::Warning,
            one: "room has a topic that is no text",
            many: "rooms have a topic that is no text",
            fix: Some("update room set topic = null where typeof(topic) <> 'text' or topic = ''"),
        },
    ],
};

const MEMBERS: Check = Check {
    ok: "",
    from: "member",
    key: "'room ' || room || ' peer ' || peer",
    key_name: "",
    faults: &[RowFault {
        condition: "typeof(room) <> 'integer' or typeof(peer) <> 'integer' or typeof(joined) <> 'integer' or joined < 0",
        severity: Severity::Problem,
        one: "member has a room, peer or joined that is no number; it may see messages from before it joined, or none",
        many: "members have a room, peer or joined that is no number; they may see messages from before they joined, or none",
        fix: Some(
            "delete from member where typeof(room) <> 'integer' or typeof(peer) <> 'integer';
             update member set joined = {newest} where typeof(joined) <> 'integer' or joined < 0;
             update room set members = (select count(*) from member where member.room = room.id)",
        ),
    }],
};

const INBOXES: Check = Check {
    ok: "",
    from: "inbox",
    key: "inbox.last",
    key_name: "last",
    faults: &[RowFault {
        condition: "typeof(recipient) <> 'integer' or typeof(last) <> 'integer' or typeof(seqs) <> 'text'",
        severity: Severity::Problem,
        one: "inbox row has a value of the wrong type; messages may not be delivered",
        many: "inbox rows have a value of the wrong type; messages may not be delivered",
        fix: Some("delete from inbox; update indexed set seq = 0"),
    }],
};

const INDEXED: Check = Check {
    ok: "",
    from: "(select count(*) as rows, count(*) filter (where typeof(seq) = 'integer' and seq >= 0) as valid from indexed) as found",
    key: "rows",
    key_name: "rows",
    faults: &[RowFault {
        condition: "rows <> 1 or valid <> 1",
        severity: Severity::Warning,
        one: "table, indexed, has not exactly one row with a number; the next start makes the inboxes anew from the log",
        many: "",
        fix: None,
    }],
};

const SEARCHED: Check = Check {
    ok: "",
    from: "(select count(*) as rows from searched where rowid = 1 and typeof(seq) = 'integer' and seq between 0 and {newest}) as found",
    key: "rows",
    key_name: "rows",
    faults: &[RowFault {
        condition: "rows <> 1",
        severity: Severity::Warning,
        one: "table, searched, does not say how far the search index reaches; the next search makes the index anew",
        many: "",
        fix: None,
    }],
};

const SENT_IDS: Check = Check {
    ok: "",
    from: "sent_id",
    key: "number",
    key_name: "number",
    faults: &[RowFault {
        condition: "number not between 1 and 1e18 or typeof(sender) <> 'integer' or typeof(id) <> 'text' or typeof(seq) <> 'integer'
                    or typeof(at) <> 'integer' or typeof(fingerprint) <> 'integer' or typeof(ran) <> 'integer'",
        severity: Severity::Warning,
        one: "message id has a value of the wrong type; a program that repeats the message may send it twice",
        many: "message ids have a value of the wrong type; programs that repeat the messages may send them twice",
        fix: Some(
            "delete from sent_id where number not between 1 and 1e18 or typeof(sender) <> 'integer' or typeof(id) <> 'text'
             or typeof(seq) <> 'integer' or typeof(at) <> 'integer' or typeof(fingerprint) <> 'integer'
             or typeof(ran) <> 'integer'",
        ),
    }],
};

const OBSERVERS: Check = Check {
    ok: "",
    from: "observer left join peer on peer.id = observer.peer",
    key: "coalesce(peer.name, 'peer ' || observer.peer)",
    key_name: "",
    faults: &[RowFault {
        condition: "typeof(observer.seq) not in ('null', 'integer') or typeof(observer.event) not in ('null', 'integer')",
        severity: Severity::Warning,
        one: "observer has a cursor that is no number; it is notified of everything once more at each start",
        many: "observers have a cursor that is no number; they are notified of everything once more at each start",
        fix: Some(
            "update observer set seq = iif(typeof(seq) in ('null', 'integer'), seq, 0),
             event = iif(typeof(event) in ('null', 'integer'), event, 0)",
        ),
    }],
};

const EVENTS: Check = Check {
    ok: "",
    from: "event",
    key: "event.id",
    key_name: "id",
    faults: &[RowFault {
        condition:
            "event.id not between 1 and 1e18 or typeof(at) <> 'integer' or kind not in ('join', 'leave', 'delivered')
                    or typeof(event.peer) <> 'integer' or typeof(event.seq) <> 'integer'
                    or typeof(event.cursor) not in ('null', 'integer')",
        severity: Severity::Warning,
        one: "event has a value that no server writes; no plugin gets it, or it gets a wrong one",
        many: "events have a value that no server writes; no plugin gets them, or it gets wrong ones",
        fix: Some(
            "delete from event where id not between 1 and 1e18 or typeof(at) <> 'integer'
             or kind not in ('join', 'leave', 'delivered') or typeof(peer) <> 'integer' or typeof(seq) <> 'integer'
             or typeof(cursor) not in ('null', 'integer')",
        ),
    }],
};

const VALUES: Check = Check {
    ok: "",
    from: "value",
    key: "iif(typeof(key) = 'text', key, '')",
    key_name: "",
    faults: &[RowFault {
        condition: "typeof(key) <> 'text' or typeof(value) <> 'text' or not json_valid(value)",
        severity: Severity::Warning,
        one: "value of a plugin is not JSON; the plugin gets it as nothing, or none of its values",
        many: "values of plugins are not JSON; the plugins get them as nothing, or none of their values",
        fix: Some("delete from value where typeof(key) <> 'text' or typeof(value) <> 'text' or not json_valid(value)"),
    }],
};
