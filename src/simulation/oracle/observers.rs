//! Those who observe from inside: what each was told, and what it must be. Owns the promises that concern them: all that
//! happens, in order, at least once over every crash, and in one life of the server not twice what was seen.

use std::collections::HashMap;

use crate::broker::Observation;
use crate::limits::OBSERVED_MAX;
use crate::message::{PeerId, PeerName, Seq};
use crate::simulation::disk::Disk;
use crate::store::{Entry, EventFilter, EventKind, Observed, ObserverCursor, PeerEvent};

/// Everyone who observes, and all that they may be told.
pub(in crate::simulation) struct Observers {
    pub(in crate::simulation) all: Vec<Observer>,
    /// Events that the store keeps for those who have not seen them.
    events_max: usize,
    /// Whatever is on the disk, in the order in which it happened.
    happened: Vec<Happened>,
    /// The number of the event that was kept last.
    last_event: i64,
    /// Who is here, as far as those were told who want to know all of it.
    here: HashMap<PeerId, bool>,
}

/// One of them.
pub(in crate::simulation) struct Observer {
    /// Which name it goes by.
    pub(in crate::simulation) peer: usize,
    pub(in crate::simulation) wants: EventFilter,
    /// How far it got of what it wants, as a row of the table says it; `None`: it does not observe yet.
    pub(in crate::simulation) position: Option<(Option<Seq>, Option<i64>)>,
    /// What happens is kept for it, in this life of the server.
    pub(in crate::simulation) is_registered: bool,
    /// Where it is answered.
    pub(in crate::simulation) waits: Option<oneshot::Receiver<Observation>>,
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
    pub(in crate::simulation) fn new(peer: usize, wants: EventFilter) -> Self {
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

    pub(in crate::simulation) fn sees(&mut self, seen: ObserverCursor) {
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
    pub(in crate::simulation) fn new(all: Vec<Observer>, events_max: usize) -> Self {
        Observers { all, events_max, happened: Vec::new(), last_event: 0, here: HashMap::new() }
    }

    /// An entry of a turn is on disk, behind this message.
    pub(in crate::simulation) fn committed(&mut self, entry: &Entry, newest: Seq, by_id: &HashMap<PeerId, usize>) {
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
        let too_many = self.last_event - self.events_max as i64;
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
    pub(in crate::simulation) fn removed(&mut self, seqs: &[Seq]) {
        for happened in &mut self.happened {
            happened.is_optional |= matches!(happened.what, What::Message(seq) if seqs.binary_search(&seq).is_ok());
        }
    }

    /// The server has stopped in good order: everybody is seen to go, and nothing that was seen is told again.
    pub(in crate::simulation) fn check_kept(&self, disk: &Disk) {
        let is_here = self.here.iter().find(|(_, is_here)| **is_here);
        assert_eq!(is_here, None, "somebody stays when the server stops");
        for observer in &self.all {
            let kept = disk.observer(&name(observer.peer)).unwrap_or_default();
            let position = observer.position.unwrap_or_default();
            assert!(kept.0 >= position.0 && kept.1 >= position.1, "{kept:?} is kept of {position:?}");
        }
    }

    /// The process has died, and with it what was not kept.
    pub(in crate::simulation) fn died(&mut self, disk: &Disk) {
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
    pub(in crate::simulation) fn check_told(
        &self,
        place: usize,
        Observation { items, seen }: &Observation,
        disk: &Disk,
    ) {
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
    pub(in crate::simulation) fn check_calm(&self, disk: &Disk) {
        let everything = ObserverCursor { seq: Seq::MAX, event: i64::MAX };
        for (place, _) in self.all.iter().enumerate().filter(|(_, observer)| observer.waits.is_some()) {
            self.check_passed(place, everything, &[], disk);
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

pub(in crate::simulation) fn name(peer: usize) -> PeerName {
    PeerName::stored(&format!("p{peer}"))
}
