//! Second half of a turn: feeds its messages to sessions, completes its requests, and gives back its permits. Owns the order of these
//! steps; never the contents of a reply.

use smol::lock::SemaphoreGuardArc;

use super::commands;
use super::delivery::Delivery;
use super::state::Chat;
use super::turn::Turn;
use crate::message::SessionId;
use crate::store::TurnOutcome;

impl Chat {
    /// Delivers a turn whose outcome is known.
    pub(in crate::broker) fn deliver(&mut self, turn: Turn, outcome: TurnOutcome) {
        let Turn { completions, observer_reads, scans, pages, permits, at, .. } = turn;
        let TurnOutcome { entries, commit, before, newest, floors, .. } = outcome;
        assert!(newest >= self.newest, "the log grows: {newest} after {}", self.newest);
        self.newest = newest;
        self.floors.extend(floors);
        if commit.is_ok() {
            self.observers.note_committed(&entries);
        }
        let mut delivery = Delivery::new(at, commit, before, entries);
        // The pages were read after the commit of this turn: a session that reaches the end of its page is live, and has the turn's messages.
        for (session, page) in pages {
            self.feed_page(session, page.result(), &mut delivery);
        }
        self.announce_held_presence(&mut delivery);
        for completion in completions {
            commands::complete(completion, self, &mut delivery);
        }
        // In reverse, so that those that did nothing are in their order again.
        for scan in scans.into_iter().rev() {
            if let Some(finished) = self.finished(scan) {
                commands::complete_scan(finished, self, &mut delivery);
            }
        }
        self.flush(&mut delivery);
        // After the flush, because closed outboxes are noticed there: their peers are offline now, and listed in `away`.
        for read in observer_reads {
            self.deliver_observed(read, delivery.commit.is_ok());
        }
        for (session, permit) in permits {
            self.give_permit_back(session, permit);
        }
    }

    /// Delivers a turn that had nothing for the store.
    pub(in crate::broker) fn deliver_without_commit(&mut self, turn: Turn) {
        let newest = self.newest;
        self.deliver(turn, TurnOutcome::empty(newest));
    }

    /// Allows a client to submit more, unless it does not read its replies, or waits for the rest of an answer.
    fn give_permit_back(&mut self, id: SessionId, permit: SemaphoreGuardArc) {
        if let Some(session) = self.sessions.get_mut(&id)
            && (session.unfinished > 0 || !session.outbox.has_room(0, &self.budget))
        {
            session.permit = Some(permit);
        }
    }
}
