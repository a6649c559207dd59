//! What clients ask: each request becomes an act, or is refused. Owns which; never how it is answered in bytes.

use super::searches::Search;
use super::send::{Sender, send_id};
use super::{Chat, Completion, Turn, unreachable_peer};
use crate::message::{Destination, PeerId, PeerName, Recipient, RequestId, Seq, SessionId};
use crate::protocol::{ClientRequest, Refusal, Reply, Request};
use crate::store::{Entry, Read, TurnRequest};

impl Chat {
    /// Takes a batch of requests.
    pub(super) fn requests(
        &mut self,
        session: SessionId,
        requests: Vec<ClientRequest>,
        turn: &mut Turn,
        request: &mut TurnRequest,
    ) {
        // One whose login was refused is nobody.
        let Some(peer) = self.sessions.get(&session).map(|session| session.peer) else { return };
        for ClientRequest { id, request: asked } in requests {
            let refused = id.clone();
            match self.request(session, peer, id, asked, turn, request) {
                Ok(completion) => turn.completions.extend(completion),
                Err(refusal) => {
                    turn.completions.push(Completion::Reply { session, id: refused, reply: Reply::Refused(refusal) })
                }
            }
        }
    }

    fn request(
        &mut self,
        session: SessionId,
        peer: PeerId,
        id: Option<RequestId>,
        asked: Request,
        turn: &mut Turn,
        request: &mut TurnRequest,
    ) -> Result<Option<Completion>, Refusal> {
        let completion = match asked {
            Request::Send { to, text } => {
                let send_id = id.map(|id| send_id(id, &to, &text));
                self.send(Sender::Session(session, peer), send_id, &to, text, turn, request)?
            }
            Request::Filtered { asked, outcome } => {
                let send_id = id.map(|id| send_id(id, &asked.to, &asked.text));
                self.send_filtered(Sender::Session(session, peer), send_id, outcome, turn, request)?
            }
            Request::Ack { seq } => {
                self.acknowledge(session, seq);
                return Ok(None);
            }
            Request::Join { room } => self.join_room(session, id, peer, room, turn, request)?,
            Request::Leave { room } => self.leave_room(session, id, peer, &room, turn, request)?,
            Request::History { with, before, count } => {
                let with = with.map(|with| self.past_with(peer, &with)).transpose()?;
                let read = request.reads.len();
                request.reads.push(Read::History { peer, with, before: before.unwrap_or(Seq::MAX), count });
                Completion::History { session, id, read }
            }
            Request::Search { words, count } => {
                self.search(Search::new(session, id, words, count));
                return Ok(None);
            }
            Request::Who => {
                let reply = Reply::Who { here: self.here(), rooms: self.rooms_of(peer) };
                Completion::Reply { session, id, reply }
            }
            Request::Ping { token } => {
                // What its client has acknowledged is dealt with once it is kept.
                let is_unkept = self.dirty_cursors.contains(&peer) || self.dirty_peers.contains(&peer);
                turn.keeps_cursors |= is_unkept && self.sessions[&session].acks.is_some();
                Completion::Reply { session, id, reply: Reply::Pong { token } }
            }
            Request::Answered(reply) => Completion::Reply { session, id, reply: *reply },
            Request::Set { key, value } => {
                request.entries.push(Entry::Value { peer, key: key.clone(), value });
                Completion::Set { session, id, key }
            }
            Request::Values => {
                let read = request.reads.len();
                request.reads.push(Read::Values { peer });
                Completion::Values { session, id, read }
            }
            Request::Help => Completion::Reply { session, id, reply: Reply::Help { commands: Vec::new() } },
            Request::Plugins => Completion::Reply { session, id, reply: Reply::Plugins { plugins: Vec::new() } },
            Request::Command { name, .. } => return Err(Refusal::unknown_command(&name)),
            Request::Quit => Completion::End { session },
            Request::Malformed(refusal) => return Err(refusal),
        };
        Ok(Some(completion))
    }

    /// With whom, or where, the messages were exchanged that a peer wants to see.
    fn past_with(&self, peer: PeerId, with: &Destination) -> Result<Recipient, Refusal> {
        match with {
            Destination::Peer(name) => {
                let found = self.ids.get(name).ok_or_else(|| unreachable_peer(name, "nothing is shown"))?;
                Ok(Recipient::Peer(*found))
            }
            Destination::Room(room) => self.membership(peer, room, "nothing is shown").map(Recipient::Room),
        }
    }

    fn here(&self) -> Vec<PeerName> {
        let here = self.peers.values().filter(|peer| peer.is_here());
        let mut names: Vec<PeerName> = here.map(|peer| peer.record.name.clone()).collect();
        names.sort_unstable();
        names
    }

    fn acknowledge(&mut self, id: SessionId, seq: Seq) {
        let session = self.sessions.get_mut(&id).expect("whoever asks has a session");
        if let Some(acks) = &mut session.acks {
            acks.acknowledge(seq, session.fed);
            let delivered = acks.take_delivered();
            self.delivered(id, delivered);
        }
    }
}
