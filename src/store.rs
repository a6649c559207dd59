//! The store: one thread with the only writing connection to `holdline.db`. Applies the entries of a turn in one transaction, then
//! answers the turn's reads; finds old messages to remove between turns. Owns all SQL that the server runs; never knows who is online.

mod accounts;
mod apply;
mod away;
mod budget;
mod entry;
mod events;
mod feed;
mod floors;
mod found;
mod headroom;
mod insert;
mod interrupt;
mod locking;
mod log;
mod observed;
mod observers;
mod options;
mod past;
mod posts;
mod purge;
mod query;
mod read;
mod removal;
mod retention;
mod search;
mod sent;
mod sent_ids;
mod turn;
mod values;
mod waiting;
mod wal;
mod watch;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::entry::{DecodeError, Entry, PeerRecord, Post, SendId, SeqRange};
#[cfg(test)]
pub(crate) use self::events::EventLimits;
pub use self::feed::WaitingScan;
pub use self::found::Found;
pub use self::headroom::Headroom;
use self::log::Log;
pub use self::observed::{EventFilter, EventKind, Observed, ObservedPage, ObserverCursor, PeerEvent};
pub use self::options::{StoreLimits, StoreOptions};
pub use self::past::HistoryScan;
pub use self::query::{Fed, HistoryQuery, Missed, ObservedQuery, Page, PageQuery, PastPage, ValuesQuery, WaitingQuery};
#[cfg(test)]
pub(crate) use self::read::ScanTask;
pub use self::read::{Read, ReadFailure, ReadReceiver, ReadSender, Scan, ScanOutcome, ScanResult};
use self::retention::{Clocks, Sweep, TurnSummary};
pub use self::search::{SearchScan, UnsearchableWords};
pub use self::turn::{
    CommitError, FoundId, FoundPeer, FoundPosts, LookedUp, Lookup, PurgeRequest, PurgeStep, TurnOutcome, TurnRequest,
};
use self::wal::WalPages;
pub use self::watch::DatabaseWatch;

use crate::config::Retention;
use crate::database::directory::DataDirectory;
pub use crate::database::directory::DirectoryError;
use crate::database::identity;
use crate::database::index::{self, UnindexedTail};
pub use crate::database::members::{FoundRoom, Membership};
use crate::database::reach::OpenFiles;
pub use crate::database::reach::{DatabasePart, Unreachable};
use crate::database::record::RecordFile;
pub use crate::database::schema::SchemaError;
use crate::database::schema::{self, WalEnd};
use crate::limits::{STORE_IDLE_S, STORE_REQUESTS_MAX};
use crate::memory;
use crate::message::{DatabaseId, Seq};

/// Reason why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The database cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A file of the database went away while the store was open.
    #[error("{0}; all that was accepted before is in the files that were there")]
    Unreachable(#[from] Unreachable),
}

/// Handle to the store's thread; the broker owns it.
#[derive(Debug)]
pub struct Store {
    requests: SyncSender<StoreRequest>,
    /// Removals of old messages that the thread proposes, one at a time; `None` if every message is kept.
    removals: Option<async_channel::Receiver<Vec<SeqRange>>>,
    thread: JoinHandle<Result<(), Unreachable>>,
    /// Bytes that messages may still take, if the database is full of messages that wait.
    pub headroom: Headroom,
    /// Bytes of the database at most; `None` if there is no limit.
    pub max_size_bytes: Option<u64>,
    /// Path of the write-ahead log.
    wal: PathBuf,
    /// Identity of the database.
    pub database: DatabaseId,
    /// State of the database when it was opened.
    pub found: Found,
}

/// Turn that is being committed.
#[derive(Debug)]
pub struct Commit {
    reply: oneshot::AsyncReceiver<TurnOutcome>,
    outcome: Option<TurnOutcome>,
}

/// Request to the store's thread, with the channel for its result.
#[derive(Debug)]
pub(crate) enum StoreRequest {
    /// Looks up names and ids.
    Lookup(Lookup, oneshot::Sender<Result<LookedUp, String>>),
    /// Reads the first rows of the tables `outbox` and `purge`.
    Posts(oneshot::Sender<Result<FoundPosts, String>>),
    /// Applies entries, then answers reads.
    Turn(TurnRequest, oneshot::Sender<TurnOutcome>),
}

/// Open database with everything that the store's thread needs.
struct OpenDatabase {
    connection: rusqlite::Connection,
    wal: (WalPages, File, OpenFiles),
    record: RecordFile,
    options: StoreOptions,
    headroom: Headroom,
    newest: Seq,
    tail: UnindexedTail,
    directory: DataDirectory,
}

impl Store {
    /// Creates the data directory if it is missing, locks it, upgrades the schema, and starts the thread. Errors name the path
    /// and the action to take.
    pub fn open(data: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let directory = DataDirectory::open(data)?;
        let path = directory.database();
        let may_lack_messages = directory.check_log()?;
        let mut connection = schema::open(&path)?;
        if may_lack_messages {
            identity::forget(&connection).map_err(schema::explain(&path))?;
        }
        let identity = identity::renew_if_copied(&mut connection, &path, options.durability);
        let id = identity.map_err(schema::explain(&path))?;
        let pages = WalPages::watch(&mut connection).map_err(schema::explain(&path))?;
        let wal = directory.open_wal()?;
        // The names of the files must survive a power cut before a commit to them is reported.
        directory.sync()?;
        let files = directory.open_files()?;
        let wal_path = directory.wal();
        let tail = index::tail(&connection, options.limits.index).map_err(schema::explain(&path))?;
        let found = found::found(&connection, &tail).map_err(schema::explain(&path))?;
        let (requests, receiver) = mpsc::sync_channel(STORE_REQUESTS_MAX);
        let (proposals, removals) = async_channel::bounded(1);
        let removals = (options.retention != Retention::default()).then_some(removals);
        let headroom = Headroom::default();
        let shared = headroom.clone();
        let database = OpenDatabase {
            connection,
            wal: (pages, wal, files),
            record: directory.record(options.durability)?,
            options,
            headroom: shared,
            newest: found.newest,
            tail,
            directory,
        };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || serve(database, &receiver, &proposals))
            .map_err(|source| DirectoryError::Thread { source })?;
        let max_size_bytes = options.retention.max_size_bytes;
        Ok(Store { requests, removals, thread, headroom, max_size_bytes, wal: wal_path, database: id, found })
    }

    /// Returns a store whose requests the caller answers, and whose removals it proposes: the simulation and the broker's tests.
    #[cfg(test)]
    pub(crate) fn without_thread(
        found: Found,
    ) -> (Store, Receiver<StoreRequest>, async_channel::Sender<Vec<SeqRange>>) {
        let (requests, receiver) = mpsc::sync_channel(STORE_REQUESTS_MAX);
        let (proposals, removals) = async_channel::bounded(1);
        let thread = std::thread::spawn(|| Ok(()));
        let (headroom, max_size_bytes) = (Headroom::default(), Some(1_000_000));
        let wal = PathBuf::new();
        let (removals, database) = (Some(removals), DatabaseId::default());
        (Store { requests, removals, thread, headroom, max_size_bytes, wal, database, found }, receiver, proposals)
    }

    /// Looks up names and ids, as of the last commit that was begun.
    pub async fn lookup(&self, lookup: Lookup) -> Result<LookedUp, String> {
        let (reply, found) = oneshot::async_channel();
        self.ask(StoreRequest::Lookup(lookup, reply));
        found.await.expect("the store's thread answers every lookup")
    }

    /// Reads the first rows of the table `outbox`, as many as one turn sends, and the next request of the table `purge`, as of the last
    /// commit that was begun.
    pub async fn posts(&self) -> Result<FoundPosts, String> {
        let (reply, found) = oneshot::async_channel();
        self.ask(StoreRequest::Posts(reply));
        found.await.expect("the store's thread answers every request")
    }

    /// Begins to apply a turn's entries in one transaction, and to answer its reads. One turn is in flight at a time.
    pub fn begin(&self, turn: TurnRequest) -> Commit {
        let (sender, reply) = oneshot::async_channel();
        self.ask(StoreRequest::Turn(turn, sender));
        Commit { reply, outcome: None }
    }

    /// Whether a removal of old messages is proposed.
    pub(crate) fn proposes_removal(&self) -> bool {
        self.removals.as_ref().is_some_and(|removals| !removals.is_empty())
    }

    /// Waits until the store proposes to remove old messages, and returns them.
    pub(crate) async fn removal(&self) -> Vec<SeqRange> {
        if let Some(removals) = &self.removals
            && let Ok(ranges) = removals.recv().await
        {
            return ranges;
        }
        // Every message is kept, or the thread has ended.
        std::future::pending().await
    }

    /// Starts to watch for writes to the database by any process.
    pub fn watch(&self) -> DatabaseWatch {
        DatabaseWatch::on(&self.wal)
    }

    fn ask(&self, request: StoreRequest) {
        self.requests.try_send(request).expect("at most one turn and one lookup are in flight, and the thread runs");
    }

    /// Copies the write-ahead log into the database file, closes it, and unlocks the directory. Fails if the paths of the database no longer
    /// lead to it.
    pub fn close(self) -> Result<(), StoreError> {
        drop(self.requests);
        Ok(self.thread.join().expect("the store's thread has panicked")?)
    }
}

impl Commit {
    /// Whether the outcome of the turn has arrived.
    pub fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    /// Waits for the outcome of the turn. Dropping the future loses nothing.
    pub async fn done(&mut self) {
        if self.outcome.is_none() {
            self.outcome = Some((&mut self.reply).await.expect("the store's thread answers every turn"));
        }
    }

    /// Waits for the outcome of the turn, and returns it.
    pub async fn outcome(mut self) -> TurnOutcome {
        self.done().await;
        self.outcome.expect("the outcome has arrived")
    }
}

/// Runs the store's thread until the handle is dropped.
fn serve(
    database: OpenDatabase,
    requests: &Receiver<StoreRequest>,
    proposals: &async_channel::Sender<Vec<SeqRange>>,
) -> Result<(), Unreachable> {
    let OpenDatabase { connection, wal, record, options, headroom, newest, tail, directory: _locked } = database;
    let mut log =
        Log::new(&connection, wal, options, newest, tail).expect("statements fit the schema that was just checked");
    let mut sweep = Sweep::new(&connection, options.retention, headroom, Clocks::now());
    log.record_in(&record);
    log.wal().checkpoint_at_start();
    let mut idle = IdleTimes::default();
    loop {
        let wakes_at = [idle.next(), sweep.wakes_at()].into_iter().flatten().min();
        let removal = match next_request(requests, wakes_at) {
            Ok(request) => handle(request, &mut log, &mut sweep),
            Err(RecvTimeoutError::Timeout) if idle.is_due() => {
                idle.run(&connection, &mut log);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => sweep.on_time(&mut log, Clocks::now()),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(ranges) = removal {
            // One is proposed at a time. The broker may be gone.
            let _ = proposals.try_send(ranges);
        }
        log.wal().checkpoint_if_long();
        log.note_checkpoint();
        idle.restart();
    }
    sweep.close();
    let closed = log.close();
    schema::close(connection, *closed.as_ref().unwrap_or(&WalEnd::Abandoned));
    if let Ok(WalEnd::Copied) = closed {
        record.clear();
    }
    closed.map(drop)
}

/// Times at which the store does what it leaves undone while it has requests.
#[derive(Default)]
struct IdleTimes {
    /// Time to return unused memory.
    rests_at: Option<Instant>,
    /// Time to copy the write-ahead log into the database file.
    copies_at: Option<Instant>,
}

impl IdleTimes {
    /// Starts anew, after a request.
    fn restart(&mut self) {
        *self = IdleTimes { rests_at: Some(Instant::now() + Duration::from_secs(STORE_IDLE_S)), copies_at: None };
    }

    fn next(&self) -> Option<Instant> {
        self.rests_at.or(self.copies_at)
    }

    fn is_due(&self) -> bool {
        self.next().is_some_and(|time| time <= Instant::now())
    }

    /// Does what is due next.
    fn run(&mut self, connection: &rusqlite::Connection, log: &mut Log<'_>) {
        if self.rests_at.take().is_some() {
            release_memory(connection);
            self.copies_at = log.wal().idle_checkpoint_at();
        } else {
            self.copies_at = None;
            log.wal().checkpoint_when_idle();
            log.note_checkpoint();
        }
    }
}

/// Answers a request, whose receiver may be gone, if it was cancelled. Returns old messages to remove, if there are any.
fn handle<'c>(request: StoreRequest, log: &mut Log<'c>, sweep: &mut Sweep<'c>) -> Option<Vec<SeqRange>> {
    match request {
        StoreRequest::Lookup(lookup, reply) => {
            let _ = reply.send(log.lookup(&lookup).map_err(|error| error.to_string()));
            None
        }
        StoreRequest::Posts(reply) => {
            let _ = reply.send(log.posts().map_err(|error| error.to_string()));
            None
        }
        StoreRequest::Turn(turn, reply) => {
            let outcome = log.turn(turn);
            let summary = TurnSummary::from(&outcome);
            let _ = reply.send(outcome);
            sweep.after_turn(log, summary, Clocks::now())
        }
    }
}

/// Waits for a request, until the deadline if there is one. Parks the thread: if it waited for a timer of the async runtime, it
/// would have to poll the sockets of all connections meanwhile.
fn next_request(
    requests: &Receiver<StoreRequest>,
    deadline: Option<Instant>,
) -> Result<StoreRequest, RecvTimeoutError> {
    match deadline {
        None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => requests.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    }
}

/// Returns unused memory to the system, after a while without requests.
fn release_memory(connection: &rusqlite::Connection) {
    // Frees nothing that is in use; its result does not matter.
    let _ = connection.release_memory();
    memory::return_to_system();
}
