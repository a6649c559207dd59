//! What observers do: they wait for what is next, and deal with it, or with some of it. Owns when; never what they must be told.

use super::oracle::{Observer, name};
use super::world::World;
use crate::broker::{Event, Observation};
use crate::store::ObserverCursor;

impl World {
    /// An observer does what is next for it: it waits, or starts anew. Now and then some are said to be gone.
    pub(super) fn observe_any(&mut self) -> bool {
        let observers = self.oracle.observers.all.len();
        if observers == 0 {
            return false;
        }
        if self.rng.u32(..32) == 0 {
            return self.forget_observers();
        }
        let place = self.rng.usize(..observers);
        let is_anew = self.rng.u32(..16) == 0;
        (is_anew || self.oracle.observers.all[place].waits.is_none()) && self.observe(place)
    }

    pub(super) fn observe(&mut self, place: usize) -> bool {
        let (reply, waits) = oneshot::channel();
        let observer = &mut self.oracle.observers.all[place];
        let event = Event::Observe { observer: name(observer.peer), wants: observer.wants, reply };
        if self.broker.inbox().try_send(event).is_err() {
            return false;
        }
        observer.waits = Some(waits);
        let peer = observer.peer;
        self.step(|| format!("p{peer} observes"))
    }

    /// Whoever does not wait does.
    pub(super) fn observers_go_on(&mut self) -> bool {
        let waits_not = |observer: &Observer| observer.waits.is_none();
        let place = self.oracle.observers.all.iter().position(waits_not);
        place.is_some_and(|place| self.observe(place))
    }

    fn forget_observers(&mut self) -> bool {
        let keeps = self.rng.usize(..self.oracle.observers.all.len());
        let only = vec![name(self.oracle.observers.all[keeps].peer)];
        if self.broker.inbox().try_send(Event::Observers { only }).is_err() {
            return false;
        }
        let all = self.oracle.observers.all.iter_mut().enumerate();
        for (_, observer) in all.filter(|(place, _)| *place != keeps) {
            (observer.position, observer.waits) = (None, None);
            observer.is_registered = false;
        }
        self.step(|| "all observers but one are gone".to_owned())
    }

    /// The broker has run: whoever is told something deals with all of it, or some, or none, and then does.
    pub(super) fn look_at_observers(&mut self) {
        for place in 0..self.oracle.observers.all.len() {
            let observer = &mut self.oracle.observers.all[place];
            let Some(waits) = &observer.waits else { continue };
            match waits.try_recv() {
                Err(oneshot::TryRecvError::Empty) => {}
                Err(oneshot::TryRecvError::Disconnected) => observer.waits = None,
                Ok(observation) => {
                    observer.waits = None;
                    self.is_told(place, &observation);
                }
            }
        }
    }

    fn is_told(&mut self, place: usize, observation: &Observation) {
        self.oracle.check_away(&observation.items);
        self.oracle.observers.check_told(place, observation, &self.store.disk);
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
            observer.sees(seen);
        }
    }
}
