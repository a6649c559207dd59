//! What an observer is read: the log and the events as one, in the order in which they happened. Owns the table `observer`, and
//! which things those are; never who is here.

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::away::Away;
use super::events::{Events, KeptEvent};
use super::{EventFilter, Observed, ObservedPage, ObserverCursor};
use crate::database::inboxes::Sources;
use crate::database::messages::{Messages, StoredMessage};
use crate::limits::{OBSERVED_MAX, OBSERVED_SKIPPED_MAX, PAGE_BYTES_MAX};
use crate::message::{Destination, PeerId, PeerName, Seq};

/// The table, through statements that are prepared once.
pub(super) struct Observers<'c> {
    put: Statement<'c>,
    see: Statement<'c>,
    forget_others: Statement<'c>,
    find: Statement<'c>,
    away: Away<'c>,
}

/// Who asks, and for what.
#[derive(Clone, Copy)]
pub(super) struct Observer<'a> {
    pub(super) peer: PeerId,
    pub(super) wants: EventFilter,
    /// Everyone who is here, in order.
    pub(super) here: &'a [PeerId],
}

impl<'c> Observers<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Observers {
            // A row that stays as it is is not written.
            put: connection.prepare(
                "insert into observer (peer, seq, event) values (?1, ?2, ?3)
                 on conflict (peer) do update
                 set seq = iif(excluded.seq is null, null, coalesce(seq, excluded.seq)),
                     event = iif(excluded.event is null, null, coalesce(event, excluded.event))
                 where (seq is null) <> (excluded.seq is null) or (event is null) <> (excluded.event is null)",
            )?,
            see: connection
                .prepare("update observer set seq = max(seq, ?2), event = max(event, ?3) where peer = ?1")?,
            forget_others: connection.prepare(
                "delete from observer where peer not in (
                     select peer.id from json_each(?1) as name join peer on peer.name = name.value)",
            )?,
            find: connection.prepare("select seq, event from observer where peer = ?1")?,
            away: Away::new(connection)?,
        })
    }

    /// A peer observes: from here on, in what it did not before.
    pub(super) fn put(&mut self, peer: PeerId, wants: EventFilter, newest: ObserverCursor) -> rusqlite::Result<()> {
        let seq = wants.logged.then_some(newest.seq.get());
        let event = wants.events().then_some(newest.event);
        self.put.execute(params![peer.get(), seq, event]).map(drop)
    }

    /// An observer has seen more.
    pub(super) fn see(&mut self, peer: PeerId, seen: ObserverCursor) -> rusqlite::Result<()> {
        self.see.execute([peer.get(), seen.seq.get(), seen.event]).map(drop)
    }

    /// Nobody else observes.
    pub(super) fn forget_others(&mut self, only: &[PeerName]) -> rusqlite::Result<()> {
        let only = serde_json::to_string(only).expect("names are JSON");
        self.forget_others.execute([only]).map(drop)
    }

    /// How far an observer got. Of what it does not want it has seen all.
    pub(super) fn find(&mut self, peer: PeerId, newest: ObserverCursor) -> rusqlite::Result<Option<ObserverCursor>> {
        let found = self.find.query_row([peer.get()], |row| {
            let (seq, event): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok(ObserverCursor { seq: seq.map_or(newest.seq, Seq::new), event: event.unwrap_or(newest.event) })
        });
        found.optional()
    }

    /// Another turn is read for.
    pub(super) fn begin_turn(&mut self) {
        self.away.forget();
    }

    /// The next things after what an observer has seen. Where some of that is removed, it goes on with what is left.
    pub(super) fn page(
        &mut self,
        observer: Observer<'_>,
        after: ObserverCursor,
        newest: ObserverCursor,
        events: &mut Events<'c>,
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<ObservedPage> {
        let Observer { peer, wants, here } = observer;
        let events = if wants.events() { events.after(after.event, peer, wants)? } else { Vec::new() };
        let may_be_more = events.len() == OBSERVED_MAX;
        let mut events = events.into_iter().peekable();
        let mut next = next_message(wants, after.seq, sources.messages)?;
        let mut page = ObservedPage { things: Vec::new(), after, seen: after, complete: false };
        let (mut bytes_left, mut skipped) = (PAGE_BYTES_MAX, 0);
        while page.things.len() < OBSERVED_MAX && bytes_left > 0 && skipped < OBSERVED_SKIPPED_MAX {
            let is_before = |event: &KeptEvent| next.as_ref().is_none_or(|message| event.seq < message.seq());
            if let Some(event) = events.next_if(is_before) {
                page.seen.event = event.id;
                page.things.push(event.thing);
                continue;
            }
            let Some(stored) = next.take() else {
                page.complete = !may_be_more;
                break;
            };
            page.seen.seq = stored.seq();
            next = next_message(wants, stored.seq(), sources.messages)?;
            if stored.sender == peer {
                skipped += 1;
            } else {
                let thing = self.logged(stored, here, sources)?;
                // The last message may go over.
                bytes_left = bytes_left.saturating_sub(bytes(&thing));
                page.things.push(thing);
            }
        }
        if page.complete {
            page.seen = newest;
        }
        Ok(page)
    }

    fn logged(
        &mut self,
        stored: StoredMessage,
        here: &[PeerId],
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<Observed> {
        let away = self.away.from(&stored, here)?;
        let to = sources.names.of(&stored.recipients)?;
        Ok(Observed::Logged { message: stored.into_message(to, None), away })
    }
}

fn next_message(
    wants: EventFilter,
    after: Seq,
    messages: &mut Messages<'_>,
) -> rusqlite::Result<Option<StoredMessage>> {
    if wants.logged { messages.find_after(after) } else { Ok(None) }
}

/// What a thing takes up, about.
fn bytes(thing: &Observed) -> usize {
    let Observed::Logged { message, away } = thing else { return 0 };
    let names = message.to.iter().map(Destination::as_str).chain(away.iter().map(|(_, name)| name.as_str()));
    message.text.len() + names.map(str::len).sum::<usize>()
}

#[cfg(test)]
mod tests;
