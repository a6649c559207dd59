//! The floor: SQLite alone, in this process, with the rows of the throughput scenarios in large transactions.
//! Owns a database of its own with the server's schema and settings; never uses the server's code.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::pair::TEXT_BYTES;
use crate::pairs::PAIRS;
use crate::server::{Contestant, Durability, own_cpu};
use crate::{Figures, Options, Scenario};

/// What no server that keeps its messages in SQLite can be faster than by much.
pub(crate) const SCENARIO: Scenario =
    Scenario { name: "sqlite", unit: "messages/s", contestants: &[Contestant::Sqlite], run };

/// Messages of one transaction.
const BATCH_MESSAGES: i64 = 4096;

fn run(_: Contestant, options: &Options) -> Result<Option<Figures>> {
    let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let connection = open(&home.path().join("floor.db"), options.durability)?;
    let messages = PAIRS as i64 * i64::from(options.messages);
    let (cpu, started) = (own_cpu()?, Instant::now());
    insert(&connection, messages)?;
    let (elapsed, cpu) = (started.elapsed(), own_cpu()? - cpu);

    let value = messages as f64 / elapsed.as_secs_f64();
    let server_cpu_us = Some(cpu.as_secs_f64() * 1e6 / messages as f64);
    Ok(Some(Figures { value, server_cpu_us, load_cpu_us: None, peak_bytes: None }))
}

fn open(path: &Path, durability: Durability) -> Result<Connection> {
    let connection = Connection::open(path)?;
    let synchronous = match durability {
        Durability::PowerLoss => "full",
        Durability::Crash => "normal",
    };
    for (pragma, value) in [
        ("auto_vacuum", "incremental"),
        ("journal_mode", "wal"),
        ("wal_autocheckpoint", "4000"),
        ("synchronous", synchronous),
    ] {
        connection.pragma_update(None, pragma, value).with_context(|| format!("pragma {pragma} = {value}"))?;
    }
    for migration in migrations()? {
        connection.execute_batch(&migration)?;
    }
    Ok(connection)
}

/// The server's own, in their order.
fn migrations() -> Result<Vec<String>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let mut paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| Ok(fs::read_to_string(path)?)).collect()
}

fn insert(connection: &Connection, messages: i64) -> Result<()> {
    let mut message = connection
        .prepare("insert into message (seq, at, sender, previous, recipients, text) values (?1, ?2, ?3, ?4, ?5, ?6)")
        .context("the schema has changed: floor.rs inserts the rows of an older one")?;
    let mut inbox = connection.prepare("insert into inbox (recipient, seq, sender) values (?1, ?2, ?3)")?;
    let at = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as i64;
    let text = "x".repeat(TEXT_BYTES);
    for first in (1..=messages).step_by(BATCH_MESSAGES as usize) {
        connection.execute_batch("begin immediate")?;
        for seq in first..=messages.min(first + BATCH_MESSAGES - 1) {
            let sender = 1 + seq % PAIRS as i64;
            let recipient = PAIRS as i64 + sender;
            let previous = (seq - PAIRS as i64).max(0);
            message.execute(params![seq, at, sender, previous, format!("[{recipient}]"), text])?;
            inbox.execute(params![recipient, seq, sender])?;
        }
        connection.execute_batch("commit")?;
    }
    Ok(())
}
