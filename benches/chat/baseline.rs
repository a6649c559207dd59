//! Baseline: SQLite alone, in this process, with the rows of the throughput scenarios in large transactions. Owns a
//! database with the server's schema and settings; never uses the server's code.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use rusqlite::{CachedStatement, Connection, params};

use crate::lines::TEXT_BYTES;
use crate::options::Options;
use crate::pair::PAIRS;
use crate::proc::own_cpu;
use crate::scenario::Figures;
use crate::server::Home;

/// Messages of one transaction, as many as a turn of the server has at most.
const BATCH_MESSAGES: i64 = 4096;

/// Messages by which the index lags behind the log before they are written, sorted by recipient.
const INDEX_MESSAGES: usize = 16 * 1024;

/// Messages in a row of the index.
const INDEX_ROW_MESSAGES: usize = 400;

/// Rows of one statement.
const STATEMENT_ROWS: i64 = 64;

/// Recipient and message, for the index.
type Addressed = (i64, i64);

/// Writes what `pairs` writes: a server that stores its messages in SQLite cannot be much faster.
pub(crate) fn run(options: &Options) -> Result<Figures> {
    let home = Home::new()?;
    let connection = open(&home.path().join("baseline.db"))?;
    let messages = PAIRS as i64 * i64::from(options.messages);
    let (cpu, started) = (own_cpu()?, Instant::now());
    insert(&connection, messages)?;
    let (elapsed, cpu) = (started.elapsed(), own_cpu()? - cpu);

    let value = messages as f64 / elapsed.as_secs_f64();
    let server_cpu_us = Some(cpu.as_secs_f64() * 1e6 / messages as f64);
    Ok(Figures { server_cpu_us, ..Figures::new([value]) })
}

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    for (pragma, value) in [
        ("auto_vacuum", "incremental"),
        ("journal_mode", "wal"),
        ("wal_autocheckpoint", "1000"),
        ("synchronous", "full"),
    ] {
        connection.pragma_update(None, pragma, value).with_context(|| format!("pragma {pragma} = {value}"))?;
    }
    for migration in migrations()? {
        connection.execute_batch(&migration)?;
    }
    Ok(connection)
}

/// Migrations of the server, in order.
fn migrations() -> Result<Vec<String>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let mut paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| Ok(fs::read_to_string(path)?)).collect()
}

fn insert(connection: &Connection, messages: i64) -> Result<()> {
    let mut index = Vec::new();
    for first in (1..=messages).step_by(BATCH_MESSAGES as usize) {
        let batch = first..messages.min(first + BATCH_MESSAGES - 1) + 1;
        connection.execute_batch("begin immediate")?;
        if index.len() >= INDEX_MESSAGES {
            insert_index(connection, &mut index)?;
        }
        insert_messages(connection, batch.clone())
            .context("the schema has changed: baseline.rs inserts the rows of an older one")?;
        index.extend(batch.map(|seq| (recipient_of(seq), seq)));
        connection.execute_batch("commit")?;
    }
    connection.execute_batch("begin immediate")?;
    insert_index(connection, &mut index)?;
    Ok(connection.execute_batch("commit")?)
}

fn insert_messages(connection: &Connection, seqs: Range<i64>) -> Result<()> {
    let at = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as i64;
    let text = "x".repeat(TEXT_BYTES);
    for first in seqs.clone().step_by(STATEMENT_ROWS as usize) {
        let seqs = first..seqs.end.min(first + STATEMENT_ROWS);
        let mut statement =
            prepare(connection, "message (seq, at, sender, previous, recipients, text)", 6, seqs.clone().count())?;
        for (row, seq) in seqs.enumerate() {
            let (sender, previous) = (sender_of(seq), (seq - PAIRS as i64).max(0));
            let recipients = format!("[{}]", recipient_of(seq));
            for (column, value) in params![seq, at, sender, previous, recipients, text].iter().enumerate() {
                statement.raw_bind_parameter(row * 6 + column + 1, value)?;
            }
        }
        statement.raw_execute()?;
    }
    Ok(())
}

fn insert_index(connection: &Connection, index: &mut Vec<Addressed>) -> Result<()> {
    index.sort_unstable();
    let mut inbox = connection.prepare_cached("insert into inbox (recipient, last, seqs) values (?1, ?2, ?3)")?;
    for addressed in index.chunk_by(|one, next| one.0 == next.0).flat_map(|inbox| inbox.chunks(INDEX_ROW_MESSAGES)) {
        let seqs: Vec<String> = addressed.iter().map(|(_, seq)| seq.to_string()).collect();
        let (recipient, last) = addressed[addressed.len() - 1];
        inbox.execute(params![recipient, last, format!("[{}]", seqs.join(","))])?;
    }
    index.clear();
    Ok(())
}

fn prepare<'c>(connection: &'c Connection, into: &str, columns: usize, rows: usize) -> Result<CachedStatement<'c>> {
    let row = format!("({})", vec!["?"; columns].join(", "));
    Ok(connection.prepare_cached(&format!("insert into {into} values {}", vec![&*row; rows].join(", ")))?)
}

fn sender_of(seq: i64) -> i64 {
    1 + seq % PAIRS as i64
}

fn recipient_of(seq: i64) -> i64 {
    PAIRS as i64 + sender_of(seq)
}
