//! Pages for observers (plugins): messages of the log and events, merged in the order in which they happened. Owns the table
//! `observer` with the observers' cursors; never knows who is online.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::away::Away;
use super::budget::ReadBudget;
use super::events::{EventQueue, Events, StoredEvent};
use super::{EventFilter, Observed, ObservedPage, ObserverCursor};
use crate::database::column::{number, seq};
use crate::database::inboxes::Sources;
use crate::database::messages::{Messages, StoredMessage};
use crate::limits::{OBSERVATIONS_MAX, PAGE_BYTES_MAX};
use crate::message::{PeerId, PeerName, Seq};

/// Prepared statements on the table `observer`.
pub(super) struct ObserverTable<'c> {
    /// Messages of an observer's own that one page skips.
    skipped_max: usize,
    upsert: Statement<'c>,
    advance: Statement<'c>,
    remove_others: Statement<'c>,
    find: Statement<'c>,
    away: Away<'c>,
}

/// Observer for which a page is read.
#[derive(Clone, Copy)]
pub(super) struct ObserverQuery<'a> {
    pub(super) peer: PeerId,
    pub(super) wants: EventFilter,
    /// Peers that are online, sorted.
    pub(super) online: &'a [PeerId],
    /// Time after which the page ends.
    pub(super) budget: ReadBudget,
}

impl<'c> ObserverTable<'c> {
    pub(super) fn new(connection: &'c Connection, skipped_max: usize) -> rusqlite::Result<Self> {
        Ok(ObserverTable {
            skipped_max,
            // The last condition avoids a write if the row would not change.
            upsert: connection.prepare(
                "insert into observer (peer, seq, event) values (?1, ?2, ?3)
                 on conflict (peer) do update
                 set seq = iif(excluded.seq is null, null, coalesce(seq, excluded.seq)),
                     event = iif(excluded.event is null, null, coalesce(event, excluded.event))
                 where (seq is null) <> (excluded.seq is null) or (event is null) <> (excluded.event is null)",
            )?,
            advance: connection
                .prepare("update observer set seq = max(seq, ?2), event = max(event, ?3) where peer = ?1")?,
            remove_others: connection.prepare(
                "delete from observer where peer not in (
                     select peer.id from json_each(?1) as name join peer on peer.name = name.value)",
            )?,
            find: connection.prepare("select seq, event from observer where peer = ?1")?,
            away: Away::new(connection)?,
        })
    }

    /// Registers an observer. It starts at `newest` with what it did not want before, and keeps its cursor for the rest.
    pub(super) fn register(
        &mut self,
        peer: PeerId,
        wants: EventFilter,
        newest: ObserverCursor,
    ) -> rusqlite::Result<()> {
        let seq = wants.logged.then_some(newest.seq.get());
        let event = wants.events().then_some(newest.event);
        self.upsert.execute(params![peer.get(), seq, event]).map(drop)
    }

    /// Advances an observer's cursor; never moves it back.
    pub(super) fn advance(&mut self, peer: PeerId, seen: ObserverCursor) -> rusqlite::Result<()> {
        self.advance.execute([peer.get(), seen.seq.get(), seen.event]).map(drop)
    }

    /// Removes every observer that is not in `only`.
    pub(super) fn remove_others(&mut self, only: &[PeerName]) -> rusqlite::Result<()> {
        let only = serde_json::to_string(only).expect("a list of names can be serialized");
        self.remove_others.execute([only]).map(drop)
    }

    /// Reads an observer's cursor; `None` if it is not registered. The cursor is at `newest` for what the observer does not
    /// want.
    pub(super) fn find(&mut self, peer: PeerId, newest: ObserverCursor) -> rusqlite::Result<Option<ObserverCursor>> {
        let found = self.find.query_row([peer.get()], |row| {
            let is_null = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)? == ValueRef::Null);
            let seq = if is_null(0)? { newest.seq } else { seq(row, 0)?.min(newest.seq) };
            let event = if is_null(1)? { newest.event } else { number(row, 1)?.min(newest.event) };
            Ok(ObserverCursor { seq, event })
        });
        found.optional()
    }

    /// Drops what is cached from the previous turn.
    pub(super) fn begin_turn(&mut self) {
        self.away.clear();
    }

    /// Reads the next messages and events after `after`, until the page is full or the time is over. Skips those that were removed from the
    /// database.
    pub(super) fn page(
        &mut self,
        observer: ObserverQuery<'_>,
        after: ObserverCursor,
        newest: ObserverCursor,
        events: &mut Events<'c>,
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<ObservedPage> {
        let ObserverQuery { peer, wants, online, budget } = observer;
        let mut queue = EventQueue::after(after.event, peer, wants);
        let mut next = next_message(wants, after.seq, sources.messages)?;
        let mut page = PageBuilder::after(after, self.skipped_max);
        while !page.is_full() && (page.is_empty() || !budget.is_used_up()) {
            if let Some(event) = queue.next_before(next.as_ref().map(StoredMessage::seq), events)? {
                page.add_event(event);
                continue;
            }
            let Some(stored) = next.take() else { return Ok(page.finish(true, newest)) };
            let seq = stored.seq();
            next = next_message(wants, seq, sources.messages)?;
            if stored.sender == peer {
                page.skip(seq);
            } else {
                page.add_message(seq, self.logged(stored, online, sources)?);
            }
        }
        Ok(page.finish(false, newest))
    }

    fn logged(
        &mut self,
        stored: StoredMessage,
        online: &[PeerId],
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<Observed> {
        let away = self.away.of(&stored, online)?;
        let to = sources.names.of(&stored.recipients)?;
        Ok(Observed::Logged { message: stored.into_message(to, None), away })
    }
}

/// Page that is being read, and its limits.
struct PageBuilder {
    page: ObservedPage,
    bytes_left: usize,
    /// Messages of the observer's own, which it does not get, that the page may still skip.
    skips_left: usize,
}

impl PageBuilder {
    fn after(after: ObserverCursor, skipped_max: usize) -> Self {
        PageBuilder { page: ObservedPage::empty(after), bytes_left: PAGE_BYTES_MAX, skips_left: skipped_max }
    }

    fn is_empty(&self) -> bool {
        self.page.seen == self.page.after
    }

    fn is_full(&self) -> bool {
        self.page.items.len() >= OBSERVATIONS_MAX || self.bytes_left == 0 || self.skips_left == 0
    }

    fn add_event(&mut self, event: StoredEvent) {
        self.page.seen.event = event.id;
        self.page.items.extend(event.observed);
    }

    fn add_message(&mut self, seq: Seq, message: Observed) {
        self.page.seen.seq = seq;
        // The last message may exceed the limit.
        self.bytes_left = self.bytes_left.saturating_sub(message.counted_bytes());
        self.page.items.push(message);
    }

    fn skip(&mut self, seq: Seq) {
        self.page.seen.seq = seq;
        self.skips_left -= 1;
    }

    /// Returns the page. A complete one moves the cursor to `newest`, past everything that the observer does not want.
    fn finish(self, complete: bool, newest: ObserverCursor) -> ObservedPage {
        let seen = if complete { newest } else { self.page.seen };
        ObservedPage { seen, complete, ..self.page }
    }
}

fn next_message(
    wants: EventFilter,
    after: Seq,
    messages: &mut Messages<'_>,
) -> rusqlite::Result<Option<StoredMessage>> {
    if wants.logged { messages.find_after(after) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
