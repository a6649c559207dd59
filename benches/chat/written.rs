//! Wear: bytes that the server causes to be written to the medium, for single messages and for many at once. Owns the
//! loads; the system counts the bytes, including the last checkpoint.

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

/// Whole pages of 4096 bytes, the smallest unit of the system.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "written",
    title: "Bytes written to the medium",
    contestants: &[Contestant::Holdline],
    measures: &[
        Measure { name: "for one alone", unit: "bytes/message", bars: &[] },
        Measure { name: "for one that waits", unit: "bytes/message", bars: &[] },
        Measure { name: "in bulk", unit: "bytes/message", bars: &[] },
    ],
    run: Run::Each(run),
    on_request: false,
};

/// Messages that are sent one at a time, and share the last checkpoint.
const MESSAGES: u32 = 2000;

/// Name of the offline peer.
const ABSENT: &str = "absent";

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let loads: [fn(&Server, &Options) -> Result<f64>; 3] = [talk, keep, flood];
    let values = loads.map(|load| written(contestant, options, load)).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Some(Figures::new(values)))
}

/// Bytes per message, for the number of messages that the load returns.
fn written(contestant: Contestant, options: &Options, load: fn(&Server, &Options) -> Result<f64>) -> Result<f64> {
    let server = Server::start(contestant, options)?;
    let before = server.written_bytes()?;
    let messages = load(&server, options)?;
    let written = server.stop()?.written_bytes - before;
    Ok(written as f64 / messages)
}

/// Sends one message at a time, each delivered before the next is sent.
fn talk(server: &Server, _: &Options) -> Result<f64> {
    let mut probe = Probe::login(server.address(), "talk")?;
    for _ in 0..MESSAGES {
        probe.send_one()?;
    }
    probe.finish()?;
    Ok(f64::from(MESSAGES))
}

/// Sends one message at a time, each stored before the next is sent; reads them at the end.
fn keep(server: &Server, _: &Options) -> Result<f64> {
    let clients = Client::login_all(server.address(), ["sender".to_string()])?;
    let [mut sender] = clients.try_into().ok().expect("one for each name");
    let mut line = Numbered::new(&format!("{ABSENT}: "), "", "\n");
    for _ in 0..MESSAGES {
        store_one(&mut sender, line.line())?;
        line.count_up();
    }
    read_waiting(server)?;
    Ok(f64::from(MESSAGES))
}

/// Sends at full speed.
fn flood(server: &Server, options: &Options) -> Result<f64> {
    let load = pairs::load(options);
    pairs::measure(server, load)?;
    Ok(load.messages_of_all())
}

/// Returns when the server has reported that everything before is stored.
fn store_one(sender: &mut Client, line: &[u8]) -> Result<()> {
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

fn read_waiting(server: &Server) -> Result<()> {
    let client = Client::start_all(server.address(), [ABSENT.to_string()])?.remove(0);
    let mut reader = Reader::new(client, Numbered::new("from sender: ", "", ""), MESSAGES);
    let arrived = Cell::new(0);
    run_all([reader.log_in_and_receive_all(&arrived)], &arrived)?;
    Client::barrier([reader.client()], "done")
}
