//! Observers in this process, and the items that each must get. Owns the promises that concern them: every item in
//! order, at least once across crashes, and never again what was passed while the server runs.

use std::collections::HashMap;

use crate::broker::Observation;
use crate::limits::OBSERVATIONS_MAX;
use crate::message::{PeerId, PeerName, Seq};
use crate::simulation::disk::Disk;
use crate::store::{Entry, EventFilter, EventKind, Observed, ObserverCursor, PeerEvent};

/// All observers, and every item that they may get.
pub(in crate::simulation) struct Observers {
    pub(in crate::simulation) all: Vec<Observer>,
    /// Events that the store keeps for observers that have not seen them.
    events_max: usize,
    /// Items on the disk, in the order in which they happened.
    occurrences: Vec<Occurrence>,
    /// Number of the newest stored event.
    last_event: i64,
    /// Presence of each peer, as an observer of all joins and leaves knows it.
    here: HashMap<PeerId, bool>,
}

/// One observer.
pub(in crate::simulation) struct Observer {
    /// Index of the peer by whose name it observes.
    pub(in crate::simulation) peer: usize,
    pub(in crate::simulation) wants: EventFilter,
    /// How far it got in messages and in events, as in the table; `None` before it observes.
    pub(in crate::simulation) position: Option<(Option<Seq>, Option<i64>)>,
    /// Whether events are stored for it since the server started.
    pub(in crate::simulation) is_registered: bool,
    /// Receiver of the next items, while it waits for them.
    pub(in crate::simulation) reply: Option<oneshot::Receiver<Observation>>,
}

/// Committed item.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Occurrence {
    what: OccurrenceKind,
    peer: PeerId,
    /// Whether it may have been removed from the disk.
    is_optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OccurrenceKind {
    Message(Seq),
    Event(i64, EventKind),
}

impl Observer {
    pub(in crate::simulation) fn new(peer: usize, wants: EventFilter) -> Self {
        Observer { peer, wants, position: None, is_registered: false, reply: None }
    }

    /// Whether all joins and leaves are stored for it.
    fn gets_presence(&self) -> bool {
        self.is_registered && self.wants.join && self.wants.leave
    }

    /// Whether an item is for this observer, and it has not passed it.
    fn is_next(&self, id: PeerId, occurrence: &Occurrence) -> bool {
        let Some((seq, event)) = self.position else { return false };
        let is_new = match occurrence.what {
            OccurrenceKind::Message(at) => seq.is_some_and(|seq| at > seq),
            OccurrenceKind::Event(number, kind) => {
                self.wants.includes(kind) && event.is_some_and(|event| number > event)
            }
        };
        is_new && occurrence.peer != id
    }

    pub(in crate::simulation) fn advance(&mut self, seen: ObserverCursor) {
        if let Some((seq, event)) = &mut self.position {
            *seq = seq.map(|seq| seq.max(seen.seq));
            *event = event.map(|event| event.max(seen.event));
        }
    }
}

impl Occurrence {
    fn is_within(&self, seen: ObserverCursor) -> bool {
        match self.what {
            OccurrenceKind::Message(seq) => seq <= seen.seq,
            OccurrenceKind::Event(number, _) => number <= seen.event,
        }
    }
}

impl Observers {
    pub(in crate::simulation) fn new(all: Vec<Observer>, events_max: usize) -> Self {
        Observers { all, events_max, occurrences: Vec::new(), last_event: 0, here: HashMap::new() }
    }

    /// Notes a committed entry; `newest` is the newest message at that place.
    pub(in crate::simulation) fn committed(&mut self, entry: &Entry, newest: Seq, by_id: &HashMap<PeerId, usize>) {
        match entry {
            Entry::Message { sender, .. } => self.record(OccurrenceKind::Message(newest), *sender),
            Entry::Event(PeerEvent { kind, peer, .. }) => {
                self.last_event += 1;
                self.record(OccurrenceKind::Event(self.last_event, *kind), *peer);
                self.note_presence(*kind, *peer);
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
            Entry::RetainObservers { only } => {
                self.here.clear();
                for observer in self.all.iter_mut().filter(|observer| !only.contains(&name(observer.peer))) {
                    (observer.position, observer.is_registered) = (None, false);
                }
            }
            _ => {}
        }
        let too_many = self.last_event - self.events_max as i64;
        for occurrence in &mut self.occurrences {
            occurrence.is_optional |= matches!(occurrence.what, OccurrenceKind::Event(number, _) if number <= too_many);
        }
    }

    fn of(&mut self, peer: usize) -> &mut Observer {
        self.all.iter_mut().find(|observer| observer.peer == peer).expect("only observers are registered")
    }

    fn record(&mut self, what: OccurrenceKind, peer: PeerId) {
        if !self.all.is_empty() {
            self.occurrences.push(Occurrence { what, peer, is_optional: false });
        }
    }

    /// Checks that a peer that joins was offline, and a peer that leaves was online.
    fn note_presence(&mut self, kind: EventKind, peer: PeerId) {
        let is_here = match kind {
            EventKind::Join => true,
            EventKind::Leave => false,
            EventKind::Delivered(_) => return,
        };
        if !self.all.iter().any(Observer::gets_presence) {
            return self.here.clear();
        }
        let before = self.here.insert(peer, is_here);
        assert!(before != Some(is_here), "{peer} joins or leaves twice: {kind:?}");
    }

    /// Notes that the store has removed these messages.
    pub(in crate::simulation) fn removed(&mut self, seqs: &[Seq]) {
        for occurrence in &mut self.occurrences {
            occurrence.is_optional |=
                matches!(occurrence.what, OccurrenceKind::Message(seq) if seqs.binary_search(&seq).is_ok());
        }
    }

    /// After a shutdown: checks that every peer is seen to leave, and that every cursor is stored.
    pub(in crate::simulation) fn check_kept(&self, disk: &Disk) {
        let is_here = self.here.iter().find(|(_, is_here)| **is_here);
        assert_eq!(is_here, None, "a peer is online after the shutdown");
        for observer in &self.all {
            let kept = disk.observer(&name(observer.peer)).unwrap_or_default();
            let position = observer.position.unwrap_or_default();
            assert!(kept.0 >= position.0 && kept.1 >= position.1, "the stored cursor {kept:?} is behind {position:?}");
        }
    }

    /// Takes over the state of the disk after a restart.
    pub(in crate::simulation) fn restarted(&mut self, disk: &Disk) {
        self.last_event = disk.last_event();
        let last_event = self.last_event;
        self.occurrences
            .retain(|occurrence| !matches!(occurrence.what, OccurrenceKind::Event(number, _) if number > last_event));
        self.here.clear();
        for place in 0..self.all.len() {
            let kept = disk.observer(&name(self.all[place].peer));
            if let Some((seq, event)) = kept.filter(|_| self.all[place].position.is_some()) {
                let newest = ObserverCursor { seq: seq.unwrap_or(Seq::ZERO), event: event.unwrap_or(0) };
                self.check_passed(place, newest, &[], disk);
            }
            let observer = &mut self.all[place];
            (observer.position, observer.reply) = (kept, None);
            observer.is_registered = false;
        }
    }

    /// Checks that an observer got all of its items up to a cursor, except items that may have been removed.
    fn check_passed(&self, place: usize, seen: ObserverCursor, told: &[OccurrenceKind], disk: &Disk) {
        let observer = &self.all[place];
        let Some(id) = disk.peer(&name(observer.peer)).map(|record| record.id) else { return };
        let passed = self.occurrences.iter().find(|occurrence| {
            let is_due = observer.is_next(id, occurrence) && !occurrence.is_optional;
            is_due && occurrence.is_within(seen) && !told.contains(&occurrence.what)
        });
        assert!(passed.is_none(), "p{} never gets {passed:?}", observer.peer);
    }

    /// Checks that an observer gets its next items.
    pub(in crate::simulation) fn check_next_items(
        &self,
        place: usize,
        Observation { items, seen }: &Observation,
        disk: &Disk,
    ) {
        let observer = &self.all[place];
        assert!((1..=OBSERVATIONS_MAX).contains(&items.len()), "{} items come at once", items.len());
        let id = disk.peer(&name(observer.peer)).expect("an observer is stored as a peer").id;
        let mut next = self.occurrences.iter().filter(|occurrence| observer.is_next(id, occurrence));
        let told: Vec<OccurrenceKind> = items.iter().map(what).collect();
        for thing in &told {
            let found = next.find(|occurrence| occurrence.what == *thing || !occurrence.is_optional);
            assert_eq!(
                found.map(|occurrence| occurrence.what),
                Some(*thing),
                "p{} is told its next item",
                observer.peer
            );
        }
        self.check_passed(place, *seen, &told, disk);
    }

    /// While nothing fails and everything is read: checks that each waiting observer got everything.
    pub(in crate::simulation) fn check_quiescent(&self, disk: &Disk) {
        let everything = ObserverCursor { seq: Seq::MAX, event: i64::MAX };
        for (place, _) in self.all.iter().enumerate().filter(|(_, observer)| observer.reply.is_some()) {
            self.check_passed(place, everything, &[], disk);
        }
    }
}

fn what(thing: &Observed) -> OccurrenceKind {
    match thing {
        Observed::Logged { message, .. } => OccurrenceKind::Message(message.seq),
        Observed::Joined { event, .. } => OccurrenceKind::Event(*event, EventKind::Join),
        Observed::Left { event, .. } => OccurrenceKind::Event(*event, EventKind::Leave),
        Observed::Delivered { event, seq, .. } => OccurrenceKind::Event(*event, EventKind::Delivered(*seq)),
    }
}

pub(in crate::simulation) fn name(peer: usize) -> PeerName {
    PeerName::stored(&format!("p{peer}"))
}
