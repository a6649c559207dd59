//! Searches in the messages of a peer. Owns how a search continues from turn to turn, and how the finds of several queries of the index are
//! merged; never the definition of a word.

use std::collections::BTreeSet;
use std::collections::btree_set;
use std::iter::Rev;

use super::PastPage;
use super::budget::ReadBudget;
use super::past::PastPageBuilder;
use crate::database::inboxes::Sources;
use crate::database::search::{ScanEnd, ScanNext, SearchCursor, SearchReader, SearchTarget, WordQuery};
use crate::database::visibility::Viewer;
use crate::limits::{SEARCH_GROUP_RECIPIENTS, SEARCH_INTERRUPTS_MAX, SEARCH_WORDS_MAX};
use crate::message::{PeerId, Seq};

/// Scan for the newest messages that contain all words. The search index catches up with the log first. The scan begins after that.
#[derive(Debug)]
pub struct SearchScan {
    peer: PeerId,
    words: WordQuery,
    /// Number of messages at most.
    count: usize,
    /// Whether the destinations of messages to the peer must be read, too.
    is_addressed: bool,
    /// Newest message that the index must cover; `None` before the first step.
    until: Option<Seq>,
    state: SearchState,
    /// Number of queries that were interrupted.
    interrupts: u32,
}

/// Progress of a search.
#[derive(Debug)]
enum SearchState {
    /// The index does not cover the log yet.
    Indexing,
    /// The index is queried for one group of the viewer's recipients after the other: a query for all of a thousand rooms takes long.
    Finding(GroupSearch),
    /// The messages that were found are read. `is_partial`: older ones may match, too.
    Reading { viewer: Viewer, seqs: Rev<btree_set::IntoIter<Seq>>, page: PastPageBuilder, is_partial: bool },
}

/// Queries of the index.
#[derive(Debug)]
struct GroupSearch {
    viewer: Viewer,
    /// Number of groups that were queried.
    group: usize,
    /// Progress in the next group.
    cursor: SearchCursor,
    finds: Finds,
}

/// Newest messages that were found.
#[derive(Debug)]
struct Finds {
    seqs: BTreeSet<Seq>,
    /// Message down to which all matches were found. A group that has too many messages to scan raises it.
    complete_to: Seq,
}

/// Reason why words cannot be searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsearchableWords {
    /// There is no word.
    None,
    /// There are more than [`SEARCH_WORDS_MAX`] words: this many.
    TooMany(usize),
}

impl SearchScan {
    /// Makes a search of a peer for its newest messages that contain all words of a query, at most `count`.
    /// `is_addressed`: with the destinations of messages to the peer.
    pub fn new(peer: PeerId, query: &str, count: usize, is_addressed: bool) -> Result<Self, UnsearchableWords> {
        let words = WordQuery::parse(query).ok_or(UnsearchableWords::None)?;
        if words.words() > SEARCH_WORDS_MAX {
            return Err(UnsearchableWords::TooMany(words.words()));
        }
        Ok(SearchScan { peer, words, count, is_addressed, until: None, state: SearchState::Indexing, interrupts: 0 })
    }

    /// Returns the newest message that the index must cover. `newest` is the newest message of the log: the index need not cover those
    /// that come later.
    pub(super) fn until(&mut self, newest: Seq) -> Seq {
        *self.until.get_or_insert(newest)
    }

    /// Drops the progress.
    pub(super) fn restart(&mut self) {
        self.state = SearchState::Indexing;
    }

    /// Returns the bytes that the messages count for that were read.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.state {
            SearchState::Reading { page, .. } => page.held_bytes(),
            SearchState::Indexing | SearchState::Finding(_) => 0,
        }
    }

    /// Does the next piece of work, once the index covers the log. Returns the messages, newest first, once the search is complete, or they
    /// count for `bytes_max`.
    pub(super) fn step(
        &mut self,
        (budget, bytes_max): (ReadBudget, usize),
        reader: &mut SearchReader<'_>,
        sources: &mut Sources<'_, '_>,
    ) -> rusqlite::Result<Option<PastPage>> {
        let before = self.until.map_or(Seq::MAX, Seq::next);
        match &mut self.state {
            SearchState::Indexing => {
                let viewer = Viewer::of(self.peer, sources.members)?;
                let (cursor, finds) = (reader.cursor(before), Finds { seqs: BTreeSet::new(), complete_to: Seq::ZERO });
                self.state = SearchState::Finding(GroupSearch { viewer, group: 0, cursor, finds });
            }
            SearchState::Finding(finding) => {
                let is_single = self.interrupts >= SEARCH_INTERRUPTS_MAX;
                if finding.advance((&self.words, is_single), (self.count, before), budget, reader)? {
                    self.read();
                }
            }
            SearchState::Reading { viewer, seqs, page, is_partial } => {
                page.limit(bytes_max);
                match seqs.next() {
                    Some(seq) if !page.is_full() => page.add(seq, viewer, sources)?,
                    _ => {
                        let mut page = page.take();
                        page.more |= *is_partial;
                        return Ok(Some(page));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the next step queries the index, which may be interrupted and repeated.
    pub(super) fn queries_index(&self) -> bool {
        matches!(self.state, SearchState::Finding(_))
    }

    /// Notes that the last step was interrupted, because the index took too long. After too many interrupts, the search begins again: looks up
    /// one word only, and checks the others in the text of each match.
    pub(super) fn interrupted(&mut self) {
        self.interrupts += 1;
        if self.interrupts >= SEARCH_INTERRUPTS_MAX {
            self.state = SearchState::Indexing;
        }
    }

    /// Continues with the reading of the messages that were found.
    fn read(&mut self) {
        if let SearchState::Finding(GroupSearch { viewer, finds, .. }) =
            std::mem::replace(&mut self.state, SearchState::Indexing)
        {
            let Finds { mut seqs, complete_to } = finds;
            let seqs = seqs.split_off(&complete_to).into_iter().rev();
            let page = PastPageBuilder::new(None, self.count, self.is_addressed);
            let is_partial = complete_to > Seq::ZERO;
            self.state = SearchState::Reading { viewer, seqs, page, is_partial };
        }
    }
}

impl GroupSearch {
    /// Continues with the next group, until the budget is used up. Returns whether all groups are done.
    fn advance(
        &mut self,
        (query, is_single): (&WordQuery, bool),
        (count, before): (usize, Seq),
        budget: ReadBudget,
        reader: &mut SearchReader<'_>,
    ) -> rusqlite::Result<bool> {
        let GroupSearch { viewer, group, cursor, finds } = self;
        let first = *group * SEARCH_GROUP_RECIPIENTS;
        let recipients = if is_single { 0..usize::MAX } else { first..first + SEARCH_GROUP_RECIPIENTS };
        let target = SearchTarget { query, viewer: Some(viewer), recipients, is_single };
        let end = reader.advance(&target, cursor, |found| {
            if finds.add(found, count) {
                return Ok(ScanNext::End);
            }
            Ok(if budget.is_used_up() { ScanNext::Pause } else { ScanNext::Continue })
        })?;
        if let ScanEnd::DownTo(seq) = end {
            finds.complete_to = finds.complete_to.max(seq);
        }
        if end != ScanEnd::Paused {
            *group += 1;
            *cursor = reader.cursor(before);
        }
        Ok(*group * SEARCH_GROUP_RECIPIENTS >= viewer.ranges().count() || is_single && *group > 0)
    }
}

impl Finds {
    /// Adds a message, if one was found, and drops the oldest if there are more than one more than `count`. Returns whether older ones than
    /// this are not wanted.
    fn add(&mut self, found: Option<Seq>, count: usize) -> bool {
        let Some(seq) = found else { return false };
        self.seqs.insert(seq);
        if self.seqs.len() > count + 1 {
            self.seqs.pop_first();
        }
        self.seqs.len() > count && self.seqs.first().is_some_and(|oldest| seq <= *oldest)
    }
}
