//! Applies entries to the database: the only place where they become rows. Owns the tables that entries change, and the order of the
//! changes; never begins or ends a transaction, and never decides anything.
//!
//! Entries are applied in the order in which they are listed. Consecutive messages are inserted together, and the ids of a run of
//! messages after its messages: both only touch rows that nothing else in the run reads.

use rusqlite::{Connection, Statement, params};

use super::accounts::Accounts;
use super::events::Events;
use super::insert::Insert;
use super::observers::ObserverTable;
use super::posts::Posts;
use super::purge::{PurgedTables, Purges};
use super::removal::Removal;
use super::sent_ids::SentIds;
use super::values::PluginValues;
use super::{Entry, ObserverCursor, PeerRecord, PurgeStep, SendId, StoreLimits};
use crate::database::array;
use crate::database::index::{Index, UnindexedTail};
use crate::database::members::Members;
use crate::database::search::LazySearchIndex;
use crate::message::{PeerId, Recipient, Seq, Text, Timestamp};
use crate::source::Source;

/// Tables that entries change.
pub(super) struct Tables<'c> {
    pub(super) index: Index<'c>,
    pub(super) members: Members<'c>,
    pub(super) posts: Posts<'c>,
    pub(super) events: Events<'c>,
    pub(super) observers: ObserverTable<'c>,
    pub(super) values: PluginValues<'c>,
    pub(super) accounts: Accounts<'c>,
    pub(super) sent_ids: SentIds<'c>,
    pub(super) search: LazySearchIndex<'c>,
    pub(super) purges: Purges<'c>,
    /// Result of the last step of a purge, until it is taken.
    pub(super) purged: Option<PurgeStep>,
    removal: Removal<'c>,
    insert_message: Insert<'c>,
    upsert_peer: Statement<'c>,
    set_source: Statement<'c>,
}

/// Message among the entries.
struct NewMessage<'e> {
    at: Timestamp,
    sender: PeerId,
    recipients: &'e [Recipient],
    text: &'e Text,
    id: Option<&'e SendId>,
}

impl<'c> Tables<'c> {
    pub(super) fn new(connection: &'c Connection, limits: StoreLimits, tail: UnindexedTail) -> rusqlite::Result<Self> {
        Ok(Tables {
            index: Index::new(connection, tail, limits.index)?,
            members: Members::new(connection)?,
            posts: Posts::new(connection)?,
            events: Events::new(connection, limits.events)?,
            observers: ObserverTable::new(connection, limits.observed_skipped_max)?,
            values: PluginValues::new(connection)?,
            accounts: Accounts::new(connection)?,
            sent_ids: SentIds::new(connection, limits.sent_ids_max)?,
            search: LazySearchIndex::new(connection, limits.search),
            purges: Purges::new(connection, limits.purge)?,
            purged: None,
            removal: Removal::new(connection)?,
            insert_message: Insert::prepare(
                connection,
                "insert into message (seq, at, sender, previous, recipients, text)",
                6,
            )?,
            upsert_peer: connection.prepare(
                "insert into peer (id, name, seen, cursor) values (?1, ?2, ?3, ?4)
                 on conflict (id) do update
                 set seen = max(seen, excluded.seen), cursor = max(cursor, excluded.cursor)",
            )?,
            set_source: connection.prepare("update peer set source = ?2 where id = ?1")?,
        })
    }

    /// Applies the entries of a turn in order, within its transaction. `before` is the newest message before them. Returns the newest
    /// message after them.
    pub(super) fn apply(&mut self, entries: &[Entry], before: Seq) -> rusqlite::Result<Seq> {
        let mut newest = before;
        for run in entries.chunk_by(|entry, next| is_message(entry) == is_message(next)) {
            if is_message(&run[0]) {
                newest = self.append_messages(run, newest)?;
            } else {
                run.iter().try_for_each(|entry| self.apply_entry(entry, before, newest))?;
            }
        }
        self.remove_outdated(entries)?;
        Ok(newest)
    }

    /// Updates the caches after the commit of the transaction that applied these entries. `before` is the newest message before them. Returns
    /// whether a message among them is for a room.
    pub(super) fn committed(&mut self, entries: &[Entry], before: Seq) -> bool {
        let (mut seq, mut has_rooms) = (before, false);
        for NewMessage { recipients, .. } in messages(entries) {
            seq = seq.next();
            self.index.add(seq, recipients);
            has_rooms |= recipients.iter().any(|recipient| recipient.room().is_some());
        }
        self.index.commit_sends();
        has_rooms
    }

    /// Updates the caches after the rollback of a transaction that applied entries.
    pub(super) fn rolled_back(&mut self) {
        self.index.undo_sends();
        self.events.undo();
        self.sent_ids.rolled_back();
    }

    /// Applies one entry. `before` is the newest message before the turn, and `newest` before the entry.
    fn apply_entry(&mut self, entry: &Entry, before: Seq, newest: Seq) -> rusqlite::Result<()> {
        match entry {
            Entry::Peer(record) => self.upsert_peer(record),
            Entry::Room { id, name, creator } => self.members.put_room(*id, name, *creator),
            Entry::Source { peer, source } => self.set_source(*peer, *source),
            Entry::Account { peer, password, at } => self.accounts.set(*peer, password.as_ref(), *at),
            Entry::RemoveRoom { room } => self.members.remove_room(*room),
            Entry::Join { room, peer } => self.members.join(*room, *peer, newest),
            Entry::Leave { room, peer } => self.members.leave(*room, *peer, newest),
            Entry::Topic { room, topic } => self.members.set_topic(*room, topic.as_ref()),
            Entry::Message { .. } => self.append_messages(std::slice::from_ref(entry), newest).map(drop),
            Entry::OutboxSent(post) => self.posts.remove(post),
            Entry::OutboxRefused { post, at, reason } => self.posts.refuse(post, *at, reason),
            Entry::Observe { observer, wants } => {
                self.events.note_seen();
                let newest = ObserverCursor { seq: newest, event: self.events.newest()? };
                self.observers.register(*observer, *wants, newest)
            }
            Entry::ObserverAdvanced { observer, seen } => {
                self.events.note_seen();
                self.observers.advance(*observer, *seen)
            }
            Entry::RetainObservers { only } => {
                self.events.note_seen();
                self.observers.remove_others(only)
            }
            Entry::Event(event) => self.events.insert(event, newest),
            Entry::Value { peer, key, value } => self.values.set(*peer, key, value.as_deref()),
            Entry::Ran { seconds } => self.sent_ids.note_running_time(*seconds),
            Entry::Floor { room, floor } => self.members.raise_floor(*room, *floor),
            Entry::Remove { ranges } => self.removal.remove(ranges, before, &mut self.search),
            Entry::BeginPurge { request, name, target } => {
                self.purges.begin(*request, (name, *target), newest, &mut self.members)
            }
            Entry::ContinuePurge => self.continue_purge(),
            Entry::RefusePurge { request, reason } => self.purges.refuse(*request, reason),
        }
    }

    fn continue_purge(&mut self) -> rusqlite::Result<()> {
        let Tables { purges, sent_ids, events, search, .. } = self;
        self.purged = Some(purges.step(&mut PurgedTables { sent_ids, events, search })?);
        Ok(())
    }

    fn set_source(&mut self, peer: PeerId, source: Source) -> rusqlite::Result<()> {
        self.sent_ids.set_source(peer, source);
        self.set_source.execute(params![peer.get(), source.to_string()]).map(drop)
    }

    fn upsert_peer(&mut self, record: &PeerRecord) -> rusqlite::Result<()> {
        let PeerRecord { id, name, seen, cursor } = record;
        let rows = self.upsert_peer.execute(params![id.get(), name.as_str(), seen, cursor.get()])?;
        assert_eq!(rows, 1, "a peer is one row");
        Ok(())
    }

    /// Appends consecutive messages. Returns the `seq` of the last one.
    fn append_messages(&mut self, run: &[Entry], before: Seq) -> rusqlite::Result<Seq> {
        let mut newest = before;
        let mut json = String::new();
        self.insert_message.insert(messages(run), |message, row| {
            newest = newest.next();
            json.clear();
            array::write(&mut json, message.recipients.iter().map(|recipient| recipient.number()));
            row.add(newest.get())?;
            row.add(message.at.millis())?;
            row.add(message.sender.get())?;
            row.add(self.index.send(message.sender, newest)?.get())?;
            row.add(&json)?;
            row.add(message.text.as_str())
        })?;
        let mut seq = before;
        for message in messages(run) {
            seq = seq.next();
            if let Some(id) = message.id {
                self.sent_ids.insert(message.sender, id, seq, message.at)?;
            }
        }
        Ok(newest)
    }

    /// Removes ids, refused rows and events that are no longer needed: at most a fixed number for each that the turn has added.
    fn remove_outdated(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        let with_id = messages(entries).filter(|message| message.id.is_some()).count();
        if with_id > 0 {
            self.sent_ids.remove_oldest(with_id)?;
        }
        if entries.iter().any(|entry| matches!(entry, Entry::OutboxRefused { .. })) {
            self.posts.trim_refused()?;
        }
        self.events.remove_oldest()
    }
}

fn is_message(entry: &Entry) -> bool {
    matches!(entry, Entry::Message { .. })
}

/// Messages among entries, in order.
fn messages(entries: &[Entry]) -> impl Iterator<Item = NewMessage<'_>> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Message { at, sender, recipients, text, id } => {
            Some(NewMessage { at: *at, sender: *sender, recipients, text, id: id.as_deref() })
        }
        _ => None,
    })
}
