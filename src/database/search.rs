//! The search: which messages hold all words of a question, and were for whoever asks. Owns the tables `search` and
//! `searched`; never a message itself.
//!
//! It follows the log in steps of a few milliseconds, when there is time. Words and people are tokens of one index, so that
//! what others wrote is never looked at, however often they wrote the same words.

mod terms;

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

pub(crate) use self::terms::Question;
use super::array;
use crate::limits::{
    SEARCH_REFUSED_MESSAGES_MIN, SEARCH_REMOVAL_MERGE_PAGES, SEARCH_SCAN_MESSAGES_MAX, SEARCH_STEP_BYTES_MAX,
    SEARCH_STEP_MERGE_PAGES, SEARCH_STEP_MESSAGES_MAX,
};
use crate::message::{PeerId, Recipient, RoomId, Seq};

/// The index, as the one who writes it has it.
pub(crate) struct Search<'c> {
    asking: SearchReader<'c>,
    /// What the tables hold.
    searched: Seq,
    /// Whether there is more in them than that, made by other rules.
    is_outdated: bool,
    /// What they will hold once the transaction that is under way is committed.
    stepped: Option<Seq>,
    next_messages: Statement<'c>,
    put_tokens: Statement<'c>,
    remove: Statement<'c>,
    remove_all: Statement<'c>,
    merge: Statement<'c>,
    put_searched: Statement<'c>,
}

impl<'c> Search<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let mut asking = SearchReader::new(connection)?;
        let searched = asking.searched()?;
        Ok(Search {
            asking,
            searched,
            is_outdated: searched == Seq::ZERO,
            stepped: None,
            next_messages: connection.prepare(
                "select seq, sender, recipients, text from message where seq > ?1 and seq <= ?2 order by seq limit ?3",
            )?,
            put_tokens: connection.prepare("insert into search (rowid, tokens) values (?1, ?2)")?,
            remove: connection.prepare("delete from search where rowid between ?1 and ?2")?,
            remove_all: connection.prepare("insert into search (search) values ('delete-all')")?,
            merge: connection.prepare("insert into search (search, rank) values ('merge', ?1)")?,
            put_searched: connection
                .prepare("insert or replace into searched (rowid, seq, rules) values (1, ?1, ?2)")?,
        })
    }

    /// The index holds every message up to here.
    pub(crate) fn searched(&self) -> Seq {
        self.searched
    }

    /// Whether it does not hold every message up to this one.
    pub(crate) fn is_behind(&self, newest: Seq) -> bool {
        self.searched < newest
    }

    /// Adds the next messages, within a transaction, and says whether that was all up to the newest.
    pub(crate) fn step(&mut self, newest: Seq) -> rusqlite::Result<bool> {
        let after = self.stepped.unwrap_or(self.searched);
        if after >= newest {
            return Ok(true);
        }
        if self.is_outdated && self.stepped.is_none() {
            self.remove_all.execute([])?;
        }
        let last = self.add(after, newest)?;
        self.merge(SEARCH_STEP_MERGE_PAGES)?;
        self.hold(last)?;
        Ok(last == newest)
    }

    /// The transaction in which it made steps is committed.
    pub(crate) fn committed(&mut self) {
        if let Some(stepped) = self.stepped.take() {
            self.searched = stepped;
            self.is_outdated = false;
        }
    }

    /// It was rolled back.
    pub(crate) fn rolled_back(&mut self) {
        self.stepped = None;
    }

    /// Removes these messages and all between, which are removed from the log in the same transaction.
    pub(crate) fn remove(&mut self, first: Seq, last: Seq) -> rusqlite::Result<()> {
        self.remove.execute([first.get(), last.get()])?;
        self.merge(SEARCH_REMOVAL_MERGE_PAGES)
    }

    /// To ask it.
    pub(crate) fn asking(&mut self) -> &mut SearchReader<'c> {
        &mut self.asking
    }

    /// Says up to where it came.
    fn add(&mut self, after: Seq, newest: Seq) -> rusqlite::Result<Seq> {
        let limit = SEARCH_STEP_MESSAGES_MAX as i64;
        let mut rows = self.next_messages.query(params![after.get(), newest.get(), limit])?;
        let (mut last, mut messages, mut bytes) = (after, 0, 0);
        let mut tokens = String::new();
        while bytes < SEARCH_STEP_BYTES_MAX {
            let Some(row) = rows.next()? else { break };
            last = Seq::new(row.get(0)?);
            messages += 1;
            bytes += write_tokens(&mut tokens, row)?;
            self.put_tokens.execute(params![last.get(), tokens])?;
        }
        // What is missing behind the last one has been removed.
        let is_all = messages < SEARCH_STEP_MESSAGES_MAX && bytes < SEARCH_STEP_BYTES_MAX;
        Ok(if is_all { newest } else { last })
    }

    /// Merges a little of what was added, and leaves out what was removed.
    fn merge(&mut self, pages: usize) -> rusqlite::Result<()> {
        self.merge.execute([pages as i64]).map(drop)
    }

    fn hold(&mut self, last: Seq) -> rusqlite::Result<()> {
        self.put_searched.execute(params![last.get(), terms::rules()])?;
        self.stepped = Some(last);
        Ok(())
    }
}

/// The index, as anyone may ask it who can read the database.
pub(crate) struct SearchReader<'c> {
    searched: Statement<'c>,
    find: Statement<'c>,
    message: Statement<'c>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    /// Finds what it sent, and what was sent to it.
    pub(crate) peer: PeerId,
    /// Its rooms, each with the newest message there was when it joined: it finds what came after.
    pub(crate) rooms: Vec<(RoomId, Seq)>,
}

/// How far a search went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// As far as its caller wanted.
    Enough,
    /// Through all the index holds.
    Through,
    /// Down to this message, as there was too much to look at; before it there may be more.
    DownTo(Seq),
}

impl<'c> SearchReader<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(SearchReader {
            searched: connection.prepare("select coalesce(max(seq), 0) from searched where rules = ?1")?,
            find: connection
                .prepare("select rowid from search where search match ?1 and rowid < ?2 order by rowid desc")?,
            message: connection.prepare("select sender, recipients, text from message where seq = ?1")?,
        })
    }

    /// The index holds every message up to here; one behind it is found by [`Question::matches`] alone. It holds none
    /// if its words were made by other rules.
    pub(crate) fn searched(&mut self) -> rusqlite::Result<Seq> {
        self.searched.query_row([terms::rules()], |row| row.get(0).map(Seq::new))
    }

    /// Hands over the messages that a reader was part of and that hold all of the question, the newest first, as long as more
    /// are wanted.
    pub(crate) fn newest_first(
        &mut self,
        question: &Question,
        reader: &Reader,
        before: Option<Seq>,
        wants_more_after: impl FnMut(Seq) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<ScanEnd> {
        let rooms = reader.rooms.iter().copied().collect();
        self.look(question, Some(Part { peer: reader.peer, rooms }), before, wants_more_after)
    }

    /// The same for the owner of the file, who may read everything.
    pub(crate) fn everything(
        &mut self,
        question: &Question,
        before: Option<Seq>,
        wants_more_after: impl FnMut(Seq) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<ScanEnd> {
        self.look(question, None, before, wants_more_after)
    }

    fn look(
        &mut self,
        question: &Question,
        part: Option<Part>,
        before: Option<Seq>,
        wants_more_after: impl FnMut(Seq) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<ScanEnd> {
        let is_all_in_index = question.is_all_in_index();
        let mut before = before.unwrap_or(Seq::new(i64::MAX));
        let mut look = Look { question, is_all_in_index, part, looked: 0, refused: 0, wants_more_after };
        let mut patience = SEARCH_REFUSED_MESSAGES_MIN;
        loop {
            let expression = look.expression(before);
            match look.ask(self, &expression, before, patience)? {
                ControlFlow::Break(looked) => return Ok(looked),
                ControlFlow::Continue(last) => before = last,
            }
            patience *= 2;
        }
    }
}

/// Of which messages somebody was part.
struct Part {
    peer: PeerId,
    rooms: HashMap<RoomId, Seq>,
}

impl Part {
    fn holds(&self, seq: Seq, sender: i64, recipients: &str) -> bool {
        let reaches = |number| match Recipient::numbered(number) {
            Recipient::Peer(peer) => peer == self.peer,
            Recipient::Room(room) => self.rooms.get(&room).is_some_and(|joined| *joined < seq),
        };
        sender == self.peer.get() || array::read(recipients).any(reaches)
    }

    /// A message before this one that it is part of has one of these tokens.
    fn tokens(&self, before: Seq) -> Vec<String> {
        let rooms = self.rooms.iter().filter(|(_, joined)| joined.next() < before);
        let mut rooms = Vec::from_iter(rooms.map(|(room, _)| Recipient::Room(*room)));
        rooms.sort_unstable();
        let people = [Recipient::Peer(self.peer)];
        people.into_iter().chain(rooms).map(|recipient| Person(recipient).to_string()).collect()
    }
}

/// One search.
struct Look<'q, F> {
    question: &'q Question,
    is_all_in_index: bool,
    /// None: everything is for whoever asks.
    part: Option<Part>,
    /// Messages that were looked at.
    looked: usize,
    /// Those among them that are not for whoever asks, since the index was asked last.
    refused: usize,
    wants_more_after: F,
}

impl<F: FnMut(Seq) -> rusqlite::Result<bool>> Look<'_, F> {
    fn expression(&self, before: Seq) -> String {
        let mut expression = self.question.expression();
        if let Some(part) = &self.part {
            write!(expression, " AND (\"{}\")", part.tokens(before).join("\" OR \"")).expect("a string takes all");
        }
        expression
    }

    /// Looks at what the index finds before this message; goes on from the last one if too much of it is from before the
    /// reader joined.
    fn ask(
        &mut self,
        SearchReader { find, message, .. }: &mut SearchReader<'_>,
        expression: &str,
        before: Seq,
        patience: usize,
    ) -> rusqlite::Result<ControlFlow<ScanEnd, Seq>> {
        self.refused = 0;
        let mut last = before;
        let mut rows = find.query(params![expression, before.get()])?;
        while let Some(row) = rows.next()? {
            if self.looked == SEARCH_SCAN_MESSAGES_MAX {
                return Ok(ControlFlow::Break(ScanEnd::DownTo(last)));
            }
            if self.refused == patience {
                return Ok(ControlFlow::Continue(last));
            }
            let seq = Seq::new(row.get(0)?);
            self.looked += 1;
            let is_found = message.query_row([seq.get()], |row| self.is_found(seq, row)).optional()?;
            if is_found == Some(true) && !(self.wants_more_after)(seq)? {
                return Ok(ControlFlow::Break(ScanEnd::Enough));
            }
            last = seq;
        }
        Ok(ControlFlow::Break(ScanEnd::Through))
    }

    fn is_found(&mut self, seq: Seq, row: &Row<'_>) -> rusqlite::Result<bool> {
        if let Some(part) = &self.part
            && !part.holds(seq, row.get(0)?, &lossy(row, 1)?)
        {
            self.refused += 1;
            return Ok(false);
        }
        Ok(self.is_all_in_index || self.question.matches(&lossy(row, 2)?))
    }
}

/// Writes what the index holds of a message, and says how many bytes its text has.
fn write_tokens(tokens: &mut String, row: &Row<'_>) -> rusqlite::Result<usize> {
    let (sender, recipients, text) = (PeerId::new(row.get(1)?), lossy(row, 2)?, lossy(row, 3)?);
    let recipients = array::read(&recipients).map(Recipient::numbered);
    tokens.clear();
    for recipient in [Recipient::Peer(sender)].into_iter().chain(recipients) {
        write!(tokens, "{} ", Person(recipient)).expect("a string takes all");
    }
    terms::write_tokens(tokens, &text);
    Ok(text.len())
}

/// A peer or a room as a token, which no word can be.
struct Person(Recipient);

impl std::fmt::Display for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Recipient::Peer(peer) => write!(f, "@{peer}"),
            Recipient::Room(room) => write!(f, "#{room}"),
        }
    }
}

/// A text as far as it can be read: a damaged one must not hold back all that is behind it.
fn lossy(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(column)?.as_bytes().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests;
