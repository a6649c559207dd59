//! Wear: bytes that the server has the system write to the medium, for messages alone and in bulk.
//! Owns the loads; what is written is counted by the system, the last checkpoint included.

use std::cell::Cell;

use anyhow::{Result, ensure};

use crate::client::{Client, STALL};
use crate::drive::run_all;
use crate::lines::Numbered;
use crate::options::Options;
use crate::pairs;
use crate::probe::Probe;
use crate::reader::Reader;
use crate::scenario::{Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Server};

/// Whole pages of 4096 bytes, as the system writes no less.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "written",
    title: "Bytes written to the medium",
    contestants: &[Contestant::Holdline],
    measures: &[
        Measure { name: "for one alone", unit: "bytes/message", bars: &[] },
        Measure { name: "for one that is kept", unit: "bytes/message", bars: &[] },
        Measure { name: "in bulk", unit: "bytes/message", bars: &[] },
    ],
    run: Run::Each(run),
    on_request: false,
};

/// Messages that are sent one at a time, and share what the last checkpoint writes.
const MESSAGES: u32 = 2000;

/// Who is away.
const ABSENT: &str = "absent";

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let loads: [fn(&Server, &Options) -> Result<f64>; 3] = [talk, keep, flood];
    let values = loads.map(|load| written(contestant, options, load)).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Some(Figures::new(values)))
}

/// Bytes per message, of as many as the load says they were.
fn written(contestant: Contestant, options: &Options, load: fn(&Server, &Options) -> Result<f64>) -> Result<f64> {
    let server = Server::start(contestant, options)?;
    let before = server.written_bytes()?;
    let messages = load(&server, options)?;
    let written = server.stop()?.written_bytes - before;
    Ok(written as f64 / messages)
}

/// One at a time, each of them delivered before the next is sent.
fn talk(server: &Server, _: &Options) -> Result<f64> {
    let mut probe = Probe::login(server.address(), "talk")?;
    for _ in 0..MESSAGES {
        probe.send_one()?;
    }
    probe.finish()?;
    Ok(f64::from(MESSAGES))
}

/// One at a time, each of them kept before the next is sent; in the end they are read.
fn keep(server: &Server, _: &Options) -> Result<f64> {
    let clients = Client::login_all(server.address(), ["sender".to_string()])?;
    let [mut sender] = clients.try_into().ok().expect("one for each name");
    let mut line = Numbered::new(&format!("{ABSENT}: "), "", "\n");
    for _ in 0..MESSAGES {
        keep_one(&mut sender, line.line())?;
        line.count_up();
    }
    read_kept(server)?;
    Ok(f64::from(MESSAGES))
}

/// As fast as they may.
fn flood(server: &Server, options: &Options) -> Result<f64> {
    let load = pairs::load(options);
    pairs::measure(server, load)?;
    Ok(load.messages_of_all())
}

/// Returns when the server has said that everything before is kept.
fn keep_one(sender: &mut Client, line: &[u8]) -> Result<()> {
    sender.write_all(line)?;
    sender.write_all(b"/ping kept\n")?;
    loop {
        match sender.next_line() {
            Some(b"* pong kept") => return Ok(()),
            Some(_) => {}
            None => ensure!(sender.read()?, "{} waited {STALL:?} for an answer", sender.name()),
        }
    }
}

fn read_kept(server: &Server) -> Result<()> {
    let client = Client::start_all(server.address(), [ABSENT.to_string()])?.remove(0);
    let mut reader = Reader::new(client, Numbered::new("from sender: ", "", ""), MESSAGES);
    let arrived = Cell::new(0);
    run_all([reader.log_in_and_receive_all(&arrived)], &arrived)?;
    Client::barrier([reader.client()], "done")
}
