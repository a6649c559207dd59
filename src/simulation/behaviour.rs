//! Actions of clients: they log in, send, read, stall, acknowledge late, end, break and vanish. Owns how each action
//! becomes events for the inbox; never decides which action comes next.

use super::client::Client;
use super::client_model::{ClientModel, ModelRequest};
use super::oracle::{Fate, SentLine, Target, request_id, text, topic_text};
use super::swarm::{Swarm, one_of};
use super::world::World;
use crate::broker::{Access, EndReason, Event, Joining, SessionOutput, outbox};
use crate::limits::{BATCH_REQUESTS_MAX, HISTORY_MESSAGES_MAX, READ_BYTES_MAX};
use crate::message::{Destination, Seq, SessionId, Text};
use crate::protocol::{Capabilities, Code, Draft, HistoryRequest, Refusal, Request, Submission, Work, plain};
use crate::source::Source;

impl World {
    pub(super) fn join_any(&mut self) -> bool {
        let peer = self.any_name(1);
        self.clients.len() < self.swarm.clients_max && self.join(peer)
    }

    pub(super) fn join(&mut self, peer: usize) -> bool {
        let session = SessionId::new(self.models.len() as u64 + 1);
        let (sender, receiver) = outbox();
        let acks = self.rng.u32(..16) < self.swarm.acks;
        self.step(|| format!("#{session} logs in as p{peer}{}", if acks { ", and acknowledges" } else { "" }));
        let wants_topics = self.swarm.topics > 0 && self.rng.u32(..4) > 0;
        self.models.push(ClientModel::new(self.models.len(), peer, acks, wants_topics));
        let client = Client::new(session, receiver);
        let permit = client.permit();
        self.clients.push(client);
        let name = self.oracle.peers[peer].name.clone();
        let encoder = plain::session(Capabilities { acknowledges: acks, wants_topics, ..Capabilities::default() });
        let joining = Joining {
            id: None,
            source: source(session),
            access: Access::Free,
            output: SessionOutput::Lines { encoder, outbox: sender },
            permit,
        };
        let join = Event::Join { session, name, joining: Box::new(joining) };
        self.send_event(self.clients.len() - 1, join, Vec::new());
        true
    }

    pub(super) fn send_any(&mut self, is_flood: bool) -> bool {
        let Some(place) = self.choose(|client| !client.is_ending && client.permit().is_some()) else { return false };
        let lines = if is_flood { 100..=BATCH_REQUESTS_MAX } else { 1..=self.swarm.batch_max };
        let lines = self.rng.usize(lines);
        let batch = self.any_batch(place, lines);
        self.submit(place, batch)
    }

    /// Submits requests of a client in one batch.
    pub(super) fn submit(&mut self, place: usize, batch: Vec<(ModelRequest, Work)>) -> bool {
        let (asked, requests): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let client = &mut self.clients[place];
        let permit = client.permit().expect("no batch is in flight");
        let session = client.session;
        client.is_ending |= asked.last() == Some(&ModelRequest::Quit);
        let number = client.number();
        self.step(|| format!("#{session} submits {asked:?}"));
        self.models[number].acks_processed(&mut self.oracle);
        self.models[number].is_answered(&mut self.oracle);
        let requests = asked.iter().zip(requests).map(|(asked, request)| self.with_id(asked, request)).collect();
        self.send_event(place, Event::Requests { session, requests, permit: Some(permit) }, asked);
        true
    }

    fn with_id(&self, asked: &ModelRequest, work: Work) -> Submission {
        let id = if let ModelRequest::Send(number) = asked { self.oracle.sent[*number].id } else { None };
        Submission { id: id.map(request_id), work }
    }

    /// Returns a request that sends a new message to these targets, with this many bytes after its number.
    pub(super) fn line(&mut self, place: usize, to: Vec<Target>, padding: usize) -> (ModelRequest, Work) {
        let session = self.clients[place].number();
        let number = self.new_line(Some(session), self.models[session].peer, to, padding);
        (ModelRequest::Send(number), self.send(number))
    }

    /// Records a new message. Returns its number.
    pub(super) fn new_line(&mut self, session: Option<usize>, sender: usize, to: Vec<Target>, padding: usize) -> usize {
        let restarts = self.oracle.restarts;
        self.oracle.sent.push(SentLine {
            session,
            sender,
            to,
            padding,
            id: None,
            attempts: 1,
            restarts,
            fate: Fate::InFlight,
            copies: Vec::new(),
            failed_at: 0,
            turn_max: u64::MAX,
        });
        self.oracle.sent.len() - 1
    }

    fn send(&self, number: usize) -> Work {
        let SentLine { to, padding, .. } = &self.oracle.sent[number];
        let destination = |to: &Target| match to {
            Target::Peer(peer) => Destination::Peer(self.oracle.peers[*peer].name.clone()),
            Target::Room(room) => Destination::Room(self.oracle.rooms.name(*room).clone()),
        };
        Request::Send(Draft { to: to.iter().map(destination).collect(), text: text(number, *padding) }).into()
    }

    /// Newest message that a client has received and not acknowledged, if it may submit a batch.
    pub(super) fn pending_ack(&self, place: usize) -> Option<Seq> {
        let client = &self.clients[place];
        let model = &self.models[client.number()];
        model.unacknowledged().filter(|_| !client.is_ending && client.permit().is_some())
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
        self.step(|| format!("#{session} has its outbox written: {}", describe_report(&event)));
        self.send_event_if_any(place, event);
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
        self.models[number].acknowledges(arrived, &mut self.oracle);
        self.step(|| format!("#{session} has received {arrived} bytes"))
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
        self.step(|| format!("#{session} has more bytes acknowledged: {}", describe_report(&event)));
        self.send_event_if_any(place, event);
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
        self.models[number].is_answered(&mut self.oracle);
        self.send_event(place, Event::End { session, reason }, Vec::new());
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
        self.receive_part(place);
        let bytes = self.rng.u64(..=self.clients[place].unacknowledged_bytes());
        self.leave(place, bytes)
    }

    /// Lets some of the bytes in flight arrive.
    pub(super) fn receive_part(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let bytes = self.rng.u64(..=client.unread_bytes());
        client.read(bytes);
        self.models[client.number()].acknowledges(client.arrived(), &mut self.oracle);
    }

    pub(super) fn finish_any(&mut self) -> bool {
        let place = self.choose(Client::is_finished);
        place.is_some_and(|place| self.leave(place, 0))
    }

    /// Disconnects a client after this many more bytes are known to have arrived.
    pub(super) fn leave(&mut self, place: usize, bytes: u64) -> bool {
        let client = &mut self.clients[place];
        let event = client.acknowledge(bytes);
        let session = client.session;
        client.is_gone = true;
        self.step(|| format!("#{session} leaves: {}", describe_report(&event)));
        self.send_event_if_any(place, event);
        self.send_event(place, Event::Leave { session }, Vec::new());
        self.left += 1;
        self.drop_if_gone(place);
        true
    }

    /// Picks a client that has no queued events and for which `holds` is true: the first after a random index.
    fn choose(&mut self, holds: impl Fn(&Client) -> bool) -> Option<usize> {
        let from = self.rng.usize(..self.clients.len().max(1));
        let can = |place: &usize| self.clients[*place].queued_events.is_empty() && holds(&self.clients[*place]);
        (from..self.clients.len()).chain(0..from).find(can)
    }

    /// Picks a name that logs in often or, with a share of `seldom` in 16, a rare one.
    pub(super) fn any_name(&mut self, seldom: u32) -> usize {
        let Swarm { peers, rare_peers, .. } = self.swarm;
        if rare_peers > 0 && self.rng.u32(..16) < seldom {
            peers + self.rng.usize(..rare_peers)
        } else {
            self.rng.usize(..peers)
        }
    }

    fn any_batch(&mut self, place: usize, lines: usize) -> Vec<(ModelRequest, Work)> {
        let mut batch = Vec::with_capacity(lines);
        let mut bytes = 0;
        // A batch comes from one read, and each byte of the read may become three.
        let mut has_joined = false;
        while batch.len() < lines && bytes <= 3 * READ_BYTES_MAX {
            let (mut asked, mut request) = self.any_request(place);
            // A topic right behind a joining could answer either.
            if has_joined && matches!(asked, ModelRequest::ShowTopic(_) | ModelRequest::SetTopic(..)) {
                (asked, request) = ping(self.next_token);
            }
            has_joined &= !matches!(asked, ModelRequest::Ping(_));
            has_joined |= matches!(asked, ModelRequest::Join(_));
            bytes += if let Work::Client(Request::Send(draft)) = &request { draft.text.len() } else { 0 };
            batch.push((asked, request));
            if matches!(asked, ModelRequest::Who | ModelRequest::History { .. } | ModelRequest::Quit) {
                break;
            }
        }
        batch
    }

    fn any_request(&mut self, place: usize) -> (ModelRequest, Work) {
        self.next_token += 1;
        let token = self.next_token;
        let memberships = if self.swarm.rooms > 0 { self.swarm.memberships } else { 0 };
        let model = &self.models[self.clients[place].number()];
        let acks = if model.has_acks() { 12 } else { 0 };
        match self.rng.u32(..64 + acks) {
            0..6 => ping(token),
            6..9 => {
                let refusal = Refusal::new(Code::BadRequest, token.to_string());
                (ModelRequest::Malformed(token), Work::Refused(refusal))
            }
            9 => (ModelRequest::Who, Request::Who.into()),
            10 => self.any_history(place),
            11 if self.rng.bool() => (ModelRequest::Quit, Request::Quit.into()),
            64.. => self.any_acknowledgement(place),
            _ if self.rng.u32(..64) < memberships => self.any_membership(place),
            _ if self.swarm.topics > 0 && self.rng.u32(..64) < self.swarm.topics => self.any_topic(place),
            _ => self.any_line(place),
        }
    }

    fn any_history(&mut self, place: usize) -> (ModelRequest, Work) {
        let peer = self.models[self.clients[place].number()].peer;
        let room = if self.rng.u32(..3) == 0 { self.any_room(peer) } else { None };
        let with = match room {
            Some(room) => Some(Destination::Room(self.oracle.rooms.name(room).clone())),
            None if self.rng.bool() => {
                let with = self.any_name(2);
                Some(Destination::Peer(self.oracle.peers[with].name.clone()))
            }
            None => None,
        };
        let count = one_of(&mut self.rng, &[1, 5, 20, HISTORY_MESSAGES_MAX]);
        let is_early = self.rng.u32(..4) == 0;
        let before = is_early.then(|| Seq::new(self.rng.i64(0..=self.oracle.newest.get() + 1)));
        let is_whole = with.is_none() && before.is_none();
        (ModelRequest::History { is_whole, room }, Request::History(HistoryRequest { with, before, count }).into())
    }

    /// Joins or leaves a room, most often so that it makes a difference.
    fn any_membership(&mut self, place: usize) -> (ModelRequest, Work) {
        let peer = self.models[self.clients[place].number()].peer;
        let room = self.rng.usize(..self.swarm.rooms);
        let name = self.oracle.rooms.name(room).clone();
        let leaves = if self.oracle.rooms.is_member(room, peer) { 11 } else { 3 };
        if self.rng.u32(..16) < leaves {
            (ModelRequest::Leave(room), Request::Leave { room: name }.into())
        } else {
            (ModelRequest::Join(room), Request::Join { room: name }.into())
        }
    }

    /// Shows, clears or sets the topic of a room, most often one that the peer is in.
    fn any_topic(&mut self, place: usize) -> (ModelRequest, Work) {
        let peer = self.models[self.clients[place].number()].peer;
        let room = self.any_room(peer).expect("a topic is requested only if there are rooms");
        let name = self.oracle.rooms.name(room).clone();
        let topic = match self.rng.u32(..8) {
            0..3 => return (ModelRequest::ShowTopic(room), Request::ShowTopic { room: name }.into()),
            3 => None,
            _ => Some(self.next_token),
        };
        let request = Request::SetTopic { room: name, topic: topic.map(topic_text) };
        (ModelRequest::SetTopic(room, topic), request.into())
    }

    /// Acknowledges the newest message that has arrived; or an earlier one, or one that is still in flight, or one that
    /// was never sent.
    fn any_acknowledgement(&mut self, place: usize) -> (ModelRequest, Work) {
        let chosen = self.rng.usize(..1000);
        let model = &self.models[self.clients[place].number()];
        let honest = model.unacknowledged().unwrap_or(Seq::ZERO);
        let seq = match self.rng.u32(..8) {
            0 => model.acknowledged(),
            1 => Seq::new(self.rng.i64(0..=honest.get())),
            2 if self.swarm.acks_unreceived => model.any_handed(chosen).unwrap_or(honest),
            3 if self.swarm.acks_unreceived => Seq::new(self.oracle.newest.get() + self.rng.i64(0..10)),
            4 if self.swarm.acks_unreceived => Seq::MAX,
            _ => honest,
        };
        (ModelRequest::Ack(seq), Request::Ack { seq }.into())
    }

    /// Picks a room, most often one that the peer is in. `None` if there are no rooms.
    fn any_room(&mut self, peer: usize) -> Option<usize> {
        let rooms = self.swarm.rooms;
        let any = (rooms > 0).then(|| self.rng.usize(..rooms))?;
        let own = (any..rooms).chain(0..any).find(|room| self.oracle.rooms.is_member(*room, peer));
        own.filter(|_| self.rng.u32(..16) > 0).or(Some(any))
    }

    fn any_line(&mut self, place: usize) -> (ModelRequest, Work) {
        let sender = self.models[self.clients[place].number()].peer;
        let has_id = self.rng.u32(..16) < self.swarm.ids;
        if has_id
            && self.rng.u32(..4) == 0
            && let Some(again) = self.any_line_again(place, sender)
        {
            return again;
        }
        let to = self.any_destinations(sender, !has_id);
        let padding = self.rng.usize(..=self.swarm.text_bytes_max);
        let (asked, request) = self.line(place, to, padding);
        if let (true, ModelRequest::Send(number)) = (has_id, asked) {
            self.give_id(number, sender);
        }
        (asked, request)
    }

    /// Sends a recent message with an id again, whatever became of it.
    fn any_line_again(&mut self, place: usize, sender: usize) -> Option<(ModelRequest, Work)> {
        let number = self.any_line_with_id(sender)?;
        let (session, restarts) = (self.clients[place].number(), self.oracle.restarts);
        let sent = &mut self.oracle.sent[number];
        sent.attempts += 1;
        (sent.session, sent.restarts, sent.turn_max) = (Some(session), restarts, u64::MAX);
        if !matches!(sent.fate, Fate::Committed(_)) {
            sent.fate = Fate::InFlight;
        }
        Some((ModelRequest::Send(number), self.send(number)))
    }

    /// Gives a message an id: a new one, or that of another message.
    fn give_id(&mut self, number: usize, sender: usize) {
        let other = if self.rng.u32(..8) == 0 { self.any_line_with_id(sender) } else { None };
        let id = match other.and_then(|other| self.oracle.sent[other].id) {
            Some(id) => {
                self.oracle.ids.reuse(id, number);
                id
            }
            None => self.oracle.ids.give(number),
        };
        self.oracle.sent[number].id = Some(id);
    }

    fn any_line_with_id(&mut self, sender: usize) -> Option<usize> {
        let lines = self.oracle.sent.iter().enumerate().rev().take(200);
        let lines: Vec<usize> =
            lines.filter(|(_, sent)| sent.sender == sender && sent.id.is_some()).map(|(number, _)| number).collect();
        (!lines.is_empty()).then(|| lines[self.rng.usize(..lines.len())])
    }

    pub(super) fn any_destinations(&mut self, sender: usize, with_rooms: bool) -> Vec<Target> {
        let mut to = Vec::new();
        for _ in 0..self.rng.usize(1..=self.swarm.destinations_max) {
            let room = if with_rooms && self.rng.bool() { self.any_room(sender) } else { None };
            let destination = match room {
                Some(room) => Target::Room(room),
                None => Target::Peer(self.any_name(2)),
            };
            if !to.contains(&destination) {
                to.push(destination);
            }
        }
        to
    }
}

fn ping(token: u64) -> (ModelRequest, Work) {
    (ModelRequest::Ping(token), Request::Ping { token: Text::clean(&token.to_string()) }.into())
}

fn describe_report(event: &Option<Event>) -> String {
    match event {
        Some(Event::DeliveryReport { bytes, delivered: None, .. }) => format!("{bytes} bytes are written"),
        Some(Event::DeliveryReport { bytes, delivered: Some(delivered), .. }) => {
            format!("{bytes} bytes are written, {} messages up to {} delivered", delivered.messages, delivered.seq)
        }
        _ => "nothing to report".to_owned(),
    }
}

/// Source of a session: a name comes from each of three.
pub(super) fn source(session: SessionId) -> Source {
    Source::of([192, 0, 2, (session.get() % 3) as u8].into())
}
