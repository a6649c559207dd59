//! Actions of observers: each waits for its next items, and advances past all or some of them. Owns when that happens;
//! never which items are due.

use super::oracle::{Observer, name};
use super::world::World;
use crate::broker::{Event, Observation};
use crate::store::ObserverCursor;

impl World {
    /// An observer subscribes or waits for its next items. Sometimes all others are removed.
    pub(super) fn observe_any(&mut self) -> bool {
        let observers = self.oracle.observers.all.len();
        if observers == 0 {
            return false;
        }
        if self.rng.u32(..32) == 0 {
            return self.remove_other_observers();
        }
        let place = self.rng.usize(..observers);
        let subscribes_again = self.rng.u32(..16) == 0;
        (subscribes_again || self.oracle.observers.all[place].reply.is_none()) && self.observe(place)
    }

    pub(super) fn observe(&mut self, place: usize) -> bool {
        let (reply, receiver) = oneshot::channel();
        let observer = &mut self.oracle.observers.all[place];
        let event = Event::Observe { observer: name(observer.peer), wants: observer.wants, reply };
        if self.broker.inbox().try_send(event).is_err() {
            return false;
        }
        observer.reply = Some(receiver);
        let peer = observer.peer;
        self.step(|| format!("p{peer} observes"))
    }

    /// Lets an observer wait that does not.
    pub(super) fn resume_observers(&mut self) -> bool {
        let is_idle = |observer: &Observer| observer.reply.is_none();
        let place = self.oracle.observers.all.iter().position(is_idle);
        place.is_some_and(|place| self.observe(place))
    }

    fn remove_other_observers(&mut self) -> bool {
        let keeps = self.rng.usize(..self.oracle.observers.all.len());
        let only = vec![name(self.oracle.observers.all[keeps].peer)];
        if self.broker.inbox().try_send(Event::Observers { only }).is_err() {
            return false;
        }
        let all = self.oracle.observers.all.iter_mut().enumerate();
        for (_, observer) in all.filter(|(place, _)| *place != keeps) {
            (observer.position, observer.reply) = (None, None);
            observer.is_registered = false;
        }
        self.step(|| "all observers but one are removed".to_owned())
    }

    /// Receives what the broker sent to observers; each advances past all items, or some, or none.
    pub(super) fn receive_observations(&mut self) {
        for place in 0..self.oracle.observers.all.len() {
            let observer = &mut self.oracle.observers.all[place];
            let Some(reply) = &observer.reply else { continue };
            match reply.try_recv() {
                Err(oneshot::TryRecvError::Empty) => {}
                Err(oneshot::TryRecvError::Disconnected) => observer.reply = None,
                Ok(observation) => {
                    observer.reply = None;
                    self.receive_observation(place, &observation);
                }
            }
        }
    }

    fn receive_observation(&mut self, place: usize, observation: &Observation) {
        self.oracle.check_away(&observation.items);
        self.oracle.observers.check_next_items(place, observation, &self.store.disk);
        let items = &observation.items;
        let seen = match self.rng.u32(..8) {
            0 => None,
            1 => Some(
                items[..self.rng.usize(1..=items.len())]
                    .iter()
                    .fold(ObserverCursor::START, |seen, thing| seen.union(thing.seen())),
            ),
            _ => Some(observation.seen),
        };
        let observer = &mut self.oracle.observers.all[place];
        let Some(seen) = seen else { return };
        let event = Event::ObserverAdvanced { observer: name(observer.peer), seen };
        if self.broker.inbox().try_send(event).is_ok() {
            observer.advance(seen);
        }
    }
}
