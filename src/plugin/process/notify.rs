//! A bell: one waits, others ring. Owns nothing but whether it was rung; whoever waits looks again why.

use async_channel::{Receiver, Sender};

/// Rung as often as one likes, it is heard once, by one.
pub(super) struct Notify {
    ring: Sender<()>,
    rung: Receiver<()>,
}

impl Notify {
    pub(super) fn new() -> Self {
        let (ring, rung) = async_channel::bounded(1);
        Notify { ring, rung }
    }

    pub(super) fn ring(&self) {
        // One that was rung and not heard yet is still rung.
        let _ = self.ring.try_send(());
    }

    pub(super) async fn rung(&self) {
        // It is closed only when both ends are gone.
        let _ = self.rung.recv().await;
    }
}
