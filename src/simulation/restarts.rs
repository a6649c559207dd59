//! How the server stops and starts again: crashes, power cuts, shutdowns. Owns what survives each; never decides when one happens.

use super::client::Client;
use super::client_model::ClientModel;
use super::running::Running;
use super::world::World;
use crate::broker::EndReason;
use crate::store::StoreRequest;

impl World {
    /// The process dies, or the power fails, and it starts anew.
    pub(super) fn crash(&mut self, is_power_cut: bool) -> bool {
        self.step(|| if is_power_cut { "the power fails".to_owned() } else { "the process dies".to_owned() });
        // The store may have done what it was asked, and nobody learned of it.
        if let Some(StoreRequest::Turn(request, _)) = self.broker.asked.take()
            && self.rng.bool()
        {
            self.turn(request);
        }
        if is_power_cut {
            let kept = self.rng.usize(..=self.store.disk.unsynced_commits());
            self.store.disk.cut_power(kept);
        }
        self.cut_off();
        self.start();
        true
    }

    /// Every connection is gone, and nobody learns how much arrived.
    fn cut_off(&mut self) {
        for place in 0..self.clients.len() {
            self.lose(place);
        }
        self.clients.clear();
    }

    fn start(&mut self) {
        self.left = 0;
        self.dealt_with = self.oracle.sent.len();
        self.views.iter_mut().for_each(ClientModel::is_cut_off);
        self.store.reopen();
        self.oracle.died(&self.store.disk);
        self.broker = Running::new(&self.store, &self.swarm);
    }

    /// The server is told to stop: who reads gets what waits, who stalls is cut off.
    pub(super) fn shut_down(&mut self) -> bool {
        self.step(|| "the server stops".to_owned());
        while self.go_on(true) || self.end_one() {}
        self.check_dealt_with();
        self.cut_off();
        self.broker.handle = None;
        while self.broker.run().is_none() {
            self.look_at_turn();
            assert!(self.answer(), "the broker ends when it is let go");
        }
        let is_kept = !self.is_full;
        if is_kept {
            self.check_cursors_kept();
            self.oracle.observers.check_kept(&self.store.disk);
        }
        self.start();
        true
    }

    fn end_one(&mut self) -> bool {
        let can_end = |client: &Client| !client.is_ending && client.permit().is_some();
        let place = self.clients.iter().position(can_end);
        place.is_some_and(|place| self.end(place, EndReason::Shutdown))
    }
}
