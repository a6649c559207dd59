//! The store: one thread that owns the one writing connection to `holdline.db`. It applies the entries of a turn in one
//! transaction, then reads what the turn asks for; what may be removed of the log goes in between. Owns all SQL, by way of its rooms; never knows who is online.

mod away;
mod entry;
mod events;
mod feed;
mod insert;
mod log;
mod observed;
mod observers;
mod options;
mod past;
mod posts;
mod read;
mod retention;
mod sent_ids;
mod turn;
mod values;
mod wal;
mod watch;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::entry::{Entry, SendId};
#[cfg(test)]
pub(crate) use self::events::EventLimits;
use self::log::Log;
pub use self::observed::{EventFilter, EventKind, Observed, ObservedPage, ObserverCursor, PeerEvent};
pub use self::options::{StoreLimits, StoreOptions};
pub use self::read::{
    Fed, HistoryQuery, ObservedQuery, Page, PageQuery, PastPage, Read, ReadFailure, ReadReceiver, ReadSender,
    SearchQuery, SearchResult, ValuesQuery, WaitingQuery,
};
use self::retention::{Clocks, Sweep, TurnDone};
pub use self::turn::{
    CommitError, FoundId, FoundPeer, FoundPosts, LookedUp, Lookup, PeerRecord, Post, TurnOutcome, TurnRequest,
};
use self::wal::WalPages;
pub use self::watch::DatabaseWatch;

use crate::database::directory::DataDirectory;
pub use crate::database::directory::DirectoryError;
use crate::database::index::{self, UnindexedTail};
pub use crate::database::members::{FoundRoom, Membership};
use crate::database::schema;
pub use crate::database::schema::SchemaError;
use crate::limits::{REST_S, STORE_REQUESTS_MAX};
use crate::memory;
use crate::message::{PeerId, RoomId, Seq};

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
    /// Where the write-ahead log is.
    wal: PathBuf,
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
    /// The highest id that was ever given to a room.
    pub last_room: RoomId,
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
    /// What is kept of these?
    Lookup(Lookup, oneshot::Sender<Result<LookedUp, String>>),
    /// What stands in the table `outbox`?
    Posts(oneshot::Sender<Result<FoundPosts, String>>),
    /// Apply the entries, then answer the reads.
    Turn(TurnRequest, oneshot::Sender<TurnOutcome>),
}

impl Store {
    /// Opens the data directory, which is made if it is missing, locks it, brings the schema up to date and starts the
    /// thread. Errors say what is wrong with which path and how to mend it.
    pub fn open(data: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let directory = DataDirectory::open(data)?;
        let mut connection = schema::open(&directory.database())?;
        let pages = WalPages::watch(&mut connection).map_err(schema::explain(&directory.database()))?;
        let wal = directory.open_wal()?;
        // Their names are kept before anything in them is promised.
        directory.sync()?;
        let found = found(&connection, &directory.database())?;
        let wal_path = directory.wal();
        let tail = index::tail(&connection, options.limits.index).map_err(schema::explain(&directory.database()))?;
        let (requests, receiver) = mpsc::sync_channel(STORE_REQUESTS_MAX);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || serve(connection, (pages, wal), options, (found.newest, tail), receiver, directory))
            .map_err(|source| DirectoryError::Thread { source })?;
        Ok(Store { requests, thread, wal: wal_path, found })
    }

    /// A store that somebody else answers for: the broker's simulation.
    #[cfg(test)]
    pub(crate) fn answered_elsewhere(found: Found) -> (Store, Receiver<StoreRequest>) {
        let (requests, receiver) = mpsc::sync_channel(STORE_REQUESTS_MAX);
        (Store { requests, thread: std::thread::spawn(|| ()), wal: PathBuf::new(), found }, receiver)
    }

    /// What is kept of these names and ids, as of the last commit that was begun.
    pub async fn lookup(&self, lookup: Lookup) -> Result<LookedUp, String> {
        let (reply, found) = oneshot::async_channel();
        self.ask(StoreRequest::Lookup(lookup, reply));
        found.await.expect("the store's thread answers every lookup")
    }

    /// The first rows of the table `outbox`, as of the last commit that was begun; a turn's worth of them.
    pub async fn posts(&self) -> Result<FoundPosts, String> {
        let (reply, found) = oneshot::async_channel();
        self.ask(StoreRequest::Posts(reply));
        found.await.expect("the store's thread answers every question")
    }

    /// Begins to apply a turn's entries in one transaction, and to answer its reads. One turn is under way at a time.
    pub fn begin(&self, turn: TurnRequest) -> Commit {
        let (sender, reply) = oneshot::async_channel();
        self.ask(StoreRequest::Turn(turn, sender));
        Commit { reply, outcome: None }
    }

    /// Notices whoever writes to the database.
    pub fn watch(&self) -> DatabaseWatch {
        DatabaseWatch::on(&self.wal)
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
    options: StoreOptions,
    (newest, tail): (Seq, UnindexedTail),
    requests: Receiver<StoreRequest>,
    _locked: DataDirectory,
) {
    let mut log =
        Log::new(&connection, wal, options, newest, tail).expect("statements fit the schema that was just checked");
    let mut sweep = Sweep::new(&connection, options.retention, Clocks::now());
    let mut rests_at = None;
    loop {
        let wakes_at = [rests_at, sweep.wakes_at()].into_iter().flatten().min();
        // Whoever asked may have been cancelled: then nobody waits for the answer.
        match next_request(&requests, wakes_at) {
            Ok(StoreRequest::Lookup(lookup, reply)) => {
                let _ = reply.send(log.lookup(&lookup).map_err(|error| error.to_string()));
            }
            Ok(StoreRequest::Posts(reply)) => {
                let _ = reply.send(log.posts().map_err(|error| error.to_string()));
            }
            Ok(StoreRequest::Turn(turn, reply)) => {
                let outcome = log.turn(turn);
                let done = TurnDone::from(&outcome);
                let _ = reply.send(outcome);
                sweep.after_turn(&mut log, done, Clocks::now());
            }
            Err(RecvTimeoutError::Timeout) if rests_at.is_some_and(|time| time <= Instant::now()) => {
                rest(&connection);
                rests_at = None;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => sweep.on_time(&mut log, Clocks::now()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        log.wal().checkpoint_if_long();
        rests_at = Some(Instant::now() + Duration::from_secs(REST_S));
    }
    sweep.close();
    let is_settled = log.close();
    schema::close(connection, is_settled);
}

/// What the server must know of the log before it serves.
fn found(connection: &rusqlite::Connection, path: &Path) -> Result<Found, SchemaError> {
    let newest = schema::NEWEST;
    let sql = format!(
        "select {newest},
                coalesce((select max(id) from peer), 0),
                (select count(*) from peer where seen = 0),
                (select coalesce(max(id), 0) from room)"
    );
    let found = connection.query_row(&sql, [], |row| {
        Ok(Found {
            newest: Seq::new(row.get(0)?),
            last_peer: PeerId::new(row.get(1)?),
            last_room: RoomId::new(row.get(3)?),
            unknown_names: row.get::<_, i64>(2)? as u64,
        })
    });
    found.map_err(schema::explain(path))
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
