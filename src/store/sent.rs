//! Messages that one peer sent, newest first, for its history. Finds them piece by piece: each message points to the one that its sender
//! sent before. Never reads a text.

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::database::column;
use crate::database::index::Index;
use crate::limits::{HISTORY_SCAN_MESSAGES_MAX, HISTORY_WINDOW_MESSAGES};
use crate::message::{PeerId, Seq};

/// Prepared statements that find the messages of one sender.
pub(super) struct SentMessages<'c> {
    previous: Statement<'c>,
    window: Statement<'c>,
}

impl<'c> SentMessages<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(SentMessages {
            previous: connection.prepare("select previous from message where seq = ?1")?,
            window: connection.prepare(
                "select max(seq) filter (where sender = ?1), min(seq) from (
                     select seq, sender from message where seq < ?2 order by seq desc limit ?3)",
            )?,
        })
    }

    /// Returns the message that the sender of this one sent before; `None` if this one was removed.
    fn previous(&mut self, seq: Seq) -> rusqlite::Result<Option<Seq>> {
        let found = self.previous.query_row([seq.get()], |row| column::seq(row, 0)).optional()?;
        // A chain that somebody wrote by hand must end, too.
        Ok(found.map(|previous| previous.min(Seq::new(seq.get().saturating_sub(1)))))
    }

    /// Scans the messages just before `before`. Returns the newest of the peer among them, and the oldest that was scanned.
    fn window(&mut self, peer: PeerId, before: Seq) -> rusqlite::Result<(Option<Seq>, Option<Seq>)> {
        let window = [peer.get(), before.get(), HISTORY_WINDOW_MESSAGES as i64];
        self.window.query_row(window, |row| {
            let (found, oldest): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok((found.map(Seq::new), oldest.map(Seq::new)))
        })
    }
}

/// Scan for the messages of a peer before some message, newest first. Holds no statement, so it can be put aside between two turns.
#[derive(Debug)]
pub(super) struct SentScan {
    peer: PeerId,
    before: Seq,
    position: Position,
    /// Messages of anyone that may still be scanned.
    left: usize,
    /// Whether a message was found.
    has_found: bool,
}

/// Place of the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// The begin, before the first read.
    Start,
    /// The next message is this one. It may have been removed.
    Found(Seq),
    /// The next message is the one that the peer sent before this one.
    Behind(Seq),
    /// The log is scanned before this message. A peer that sends often has a message nearby; and where a removed message breaks the chain,
    /// older messages may remain: they still wait for a recipient.
    Window(Seq),
    /// The chain of the peer's messages is followed from this one down to `before`: a peer that sends seldom has a short chain.
    Chain(Seq),
    /// There are no more messages.
    End,
}

impl SentScan {
    pub(super) fn new(peer: PeerId, before: Seq) -> Self {
        SentScan { peer, before, position: Position::Start, left: HISTORY_SCAN_MESSAGES_MAX, has_found: false }
    }

    /// Returns the next message without taking it, once the scan [is at one](Self::is_at_message).
    pub(super) fn peek(&self) -> Option<Seq> {
        if let Position::Found(seq) = self.position { Some(seq) } else { None }
    }

    /// Whether the scan is at a message or at its end.
    pub(super) fn is_at_message(&self) -> bool {
        matches!(self.position, Position::Found(_) | Position::End)
    }

    /// Takes the message that the scan is at.
    pub(super) fn take(&mut self) {
        if let Position::Found(seq) = self.position {
            self.position = Position::Behind(seq);
        }
    }

    /// Moves nearer to the next message.
    pub(super) fn step(&mut self, sent: &mut SentMessages<'_>, index: &mut Index<'_>) -> rusqlite::Result<()> {
        self.position = match self.position {
            Position::Start => match index.newest_sent(self.peer)? {
                newest if newest < self.before => found(newest),
                _ => Position::Window(self.before),
            },
            Position::Behind(seq) => sent.previous(seq)?.map_or(Position::Window(seq), found),
            Position::Window(before) => self.scan_window(before, sent, index)?,
            Position::Chain(seq) => match sent.previous(seq)? {
                Some(previous) if previous < self.before => found(previous),
                Some(previous) if self.left > 0 => Position::Chain(previous),
                _ => Position::End,
            },
            end @ (Position::Found(_) | Position::End) => end,
        };
        self.left -= usize::from(matches!(self.position, Position::Chain(_)));
        self.has_found |= matches!(self.position, Position::Found(_));
        Ok(())
    }

    fn scan_window(
        &mut self,
        before: Seq,
        sent: &mut SentMessages<'_>,
        index: &mut Index<'_>,
    ) -> rusqlite::Result<Position> {
        let (found, oldest) = sent.window(self.peer, before)?;
        self.left = self.left.saturating_sub(HISTORY_WINDOW_MESSAGES);
        Ok(match (found, oldest) {
            (Some(seq), _) => Position::Found(seq),
            (None, Some(oldest)) if self.left > 0 => Position::Window(oldest),
            // The peer has sent messages later, and nothing near `before`.
            (None, Some(_)) if !self.has_found => {
                self.left = HISTORY_SCAN_MESSAGES_MAX;
                Position::Chain(index.newest_sent(self.peer)?)
            }
            _ => Position::End,
        })
    }
}

fn found(seq: Seq) -> Position {
    if seq <= Seq::ZERO { Position::End } else { Position::Found(seq) }
}
