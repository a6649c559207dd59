//! Homes with a long history: a log of millions of messages, written into the database directly, because sending them
//! would take too long. Owns these homes between the rounds, and their content; never measures.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};
use rustix::fs::statvfs;

use crate::lines::TEXT_BYTES;
use crate::options::Options;
use crate::server::{Contestant, Home, Server};

/// Messages in a row of an inbox, as the server writes them.
const INBOX_ROW_MESSAGES: usize = 400;

/// Senders, and as many recipients. `pairs` uses some of them.
const PAIRS: i64 = 500;

/// Bytes on the disk per message, including those sent later in each round.
const MESSAGE_BYTES: i64 = 250;

/// Messages of one transaction.
const BATCH_MESSAGES: i64 = 100_000;

/// Homes, by their number of messages.
static STORED_HOMES: Mutex<BTreeMap<i64, Home>> = Mutex::new(BTreeMap::new());

/// Guard: while it exists, homes may be stored for the next round.
pub(crate) struct Keeper;

impl Drop for Keeper {
    fn drop(&mut self) {
        stored_homes().clear();
    }
}

/// Returns a home with this many messages, all of them delivered: a stored one, or a new one. `None` with a message if
/// the disk is too small.
pub(crate) fn take(messages: i64, options: &Options) -> Result<Option<Home>> {
    if let Some(home) = stored_homes().remove(&messages) {
        return Ok(Some(home));
    }
    let home = Home::new()?;
    let (needed, free) = (messages * MESSAGE_BYTES, free_bytes(home.path())?);
    if free < needed {
        eprintln!("a log of {messages} messages is not made: it takes {} MB, {} are free", needed >> 20, free >> 20);
        return Ok(None);
    }
    Ok(Some(make(home, messages, options)?))
}

/// Stores a home for the next round.
pub(crate) fn keep(messages: i64, home: Home) {
    stored_homes().insert(messages, home);
}

/// Peers besides those of `pairs`; nothing waits for any of them.
pub(crate) fn others() -> impl Iterator<Item = String> {
    (crate::pair::PAIRS as i64..PAIRS).map(receiver)
}

fn stored_homes() -> MutexGuard<'static, BTreeMap<i64, Home>> {
    STORED_HOMES.lock().expect("no holder of the lock panics")
}

fn free_bytes(path: &Path) -> Result<i64> {
    let disk = statvfs(path)?;
    Ok((disk.f_bavail * disk.f_frsize) as i64)
}

fn make(home: Home, messages: i64, options: &Options) -> Result<Home> {
    // The server creates the schema.
    let home = Server::start_in(home, Contestant::Holdline, options)?.stop()?.home;
    if messages == 0 {
        return Ok(home);
    }
    let started = Instant::now();
    let path = home.data().join("holdline.db");
    fill(&path, messages).context("the schema has changed: past.rs inserts the rows of an older one")?;
    // Otherwise the system would write it while something else is measured.
    File::open(&path)?.sync_all()?;
    eprintln!("a log of {messages} messages is made, in {:.0?}", started.elapsed());
    Ok(home)
}

fn fill(path: &Path, messages: i64) -> Result<()> {
    let connection = Connection::open(path)?;
    for (pragma, value) in [("journal_mode", "off"), ("synchronous", "off"), ("cache_size", "-65536")] {
        connection.pragma_update(None, pragma, value)?;
    }
    insert_messages(&connection, messages)?;
    insert_inbox(&connection, messages)?;
    insert_peers(&connection, messages)?;
    note_indexed(&connection, messages)?;
    // As the server sets it.
    connection.pragma_update(None, "journal_mode", "wal")?;
    Ok(())
}

fn insert_messages(connection: &Connection, messages: i64) -> Result<()> {
    let mut message = connection
        .prepare("insert into message (seq, at, sender, previous, recipients, text) values (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let at = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as i64;
    let text = "x".repeat(TEXT_BYTES);
    in_batches(connection, 1..=messages, |seq| {
        let (sender, recipient) = ids(seq % PAIRS);
        message.execute(params![seq, at, sender, (seq - PAIRS).max(0), format!("[{recipient}]"), text])?;
        Ok(())
    })
}

/// In the order of the table, so that it grows at its end only.
fn insert_inbox(connection: &Connection, messages: i64) -> Result<()> {
    let mut inbox = connection.prepare("insert into inbox (recipient, last, seqs) values (?1, ?2, ?3)")?;
    in_batches(connection, 0..PAIRS, |pair| {
        let (_, recipient) = ids(pair);
        let seqs: Vec<i64> = (pair..=messages).step_by(PAIRS as usize).filter(|seq| *seq > 0).collect();
        for seqs in seqs.chunks(INBOX_ROW_MESSAGES) {
            let array: Vec<String> = seqs.iter().map(i64::to_string).collect();
            inbox.execute(params![recipient, seqs.last(), format!("[{}]", array.join(","))])?;
        }
        Ok(())
    })
}

fn insert_peers(connection: &Connection, messages: i64) -> Result<()> {
    let mut peer = connection.prepare("insert into peer (id, name, seen, cursor, sent) values (?1, ?2, 1, ?3, ?4)")?;
    in_batches(connection, 0..PAIRS, |pair| {
        let (sender_id, recipient_id) = ids(pair);
        let newest = (pair..=messages).step_by(PAIRS as usize).last().unwrap_or_default();
        peer.execute(params![sender_id, sender(pair), 0, newest])?;
        peer.execute(params![recipient_id, receiver(pair), newest, 0])?;
        Ok(())
    })
}

/// Servers whose index may lag behind record how far it goes.
fn note_indexed(connection: &Connection, messages: i64) -> Result<()> {
    if connection.table_exists(None, "indexed")? {
        connection.execute("update indexed set seq = ?1", [messages])?;
    }
    Ok(())
}

fn in_batches(
    connection: &Connection,
    numbers: impl Iterator<Item = i64>,
    mut insert: impl FnMut(i64) -> Result<()>,
) -> Result<()> {
    connection.execute_batch("begin")?;
    for number in numbers {
        insert(number)?;
        if number % BATCH_MESSAGES == 0 {
            connection.execute_batch("commit; begin")?;
        }
    }
    Ok(connection.execute_batch("commit")?)
}

/// Ids of a pair's sender and receiver.
fn ids(pair: i64) -> (i64, i64) {
    (1 + pair, 1 + PAIRS + pair)
}

fn sender(pair: i64) -> String {
    format!("s{pair:02}")
}

fn receiver(pair: i64) -> String {
    format!("r{pair:02}")
}
