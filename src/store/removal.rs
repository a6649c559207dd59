//! Removal of messages, with their places in the inboxes and in the search index. Owns the SQL of `Entry::Remove`; never decides which
//! messages are removed, but keeps every one that waits for a peer.

use rusqlite::{Connection, Row, Statement, params};

use super::SeqRange;
use super::waiting::Waiting;
use crate::database::array;
use crate::database::column::{peer, text};
use crate::database::messages::numbered;
use crate::database::search::LazySearchIndex;
use crate::limits::RETENTION_CHUNK_ROWS;
use crate::message::{PeerId, Recipient, Seq};

/// Prepared statements on `message` and `inbox`.
pub(super) struct Removal<'c> {
    waiting: Waiting<'c>,
    messages_in: Statement<'c>,
    remove_messages: Statement<'c>,
    ends_in: Statement<'c>,
    remove_row: Statement<'c>,
    shorten_row: Statement<'c>,
    is_stored: Statement<'c>,
}

/// Message that may be removed.
struct Candidate {
    seq: Seq,
    sender: PeerId,
    recipients: Vec<Recipient>,
}

/// Messages that are removed together: no other one is stored between them.
struct Run {
    first: Seq,
    last: Seq,
    messages: usize,
    recipients: Vec<Recipient>,
}

impl<'c> Removal<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Removal {
            waiting: Waiting::new(connection)?,
            messages_in: connection.prepare(
                "select seq, sender, recipients from message where seq between ?1 and ?2 order by seq limit ?3",
            )?,
            remove_messages: connection.prepare("delete from message where seq between ?1 and ?2")?,
            ends_in: connection.prepare(
                "select last, seqs from inbox
                 where recipient = ?1 and last between ?2 and ?3 and typeof(last) = 'integer'",
            )?,
            remove_row: connection.prepare("delete from inbox where recipient = ?1 and last = ?2")?,
            shorten_row: connection
                .prepare("update inbox set last = ?3, seqs = ?4 where recipient = ?1 and last = ?2")?,
            is_stored: connection.prepare("select 1 from message where seq = ?1")?,
        })
    }

    /// Removes the messages of some ranges up to `indexed`, except those that wait for a peer. The index of inboxes must contain all
    /// messages up to `indexed`.
    pub(super) fn remove(
        &mut self,
        ranges: &[SeqRange],
        indexed: Seq,
        search: &mut LazySearchIndex<'c>,
    ) -> rusqlite::Result<()> {
        self.waiting.clear();
        for SeqRange { first, last } in ranges {
            let (mut first, last) = (*first, indexed.min(*last));
            loop {
                let candidates = self.candidates(first, last)?;
                let Some(newest) = candidates.last() else { break };
                first = newest.seq.next();
                for run in self.runs(candidates)? {
                    search.open()?.remove(run.first, run.last)?;
                    self.remove_run(run)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the first messages of a range; none if none is left.
    fn candidates(&mut self, first: Seq, last: Seq) -> rusqlite::Result<Vec<Candidate>> {
        let range = params![first.get(), last.get(), RETENTION_CHUNK_ROWS as i64];
        self.messages_in.query_map(range, candidate)?.collect()
    }

    /// Leaves out the messages that wait, and joins the others into runs.
    fn runs(&mut self, candidates: Vec<Candidate>) -> rusqlite::Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        let mut continues = false;
        for Candidate { seq, sender, recipients } in candidates {
            if self.waiting.holder(seq, sender, &recipients)?.is_some() {
                continues = false;
                continue;
            }
            match runs.last_mut().filter(|_| continues) {
                Some(run) => {
                    run.last = seq;
                    run.messages += 1;
                    run.recipients.extend(recipients);
                }
                None => runs.push(Run { first: seq, last: seq, messages: 1, recipients }),
            }
            continues = true;
        }
        Ok(runs)
    }

    /// Removes messages, and the ends of inbox rows that consist of removed messages.
    fn remove_run(&mut self, mut run: Run) -> rusqlite::Result<()> {
        let rows = self.remove_messages.execute([run.first.get(), run.last.get()])?;
        assert_eq!(rows, run.messages, "every removed message was checked before");
        run.recipients.sort_unstable();
        run.recipients.dedup();
        for recipient in run.recipients {
            for (last, seqs) in self.rows_that_end_in(recipient, run.first, run.last)? {
                self.shorten(recipient, last, &seqs)?;
            }
        }
        Ok(())
    }

    fn rows_that_end_in(
        &mut self,
        recipient: Recipient,
        first: Seq,
        last: Seq,
    ) -> rusqlite::Result<Vec<(i64, String)>> {
        let range = [recipient.number(), first.get(), last.get()];
        self.ends_in.query_map(range, |row| Ok((row.get(0)?, text(row, 1)?)))?.collect()
    }

    /// Leaves in an inbox row the messages that are still stored, because they wait for another recipient.
    fn shorten(&mut self, recipient: Recipient, last: i64, seqs: &str) -> rusqlite::Result<()> {
        let mut stored = Vec::new();
        for seq in array::read(seqs) {
            if self.is_stored.exists([seq])? {
                stored.push(seq);
            }
        }
        let rows = match stored.last() {
            None => self.remove_row.execute([recipient.number(), last])?,
            Some(end) => {
                let mut seqs = String::new();
                array::write(&mut seqs, stored.iter().copied());
                self.shorten_row.execute(params![recipient.number(), last, end, seqs])?
            }
        };
        assert_eq!(rows, 1, "no two rows of an inbox have the same end");
        Ok(())
    }
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate { seq: Seq::new(row.get(0)?), sender: peer(row, 1)?, recipients: numbered(&text(row, 2)?).collect() })
}
