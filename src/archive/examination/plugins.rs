//! What plugins leave: who observes and how far each got, what happened besides messages, and the values that are kept. Owns
//! what is to be so of these; never runs what mends it.

use super::check::{Check, Fault};
use super::{Finding, Verdict};
use crate::archive::read_only::ReadOnlyDatabase;

/// What is so about observers, events and values.
pub(super) fn look(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&OBSERVERS, &EVENTS, &VALUES] {
        check.look(database, &mut findings)?;
    }
    Ok(findings)
}

const OBSERVERS: Check = Check {
    fine: "every observer is a peer, and has seen only what there was",
    from: "observer left join peer on peer.id = observer.peer",
    key: "coalesce(peer.name, 'peer ' || observer.peer)",
    key_name: "",
    faults: &[
        Fault {
            condition: "peer.id is null",
            verdict: Verdict::Warning,
            one: "observer is no peer: events are kept for nobody",
            many: "observers are no peers: events are kept for nobody",
            fix: Some("delete from observer where peer not in (select id from peer)"),
        },
        Fault {
            condition: "observer.seq > {newest}",
            verdict: Verdict::Problem,
            one: "observer has seen a message that is not there yet: it would not be told of what is sent next",
            many: "observers have seen messages that are not there yet: they would not be told of what is sent next",
            fix: Some("update observer set seq = {newest} where seq > {newest}"),
        },
        Fault {
            condition: "observer.event > {newest event}",
            verdict: Verdict::Problem,
            one: "observer has seen an event that is not there yet: it would not be told of what happens next",
            many: "observers have seen events that are not there yet: they would not be told of what happens next",
            fix: Some("update observer set event = {newest event} where event > {newest event}"),
        },
    ],
};

const EVENTS: Check = Check {
    fine: "",
    from: "event left join peer on peer.id = event.peer",
    key: "event.id",
    key_name: "id",
    faults: &[Fault {
        condition: "peer.id is null",
        verdict: Verdict::Warning,
        one: "event happened to nobody who is a peer, and nobody is told of it",
        many: "events happened to nobody who is a peer, and nobody is told of them",
        fix: Some("delete from event where peer not in (select id from peer)"),
    }],
};

const VALUES: Check = Check {
    fine: "",
    from: "value left join peer on peer.id = value.peer",
    key: "value.key",
    key_name: "",
    faults: &[Fault {
        condition: "peer.id is null",
        verdict: Verdict::Warning,
        one: "value is kept for nobody who is a peer: somebody new who is given that number finds it",
        many: "values are kept for nobody who is a peer: somebody new who is given that number finds them",
        fix: Some("delete from value where peer not in (select id from peer)"),
    }],
};
