//! What clients ask: each request becomes an act, or is refused. Owns which; never how it is answered in bytes.

use super::searches::Search;
use super::send::{Origin, send_id};
use super::{Chat, Completion, Requester, TurnBuilder, unreachable_peer};
use crate::broker::EndReason;
use crate::message::{Destination, PeerId, PeerName, Recipient, Seq, SessionId};
use crate::protocol::{ClientRequest, Refusal, Reply, Request};
use crate::store::{Entry, HistoryQuery, Read, ValuesQuery};

impl Chat {
    /// Takes a batch of requests.
    pub(super) fn requests(&mut self, session: SessionId, requests: Vec<ClientRequest>, turn: &mut TurnBuilder) {
        // One whose login was refused is nobody.
        let Some(peer) = self.sessions.get(&session).map(|session| session.peer) else { return };
        for ClientRequest { id, request } in requests {
            let requester = Requester { session, id, peer };
            if let Err(refusal) = self.request(&requester, request, turn) {
                turn.reply(requester, Reply::Refused(refusal));
            }
        }
    }

    fn request(&mut self, requester: &Requester, asked: Request, turn: &mut TurnBuilder) -> Result<(), Refusal> {
        let peer = requester.peer;
        match asked {
            Request::Send { to, text } => {
                let send_id = requester.id.clone().map(|id| send_id(id, &to, &text));
                self.send(Origin::Client(requester), send_id, &to, text, turn)?;
            }
            Request::Filtered { asked, outcome } => {
                let send_id = requester.id.clone().map(|id| send_id(id, &asked.to, &asked.text));
                self.send_filtered(requester, send_id, outcome, turn)?;
            }
            Request::Ack { seq } => self.acknowledge(requester.session, seq),
            Request::Join { room } => self.join_room(requester, room, turn)?,
            Request::Leave { room } => self.leave_room(requester, &room, turn)?,
            Request::History { with, before, count } => {
                let with = with.map(|with| self.past_with(peer, &with)).transpose()?;
                let query = HistoryQuery { peer, with, before: before.unwrap_or(Seq::MAX), count };
                let page = turn.read(Read::History, query);
                turn.complete(Completion::History { requester: requester.clone(), page });
            }
            Request::Search { words, count } => self.search(Search::new(requester.clone(), words, count)),
            Request::Who => {
                turn.reply(requester.clone(), Reply::Who { here: self.here(), rooms: self.rooms_of(peer) });
            }
            Request::Ping { token } => {
                // What its client has acknowledged is dealt with once it is kept.
                let is_unkept = self.dirty_cursors.contains(&peer) || self.dirty_peers.contains(&peer);
                if is_unkept && self.sessions[&requester.session].acks.is_some() {
                    turn.commit_cursors();
                }
                turn.reply(requester.clone(), Reply::Pong { token });
            }
            Request::Answered(reply) => turn.reply(requester.clone(), *reply),
            Request::Set { key, value } => {
                turn.write(Entry::Value { peer, key: key.clone(), value });
                turn.complete(Completion::SetValue { requester: requester.clone(), key });
            }
            Request::Values => {
                let values = turn.read(Read::Values, ValuesQuery { peer });
                turn.complete(Completion::Values { requester: requester.clone(), values });
            }
            Request::Help => turn.reply(requester.clone(), Reply::Help { commands: Vec::new() }),
            Request::Plugins => turn.reply(requester.clone(), Reply::Plugins { plugins: Vec::new() }),
            Request::Command { name, .. } => return Err(Refusal::unknown_command(&name)),
            Request::Quit => {
                turn.complete(Completion::End { session: requester.session, reason: EndReason::Client });
            }
            Request::Malformed(refusal) => return Err(refusal),
        }
        Ok(())
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
