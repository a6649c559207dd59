//! A turn: its entries and reads for the store, and the broker's work once its outcome is known. Owns how both are collected; never decides
//! what belongs to a turn.

use smol::lock::SemaphoreGuardArc;

use super::completion::{Completion, Requester};
use super::rooms::MembershipChange;
use super::scans::ScanInTurn;
use crate::message::{PeerId, RoomId, SessionId, Timestamp};
use crate::protocol::Reply;
use crate::store::{Entry, ObservedPage, Page, Read, ReadReceiver, ReadSender, SeqRange, TurnRequest};

/// Work of the broker once the outcome of a turn is known.
#[derive(Debug)]
pub(in crate::broker) struct Turn {
    /// Completions of requests, in the order of the requests.
    pub(super) completions: Vec<Completion>,
    /// Reads for observers.
    pub(super) observer_reads: Vec<ObserverRead>,
    /// Scans of which the store does a slice in this turn.
    pub(super) scans: Vec<ScanInTurn>,
    /// Sessions for which a page of their feed is read.
    pub(super) pages: Vec<(SessionId, ReadReceiver<Page>)>,
    /// Permits of the sessions whose requests are in this turn.
    pub(super) permits: Vec<(SessionId, SemaphoreGuardArc)>,
    /// Whether the turn removes rooms.
    removes_rooms: bool,
    /// Peers whose accounts the turn changes.
    changed_accounts: Vec<PeerId>,
    /// Changes of membership that the turn commits.
    pub(super) membership_changes: Vec<MembershipChange>,
    /// Time at which the turn was decided: the time of its messages.
    pub(super) at: Timestamp,
}

impl Turn {
    /// Whether the outcome of this turn must be known before the next turn is decided.
    pub(in crate::broker) fn is_awaited(&self) -> bool {
        self.removes_rooms || !self.membership_changes.is_empty() || !self.changed_accounts.is_empty()
    }
}

/// Read for an observer in a turn.
#[derive(Debug)]
pub(super) struct ObserverRead {
    /// Peer that observes.
    pub(super) peer: PeerId,
    /// `Observer::number` when the turn was decided: an observer that registered again since must not get the page.
    pub(super) number: u64,
    /// Next messages and events.
    pub(super) page: ReadReceiver<Option<ObservedPage>>,
}

/// Turn that is being decided: its entries and reads, and the work that follows them.
#[derive(Debug)]
pub(in crate::broker) struct TurnBuilder {
    turn: Turn,
    request: TurnRequest,
    /// Number of messages among the entries.
    messages: usize,
    /// Deliveries that the turn causes, about: each message counts once for each session that gets it.
    deliveries: usize,
    /// Whether cursors must be committed with this turn, because a client waits for that.
    commits_cursors: bool,
    /// Whether the turn only removes something.
    is_removal: bool,
}
impl TurnBuilder {
    /// Starts an empty turn at this time.
    pub(in crate::broker) fn new(at: Timestamp) -> Self {
        let turn = Turn {
            completions: Vec::new(),
            observer_reads: Vec::new(),
            scans: Vec::new(),
            pages: Vec::new(),
            permits: Vec::new(),
            removes_rooms: false,
            changed_accounts: Vec::new(),
            membership_changes: Vec::new(),
            at,
        };
        TurnBuilder {
            turn,
            request: TurnRequest::default(),
            messages: 0,
            deliveries: 0,
            commits_cursors: false,
            is_removal: false,
        }
    }

    /// Starts a turn that removes old messages.
    pub(in crate::broker) fn removal(ranges: Vec<SeqRange>, at: Timestamp) -> Self {
        let mut turn = TurnBuilder::new(at);
        turn.write(Entry::Remove { ranges });
        TurnBuilder { is_removal: true, ..turn }
    }

    /// Starts a turn that removes rooms without members and messages.
    pub(in crate::broker) fn room_removal(rooms: Vec<RoomId>, at: Timestamp) -> Self {
        let mut turn = TurnBuilder::new(at);
        turn.write_all(rooms.into_iter().map(|room| Entry::RemoveRoom { room }));
        turn.turn.removes_rooms = true;
        TurnBuilder { is_removal: true, ..turn }
    }

    /// Whether the turn only removes something.
    pub(in crate::broker) fn is_removal(&self) -> bool {
        self.is_removal
    }

    /// Time at which the turn is decided.
    pub(super) fn at(&self) -> Timestamp {
        self.turn.at
    }

    /// Whether the turn commits anything.
    pub(in crate::broker) fn has_entries(&self) -> bool {
        !self.request.entries.is_empty()
    }

    /// Whether cursors must be committed with this turn.
    pub(in crate::broker) fn commits_cursors(&self) -> bool {
        self.commits_cursors
    }

    /// Appends an entry that the turn commits.
    pub(super) fn write(&mut self, entry: Entry) {
        self.request.entries.push(entry);
    }

    /// Appends entries that the turn commits.
    pub(super) fn write_all(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.request.entries.extend(entries);
    }

    /// Puts entries before all others, in their order.
    pub(super) fn write_first(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.request.entries.splice(0..0, entries);
    }

    /// Puts the entry that notes the running time, if there is one, before all others: it holds for the ids of this turn.
    pub(in crate::broker) fn note_running_time(&mut self, ran: Option<Entry>) {
        self.write_first(ran);
    }

    /// Appends a message. Returns its index among the messages of the turn.
    pub(super) fn write_message(&mut self, message: Entry) -> usize {
        self.write(message);
        self.messages += 1;
        self.messages - 1
    }

    /// Number of deliveries.
    pub(super) fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Counts deliveries.
    pub(super) fn add_deliveries(&mut self, deliveries: usize) {
        self.deliveries += deliveries;
    }

    /// Appends a completion.
    pub(super) fn complete(&mut self, completion: Completion) {
        self.turn.completions.push(completion);
    }

    /// Sends a reply when the turn is delivered, whether it was committed or not.
    pub(super) fn reply(&mut self, requester: Requester, reply: Reply) {
        self.complete(Completion::Reply { requester, reply });
    }

    /// Appends a read, such as `turn.read(Read::Page, query)`. Its result is there once the outcome of the turn is known.
    pub(super) fn read<Q, T>(&mut self, read: impl FnOnce(Q, ReadSender<T>) -> Read, query: Q) -> ReadReceiver<T> {
        let (sender, receiver) = ReadReceiver::channel();
        self.request.reads.push(read(query, sender));
        receiver
    }

    /// Appends a read for an observer.
    pub(super) fn read_for_observer(&mut self, read: ObserverRead) {
        self.turn.observer_reads.push(read);
    }

    /// Number of reads for observers.
    pub(super) fn observer_reads(&self) -> usize {
        self.turn.observer_reads.len()
    }

    /// Appends a slice of a scan.
    pub(super) fn scan(&mut self, scan: ScanInTurn) {
        self.turn.scans.push(scan);
    }

    /// Number of scans.
    pub(super) fn scans(&self) -> usize {
        self.turn.scans.len()
    }

    /// Feeds a page to a session, once it is read.
    pub(super) fn feed_page(&mut self, session: SessionId, page: ReadReceiver<Page>) {
        self.turn.pages.push((session, page));
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> usize {
        self.turn.pages.len()
    }

    /// Holds the permit of a session until the turn is delivered.
    pub(super) fn hold_permit(&mut self, session: SessionId, permit: SemaphoreGuardArc) {
        self.turn.permits.push((session, permit));
    }

    /// Notes that the turn changes a membership.
    pub(super) fn change_membership(&mut self, change: MembershipChange) {
        self.turn.membership_changes.push(change);
    }

    /// Appends a change of an account.
    pub(super) fn change_account(&mut self, entry: Entry) {
        if let Entry::Account { peer, .. } = &entry {
            self.turn.changed_accounts.push(*peer);
        }
        self.write(entry);
    }

    /// Whether the turn changes the account of a peer.
    pub(super) fn changes_account(&self, peer: PeerId) -> bool {
        self.turn.changed_accounts.contains(&peer)
    }

    /// Makes the turn commit all cursors that moved.
    pub(super) fn commit_cursors(&mut self) {
        self.commits_cursors = true;
    }

    /// Returns the turn in two parts: the broker's, and the store's.
    pub(in crate::broker) fn finish(self) -> (Turn, TurnRequest) {
        (self.turn, self.request)
    }
}
