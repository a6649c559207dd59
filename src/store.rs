//! The store: one thread that owns the one writing connection to `holdline.db`. It applies the entries of a turn in one
//! transaction, then reads what the turn asks for; what may be removed of the log goes in between. Owns all SQL, by way of its rooms; never knows who is online.

mod array;
mod backup;
mod bystander;
mod directory;
mod examination;
mod index;
mod insert;
mod log;
mod log_reader;
mod retention;
mod schema;
mod wal;
mod words;

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::backup::{Backup, BackupError, BackupSummary, Unfinished};
pub use self::bystander::LookError;
use self::directory::DataDirectory;
pub use self::directory::DirectoryError;
pub use self::examination::{Finding, Mend, Verdict, examine};
use self::index::Tail;
use self::log::Log;
pub use self::log_reader::{LogLine, LogReader};
use self::retention::{Moment, Sweep, TurnDone};
pub use self::schema::SchemaError;
use self::wal::WalPages;
use crate::config::{Durability, Retention};
use crate::limits::{REST_S, STORE_REQUESTS_MAX};
use crate::memory;
use crate::message::{Message, PeerId, PeerName, Seq, Text, Timestamp};
use crate::protocol::PastMessage;

/// What changes state: applied in order, inside the transaction of its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A peer that is new, was seen for the first time, or whose cursor moved. A cursor never moves back.
    Peer(PeerRecord),
    /// A message, to be given the next `seq`.
    Message {
        /// When it was accepted.
        at: Timestamp,
        /// Who sent it.
        sender: PeerId,
        /// Who is to get it, each once, in the order in which they were addressed.
        recipients: Vec<PeerId>,
        /// What they get.
        text: Text,
    },
}

impl Entry {
    /// Whether somebody was promised that this is on disk. A cursor is no promise: if the power takes the last moves,
    /// a few messages are delivered twice and none is lost.
    pub fn is_promise(&self) -> bool {
        matches!(self, Entry::Message { .. })
    }
}

/// What is kept of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Given once, by the broker.
    pub id: PeerId,
    /// The name it logs in by.
    pub name: PeerName,
    /// Whether it ever logged in.
    pub seen: bool,
    /// Everything for it up to here has been delivered.
    pub cursor: Seq,
}

/// What is found of a peer when it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPeer {
    /// What is kept of it.
    pub record: PeerRecord,
    /// How many messages wait for it.
    pub waiting: u64,
}

/// What a turn reads, once its entries are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next messages for a peer, in order.
    Page {
        /// For whom.
        peer: PeerId,
        /// They come after this one.
        after: Seq,
    },
    /// The newest messages that a peer was part of.
    History {
        /// Whose.
        peer: PeerId,
        /// Only those exchanged with this one.
        with: Option<PeerId>,
        /// How many at most.
        count: usize,
    },
}

/// What one [`Read`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// For [`Read::Page`].
    Page(Page),
    /// For [`Read::History`]: oldest first.
    History(Vec<PastMessage>),
    /// It could not be read; the reason is for people.
    Failed(String),
}

impl Answer {
    /// Why it could not be read, if so.
    pub fn error(&self) -> Option<&String> {
        match self {
            Answer::Failed(error) => Some(error),
            Answer::Page(_) | Answer::History(_) => None,
        }
    }
}

/// A piece of the log, for one feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of `seq`.
    pub messages: Vec<Message>,
    /// Whether it reaches the newest commit: nothing for this peer comes after it.
    pub complete: bool,
}

/// A turn's entries and reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnRequest {
    /// Applied in order, all or none.
    pub entries: Vec<Entry>,
    /// Answered in order, after the commit.
    pub reads: Vec<Read>,
}

impl TurnRequest {
    /// Whether the store has nothing to do for it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.reads.is_empty()
    }
}

/// What became of a turn.
#[derive(Debug)]
pub struct TurnOutcome {
    /// The turn's entries, handed back.
    pub entries: Vec<Entry>,
    /// Whether they are committed: all are, or none is.
    pub commit: Result<(), CommitError>,
    /// The `seq` before that of the turn's first message.
    pub before: Seq,
    /// The newest committed `seq`.
    pub newest: Seq,
    /// One for each read, in order.
    pub answers: Vec<Answer>,
}

/// Why a turn could not be committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk is full, or cannot be written.
    #[error("the storage is full or cannot be written ({0})")]
    Storage(String),
    /// Another process kept the database locked.
    #[error("another process is writing to the database ({0})")]
    Busy(String),
    /// Anything else that SQLite reports.
    #[error("the database failed ({0})")]
    Database(String),
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The database in it.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// What is in it.
    #[error("the log cannot be read ({0}); holdline serve checks the database when it starts")]
    Unreadable(#[from] rusqlite::Error),
}

/// The broker's end of the store.
#[derive(Debug)]
pub struct Store {
    requests: SyncSender<StoreRequest>,
    thread: JoinHandle<()>,
    /// What was in the database when it was opened.
    pub found: Found,
}

/// What a database holds, as far as it must be known from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The newest message that there ever was.
    pub newest: Seq,
    /// The highest id that was ever given to a peer.
    pub last_peer: PeerId,
    /// Names that nobody ever logged in by, and for which messages wait.
    pub unknown_names: u64,
}

/// A turn that is being committed.
#[derive(Debug)]
pub struct Commit {
    reply: oneshot::AsyncReceiver<TurnOutcome>,
    outcome: Option<TurnOutcome>,
}

/// What the thread is asked, and where it answers.
#[derive(Debug)]
pub(crate) enum StoreRequest {
    /// What is kept of these names, in their order?
    Lookup(Vec<PeerName>, oneshot::Sender<Result<Vec<Option<FoundPeer>>, String>>),
    /// Apply the entries, then answer the reads.
    Turn(TurnRequest, oneshot::Sender<TurnOutcome>),
}

impl Store {
    /// Opens the data directory, which is made if it is missing, locks it, brings the schema up to date and starts the
    /// thread. Errors say what is wrong with which path and how to mend it.
    pub fn open(data: &Path, durability: Durability, retention: Retention) -> Result<Store, StoreError> {
        let directory = DataDirectory::open(data)?;
        let mut connection = schema::open(&directory.database())?;
        let pages = WalPages::watch(&mut connection).map_err(schema::explain(&directory.database()))?;
        let wal = directory.open_wal()?;
        // Their names are kept before anything in them is promised.
        directory.sync()?;
        let found = schema::found(&connection, &directory.database())?;
        let tail = index::tail(&connection).map_err(schema::explain(&directory.database()))?;
        let (requests, receiver) = mpsc::sync_channel(STORE_REQUESTS_MAX);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                serve(connection, (pages, wal), durability, retention, (found.newest, tail), receiver, directory)
            })
            .map_err(|source| DirectoryError::Thread { source })?;
        Ok(Store { requests, thread, found })
    }

    /// A store that somebody else answers for: the broker's simulation.
    #[cfg(test)]
    pub(crate) fn answered_elsewhere(found: Found) -> (Store, Receiver<StoreRequest>) {
        let (requests, receiver) = mpsc::sync_channel(STORE_REQUESTS_MAX);
        (Store { requests, thread: std::thread::spawn(|| ()), found }, receiver)
    }

    /// What is kept of each of these names, in their order; `None` for a name nobody has used or written to.
    pub async fn lookup(&self, names: Vec<PeerName>) -> Result<Vec<Option<FoundPeer>>, String> {
        let (reply, found) = oneshot::async_channel();
        self.ask(StoreRequest::Lookup(names, reply));
        found.await.expect("the store's thread answers every lookup")
    }

    /// Begins to apply a turn's entries in one transaction, and to answer its reads. One turn is under way at a time.
    pub fn begin(&self, turn: TurnRequest) -> Commit {
        let (sender, reply) = oneshot::async_channel();
        self.ask(StoreRequest::Turn(turn, sender));
        Commit { reply, outcome: None }
    }

    fn ask(&self, request: StoreRequest) {
        self.requests.try_send(request).expect("one turn and one lookup are under way, and the thread is there");
    }

    /// Copies the write-ahead log into the database file, closes it, and gives the directory free.
    pub fn close(self) {
        drop(self.requests);
        self.thread.join().expect("the store's thread has panicked");
    }
}

impl Commit {
    /// Whether it is known what became of the turn.
    pub fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    /// Waits until it is known; nothing is lost if the waiting ends before.
    pub async fn done(&mut self) {
        if self.outcome.is_none() {
            self.outcome = Some((&mut self.reply).await.expect("the store's thread answers every turn"));
        }
    }

    /// What became of the turn.
    pub async fn outcome(mut self) -> TurnOutcome {
        self.done().await;
        self.outcome.expect("it was waited for")
    }
}

fn serve(
    connection: rusqlite::Connection,
    wal: (WalPages, File),
    durability: Durability,
    retention: Retention,
    (newest, tail): (Seq, Tail),
    requests: Receiver<StoreRequest>,
    _locked: DataDirectory,
) {
    let mut log =
        Log::new(&connection, wal, durability, newest, tail).expect("statements fit the schema that was just checked");
    let mut sweep = Sweep::new(&connection, retention, Moment::now());
    let mut rests_at = None;
    loop {
        let wakes_at = [rests_at, sweep.wakes_at()].into_iter().flatten().min();
        // Whoever asked may have been cancelled: then nobody waits for the answer.
        match next_request(&requests, wakes_at) {
            Ok(StoreRequest::Lookup(names, reply)) => {
                let _ = reply.send(log.lookup(&names).map_err(|error| error.to_string()));
            }
            Ok(StoreRequest::Turn(turn, reply)) => {
                let outcome = log.turn(turn);
                let done = TurnDone::from(&outcome);
                let _ = reply.send(outcome);
                sweep.after_turn(&mut log, done, Moment::now());
            }
            Err(RecvTimeoutError::Timeout) if rests_at.is_some_and(|time| time <= Instant::now()) => {
                rest(&connection);
                rests_at = None;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => sweep.on_time(&mut log, Moment::now()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        log.wal().copy_if_long();
        rests_at = Some(Instant::now() + Duration::from_secs(REST_S));
    }
    sweep.close();
    let is_settled = log.close();
    schema::close(connection, is_settled);
}

/// Waits for a request, up to the deadline where there is one. It parks the thread: one that waited for a timer of the runtime
/// would have to see to everybody's sockets meanwhile.
fn next_request(
    requests: &Receiver<StoreRequest>,
    deadline: Option<Instant>,
) -> Result<StoreRequest, RecvTimeoutError> {
    match deadline {
        None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => requests.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    }
}

/// Nobody has asked for anything for a while: what was needed for that is given back.
fn rest(connection: &rusqlite::Connection) {
    // It frees nothing that is in use, and what it may say is no news to anyone.
    let _ = connection.release_memory();
    memory::give_back();
}
