//! Search in a long log: the time until the index has caught up, the latency of chat meanwhile, and the time of a search
//! afterwards. Owns the log that is searched; never checks what is found.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, params};

use crate::client::Client;
use crate::options::Options;
use crate::sample::Sample;
use crate::scenario::{Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Home, Server};

/// Cost of searching, without a bar to reach.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "search",
    title: "Searching a million messages",
    contestants: &[Contestant::Holdline],
    measures: &[
        Measure { name: "index", unit: "s", bars: &[] },
        Measure { name: "others' p99 meanwhile", unit: "ms", bars: &[] },
        Measure { name: "rare word", unit: "ms", bars: &[] },
        Measure { name: "common word", unit: "ms", bars: &[] },
        Measure { name: "common word, others' messages", unit: "ms", bars: &[] },
    ],
    run: Run::Each(run),
    on_request: false,
};

/// Messages of the log.
const MESSAGES: i64 = 1_000_000;

/// Interval of the messages of a peer with few of them; each contains a rare word.
const RARE_EVERY: i64 = 50_000;

/// Words of the other messages.
const WORDS: [&str; 16] = [
    "boiler", "dinner", "bread", "garden", "school", "late", "early", "water", "light", "door", "train", "rain",
    "music", "letter", "window", "coffee",
];

/// Searches, of which the median counts.
const SEARCHES: usize = 20;

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let home = Server::start_in(Home::new()?, contestant, options)?.stop()?.home;
    fill(&home.data().join("holdline.db"))
        .context("the schema has changed: search.rs inserts the rows of an older one")?;
    let server = Server::start_in(home, contestant, options)?;
    let (index, meanwhile) = catch_up(server.address())?;
    let rare = searches(server.address(), "p1", "needle")?;
    let common = searches(server.address(), "p1", "boiler")?;
    let of_others = searches(server.address(), "p3", "boiler")?;
    server.stop()?;
    Ok(Some(Figures::new([index, meanwhile, rare, common, of_others])))
}

/// Lets the first search build the index. Returns the time it takes, and the latency of other messages meanwhile.
fn catch_up(address: SocketAddr) -> Result<(f64, f64)> {
    let mut clients = Client::login_all(address, ["p1".to_owned(), "other".to_owned()])?;
    let mut other = clients.remove(1);
    let mut asker = clients.remove(0);
    let started = Instant::now();
    let asking = std::thread::spawn(move || {
        let took = search(&mut asker, "needle");
        (took, started.elapsed())
    });
    let mut times = Vec::new();
    while !asking.is_finished() {
        let began = Instant::now();
        Client::barrier([&mut other], "meanwhile")?;
        times.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    let (took, elapsed) = asking.join().expect("the asker does not panic");
    took?;
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).context("nothing was measured")?;
    Ok((elapsed.as_secs_f64(), p99.as_secs_f64() * 1e3))
}

fn searches(address: SocketAddr, name: &str, word: &str) -> Result<f64> {
    let mut asker = Client::login_all(address, [name.to_owned()])?.remove(0);
    let times: Sample = (0..SEARCHES).map(|_| search(&mut asker, word)).collect::<Result<_>>()?;
    Ok(times.median().context("nothing was measured")? / 1e3)
}

/// Time from the request to the last line of the reply.
fn search(asker: &mut Client, word: &str) -> Result<Duration> {
    let started = Instant::now();
    asker.write_all(format!("/search {word}\n/ping done\n").as_bytes())?;
    let mut found = 0;
    loop {
        while let Some(line) = asker.next_line() {
            if line == b"* pong done" {
                ensure!(found > 0, "nothing was found");
                return Ok(started.elapsed());
            }
            found += usize::from(line.ends_with(word.as_bytes()));
        }
        // It may take any time.
        let _ = asker.read();
    }
}

fn fill(path: &Path) -> Result<()> {
    let connection = Connection::open(path)?;
    for (pragma, value) in [("journal_mode", "off"), ("synchronous", "off")] {
        connection.pragma_update(None, pragma, value)?;
    }
    connection.execute_batch("begin")?;
    let mut message = connection
        .prepare("insert into message (seq, at, sender, previous, recipients, text) values (?1, 0, ?2, 0, ?3, ?4)")?;
    for seq in 1..=MESSAGES {
        let of_few = seq % RARE_EVERY == 0;
        let (sender, recipients) = if of_few { (3, "[1]") } else { (1, "[2]") };
        let word = |nth: i64| WORDS[(seq.wrapping_mul(2_654_435_761 + nth) >> 7) as usize % WORDS.len()];
        let last = if of_few { "needle" } else { "boiler" };
        let last = if seq % (2 * RARE_EVERY) == 0 { "boiler" } else { last };
        let text = format!("{} {} and {} at {} {last}", word(1), word(2), word(3), seq);
        message.execute(params![seq, sender, recipients, text])?;
    }
    for id in 1..=3 {
        let row = params![id, format!("p{id}"), MESSAGES];
        connection.execute("insert into peer (id, name, seen, cursor) values (?1, ?2, 1, ?3)", row)?;
    }
    connection.execute_batch("commit")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    Ok(())
}
