//! Removal of a peer or a room for `holdline peer remove` and `holdline room remove`. A running server does it on request; without one, the
//! store is opened here. Owns the request and its result; never removes a row beside a running server.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use smol::block_on;

use super::read_only::{self, ReadOnlyError};
use crate::config::{Durability, Retention};
use crate::database::column::{integer, optional_text};
use crate::database::directory::database_in;
use crate::database::schema;
use crate::database::words::counted;
use crate::limits::{DATABASE_BUSY_MS_MAX, PURGE_POLL_MS, PURGE_POLLS_PER_TRY};
use crate::message::{Destination, Timestamp};
use crate::store::{DirectoryError, Entry, Lookup, PurgeRequest, Store, StoreError, StoreOptions, TurnRequest};

/// Effect that the removal of a peer or a room would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgePlan {
    /// The peer or the room.
    pub name: Destination,
    /// Members of the room, or rooms of the peer.
    pub memberships: u64,
    /// Messages that are removed.
    pub messages: u64,
    /// Times of the oldest and the newest of them.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Messages that stay for their other recipients.
    pub shared: u64,
}

impl fmt::Display for PurgePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PurgePlan { name, memberships, messages, span, shared } = self;
        match name {
            Destination::Peer(name) => write!(f, "{name} is in {}", counted(*memberships, "room"))?,
            Destination::Room(room) => write!(f, "{room} has {}", counted(*memberships, "member"))?,
        }
        write!(f, "; {} will be removed", counted(*messages, "message"))?;
        if let Some((oldest, newest)) = span {
            write!(f, ", from {oldest} to {newest}")?;
        }
        match shared {
            0 => Ok(()),
            1 => write!(f, "; 1 message stays for its other recipients"),
            _ => write!(f, "; {shared} messages stay for their other recipients"),
        }
    }
}

/// Reason why nothing is removed.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadOnlyError),
    /// A query failed.
    #[error("cannot read or write the database ({0}); run holdline doctor to examine it")]
    Database(#[from] rusqlite::Error),
    /// There is no such peer or room.
    #[error("there is no {} in {data}", name.as_str())]
    Unknown {
        /// Name of the peer or the room.
        name: Destination,
        /// Data directory.
        data: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server refuses it.
    #[error("{0}; nothing is removed")]
    Refused(String),
    /// The store failed.
    #[error("{0}; what is left is removed when the server starts, or with the next removal")]
    Failed(String),
}

/// Finds out what a purge of this peer or room would remove.
pub fn plan_purge(data: &Path, name: &Destination) -> Result<PurgePlan, PurgeError> {
    let plan = read_only::read(data, |database| {
        schema::check_newest(database.connection(), database.path()).map_err(ReadOnlyError::from)?;
        Ok::<_, PurgeError>(plan(database.connection(), name)?)
    })?;
    plan.ok_or_else(|| PurgeError::Unknown { name: name.clone(), data: data.display().to_string() })
}

fn plan(connection: &Connection, name: &Destination) -> rusqlite::Result<Option<PurgePlan>> {
    let (id, memberships) = match name {
        Destination::Peer(_) => ("select id from peer where name = ?1", "select count(*) from member where peer = ?1"),
        Destination::Room(_) => {
            ("select -id from room where name = ?1", "select count(*) from member where room = -?1")
        }
    };
    let id: Option<i64> = connection.query_row(id, [name.as_str()], |row| row.get(0)).optional()?;
    let Some(id) = id else { return Ok(None) };
    let memberships = connection.query_row(memberships, [id], |row| integer(row, 0))?;
    // Only few rows are parsed: those that contain the digits.
    let sql = "
        select count(*) filter (where is_removed), min(at) filter (where is_removed), max(at) filter (where is_removed),
               count(*) filter (where not is_removed)
        from (
            select at, sender = ?1 or recipients = '[' || ?1 || ']' as is_removed from message
            where sender = ?1 or instr(recipients, ?1)
                and exists (select 1 from json_each(iif(json_valid(recipients), recipients, '[]')) where value = ?1))";
    let time = |row: &Row<'_>, column| Ok::<_, rusqlite::Error>(Timestamp::from_millis(integer(row, column)?));
    connection.query_row(sql, [id], |row| {
        let messages = integer(row, 0)?.cast_unsigned();
        let span = if messages > 0 { Some((time(row, 1)?, time(row, 2)?)) } else { None };
        let (memberships, shared) = (memberships.cast_unsigned(), integer(row, 3)?.cast_unsigned());
        Ok(Some(PurgePlan { name: name.clone(), memberships, messages, span, shared }))
    })
}

/// Removes a peer or a room, and waits until nothing is left of it. Returns what was removed, in words.
pub fn purge(data: &Path, name: &Destination) -> Result<String, PurgeError> {
    let mut request = None;
    loop {
        match Store::open(data, StoreOptions::new(Durability::PowerLoss, Retention::default())) {
            Ok(store) => {
                let done = request_once(data, name, &mut request).and_then(|_| purge_all(&store));
                let closed = store.close();
                done?;
                closed?;
            }
            // A server runs. It may stop before it is done.
            Err(StoreError::Directory(DirectoryError::Locked { .. })) => {
                request_once(data, name, &mut request)?;
            }
            Err(error) => {
                withdraw(data, request);
                return Err(error.into());
            }
        }
        let id = request.expect("the request is written");
        for _ in 0..PURGE_POLLS_PER_TRY {
            if let Some(messages) = take_result(data, id)? {
                return Ok(format!("removed {} and {}", name.as_str(), counted(messages, "message")));
            }
            thread::sleep(Duration::from_millis(PURGE_POLL_MS));
        }
    }
}

/// Writes the request, unless it is written.
fn request_once(data: &Path, name: &Destination, request: &mut Option<i64>) -> Result<(), PurgeError> {
    if request.is_none() {
        let connection = connect(data)?;
        connection.execute("insert into purge (name) values (?1)", [name.as_str()])?;
        *request = Some(connection.last_insert_rowid());
    }
    Ok(())
}

/// Removes a request that has not begun.
fn withdraw(data: &Path, request: Option<i64>) {
    if let (Some(id), Ok(connection)) = (request, connect(data)) {
        let _ = connection.execute("delete from purge where id = ?1 and target is null", [id]);
    }
}

/// Returns the number of removed messages once a request is done, and removes the request.
fn take_result(data: &Path, id: i64) -> Result<Option<u64>, PurgeError> {
    let connection = connect(data)?;
    let sql = "select messages, refused from purge where id = ?1 and (name is null or refused is not null)";
    let result = connection.query_row(sql, [id], |row| Ok((integer(row, 0)?, optional_text(row, 1)?))).optional()?;
    let Some((messages, refused)) = result else { return Ok(None) };
    connection.execute("delete from purge where id = ?1", [id])?;
    match refused {
        Some(reason) => Err(PurgeError::Refused(reason.as_str().to_owned())),
        None => Ok(Some(messages.cast_unsigned())),
    }
}

fn connect(data: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database_in(data), flags)?;
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX))?;
    Ok(connection)
}

/// Carries out all requests, as a server does.
fn purge_all(store: &Store) -> Result<(), PurgeError> {
    while let Some(request) = block_on(store.posts()).map_err(PurgeError::Failed)?.purge {
        let entry = match request.target {
            Some(_) => Entry::ContinuePurge,
            None => begin(store, request)?,
        };
        let turn = TurnRequest { entries: vec![entry], reads: Vec::new() };
        block_on(store.begin(turn).outcome()).commit.map_err(|error| PurgeError::Failed(error.to_string()))?;
    }
    Ok(())
}

fn begin(store: &Store, PurgeRequest { id: request, name, .. }: PurgeRequest) -> Result<Entry, PurgeError> {
    let lookup = Lookup::purged(&Destination::stored(&name));
    let found = block_on(store.lookup(lookup)).map_err(PurgeError::Failed)?.purged();
    Ok(match found {
        Some(target) => Entry::BeginPurge { request, name, target },
        None => Entry::RefusePurge { request, reason: format!("there is no {name}") },
    })
}
