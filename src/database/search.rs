//! The full-text index: finds the messages that contain all words of a query and that a peer may read. Owns the contentless
//! FTS5 table `search` and its progress in `searched`; never stores a message.
//!
//! The index lags behind the log and catches up in steps of a few milliseconds. Words, peers and rooms are tokens of one
//! index, so a search never scans messages that the peer may not read, however many of them contain the same words.

mod terms;

use std::fmt::Write;
use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

pub(crate) use self::terms::WordQuery;
use super::messages::{numbered, text};
use super::visibility::Viewer;
use crate::limits::{
    SEARCH_REFUSED_MESSAGES_MIN, SEARCH_REMOVAL_MERGE_PAGES, SEARCH_SCAN_MESSAGES_MAX, SEARCH_STEP_BYTES_MAX,
    SEARCH_STEP_MERGE_PAGES, SEARCH_STEP_MESSAGES_MAX,
};
use crate::message::{PeerId, Recipient, Seq};

/// Limits of the full-text index; the defaults are those of the server, tests lower them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SearchLimits {
    /// Messages that one step adds.
    pub(crate) step_messages_max: usize,
    /// Bytes of text that one step adds; the last message may exceed them.
    pub(crate) step_bytes_max: usize,
    /// Matches that one search scans.
    pub(crate) scan_messages_max: usize,
    /// Matches from before the peer joined their room, after which a search queries the index again without the rooms that
    /// the peer joined too late; doubles each time.
    pub(crate) refused_messages_min: usize,
}

impl Default for SearchLimits {
    fn default() -> Self {
        SearchLimits {
            step_messages_max: SEARCH_STEP_MESSAGES_MAX,
            step_bytes_max: SEARCH_STEP_BYTES_MAX,
            scan_messages_max: SEARCH_SCAN_MESSAGES_MAX,
            refused_messages_min: SEARCH_REFUSED_MESSAGES_MIN,
        }
    }
}

/// Full-text index that is opened when it is first needed, as its statements take memory.
pub(crate) struct LazySearchIndex<'c> {
    connection: &'c Connection,
    limits: SearchLimits,
    index: Option<SearchIndex<'c>>,
}

impl<'c> LazySearchIndex<'c> {
    pub(crate) fn new(connection: &'c Connection, limits: SearchLimits) -> Self {
        LazySearchIndex { connection, limits, index: None }
    }

    /// Returns the index; opens it at the first call.
    pub(crate) fn open(&mut self) -> rusqlite::Result<&mut SearchIndex<'c>> {
        if self.index.is_none() {
            self.index = Some(SearchIndex::new(self.connection, self.limits)?);
        }
        Ok(self.index.as_mut().expect("the index is open"))
    }
}

/// The full-text index with everything that is needed to write it.
pub(crate) struct SearchIndex<'c> {
    reader: SearchReader<'c>,
    /// The tables contain every message up to here.
    searched: Seq,
    /// Whether the tables may contain tokens beyond `searched` that were made by other rules.
    is_outdated: bool,
    /// New value of `searched` once the transaction in flight is committed.
    pending: Option<Seq>,
    next_messages: Statement<'c>,
    insert_tokens: Statement<'c>,
    remove: Statement<'c>,
    remove_all: Statement<'c>,
    merge: Statement<'c>,
    set_searched: Statement<'c>,
}

impl<'c> SearchIndex<'c> {
    pub(crate) fn new(connection: &'c Connection, limits: SearchLimits) -> rusqlite::Result<Self> {
        let mut reader = SearchReader::new(connection, limits)?;
        let searched = reader.searched()?;
        Ok(SearchIndex {
            reader,
            searched,
            is_outdated: searched == Seq::ZERO,
            pending: None,
            next_messages: connection.prepare(
                "select seq, sender, recipients, text from message where seq > ?1 and seq <= ?2 order by seq limit ?3",
            )?,
            insert_tokens: connection.prepare("insert into search (rowid, tokens) values (?1, ?2)")?,
            remove: connection.prepare("delete from search where rowid between ?1 and ?2")?,
            remove_all: connection.prepare("insert into search (search) values ('delete-all')")?,
            merge: connection.prepare("insert into search (search, rank) values ('merge', ?1)")?,
            set_searched: connection
                .prepare("insert or replace into searched (rowid, seq, rules) values (1, ?1, ?2)")?,
        })
    }

    /// Returns the message up to which the index is complete.
    pub(crate) fn searched(&self) -> Seq {
        self.searched
    }

    /// Whether the index lacks a message up to and including `newest`.
    pub(crate) fn is_behind(&self, newest: Seq) -> bool {
        self.searched < newest
    }

    /// Adds the next messages, in the caller's transaction. Returns whether the index then reaches `newest`.
    pub(crate) fn step(&mut self, newest: Seq) -> rusqlite::Result<bool> {
        let after = self.pending.unwrap_or(self.searched);
        if after >= newest {
            return Ok(true);
        }
        if self.is_outdated && self.pending.is_none() {
            self.remove_all.execute([])?;
        }
        let last = self.add(after, newest)?;
        self.merge(SEARCH_STEP_MERGE_PAGES)?;
        self.set_searched.execute(params![last.get(), terms::rules()])?;
        self.pending = Some(last);
        Ok(last == newest)
    }

    /// Notes that the transaction of the last steps was committed.
    pub(crate) fn committed(&mut self) {
        if let Some(searched) = self.pending.take() {
            self.searched = searched;
            self.is_outdated = false;
        }
    }

    /// Notes that the transaction of the last steps was rolled back.
    pub(crate) fn rolled_back(&mut self) {
        self.pending = None;
    }

    /// Removes the messages from `first` to `last`, in the transaction that removes them from the log.
    pub(crate) fn remove(&mut self, first: Seq, last: Seq) -> rusqlite::Result<()> {
        self.remove.execute([first.get(), last.get()])?;
        self.merge(SEARCH_REMOVAL_MERGE_PAGES)
    }

    /// Returns the part of the index that answers queries.
    pub(crate) fn reader(&mut self) -> &mut SearchReader<'c> {
        &mut self.reader
    }

    /// Adds one step's messages after `after`. Returns the message up to which the index is complete then.
    fn add(&mut self, after: Seq, newest: Seq) -> rusqlite::Result<Seq> {
        let SearchLimits { step_messages_max, step_bytes_max, .. } = self.reader.limits;
        let mut rows = self.next_messages.query(params![after.get(), newest.get(), step_messages_max as i64])?;
        let (mut last, mut messages, mut bytes) = (after, 0, 0);
        let mut tokens = String::new();
        while bytes < step_bytes_max {
            let Some(row) = rows.next()? else { break };
            last = Seq::new(row.get(0)?);
            messages += 1;
            bytes += write_tokens(&mut tokens, row)?;
            self.insert_tokens.execute(params![last.get(), tokens])?;
        }
        // Any `seq` between the last row and `newest` belongs to a message that was removed.
        let is_all = messages < step_messages_max && bytes < step_bytes_max;
        Ok(if is_all { newest } else { last })
    }

    /// Makes FTS5 merge segments, at most this many pages; a merge also drops the entries of removed messages.
    fn merge(&mut self, pages: usize) -> rusqlite::Result<()> {
        self.merge.execute([pages as i64]).map(drop)
    }
}

/// Queries over the full-text index; needs only a connection that can read.
pub(crate) struct SearchReader<'c> {
    limits: SearchLimits,
    searched: Statement<'c>,
    find: Statement<'c>,
    message: Statement<'c>,
}

/// Reason for the end of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// The caller wants no more messages.
    Enough,
    /// The index contains no more matches.
    Through,
    /// [`SearchLimits::scan_messages_max`] messages were scanned, down to this one; older ones may match, too.
    DownTo(Seq),
}

impl<'c> SearchReader<'c> {
    pub(crate) fn new(connection: &'c Connection, limits: SearchLimits) -> rusqlite::Result<Self> {
        Ok(SearchReader {
            limits,
            searched: connection.prepare("select coalesce(max(seq), 0) from searched where rules = ?1")?,
            find: connection
                .prepare("select rowid from search where search match ?1 and rowid < ?2 order by rowid desc")?,
            message: connection.prepare("select sender, recipients, text from message where seq = ?1")?,
        })
    }

    /// Reads the message up to which the index is complete; later ones are found by [`WordQuery::matches`] alone. Returns
    /// [`Seq::ZERO`] if the tokens were made by other rules.
    pub(crate) fn searched(&mut self) -> rusqlite::Result<Seq> {
        self.searched.query_row([terms::rules()], |row| row.get(0).map(Seq::new))
    }

    /// Passes each message that matches the query and that `viewer` may read to `wants_more_after`, newest first, until it
    /// returns false.
    pub(crate) fn newest_first(
        &mut self,
        query: &WordQuery,
        viewer: &Viewer,
        before: Option<Seq>,
        wants_more_after: impl FnMut(Seq) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<ScanEnd> {
        self.scan(query, Some(viewer), before, wants_more_after)
    }

    /// Like [`newest_first`](Self::newest_first), for the owner of the file, who may read every message.
    pub(crate) fn everything(
        &mut self,
        query: &WordQuery,
        before: Option<Seq>,
        wants_more_after: impl FnMut(Seq) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<ScanEnd> {
        self.scan(query, None, before, wants_more_after)
    }

    fn scan(
        &mut self,
        query: &WordQuery,
        viewer: Option<&Viewer>,
        before: Option<Seq>,
        wants_more_after: impl FnMut(Seq) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<ScanEnd> {
        let is_all_in_index = query.is_all_in_index();
        let mut before = before.unwrap_or(Seq::new(i64::MAX));
        let mut scan = Scan { query, is_all_in_index, viewer, scanned: 0, refused: 0, wants_more_after };
        let mut refused_max = self.limits.refused_messages_min;
        loop {
            let expression = scan.expression(before);
            match scan.run(self, &expression, before, refused_max)? {
                ControlFlow::Break(end) => return Ok(end),
                ControlFlow::Continue(last) => before = last,
            }
            refused_max *= 2;
        }
    }
}

/// State of one search.
struct Scan<'q, F> {
    query: &'q WordQuery,
    is_all_in_index: bool,
    /// `None`: every message may be read.
    viewer: Option<&'q Viewer>,
    /// Messages scanned so far.
    scanned: usize,
    /// Messages that the peer may not read, since the index was last queried.
    refused: usize,
    wants_more_after: F,
}

impl<F: FnMut(Seq) -> rusqlite::Result<bool>> Scan<'_, F> {
    fn expression(&self, before: Seq) -> String {
        let mut expression = self.query.expression();
        if let Some(viewer) = self.viewer {
            write!(expression, " AND (\"{}\")", recipient_tokens(viewer, before).join("\" OR \""))
                .expect("writing to a string cannot fail");
        }
        expression
    }

    /// Scans the matches before `before`. Stops after `refused_max` messages from before the peer joined a room, and returns
    /// the last one: from there the caller queries the index again, without that room.
    fn run(
        &mut self,
        SearchReader { limits, find, message, .. }: &mut SearchReader<'_>,
        expression: &str,
        before: Seq,
        refused_max: usize,
    ) -> rusqlite::Result<ControlFlow<ScanEnd, Seq>> {
        self.refused = 0;
        let mut last = before;
        let mut rows = find.query(params![expression, before.get()])?;
        while let Some(row) = rows.next()? {
            if self.scanned == limits.scan_messages_max {
                return Ok(ControlFlow::Break(ScanEnd::DownTo(last)));
            }
            if self.refused == refused_max {
                return Ok(ControlFlow::Continue(last));
            }
            let seq = Seq::new(row.get(0)?);
            self.scanned += 1;
            let is_match = message.query_row([seq.get()], |row| self.is_match(seq, row)).optional()?;
            if is_match == Some(true) && !(self.wants_more_after)(seq)? {
                return Ok(ControlFlow::Break(ScanEnd::Enough));
            }
            last = seq;
        }
        Ok(ControlFlow::Break(ScanEnd::Through))
    }

    fn is_match(&mut self, seq: Seq, row: &Row<'_>) -> rusqlite::Result<bool> {
        if let Some(viewer) = self.viewer
            && viewer.route(seq, PeerId::new(row.get(0)?), numbered(&text(row, 1)?)).is_none()
        {
            self.refused += 1;
            return Ok(false);
        }
        Ok(self.is_all_in_index || self.query.matches(&text(row, 2)?))
    }
}

/// Returns tokens of which every message before `before` that the viewer may read has at least one. A room is left out if the peer
/// joined it too late to read any message before `before`.
fn recipient_tokens(viewer: &Viewer, before: Seq) -> Vec<String> {
    // The peer itself is never left out: it may read what it sent.
    let recipients =
        viewer.recipients().filter(|(recipient, after)| recipient.peer().is_some() || after.next() < before);
    recipients.map(|(recipient, _)| RecipientToken(recipient).to_string()).collect()
}

/// Replaces `tokens` by the tokens of a message. Returns the bytes of its text.
fn write_tokens(tokens: &mut String, row: &Row<'_>) -> rusqlite::Result<usize> {
    let (sender, recipients, text) = (PeerId::new(row.get(1)?), text(row, 2)?, text(row, 3)?);
    let recipients = numbered(&recipients);
    tokens.clear();
    for recipient in [Recipient::Peer(sender)].into_iter().chain(recipients) {
        write!(tokens, "{} ", RecipientToken(recipient)).expect("writing to a string cannot fail");
    }
    terms::write_tokens(tokens, &text);
    Ok(text.len())
}

/// Token of a peer or a room; `@` and `#` keep it apart from the tokens of words.
struct RecipientToken(Recipient);

impl std::fmt::Display for RecipientToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Recipient::Peer(peer) => write!(f, "@{peer}"),
            Recipient::Room(room) => write!(f, "#{room}"),
        }
    }
}

#[cfg(test)]
mod tests;
