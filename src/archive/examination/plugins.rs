//! Checks of the tables for plugins: observers with their cursors, events, and values. Defines the checks and the SQL that fixes
//! faults; never runs a fix.

use super::check::{Check, RowFault};
use super::{Finding, Severity};
use crate::archive::read_only::ReadOnlyDatabase;

/// Checks observers, events and values.
pub(super) fn check(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&OBSERVERS, &EVENTS, &VALUES] {
        check.run(database, &mut findings)?;
    }
    Ok(findings)
}

const OBSERVERS: Check = Check {
    ok: "every observer is a peer, and its cursor lies within the log and the events",
    from: "observer left join peer on peer.id = observer.peer",
    key: "coalesce(peer.name, 'peer ' || observer.peer)",
    key_name: "",
    faults: &[
        RowFault {
            condition: "peer.id is null and observer.peer not in {purged}",
            severity: Severity::Warning,
            one: "observer is not in the table peer; events are stored for it in vain",
            many: "observers are not in the table peer; events are stored for them in vain",
            fix: Some("delete from observer where peer not in (select id from peer)"),
        },
        RowFault {
            condition: "observer.seq > {newest}",
            severity: Severity::Problem,
            one: "observer has a cursor beyond the newest message; it would miss the messages that are sent next",
            many: "observers have a cursor beyond the newest message; they would miss the messages that are sent next",
            fix: Some("update observer set seq = {newest} where seq > {newest}"),
        },
        RowFault {
            condition: "observer.event > {newest event}",
            severity: Severity::Problem,
            one: "observer has a cursor beyond the newest event; it would miss the next events",
            many: "observers have a cursor beyond the newest event; they would miss the next events",
            fix: Some("update observer set event = {newest event} where event > {newest event}"),
        },
    ],
};

const EVENTS: Check = Check {
    ok: "",
    from: "event left join peer on peer.id = event.peer",
    key: "event.id",
    key_name: "id",
    faults: &[RowFault {
        condition: "peer.id is null and event.peer not in {purged}",
        severity: Severity::Warning,
        one: "event is about a peer that is not in the table peer, and no plugin gets it",
        many: "events are about a peer that is not in the table peer, and no plugin gets them",
        fix: Some("delete from event where peer not in (select id from peer)"),
    }],
};

const VALUES: Check = Check {
    ok: "",
    from: "value left join peer on peer.id = value.peer",
    key: "value.key",
    key_name: "",
    faults: &[RowFault {
        condition: "peer.id is null and value.peer not in {purged}",
        severity: Severity::Warning,
        one: "value belongs to a peer that is not in the table peer; a new peer with the same number would get it",
        many: "values belong to a peer that is not in the table peer; a new peer with the same number would get them",
        fix: Some("delete from value where peer not in (select id from peer)"),
    }],
};
