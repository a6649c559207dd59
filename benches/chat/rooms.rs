//! Rooms: a fan-out to 200 readers in one, among few members and among tens of thousands, and the login of a peer in 500
//! rooms. Owns these loads; `fan_out.rs` has who writes when.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};
use rusqlite::{Connection, params};

use crate::client::Client;
use crate::options::Options;
use crate::sample::Sample;
use crate::scenario::{Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Home, Server};
use crate::{fan_out, history};

/// Cost of rooms, without a bar to reach.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "rooms",
    title: "Rooms",
    contestants: &[Contestant::Holdline],
    measures: &[
        Measure { name: "to 200 readers", unit: "deliveries/s", bars: &[] },
        Measure { name: "to 200 of 30,000 members", unit: "deliveries/s", bars: &[] },
        Measure { name: "login in no room", unit: "ms", bars: &[] },
        Measure { name: "login in 500 rooms", unit: "ms", bars: &[] },
        Measure { name: "10,000 messages of 500 rooms", unit: "ms", bars: &[] },
    ],
    run: Run::Each(run),
    on_request: false,
};

/// Online readers.
const READERS: u32 = 200;

/// Members of the large room, including the readers.
const MEMBERS: i64 = 30_000;

/// Messages of a fan-out.
const MESSAGES: u32 = 5000;

/// Rooms of one peer.
const ROOMS: i64 = 500;

/// Messages that wait in each of them.
const WAITING_PER_ROOM: i64 = 20;

/// Logins, of which the median counts.
const LOGINS: usize = 50;

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let small = fan_out_among(contestant, options, 0)?;
    let large = fan_out_among(contestant, options, MEMBERS)?;
    let home = home_with(contestant, options, |connection| {
        insert_peers(connection, 2)?;
        for room in 1..=ROOMS {
            insert_room(connection, room, [1, 2].into_iter())?;
        }
        Ok(())
    })?;
    let server = Server::start_in(home, contestant, options)?;
    let in_no_room = logins(server.address(), |nth| format!("stranger{nth}"))?;
    let in_rooms = logins(server.address(), |_| "m1".to_owned())?;
    let replay = replay(server.address())?;
    server.stop()?;
    let values = [small.values[0], large.values[0], in_no_room, in_rooms, replay];
    Ok(Some(Figures { values: values.into(), ..small }))
}

/// Fan-out in a room with this many members besides the readers.
fn fan_out_among(contestant: Contestant, options: &Options, members: i64) -> Result<Figures> {
    let home = home_with(contestant, options, |connection| {
        insert_peers(connection, members)?;
        insert_room(connection, 1, 1..=members)
    })?;
    let server = Server::start_in(home, contestant, options)?;
    let figures = fan_out::measure_in_room(&server, "#r1", READERS, MESSAGES)?;
    server.stop()?;
    Ok(figures)
}

/// Time from the connection to the greeting.
fn logins(address: SocketAddr, name: impl Fn(usize) -> String) -> Result<f64> {
    let times: Sample = (0..LOGINS).map(|nth| history::login(address, name(nth))).collect::<Result<_>>()?;
    Ok(times.median().context("nothing was measured")? / 1e3)
}

/// Time from the connection of a peer with messages waiting in each of its rooms to the last of them.
fn replay(address: SocketAddr) -> Result<f64> {
    let mut sender = Client::login_all(address, ["m2".to_owned()])?.remove(0);
    let mut last = String::new();
    for number in 0..ROOMS * WAITING_PER_ROOM {
        let room = 1 + number % ROOMS;
        sender.write_all(format!("#r{room}: {number}\n").as_bytes())?;
        last = format!("from m2 in #r{room}: {number}");
    }
    Client::barrier([&mut sender], "sent")?;
    let started = Instant::now();
    let mut reader = Client::connect(address, "m1".to_owned())?;
    let mut messages = 0;
    loop {
        while let Some(message) = reader.next_message()? {
            messages += i64::from(message.starts_with(b"from m2 in "));
            if message == last.as_bytes() {
                anyhow::ensure!(messages == ROOMS * WAITING_PER_ROOM, "{messages} messages came");
                return Ok(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        reader.read()?;
    }
}

/// Returns a home whose database holds what `fill` inserts.
fn home_with(contestant: Contestant, options: &Options, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<Home> {
    // The server creates the schema.
    let home = Server::start_in(Home::new()?, contestant, options)?.stop()?.home;
    let connection = Connection::open(home.data().join("holdline.db"))?;
    connection.execute_batch("begin")?;
    fill(&connection).context("the schema has changed: rooms.rs inserts the rows of an older one")?;
    connection.execute_batch("commit")?;
    Ok(home)
}

fn insert_peers(connection: &Connection, peers: i64) -> Result<()> {
    let mut peer = connection.prepare("insert into peer (id, name, seen) values (?1, ?2, 1)")?;
    (1..=peers).try_for_each(|id| peer.execute(params![id, format!("m{id}")]).map(drop))?;
    Ok(())
}

fn insert_room(connection: &Connection, room: i64, members: impl Iterator<Item = i64>) -> Result<()> {
    connection.execute("insert into room (id, name) values (?1, ?2)", params![room, format!("#r{room}")])?;
    let mut member = connection.prepare("insert into member (room, peer, joined) values (?1, ?2, 0)")?;
    let mut count = 0;
    for peer in members {
        member.execute([room, peer])?;
        count += 1;
    }
    connection.execute("update room set members = ?2 where id = ?1", [room, count])?;
    Ok(())
}
