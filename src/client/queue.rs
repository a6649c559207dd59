//! Queue of `holdline send`: messages in a directory, on the disk before the writer goes on, until a server has accepted them. Owns the
//! database of the queue; never connects.
//!
//! Any number of processes append; one at a time drains. Each message has an id of its own, made when it is appended. So a message that is
//! sent again after a crash, or after the directory was restored from a backup, is recognised by the server.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_channel::Sender;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};

use super::input::{InputLine, LineSource};
use super::outgoing::{AddressedText, IdPrefix};
use super::send::{LineOutcome, Summary};
use crate::limits::{
    CLIENT_INPUT_LINES_MAX, DATABASE_BUSY_MS_MAX, QUEUE_BYTES_MAX, QUEUE_POLL_MS, QUEUE_READ_LINES_MAX,
};
use crate::message::Destination;
use crate::wire::ErrorFrame;

/// File of the database in the directory of the queue.
const DATABASE: &str = "queue.db";

/// File that the process that drains the queue has locked.
const LOCK: &str = "drain.lock";

/// Pages that appending a few messages takes at most, in the table and its overflow.
const MESSAGE_PAGES_MAX: i64 = 1024;

/// Schema of the database. People may read it with `sqlite3`, and move a row of `refused` back to `queued`.
const SCHEMA: &str = "
    create table if not exists queued (
        id integer primary key autoincrement,
        at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
        recipients text not null, -- names, separated by commas
        text text not null,
        nonce text not null default (lower(hex(randomblob(16)))) -- the message is sent with the id NONCE-ID
    ) strict;
    create table if not exists refused (
        id integer primary key,
        at text not null,
        recipients text not null,
        text text not null,
        code text not null,
        reason text not null
    ) strict;";

/// Queue in a directory.
pub struct Queue {
    directory: PathBuf,
    connection: Connection,
}

/// Error of a queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The directory cannot be created or opened.
    #[error("cannot use the queue in {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// The queue has as many messages as it may have.
    #[error(
        "the queue in {} is full ({} MiB); send what is in it with --drain; not queued",
        .0.display(), QUEUE_BYTES_MAX / (1024 * 1024)
    )]
    Full(PathBuf),
    /// Another process drains the queue.
    #[error("another process drains the queue in {}", .0.display())]
    Drained(PathBuf),
    /// SQLite reports an error.
    #[error("cannot use the queue in {}", .0.display())]
    Database(PathBuf, #[source] rusqlite::Error),
}

/// Messages of a queue on their way to the sender.
pub struct QueueReader {
    /// The messages, numbered by their rows.
    pub lines: LineSource,
    thread: JoinHandle<Result<(), QueueError>>,
    /// Locked until it is closed.
    _lock: File,
}

impl QueueReader {
    /// Waits until the reader has ended, once the lines were sent. Returns why it ended early, if it did.
    pub fn join(self) -> Result<(), QueueError> {
        drop(self.lines);
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Queue {
    /// Opens the queue in a directory, and creates both if they do not exist. Only the user that creates it may use it, unless that user
    /// changes its mode.
    pub fn open(directory: &Path) -> Result<Self, QueueError> {
        let failed = |error| QueueError::Directory(directory.to_owned(), error);
        let exists = fs::exists(directory).map_err(failed)?;
        if !exists {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let unusable = |error| QueueError::Database(directory.to_owned(), error);
        let connection = open_database(&directory.join(DATABASE)).map_err(unusable)?;
        if !has_tables(&connection).map_err(unusable)? {
            sync_parents(directory).map_err(failed)?;
            connection.execute_batch(&format!("begin immediate; {SCHEMA} commit;")).map_err(unusable)?;
        }
        Ok(Queue { directory: directory.to_owned(), connection })
    }

    /// Appends the messages of all lines. Each is on the disk before the next one is waited for. Calls `report` with the number and the
    /// error of each line that cannot be sent.
    pub fn append_all(
        &mut self,
        input: &LineSource,
        mut report: impl FnMut(u64, &ErrorFrame),
    ) -> Result<Summary, QueueError> {
        let mut summary = Summary::default();
        while let Ok(first) = input.0.recv_blocking() {
            let more = std::iter::from_fn(|| input.0.try_recv().ok()).take(CLIENT_INPUT_LINES_MAX);
            let mut messages = Vec::new();
            for line in [first].into_iter().chain(more) {
                match line.message {
                    Ok(message) => messages.push(message),
                    Err(error) => {
                        summary.failed += 1;
                        report(line.number, &error);
                    }
                }
            }
            self.append(&messages)?;
            summary.accepted += messages.len() as u64;
        }
        Ok(summary)
    }

    /// Appends messages, all or none. They are on the disk when this returns.
    fn append(&mut self, messages: &[AddressedText]) -> Result<(), QueueError> {
        self.try_append(messages).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) if self.is_full() => QueueError::Full(self.directory.clone()),
            _ => self.failed(error),
        })
    }

    fn try_append(&mut self, messages: &[AddressedText]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for AddressedText { to, text } in messages {
            let recipients = to.iter().map(Destination::as_str).collect::<Vec<_>>().join(", ");
            transaction
                .prepare_cached("insert into queued (recipients, text) values (?1, ?2)")?
                .execute(params![recipients, text])?;
        }
        transaction.commit()
    }

    /// Whether the database has reached its largest size, so that it is not the disk that is full.
    fn is_full(&self) -> bool {
        let pages_of = |pragma| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (Ok(pages), Ok(pages_max)) = (pages_of("page_count"), pages_of("max_page_count")) else { return false };
        // A message takes several pages, none of which is kept if one is missing.
        pages + MESSAGE_PAGES_MAX >= pages_max
    }

    /// Makes this process the one that drains the queue, and reads its messages, oldest first: all that are in it if `is_once`, or else
    /// also those that are appended later. Fails if another process drains the queue.
    pub fn read(&self, is_once: bool) -> Result<QueueReader, QueueError> {
        let lock = self.lock_drain()?;
        let queue = Queue::open(&self.directory)?;
        let (sender, receiver) = async_channel::bounded(CLIENT_INPUT_LINES_MAX);
        let read = move || queue.read_lines(is_once, &sender).map_err(|error| queue.failed(error));
        let thread = thread::Builder::new().name("queue".into()).spawn(read);
        let thread = thread.map_err(|error| QueueError::Directory(self.directory.clone(), error))?;
        Ok(QueueReader { lines: LineSource(receiver), thread, _lock: lock })
    }

    fn lock_drain(&self) -> Result<File, QueueError> {
        let failed = |error| QueueError::Directory(self.directory.clone(), error);
        let file = File::options().write(true).create(true).truncate(false).open(self.directory.join(LOCK));
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(QueueError::Drained(self.directory.clone())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Reads until the queue has no more, or until the receiver is dropped.
    fn read_lines(&self, is_once: bool, lines: &Sender<InputLine>) -> rusqlite::Result<()> {
        let mut last = 0;
        loop {
            let version = self.version()?;
            let page = self.page(last)?;
            let is_last_page = page.len() < QUEUE_READ_LINES_MAX;
            for line in page {
                last = line.number;
                if lines.send_blocking(line).is_err() {
                    return Ok(());
                }
            }
            while is_last_page && version == self.version()? {
                if is_once || lines.is_closed() {
                    return Ok(());
                }
                thread::sleep(Duration::from_millis(QUEUE_POLL_MS));
            }
        }
    }

    /// Number that changes when another connection writes to the database.
    fn version(&self) -> rusqlite::Result<i64> {
        self.connection.pragma_query_value(None, "data_version", |row| row.get(0))
    }

    fn page(&self, after: u64) -> rusqlite::Result<Vec<InputLine>> {
        let mut next = self
            .connection
            .prepare_cached("select id, nonce, recipients, text from queued where id > ?1 order by id limit ?2")?;
        let page = next.query_map(params![after.cast_signed(), QUEUE_READ_LINES_MAX as i64], line)?;
        page.collect()
    }

    /// Removes a message that has its outcome; one that failed moves to the table `refused`, with the reason.
    pub fn note(&mut self, number: u64, outcome: LineOutcome<'_>) -> Result<(), QueueError> {
        self.try_note(number.cast_signed(), outcome).map_err(|error| self.failed(error))
    }

    fn try_note(&mut self, id: i64, outcome: LineOutcome<'_>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let LineOutcome::Failed(error) = outcome {
            transaction
                .prepare_cached(
                    "insert into refused (at, recipients, text, code, reason)
                     select at, recipients, text, ?2, ?3 from queued where id = ?1",
                )?
                .execute(params![id, error.code(), error.message()])?;
        }
        transaction.prepare_cached("delete from queued where id = ?1")?.execute([id])?;
        transaction.commit()
    }

    fn failed(&self, error: rusqlite::Error) -> QueueError {
        QueueError::Database(self.directory.clone(), error)
    }
}

fn open_database(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    connection.pragma_update(None, "max_page_count", QUEUE_BYTES_MAX / page_bytes)?;
    Ok(connection)
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let found = connection.query_row("select 1 from sqlite_schema where name = 'refused'", [], |_| Ok(()));
    Ok(found.optional()?.is_some())
}

/// Syncs the parents of a directory that may be new, as it survives a power cut only then. SQLite syncs the directory itself.
fn sync_parents(directory: &Path) -> io::Result<()> {
    for parent in directory.canonicalize()?.ancestors().skip(1) {
        // A parent that this process may not open was not changed by it either. Some file systems cannot sync a directory.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
    }
    Ok(())
}

/// Reads a row of the queue. A row that was written by hand may contain anything: it becomes a line that cannot be sent.
fn line(row: &Row<'_>) -> rusqlite::Result<InputLine> {
    let number = row.get::<_, i64>(0)?.unsigned_abs();
    let column = |index| Ok::<_, rusqlite::Error>(str::from_utf8(row.get_ref(index)?.as_bytes().unwrap_or_default()));
    let not_utf8 = |_| ErrorFrame::new("not_utf8", "the row is not UTF-8");
    let (nonce, recipients, text) = (column(1)?, column(2)?, column(3)?);
    let nonce = nonce.map_err(not_utf8).and_then(|nonce| {
        IdPrefix::parse(nonce).map_err(|error| ErrorFrame::new("bad_request", format!("the column nonce: {error}")))
    });
    let to = recipients.map_err(not_utf8).and_then(|names| {
        let names = names.split(',').map(|name| Destination::parse(name.trim()));
        names.collect::<Result<Vec<_>, _>>().map_err(|error| ErrorFrame::new("bad_name", error.to_string()))
    });
    let text = text.map_err(not_utf8).map(str::to_owned);
    let id = nonce.as_ref().map_or_else(|_| String::new(), |prefix| prefix.id(number));
    let message = nonce.and_then(|_| Ok(AddressedText { to: to?, text: text? }));
    Ok(InputLine { number, id, message })
}
