//! Steps of the chat for scans: begin them, do a slice of each in a turn, and take the outcomes. Owns these steps; never the order of the
//! scans, nor what they find.

use super::completion::Requester;
use super::scans::{FinishedScan, PendingScan, ScanInTurn, ScanPurpose};
use super::state::Chat;
use super::turn::TurnBuilder;
use crate::limits::TURN_SCANS_MAX;
use crate::message::SessionId;
use crate::store::{Read, Scan, ScanOutcome};

impl Chat {
    /// Begins a scan for a client. The permit of its session is held back until the scan is done.
    pub(super) fn begin_scan(&mut self, requester: Requester, purpose: ScanPurpose, scan: impl Into<Scan>) {
        let session = self.sessions.get_mut(&requester.session).expect("a requester has a session");
        session.unfinished += 1;
        self.scans.begin(PendingScan { requester, purpose, scan: Box::new(scan.into()), held_bytes: 0 });
    }

    /// Whether a session shows to whom messages were addressed.
    pub(super) fn shows_recipients(&self, session: SessionId) -> bool {
        self.sessions[&session].outbox.capabilities().shows_recipients
    }

    /// Adds a slice of each pending scan to the turn, up to the limit of a turn.
    pub(super) fn continue_scans(&mut self, turn: &mut TurnBuilder) {
        while turn.scans() < TURN_SCANS_MAX
            && let Some(PendingScan { requester, purpose, mut scan, held_bytes }) = self.scans.take(turn.scans())
        {
            if self.sessions.contains_key(&requester.session) {
                let slices = scan.slices;
                scan.bytes_max = self.budget.history_bytes_max(held_bytes);
                let outcome = turn.read(Read::Scan, scan);
                turn.scan(ScanInTurn { requester, purpose, slices, held_bytes, outcome });
            } else {
                self.budget.give_back(held_bytes);
            }
        }
    }

    /// Takes the outcome of a turn's slice. Puts the scan back if it is not done.
    pub(super) fn finished(&mut self, scan: ScanInTurn) -> Option<FinishedScan> {
        let ScanInTurn { requester, purpose, slices, held_bytes, outcome } = scan;
        self.budget.give_back(held_bytes);
        let result = match outcome.result() {
            Ok(ScanOutcome::Paused(scan)) => {
                let has_moved = scan.slices > slices;
                let held_bytes = scan.held_bytes();
                self.budget.take(held_bytes);
                self.scans.put_back(PendingScan { requester, purpose, scan, held_bytes }, has_moved);
                return None;
            }
            Ok(ScanOutcome::Done(result)) => Ok(result),
            Err(failure) => Err(failure),
        };
        Some(FinishedScan { requester, purpose, result })
    }

    /// Allows the session of an answer that is complete to submit more.
    pub(super) fn end_unfinished(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.unfinished -= 1;
            if session.unfinished == 0 && session.outbox.has_room(0, &self.budget) {
                session.permit = None;
            }
        }
    }
}
