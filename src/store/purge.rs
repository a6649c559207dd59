//! Removal of a peer or a room as the operator wants, with everything that it leaves behind. Owns the table `purge`, and the SQL of
//! `Entry::BeginPurge` and `Entry::ContinuePurge`; never decides what is removed, and never knows who is online.
//!
//! The row of the peer or the room is removed first: from then on it does not exist for anyone. The rest follows in steps. A step is bounded
//! by rows and not by time, so that the same entries leave the same rows.

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::events::Events;
use super::sent_ids::SentIds;
use super::{PurgeRequest, PurgeStep};
use crate::database::array;
use crate::database::column::{integer, peer, seq, text};
use crate::database::members::Members;
use crate::database::messages::numbered;
use crate::database::search::LazySearchIndex;
use crate::limits::{
    PURGE_STEP_ROWS_MAX, PURGE_STEP_SCANNED_MAX, PURGE_STEP_WEIGHT_MAX, PURGE_WEIGHT_TEXT_BYTES, PURGES_DONE_MAX,
};
use crate::message::{PeerId, Recipient, Seq};

/// Work of one step; the defaults are those of the server, tests lower them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PurgeLimits {
    /// Rows of other tables than the log and its indexes that one step removes.
    pub(crate) rows_max: usize,
    /// Messages that one step scans.
    pub(crate) scanned_max: usize,
    /// Weight of the messages that one step removes or changes; the last one may exceed it.
    pub(crate) weight_max: usize,
}

impl Default for PurgeLimits {
    fn default() -> Self {
        PurgeLimits {
            rows_max: PURGE_STEP_ROWS_MAX,
            scanned_max: PURGE_STEP_SCANNED_MAX,
            weight_max: PURGE_STEP_WEIGHT_MAX,
        }
    }
}

/// Tables that a step changes besides its own.
pub(super) struct PurgedTables<'t, 'c> {
    pub(super) sent_ids: &'t mut SentIds<'c>,
    pub(super) events: &'t mut Events<'c>,
    pub(super) search: &'t mut LazySearchIndex<'c>,
}

/// Prepared statements on `purge`, and on the rows of peers and rooms in other tables.
pub(super) struct Purges<'c> {
    connection: &'c Connection,
    limits: PurgeLimits,
    next: Statement<'c>,
    /// Statements that only a purge needs; prepared when one begins or continues.
    steps: Option<StepStatements<'c>>,
}

struct StepStatements<'c> {
    limits: PurgeLimits,
    current: Statement<'c>,
    members: Statement<'c>,
    values: Statement<'c>,
    inbox: Statement<'c>,
    observer: Statement<'c>,
    creators: Statement<'c>,
    past_members: Statement<'c>,
    scan: Statement<'c>,
    text_bytes: Statement<'c>,
    remove_message: Statement<'c>,
    set_recipients: Statement<'c>,
    inbox_row: Statement<'c>,
    remove_row: Statement<'c>,
    shorten_row: Statement<'c>,
    advance: Statement<'c>,
    finish: Statement<'c>,
}

/// Purge that has begun.
struct Purge {
    id: i64,
    target: Recipient,
    newest: Seq,
    scanned: Seq,
    messages: i64,
}

/// Message that names the peer or the room.
struct NamingMessage {
    seq: Seq,
    recipients: Vec<Recipient>,
    /// Whether the message is removed: the peer has sent it, or nobody else gets it.
    is_removed: bool,
}

/// Messages that one step has scanned.
struct Scanned {
    messages: Vec<NamingMessage>,
    /// Message up to which the log was scanned.
    to: Seq,
}

impl<'c> Purges<'c> {
    pub(super) fn new(connection: &'c Connection, limits: PurgeLimits) -> rusqlite::Result<Self> {
        Ok(Purges {
            connection,
            limits,
            next: connection.prepare(
                "select id, name, target from purge
                 where typeof(name) = 'text' and refused is null
                 and (target is null or typeof(target) = 'integer' and target between -1e18 and 1e18 and target <> 0)
                 order by target is null, id limit 1",
            )?,
            steps: None,
        })
    }

    /// Returns the request that has begun, or else the oldest one.
    pub(super) fn next(&mut self) -> rusqlite::Result<Option<PurgeRequest>> {
        let next = self.next.query_row([], |row| {
            let target: Option<i64> = row.get(2)?;
            Ok(PurgeRequest { id: row.get(0)?, name: text(row, 1)?, target: target.map(Recipient::numbered) })
        });
        next.optional()
    }

    /// Removes the row of a peer, with its memberships, or of a room. `newest` is the newest message. The index of inboxes must contain all
    /// messages.
    pub(super) fn begin(
        &mut self,
        request: i64,
        (name, target): (&str, Recipient),
        newest: Seq,
        members: &mut Members<'c>,
    ) -> rusqlite::Result<()> {
        let row = match target {
            Recipient::Peer(peer) => {
                for (room, _) in members.joined(peer)? {
                    members.leave(room, peer, newest)?;
                }
                self.connection.execute("delete from past_member where peer = ?1", [peer.get()])?;
                "delete from peer where id = ?1"
            }
            Recipient::Room(_) => "delete from room where id = -?1",
        };
        self.connection.execute(row, [target.number()])?;
        self.connection.execute("update removed_id set seq = max(seq, ?1)", [newest.get()])?;
        self.connection.execute(
            "insert into purge (id, name, target, newest) values (?1, ?2, ?3, ?4)
             on conflict (id) do update set target = excluded.target, newest = excluded.newest",
            params![request, name, target.number(), newest.get()],
        )?;
        let done = "delete from purge where id < ?1 and (name is null or refused is not null)";
        self.connection.execute(done, [request.saturating_sub(PURGES_DONE_MAX)]).map(drop)
    }

    /// Notes that a request is refused.
    pub(super) fn refuse(&mut self, request: i64, reason: &str) -> rusqlite::Result<()> {
        let refuse = "update purge set refused = ?2 where id = ?1";
        self.connection.execute(refuse, params![request, reason]).map(drop)
    }

    /// Removes the next rows that name the peer or the room whose removal has begun.
    pub(super) fn step(&mut self, tables: &mut PurgedTables<'_, 'c>) -> rusqlite::Result<PurgeStep> {
        let steps = match &mut self.steps {
            Some(steps) => steps,
            none => none.insert(StepStatements::prepare(self.connection, self.limits)?),
        };
        let Some(mut purge) = steps.current.query_row([], current).optional()? else {
            return Ok(PurgeStep { is_done: true, ..PurgeStep::default() });
        };
        let mut step = PurgeStep::default();
        if !steps.remove_rows(purge.target, tables)? {
            step.removed = steps.remove_messages(&mut purge, tables.search)?;
            step.is_done = purge.scanned >= purge.newest;
            steps.advance.execute(params![purge.id, purge.scanned.get(), purge.messages])?;
        }
        if step.is_done {
            steps.finish(&purge, tables.events)?;
            self.steps = None;
        }
        step.messages = purge.messages.cast_unsigned();
        Ok(step)
    }
}

impl<'c> StepStatements<'c> {
    fn prepare(connection: &'c Connection, limits: PurgeLimits) -> rusqlite::Result<Self> {
        Ok(StepStatements {
            limits,
            current: connection.prepare(
                "select id, target, newest, scanned, messages from purge
                 where typeof(name) = 'text' and refused is null
                 and typeof(target) = 'integer' and target between -1e18 and 1e18 and target <> 0 order by id limit 1",
            )?,
            members: connection.prepare(
                "delete from member where room = -?1
                 and peer in (select peer from member where room = -?1 order by peer limit ?2)",
            )?,
            values: connection.prepare(
                "delete from value where peer = ?1
                 and key in (select key from value where peer = ?1 order by key limit ?2)",
            )?,
            inbox: connection.prepare("delete from inbox where recipient = ?1 and last <= ?2")?,
            observer: connection.prepare("delete from observer where peer = ?1")?,
            past_members: connection.prepare("delete from past_member where room = -?1")?,
            creators: connection.prepare("update room set creator = null where creator = ?1")?,
            scan: connection.prepare(
                "select seq, sender, recipients from message where seq > ?1 and seq <= ?2 order by seq limit ?3",
            )?,
            text_bytes: connection.prepare("select octet_length(text) from message where seq = ?1")?,
            remove_message: connection.prepare("delete from message where seq = ?1")?,
            set_recipients: connection.prepare("update message set recipients = ?2 where seq = ?1")?,
            inbox_row: connection.prepare(
                "select last, seqs from inbox
                 where recipient = ?1 and last >= ?2 and typeof(last) = 'integer' order by last limit 1",
            )?,
            remove_row: connection.prepare("delete from inbox where recipient = ?1 and last = ?2")?,
            shorten_row: connection
                .prepare("update inbox set last = ?3, seqs = ?4 where recipient = ?1 and last = ?2")?,
            advance: connection.prepare("update purge set scanned = ?2, messages = ?3 where id = ?1")?,
            finish: connection.prepare("update purge set name = null, target = null where id = ?1")?,
        })
    }

    /// Removes rows of other tables than the log and its indexes. Returns whether some may be left.
    fn remove_rows(&mut self, target: Recipient, tables: &mut PurgedTables<'_, 'c>) -> rusqlite::Result<bool> {
        let number = target.number();
        let mut left = self.limits.rows_max;
        for rows in [&mut self.members, &mut self.values] {
            left = left.saturating_sub(rows.execute([number, left as i64])?);
        }
        if let Recipient::Peer(peer) = target {
            left = left.saturating_sub(tables.sent_ids.remove_of(peer, left)?);
            if self.observer.execute([number])? > 0 {
                tables.events.note_seen();
            }
        }
        Ok(left == 0)
    }

    /// Scans the next messages, and removes those that only the peer or the room has. The others remain, and do not name it any more.
    /// Returns the removed ones.
    fn remove_messages(
        &mut self,
        purge: &mut Purge,
        search: &mut LazySearchIndex<'c>,
    ) -> rusqlite::Result<Vec<(Seq, Vec<PeerId>)>> {
        let Scanned { messages, to } = self.scan(purge)?;
        purge.scanned = to;
        // Where an inbox is cut into rows does not follow from the entries, so the rows do not count.
        self.inbox.execute([purge.target.number(), to.get()])?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let search = search.open()?;
        let mut removed = Vec::new();
        for NamingMessage { seq, mut recipients, is_removed } in messages {
            recipients.retain(|recipient| *recipient != purge.target);
            if is_removed {
                self.remove_message.execute([seq.get()])?;
                search.forget(seq)?;
                removed.push((seq, recipients));
            } else {
                let mut json = String::new();
                array::write(&mut json, recipients.iter().map(|recipient| recipient.number()));
                self.set_recipients.execute(params![seq.get(), json])?;
                search.replace(seq)?;
            }
        }
        search.merge_removed()?;
        self.remove_from_inboxes(&removed)?;
        purge.messages += removed.len() as i64;
        let peers = |recipients: Vec<Recipient>| recipients.into_iter().filter_map(Recipient::peer).collect();
        Ok(removed.into_iter().map(|(seq, recipients)| (seq, peers(recipients))).collect())
    }

    /// Finds the next messages that the peer has sent, or that were sent to the peer or the room.
    fn scan(&mut self, purge: &Purge) -> rusqlite::Result<Scanned> {
        let Purge { target, newest, scanned, .. } = *purge;
        let PurgeLimits { scanned_max, weight_max, .. } = self.limits;
        let mut rows = self.scan.query(params![scanned.get(), newest.get(), scanned_max as i64])?;
        let (mut messages, mut count, mut weight, mut to) = (Vec::new(), 0, 0, scanned);
        while weight < weight_max {
            let Some(row) = rows.next()? else {
                let is_end = count < scanned_max;
                return Ok(Scanned { messages, to: if is_end { newest } else { to } });
            };
            count += 1;
            to = Seq::new(row.get(0)?);
            let is_sender = Recipient::Peer(peer(row, 1)?) == target;
            let recipients: Vec<Recipient> = numbered(&text(row, 2)?).collect();
            if is_sender || recipients.contains(&target) {
                let bytes = self.text_bytes.query_row([to.get()], |row| integer(row, 0))?;
                weight += 1 + recipients.len() + bytes.cast_unsigned() as usize / PURGE_WEIGHT_TEXT_BYTES;
                let is_removed = is_sender || recipients.iter().all(|recipient| *recipient == target);
                messages.push(NamingMessage { seq: to, recipients, is_removed });
            }
        }
        Ok(Scanned { messages, to })
    }

    /// Removes messages from the inboxes of their recipients.
    fn remove_from_inboxes(&mut self, removed: &[(Seq, Vec<Recipient>)]) -> rusqlite::Result<()> {
        let entries =
            removed.iter().flat_map(|(seq, recipients)| recipients.iter().map(|recipient| (*recipient, *seq)));
        let mut entries: Vec<(Recipient, Seq)> = entries.collect();
        entries.sort_unstable();
        entries.dedup();
        let mut left = &entries[..];
        while let Some((recipient, first)) = left.first().copied() {
            let row =
                self.inbox_row.query_row([recipient.number(), first.get()], |row| Ok((row.get(0)?, text(row, 1)?)));
            // If the inbox lacks the message, no row has it.
            let Some((last, seqs)) = row.optional()? else {
                left = &left[1..];
                continue;
            };
            let is_in_row = |entry: &&(Recipient, Seq)| entry.0 == recipient && entry.1.get() <= last;
            let (of_row, rest) = left.split_at(left.iter().take_while(is_in_row).count());
            self.shorten(recipient, (last, &seqs), of_row)?;
            left = rest;
        }
        Ok(())
    }

    /// Leaves the other messages in a row of an inbox.
    fn shorten(
        &mut self,
        recipient: Recipient,
        (last, seqs): (i64, &str),
        removed: &[(Recipient, Seq)],
    ) -> rusqlite::Result<()> {
        let is_removed = |seq: &i64| removed.binary_search(&(recipient, Seq::new(*seq))).is_ok();
        let stored: Vec<i64> = array::read(seqs).filter(|seq| !is_removed(seq)).collect();
        let rows = match stored.last() {
            None => self.remove_row.execute([recipient.number(), last])?,
            Some(end) => {
                let mut shortened = String::new();
                array::write(&mut shortened, stored.iter().copied());
                self.shorten_row.execute(params![recipient.number(), last, end, shortened])?
            }
        };
        assert_eq!(rows, 1, "no two rows of an inbox have the same end");
        Ok(())
    }

    /// Removes the last rows that name the peer. What remains of the request has no name.
    fn finish(&mut self, purge: &Purge, events: &mut Events<'c>) -> rusqlite::Result<()> {
        match purge.target {
            Recipient::Peer(peer) => {
                events.remove_of(peer)?;
                self.creators.execute([peer.get()])?;
            }
            Recipient::Room(_) => drop(self.past_members.execute([purge.target.number()])?),
        }
        self.finish.execute([purge.id]).map(drop)
    }
}

fn current(row: &Row<'_>) -> rusqlite::Result<Purge> {
    Ok(Purge {
        id: row.get(0)?,
        target: Recipient::numbered(integer(row, 1)?),
        newest: seq(row, 2)?,
        scanned: seq(row, 3)?,
        messages: integer(row, 4)?,
    })
}
