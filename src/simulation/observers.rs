//! Those who observe from inside: what each was told, and what it must be. Owns the promises that concern them: all that
//! happens, in order, at least once over every crash, and in one life of the server not twice what was seen.

use std::collections::HashMap;

use super::disk::Disk;
use super::oracle::Oracle;
use super::world::World;
use crate::broker::{Event, Observation};
use crate::limits::{EVENTS_MAX, OBSERVED_MAX};
use crate::message::{PeerId, PeerName, Seq};
use crate::store::{Entry, EventFilter, EventKind, Observed, ObserverCursor, PeerEvent};

/// Everyone who observes, and all that they may be told.
#[derive(Default)]
pub(super) struct Observers {
    pub(super) all: Vec<Observer>,
    /// Whatever is on the disk, in the order in which it happened.
    happened: Vec<Happened>,
    /// The number of the event that was kept last.
    last_event: i64,
    /// Who is here, as far as those were told who want to know all of it.
    here: HashMap<PeerId, bool>,
}

/// One of them.
pub(super) struct Observer {
    /// Which name it goes by.
    pub(super) peer: usize,
    wants: EventFilter,
    /// How far it got of what it wants, as a row of the table says it; `None`: it does not observe yet.
    position: Option<(Option<Seq>, Option<i64>)>,
    /// What happens is kept for it, in this life of the server.
    is_registered: bool,
    /// Where it is answered.
    waits: Option<oneshot::Receiver<Observation>>,
}

/// One thing that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Happened {
    what: What,
    peer: PeerId,
    /// It may be on the disk no more.
    is_optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Message(Seq),
    Event(i64, EventKind),
}

impl Observer {
    pub(super) fn new(peer: usize, wants: EventFilter) -> Self {
        Observer { peer, wants, position: None, is_registered: false, waits: None }
    }

    /// Whether everybody's coming and going is kept for it.
    fn gets_presence(&self) -> bool {
        self.is_registered && self.wants.join && self.wants.leave
    }

    /// Whether this is for it, and it has not seen it.
    fn is_next(&self, id: PeerId, happened: &Happened) -> bool {
        let Some((seq, event)) = self.position else { return false };
        let is_new = match happened.what {
            What::Message(at) => seq.is_some_and(|seq| at > seq),
            What::Event(number, kind) => self.wants.includes(kind) && event.is_some_and(|event| number > event),
        };
        is_new && happened.peer != id
    }

    fn sees(&mut self, seen: ObserverCursor) {
        if let Some((seq, event)) = &mut self.position {
            *seq = seq.map(|seq| seq.max(seen.seq));
            *event = event.map(|event| event.max(seen.event));
        }
    }
}

impl Happened {
    fn is_within(&self, seen: ObserverCursor) -> bool {
        match self.what {
            What::Message(seq) => seq <= seen.seq,
            What::Event(number, _) => number <= seen.event,
        }
    }
}

impl Observers {
    pub(super) fn new(all: Vec<Observer>) -> Self {
        Observers { all, ..Observers::default() }
    }

    /// An entry of a turn is on disk, behind this message.
    pub(super) fn committed(&mut self, entry: &Entry, newest: Seq, by_id: &HashMap<PeerId, usize>) {
        match entry {
            Entry::Message { sender, .. } => self.happen(What::Message(newest), *sender),
            Entry::Event(PeerEvent { kind, peer, .. }) => {
                self.last_event += 1;
                self.happen(What::Event(self.last_event, *kind), *peer);
                self.comes_or_goes(*kind, *peer);
            }
            Entry::Observe { observer, wants } => {
                let last_event = self.last_event;
                let observer = self.of(by_id[observer]);
                assert_eq!(*wants, observer.wants);
                let (seq, event) = observer.position.unwrap_or_default();
                let seq = wants.logged.then(|| seq.unwrap_or(newest));
                let event = wants.events().then(|| event.unwrap_or(last_event));
                (observer.position, observer.is_registered) = (Some((seq, event)), true);
            }
            Entry::Observers { only } => {
                self.here.clear();
                for observer in self.all.iter_mut().filter(|observer| !only.contains(&name(observer.peer))) {
                    (observer.position, observer.is_registered) = (None, false);
                }
            }
            _ => {}
        }
        let too_many = self.last_event - EVENTS_MAX as i64;
        for happened in &mut self.happened {
            happened.is_optional |= matches!(happened.what, What::Event(number, _) if number <= too_many);
        }
    }

    fn of(&mut self, peer: usize) -> &mut Observer {
        self.all.iter_mut().find(|observer| observer.peer == peer).expect("it observes")
    }

    fn happen(&mut self, what: What, peer: PeerId) {
        if !self.all.is_empty() {
            self.happened.push(Happened { what, peer, is_optional: false });
        }
    }

    /// Whoever comes was away, and whoever goes was here.
    fn comes_or_goes(&mut self, kind: EventKind, peer: PeerId) {
        let is_here = match kind {
            EventKind::Join => true,
            EventKind::Leave => false,
            EventKind::Delivered(_) => return,
        };
        if !self.all.iter().any(Observer::gets_presence) {
            return self.here.clear();
        }
        let before = self.here.insert(peer, is_here);
        assert!(before != Some(is_here), "{peer} comes or goes twice: {kind:?}");
    }

    /// The store has removed these messages.
    pub(super) fn removed(&mut self, seqs: &[Seq]) {
        for happened in &mut self.happened {
            happened.is_optional |= matches!(happened.what, What::Message(seq) if seqs.binary_search(&seq).is_ok());
        }
    }

    /// The server has stopped in good order: everybody is seen to go, and nothing that was seen is told again.
    pub(super) fn check_kept(&self, disk: &Disk) {
        let is_here = self.here.iter().find(|(_, is_here)| **is_here);
        assert_eq!(is_here, None, "somebody stays when the server stops");
        for observer in &self.all {
            let kept = disk.observer(&name(observer.peer)).unwrap_or_default();
            let position = observer.position.unwrap_or_default();
            assert!(kept.0 >= position.0 && kept.1 >= position.1, "{kept:?} is kept of {position:?}");
        }
    }

    /// The process has died, and with it what was not kept.
    pub(super) fn died(&mut self, disk: &Disk) {
        self.last_event = disk.last_event();
        let last_event = self.last_event;
        self.happened.retain(|happened| !matches!(happened.what, What::Event(number, _) if number > last_event));
        self.here.clear();
        for place in 0..self.all.len() {
            let kept = disk.observer(&name(self.all[place].peer));
            if let Some((seq, event)) = kept.filter(|_| self.all[place].position.is_some()) {
                let newest = ObserverCursor { seq: seq.unwrap_or(Seq::ZERO), event: event.unwrap_or(0) };
                self.check_passed(place, newest, &[], disk);
            }
            let observer = &mut self.all[place];
            (observer.position, observer.waits) = (kept, None);
            observer.is_registered = false;
        }
    }

    /// Of what is for an observer, all up to here is among what it was told, but for what may be gone.
    fn check_passed(&self, place: usize, seen: ObserverCursor, told: &[What], disk: &Disk) {
        let observer = &self.all[place];
        let Some(id) = disk.peer(&name(observer.peer)).map(|record| record.id) else { return };
        let passed = self.happened.iter().find(|happened| {
            let is_due = observer.is_next(id, happened) && !happened.is_optional;
            is_due && happened.is_within(seen) && !told.contains(&happened.what)
        });
        assert!(passed.is_none(), "p{} is never told of {passed:?}", observer.peer);
    }

    /// What an observer is told is what is next for it.
    fn check_told(&self, place: usize, Observation { items, seen }: &Observation, disk: &Disk) {
        let observer = &self.all[place];
        assert!((1..=OBSERVED_MAX).contains(&items.len()), "{} items are told at once", items.len());
        let id = disk.peer(&name(observer.peer)).expect("who observes is kept").id;
        let mut next = self.happened.iter().filter(|happened| observer.is_next(id, happened));
        let told: Vec<What> = items.iter().map(what).collect();
        for thing in &told {
            let found = next.find(|happened| happened.what == *thing || !happened.is_optional);
            assert_eq!(found.map(|happened| happened.what), Some(*thing), "p{} is told the next", observer.peer);
        }
        self.check_passed(place, *seen, &told, disk);
    }

    /// Nothing fails and everybody reads: whoever waits has been told everything.
    pub(super) fn check_calm(&self, disk: &Disk) {
        let everything = ObserverCursor { seq: Seq::MAX, event: i64::MAX };
        for (place, _) in self.all.iter().enumerate().filter(|(_, observer)| observer.waits.is_some()) {
            self.check_passed(place, everything, &[], disk);
        }
    }
}

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

impl Oracle {
    /// Nobody who is here is said to be away, and whoever is away is.
    fn check_away(&self, items: &[Observed]) {
        for thing in items {
            let Observed::Logged { message, away } = thing else { continue };
            for peer in &self.peers {
                let is_named = away.iter().any(|(_, name)| *name == peer.name);
                let waits = peer.logged(message.seq).is_some_and(|logged| !logged.has_lapsed());
                let is_certain = peer.sessions.is_empty() && peer.reported < message.seq && !peer.is_vague;
                // Whoever came in this very step may have come behind that.
                let was_here = peer.here.iter().any(|(_, since)| *since < self.step);
                assert!(!is_named || !was_here, "{} is here, and said to be away", peer.name);
                assert!(!is_named || peer.logged(message.seq).is_some(), "{} was not sent it", peer.name);
                let is_away = waits && is_certain && peer.name != message.sender;
                assert!(is_named || !is_away, "{} is away, and not said to be", peer.name);
            }
        }
    }
}

fn what(thing: &Observed) -> What {
    match thing {
        Observed::Logged { message, .. } => What::Message(message.seq),
        Observed::Joined { event, .. } => What::Event(*event, EventKind::Join),
        Observed::Left { event, .. } => What::Event(*event, EventKind::Leave),
        Observed::Delivered { event, seq, .. } => What::Event(*event, EventKind::Delivered(*seq)),
    }
}

fn name(peer: usize) -> PeerName {
    PeerName::stored(&format!("p{peer}"))
}
