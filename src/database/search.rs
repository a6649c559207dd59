//! The full-text index: finds the messages that contain all words of a query and that a peer may read. Owns the contentless
//! FTS5 table `search` and its progress in `searched`; never stores a message.
//!
//! The index lags behind the log and catches up in steps of a few milliseconds. Words, peers and rooms are tokens of one
//! index, so a search never scans messages that the peer may not read, however many of them contain the same words.

mod terms;

use std::fmt::Write;
use std::ops::{ControlFlow, Range};

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

pub(crate) use self::terms::WordQuery;
use super::column::{self, text};
use super::messages::numbered;
use super::schema;
use super::visibility::Viewer;
use crate::limits::{
    SEARCH_REFUSED_MESSAGES_MIN, SEARCH_REMOVAL_MERGE_PAGES, SEARCH_SCAN_MESSAGES_MAX, SEARCH_STEP_BYTES_MAX,
    SEARCH_STEP_MERGE_PAGES, SEARCH_STEP_MESSAGES_MAX,
};
use crate::message::{Recipient, Seq};

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
    has_tokens: Statement<'c>,
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
            has_tokens: connection.prepare("select 1 from search limit 1")?,
            merge: connection.prepare("insert into search (search, rank) values ('merge', ?1)")?,
            set_searched: connection
                .prepare("insert or replace into searched (rowid, seq, rules) values (1, ?1, ?2)")?,
        })
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

    /// Removes the messages from `first` to `last`, in the transaction that removes them from the log. Tokens that were made by other rules
    /// are removed all together: they are made again, and until then none of a removed message must be left.
    pub(crate) fn remove(&mut self, first: Seq, last: Seq) -> rusqlite::Result<()> {
        if self.is_outdated && self.has_tokens.exists([])? {
            return self.remove_all.execute([]).map(drop);
        }
        // Messages after that were never added.
        let last = last.min(self.searched);
        if first > last {
            return Ok(());
        }
        self.remove.execute([first.get(), last.get()])?;
        self.merge(SEARCH_REMOVAL_MERGE_PAGES)
    }

    /// Removes one message, if the index contains it.
    pub(crate) fn forget(&mut self, seq: Seq) -> rusqlite::Result<()> {
        if seq <= self.searched { self.remove.execute([seq.get(), seq.get()]).map(drop) } else { Ok(()) }
    }

    /// Replaces the tokens of one message, if the index contains it, because its recipients have changed.
    pub(crate) fn replace(&mut self, seq: Seq) -> rusqlite::Result<()> {
        if seq > self.searched {
            return Ok(());
        }
        self.forget(seq)?;
        let mut rows = self.next_messages.query([seq.get() - 1, seq.get(), 1])?;
        let Some(row) = rows.next()? else { return Ok(()) };
        let mut tokens = String::new();
        write_tokens(&mut tokens, row)?;
        self.insert_tokens.execute(params![seq.get(), tokens]).map(drop)
    }

    /// Merges segments after messages were removed one by one.
    pub(crate) fn merge_removed(&mut self) -> rusqlite::Result<()> {
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

/// Search in the index, as far as it got. Holds no statement, so it can be put aside between two turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SearchCursor {
    /// Message that was scanned last.
    before: Seq,
    /// Messages scanned so far.
    scanned: usize,
    /// Messages that the peer may not read, after which the index is queried again.
    refused_max: usize,
}

/// Words of a search, and the messages among which it searches.
#[derive(Clone, Debug)]
pub(crate) struct SearchTarget<'q> {
    pub(crate) query: &'q WordQuery,
    /// Peer that searches; `None`: every message may be read.
    pub(crate) viewer: Option<&'q Viewer>,
    /// Indexes of those of the viewer's recipients whose messages are searched.
    pub(crate) recipients: Range<usize>,
    /// Whether only one word is looked up in the index, and everything else is checked for each match.
    pub(crate) is_single: bool,
}

/// Instruction of the caller of a search after a message was scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanNext {
    /// Scan the next message.
    Continue,
    /// End the search.
    End,
    /// End the search for now; the cursor continues it.
    Pause,
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
    /// The caller paused the search.
    Paused,
}

impl<'c> SearchReader<'c> {
    pub(crate) fn new(connection: &'c Connection, limits: SearchLimits) -> rusqlite::Result<Self> {
        Ok(SearchReader {
            limits,
            searched: connection.prepare(&format!(
                "select max(seq) from searched where rowid = 1 and rules = ?1 and typeof(seq) = 'integer' and seq <= {}",
                schema::NEWEST
            ))?,
            find: connection
                .prepare("select rowid from search where search match ?1 and rowid < ?2 order by rowid desc")?,
            message: connection.prepare("select sender, recipients, text from message where seq = ?1")?,
        })
    }

    /// Reads the message up to which the index is complete; later ones are found by [`WordQuery::matches`] alone. Returns
    /// [`Seq::ZERO`] if the tokens were made by other rules.
    pub(crate) fn searched(&mut self) -> rusqlite::Result<Seq> {
        self.searched.query_row([terms::rules()], |row| column::seq(row, 0))
    }

    /// Passes each message that matches the query and that `viewer` may read to `wants_more_after`, newest first, until it
    /// returns false. `viewer` is `None` for the owner of the file, who may read every message.
    pub(crate) fn newest_first(
        &mut self,
        query: &WordQuery,
        viewer: Option<&Viewer>,
        before: Option<Seq>,
        mut wants_more_after: impl FnMut(Seq) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<ScanEnd> {
        let mut cursor = self.cursor(before.unwrap_or(Seq::MAX));
        let target = SearchTarget { query, viewer, recipients: 0..usize::MAX, is_single: false };
        self.advance(&target, &mut cursor, |found| match found {
            Some(seq) if !wants_more_after(seq)? => Ok(ScanNext::End),
            _ => Ok(ScanNext::Continue),
        })
    }

    /// Returns the cursor of a search for messages before `before`.
    pub(crate) fn cursor(&self, before: Seq) -> SearchCursor {
        SearchCursor { before, scanned: 0, refused_max: self.limits.refused_messages_min }
    }

    /// Continues a search, newest first. After each message that it scans it asks `next`, which gets the message if it matches and the
    /// viewer may read it.
    pub(crate) fn advance(
        &mut self,
        target: &SearchTarget<'_>,
        cursor: &mut SearchCursor,
        mut next: impl FnMut(Option<Seq>) -> rusqlite::Result<ScanNext>,
    ) -> rusqlite::Result<ScanEnd> {
        while let Some(expression) = target.expression(cursor.before) {
            if let ControlFlow::Break(end) = self.run(target, &expression, cursor, &mut next)? {
                return Ok(end);
            }
            cursor.refused_max *= 2;
        }
        Ok(ScanEnd::Through)
    }

    /// Scans the matches of an expression. Stops after as many messages from before the peer joined a room as the cursor allows: from
    /// there the caller queries the index again, without that room.
    fn run(
        &mut self,
        target: &SearchTarget<'_>,
        expression: &str,
        cursor: &mut SearchCursor,
        next: &mut impl FnMut(Option<Seq>) -> rusqlite::Result<ScanNext>,
    ) -> rusqlite::Result<ControlFlow<ScanEnd>> {
        let SearchReader { limits, find, message, .. } = self;
        let mut refused = 0;
        let mut rows = find.query(params![expression, cursor.before.get()])?;
        while let Some(row) = rows.next()? {
            if cursor.scanned == limits.scan_messages_max {
                return Ok(ControlFlow::Break(ScanEnd::DownTo(cursor.before)));
            }
            if refused == cursor.refused_max {
                return Ok(ControlFlow::Continue(()));
            }
            let seq = Seq::new(row.get(0)?);
            let fit = message.query_row([seq.get()], |row| target.fit(seq, row)).optional()?;
            (cursor.before, cursor.scanned) = (seq, cursor.scanned + 1);
            refused += usize::from(fit == Some(Fit::Refused));
            match next((fit == Some(Fit::Match)).then_some(seq))? {
                ScanNext::Continue => {}
                ScanNext::End => return Ok(ControlFlow::Break(ScanEnd::Enough)),
                ScanNext::Pause => return Ok(ControlFlow::Break(ScanEnd::Paused)),
            }
        }
        Ok(ControlFlow::Break(ScanEnd::Through))
    }
}

/// Result of the check of a message that the index has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Match,
    /// The text does not contain all words.
    Other,
    /// The viewer may not read the message.
    Refused,
}

impl SearchTarget<'_> {
    /// Returns the FTS5 expression for messages before `before`; `None` if the viewer may read none of them.
    fn expression(&self, before: Seq) -> Option<String> {
        if self.is_single {
            return Some(self.query.longest_token());
        }
        let mut expression = self.query.expression();
        if let Some(viewer) = self.viewer {
            let tokens = recipient_tokens(viewer, self.recipients.clone(), before);
            if tokens.is_empty() {
                return None;
            }
            write!(expression, " AND (\"{}\")", tokens.join("\" OR \"")).expect("writing to a string cannot fail");
        }
        Some(expression)
    }

    fn fit(&self, seq: Seq, row: &Row<'_>) -> rusqlite::Result<Fit> {
        if let Some(viewer) = self.viewer
            && viewer.route(seq, column::peer(row, 0)?, numbered(&text(row, 1)?)).is_none()
        {
            return Ok(Fit::Refused);
        }
        let is_match = (self.query.is_all_in_index() && !self.is_single) || self.query.matches(&text(row, 2)?);
        Ok(if is_match { Fit::Match } else { Fit::Other })
    }
}

/// Returns tokens of which every message before `before` to one of these recipients of the viewer has at least one. A room is left out if
/// the peer joined it too late to read any message before `before`.
fn recipient_tokens(viewer: &Viewer, recipients: Range<usize>, before: Seq) -> Vec<String> {
    let ranges = viewer.ranges().skip(recipients.start).take(recipients.len());
    // The peer itself is never left out: it may read what it sent.
    let ranges = ranges.filter(|range| range.recipient.peer().is_some() || range.after.next() < before);
    let mut tokens = Vec::from_iter(ranges.map(|range| RecipientToken(range.recipient).to_string()));
    // A room has a range for each membership.
    tokens.dedup();
    tokens
}

/// Replaces `tokens` by the tokens of a message. Returns the bytes of its text.
fn write_tokens(tokens: &mut String, row: &Row<'_>) -> rusqlite::Result<usize> {
    let (sender, recipients, text) = (column::peer(row, 1)?, text(row, 2)?, text(row, 3)?);
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
