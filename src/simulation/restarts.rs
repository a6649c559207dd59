//! Restarts: crashes, power cuts and shutdowns. Owns what survives each; never decides when a restart happens.

use super::broker_driver::BrokerDriver;
use super::client::Client;
use super::client_model::ClientModel;
use super::world::World;
use crate::broker::EndReason;
use crate::store::StoreRequest;

impl World {
    /// Kills the process, or cuts the power, and restarts the server.
    pub(super) fn crash(&mut self, is_power_cut: bool) -> bool {
        self.step(|| if is_power_cut { "the power fails".to_owned() } else { "the process dies".to_owned() });
        // The store may have executed its request before the crash.
        if let Some(StoreRequest::Turn(request, _)) = self.broker.request.take()
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

    /// Drops every connection; the server does not learn how much arrived.
    fn cut_off(&mut self) {
        for place in 0..self.clients.len() {
            self.receive_part(place);
        }
        self.clients.clear();
    }

    fn start(&mut self) {
        self.left = 0;
        self.checked_lines = self.oracle.sent.len();
        self.models.iter_mut().for_each(ClientModel::forgets_pending_ack);
        self.store.reopen();
        self.oracle.restarted(&self.store.disk);
        self.broker = BrokerDriver::new(&self.store, &self.swarm);
    }

    /// Shuts the server down: clients that read get what waits, clients that stall are cut off.
    pub(super) fn shut_down(&mut self) -> bool {
        self.step(|| "the server stops".to_owned());
        while self.make_progress(true) || self.end_one() {}
        self.check_no_line_dropped();
        self.cut_off();
        self.broker.handle = None;
        while self.broker.run().is_none() {
            self.check_turn();
            assert!(self.answer(), "the broker ends when its last handle is dropped");
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
