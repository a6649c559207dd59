//! What clients do: log in, send, read, stall, acknowledge late, end, break and vanish. Owns how each of these becomes
//! events for the inbox; never decides which comes next.

use super::client::Client;
use super::swarm::{Swarm, one_of};
use super::truth::{Fate, Sent, text};
use super::view::{Asked, View};
use super::world::World;
use crate::broker::{EndReason, Event, Joining, outbox};
use crate::limits::{BATCH_REQUESTS_MAX, HISTORY_MESSAGES_MAX, READ_BYTES_MAX};
use crate::message::{Destination, SessionId, Text};
use crate::protocol::{Code, Protocol, Refusal, Request};

impl World {
    pub(super) fn join_any(&mut self) -> bool {
        let peer = self.any_name(1);
        self.clients.len() < self.swarm.clients_max && self.join(peer)
    }

    pub(super) fn join(&mut self, peer: usize) -> bool {
        let session = SessionId::new(self.views.len() as u64 + 1);
        let (inlet, outlet) = outbox();
        self.step(|| format!("#{session} logs in as p{peer}"));
        self.views.push(View::new(self.views.len(), peer));
        self.clients.push(Client::new(session, outlet));
        let name = self.truth.peers[peer].name.clone();
        let joining = Joining { id: None, protocol: Protocol::Plain, acks: false, outbox: inlet };
        let join = Event::Join { session, name, joining };
        self.tell(self.clients.len() - 1, join, Vec::new());
        true
    }

    pub(super) fn send_any(&mut self, is_flood: bool) -> bool {
        let Some(place) = self.choose(|client| !client.is_ending && client.permit().is_some()) else { return false };
        let lines = if is_flood { 100..=BATCH_REQUESTS_MAX } else { 1..=self.swarm.batch_max };
        let lines = self.rng.usize(lines);
        let batch = self.any_batch(place, lines);
        self.hand_in(place, batch)
    }

    /// Hands in what a client asks, all at once.
    pub(super) fn hand_in(&mut self, place: usize, batch: Vec<(Asked, Request)>) -> bool {
        let (asked, requests): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let client = &mut self.clients[place];
        let permit = client.permit().expect("no batch is under way");
        let session = client.session;
        client.is_ending |= asked.last() == Some(&Asked::Quit);
        let number = client.number();
        self.step(|| format!("#{session} hands in {asked:?}"));
        self.views[number].is_answered(&self.truth);
        let requests = requests.into_iter().map(Into::into).collect();
        self.tell(place, Event::Requests { session, requests, permit }, asked);
        true
    }

    /// A line to these, with so many bytes behind its number.
    pub(super) fn line(&mut self, place: usize, to: Vec<usize>, padding: usize) -> (Asked, Request) {
        let number = self.truth.sent.len();
        let names = to.iter().map(|peer| Destination::Peer(self.truth.peers[*peer].name.clone())).collect();
        let session = self.clients[place].number();
        let sender = self.views[session].peer;
        self.truth.sent.push(Sent { session, sender, to, padding, fate: Fate::Told, turn_max: u64::MAX });
        (Asked::Send(number), Request::Send { to: names, text: text(number, padding) })
    }

    pub(super) fn write_any(&mut self) -> bool {
        let socket_bytes = self.swarm.socket_bytes;
        let place = self.choose(|client| client.can_write(socket_bytes));
        place.is_some_and(|place| self.write(place, socket_bytes))
    }

    pub(super) fn write(&mut self, place: usize, socket_bytes: u64) -> bool {
        let client = &mut self.clients[place];
        let event = client.write(socket_bytes);
        let session = client.session;
        self.step(|| format!("#{session} is written to, {}", told(&event)));
        self.tell_some(place, event);
        true
    }

    pub(super) fn read_any(&mut self) -> bool {
        let Some(place) = self.choose(|client| client.can_read() && !client.is_stalled) else { return false };
        let bytes = self.rng.u64(1..=2 * self.clients[place].unread_bytes());
        self.read(place, bytes)
    }

    pub(super) fn read(&mut self, place: usize, bytes: u64) -> bool {
        let client = &mut self.clients[place];
        client.read(bytes);
        let (session, arrived, number) = (client.session, client.arrived(), client.number());
        self.views[number].acknowledges(arrived, &mut self.truth);
        self.step(|| format!("#{session} has {arrived} bytes"))
    }

    pub(super) fn acknowledge_any(&mut self) -> bool {
        let Some(place) = self.choose(Client::can_acknowledge) else { return false };
        let bytes = self.rng.u64(1..=2 * self.clients[place].unacknowledged_bytes());
        self.acknowledge(place, bytes)
    }

    pub(super) fn acknowledge(&mut self, place: usize, bytes: u64) -> bool {
        let client = &mut self.clients[place];
        let event = client.acknowledge(bytes);
        let session = client.session;
        self.step(|| format!("#{session} is known to have more, {}", told(&event)));
        self.tell_some(place, event);
        true
    }

    pub(super) fn stall_any(&mut self) -> bool {
        let Some(place) = self.choose(|_| true) else { return false };
        let client = &mut self.clients[place];
        client.is_stalled = !client.is_stalled;
        let (session, does) = (client.session, if client.is_stalled { "stops reading" } else { "reads again" });
        self.step(|| format!("#{session} {does}"))
    }

    pub(super) fn end_any(&mut self) -> bool {
        let place = self.choose(|client| !client.is_ending && client.permit().is_some());
        place.is_some_and(|place| self.end(place, EndReason::Client))
    }

    pub(super) fn end(&mut self, place: usize, reason: EndReason) -> bool {
        let client = &mut self.clients[place];
        client.is_ending = true;
        let (session, number) = (client.session, client.number());
        self.step(|| format!("#{session} ends: {reason:?}"));
        self.views[number].is_answered(&self.truth);
        self.tell(place, Event::End { session, reason }, Vec::new());
        true
    }

    pub(super) fn break_any(&mut self) -> bool {
        let Some(place) = self.choose(|client| !client.is_broken) else { return false };
        self.clients[place].is_broken = true;
        let session = self.clients[place].session;
        self.step(|| format!("the socket of #{session} fails"))
    }

    pub(super) fn vanish_any(&mut self) -> bool {
        let Some(place) = self.choose(|_| true) else { return false };
        self.lose(place);
        let bytes = self.rng.u64(..=self.clients[place].unacknowledged_bytes());
        self.leave(place, bytes)
    }

    /// Of what is on its way, something still arrives.
    pub(super) fn lose(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let bytes = self.rng.u64(..=client.unread_bytes());
        client.read(bytes);
        self.views[client.number()].acknowledges(client.arrived(), &mut self.truth);
    }

    pub(super) fn finish_any(&mut self) -> bool {
        let place = self.choose(Client::is_finished);
        place.is_some_and(|place| self.leave(place, 0))
    }

    /// A connection is gone; so many bytes more are known to have arrived.
    pub(super) fn leave(&mut self, place: usize, bytes: u64) -> bool {
        let client = &mut self.clients[place];
        let event = client.acknowledge(bytes);
        let session = client.session;
        client.is_gone = true;
        self.step(|| format!("#{session} leaves, {}", told(&event)));
        self.tell_some(place, event);
        self.tell(place, Event::Leave { session }, Vec::new());
        self.left += 1;
        self.drop_if_gone(place);
        true
    }

    /// A client that can do something, and of which this holds: the first behind a random one.
    fn choose(&mut self, holds: impl Fn(&Client) -> bool) -> Option<usize> {
        let from = self.rng.usize(..self.clients.len().max(1));
        let can = |place: &usize| self.clients[*place].untold.is_empty() && holds(&self.clients[*place]);
        (from..self.clients.len()).chain(0..from).find(can)
    }

    /// A name that logs in often or, so often of 16, one that does seldom.
    fn any_name(&mut self, seldom: u32) -> usize {
        let Swarm { peers, strangers, .. } = self.swarm;
        if strangers > 0 && self.rng.u32(..16) < seldom {
            peers + self.rng.usize(..strangers)
        } else {
            self.rng.usize(..peers)
        }
    }

    fn any_batch(&mut self, place: usize, lines: usize) -> Vec<(Asked, Request)> {
        let mut batch = Vec::with_capacity(lines);
        let mut bytes = 0;
        // One read takes no more; each byte of it may have become three.
        while batch.len() < lines && bytes <= 3 * READ_BYTES_MAX {
            let (asked, request) = self.any_request(place);
            bytes += if let Request::Send { text, .. } = &request { text.len() } else { 0 };
            batch.push((asked, request));
            if matches!(asked, Asked::Who | Asked::History { .. } | Asked::Quit) {
                break;
            }
        }
        batch
    }

    fn any_request(&mut self, place: usize) -> (Asked, Request) {
        self.next_token += 1;
        let token = self.next_token;
        match self.rng.u32(..64) {
            0..6 => (Asked::Ping(token), Request::Ping { token: Text::clean(&token.to_string()) }),
            6..9 => {
                let refusal = Refusal::new(Code::BadRequest, token.to_string());
                (Asked::Malformed(token), Request::Malformed(refusal))
            }
            9 => (Asked::Who, Request::Who),
            10 => self.any_history(),
            11 if self.rng.bool() => (Asked::Quit, Request::Quit),
            _ => self.any_line(place),
        }
    }

    fn any_history(&mut self) -> (Asked, Request) {
        let with = if self.rng.bool() { Some(self.any_name(2)) } else { None };
        let with = with.map(|peer| Destination::Peer(self.truth.peers[peer].name.clone()));
        let count = one_of(&mut self.rng, &[1, 5, 20, HISTORY_MESSAGES_MAX]);
        (Asked::History { is_whole: with.is_none() }, Request::History { with, before: None, count })
    }

    fn any_line(&mut self, place: usize) -> (Asked, Request) {
        let mut to = Vec::new();
        for _ in 0..self.rng.usize(1..=self.swarm.destinations_max) {
            let peer = self.any_name(2);
            if !to.contains(&peer) {
                to.push(peer);
            }
        }
        let padding = self.rng.usize(..=self.swarm.text_bytes_max);
        self.line(place, to, padding)
    }
}

fn told(event: &Option<Event>) -> String {
    match event {
        Some(Event::Taken { bytes, delivered: None, .. }) => format!("{bytes} bytes are written"),
        Some(Event::Taken { bytes, delivered: Some(delivered), .. }) => {
            format!("{bytes} bytes are written, {} messages up to {} delivered", delivered.messages, delivered.seq)
        }
        _ => "nothing to tell".to_owned(),
    }
}
