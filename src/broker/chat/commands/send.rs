//! Sending a message: to all destinations or to none, and not again if it was accepted before.

use crate::broker::chat::completion::{Completion, Requester, SenderNote};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::fingerprint::send_id;
use crate::broker::chat::lookup::LookupBuilder;
use crate::broker::chat::loudness;
use crate::broker::chat::state::{Chat, KnownId};
use crate::broker::chat::turn::TurnBuilder;
use crate::message::{Destination, PeerId, Recipient, RequestId, Seq, SessionId};
use crate::protocol::{Code, Draft, FilteredSend, Refusal, Reply, Request, Submission, Work};
use crate::shares::Holder;
use crate::source::Source;
use crate::store::{Entry, FoundId, SendId};

/// Origin of a message.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::chat) enum Origin<'a> {
    /// A client, over its session.
    Client(&'a Requester),
    /// A row of the table `outbox`, with this sender.
    OutboxRow(PeerId),
}

pub(super) fn lookup<'a>(draft: &'a Draft, id: Option<&RequestId>, session: SessionId, lookup: &mut LookupBuilder<'a>) {
    lookup.destinations(&draft.to);
    id.into_iter().for_each(|id| lookup.sent_id(session, id));
}

pub(super) fn lookup_filtered<'a>(
    filtered: &'a FilteredSend,
    id: Option<&RequestId>,
    session: SessionId,
    lookup: &mut LookupBuilder<'a>,
) {
    filtered.outcome.iter().for_each(|draft| lookup.destinations(&draft.to));
    id.into_iter().for_each(|id| lookup.sent_id(session, id));
}

/// Returns the number of sessions that get a message.
pub(super) fn receivers(draft: &Draft, sender: PeerId, chat: &Chat) -> usize {
    let recipient = |to: &Destination| match to {
        Destination::Peer(name) => chat.ids.get(name).copied().map(Recipient::Peer),
        Destination::Room(room) => chat.room_ids.get(room).copied().map(Recipient::Room),
    };
    let recipients = draft.to.iter().filter_map(recipient).chain([Recipient::Peer(sender)]);
    recipients.map(|recipient| chat.sessions_of(recipient)).sum()
}

pub(super) fn decide(
    draft: Draft,
    requester: &Requester,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    let send_id = requester.id.clone().map(|id| send_id(id, &draft));
    if let Some(send_id) = &send_id
        && repeat(send_id, requester, chat, turn)?
    {
        return Ok(());
    }
    send(draft, Origin::Client(requester), send_id, chat, turn)
}

/// Decides a message that plugins changed or refused. If it was accepted before, it is accepted again, whatever the plugins decided now.
pub(super) fn decide_filtered(
    filtered: FilteredSend,
    requester: &Requester,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    let FilteredSend { original, outcome } = filtered;
    let send_id = requester.id.clone().map(|id| send_id(id, &original));
    if let Some(send_id) = &send_id
        && repeat(send_id, requester, chat, turn)?
    {
        return Ok(());
    }
    send(*outcome?, Origin::Client(requester), send_id, chat, turn)
}

/// Appends a message to the turn.
pub(in crate::broker::chat) fn send(
    draft: Draft,
    origin: Origin<'_>,
    send_id: Option<Box<SendId>>,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    let Draft { to, text } = draft;
    let (holder, requester) = match origin {
        Origin::Client(requester) => (chat.holder(requester), Some(requester.clone())),
        Origin::OutboxRow(sender) => (Holder { sender, source: Source::Operator }, None),
    };
    let sender = holder.sender;
    let recipients = to.iter().map(|to| recipient(to, origin, holder, chat)).collect::<Result<Vec<_>, _>>()?;
    chat.admit_unknown(holder, &recipients)?;
    let bytes = loudness::bytes(&recipients, &text);
    chat.loudness.admit(holder, bytes, chat.headroom.bytes())?;
    chat.loudness.add(holder, bytes);
    let (notes, deliveries) = chat.address(holder, &recipients);
    turn.add_deliveries(deliveries);
    let known = send_id.as_ref().map(|send_id| (send_id.id.clone(), send_id.fingerprint));
    let nth = turn.write_message(Entry::Message { at: turn.at(), sender, recipients, text, id: send_id });
    if let Some((id, fingerprint)) = known {
        chat.known_ids.insert((sender, id), KnownId::InTurn { nth, fingerprint });
    }
    turn.complete(Completion::Send { requester, notes });
    Ok(())
}

fn recipient(destination: &Destination, origin: Origin<'_>, holder: Holder, chat: &Chat) -> Result<Recipient, Refusal> {
    match (destination, origin) {
        (Destination::Peer(name), _) => chat.admit(holder, name).map(Recipient::Peer),
        (Destination::Room(room), Origin::Client(requester)) => match chat.find_room(room, "not sent")? {
            Some(found) if chat.is_member(requester.peer, found) => Ok(Recipient::Room(found)),
            _ => {
                let words = format!("you are not in {room}; type /join {room} first; not sent");
                Err(Refusal::new(Code::NotAMember, words))
            }
        },
        // An operator who can write to the database need not be a member.
        (Destination::Room(room), Origin::OutboxRow(_)) => chat.populated_room(room, "not sent").map(Recipient::Room),
    }
}

/// Replaces a message by its reply, if it was accepted before. One whose acceptance is not known yet stays as it is.
pub(in crate::broker::chat) fn answer_repeat(submission: &mut Submission, sender: PeerId, chat: &Chat) {
    let (Some(id), Work::Client(Request::Send(draft))) = (&submission.id, &submission.work) else { return };
    if let Some(KnownId::Before(found)) = chat.known_ids.get(&(sender, id.clone())) {
        submission.work = match accepted_again(found, &send_id(id.clone(), draft)) {
            Ok(reply) => Work::Answered(Box::new(reply)),
            Err(refusal) => Work::Refused(refusal),
        };
    }
}

/// Acknowledges a message again, if it was accepted before. Returns whether it was.
fn repeat(send_id: &SendId, requester: &Requester, chat: &Chat, turn: &mut TurnBuilder) -> Result<bool, Refusal> {
    let requester = requester.clone();
    let known = chat.known_ids.get(&(requester.peer, send_id.id.clone()));
    let completion = match known {
        Some(KnownId::New) => return Ok(false),
        Some(KnownId::Before(found)) => Completion::Reply { requester, reply: accepted_again(found, send_id)? },
        Some(KnownId::InTurn { nth, fingerprint }) if *fingerprint == send_id.fingerprint => {
            Completion::Repeat { requester, nth: *nth }
        }
        Some(KnownId::InTurn { .. }) => return Err(id_reused()),
        None => {
            let words =
                "the id cannot be looked up now, the server's log says why; not sent, send it again with the same id";
            return Err(Refusal::new(Code::Internal, words));
        }
    };
    turn.complete(completion);
    Ok(true)
}

/// Returns the reply to a message whose id was accepted before.
fn accepted_again(found: &FoundId, send_id: &SendId) -> Result<Reply, Refusal> {
    let FoundId { seq, at, fingerprint } = *found;
    if fingerprint == send_id.fingerprint { Ok(Reply::Accepted { seq, at }) } else { Err(id_reused()) }
}

fn id_reused() -> Refusal {
    let words = "another message was sent with this id, to others or with another text; not sent";
    Refusal::new(Code::IdReused, words)
}

pub(super) fn complete(requester: Option<&Requester>, notes: &[SenderNote], chat: &mut Chat, delivery: &mut Delivery) {
    if delivery.commit.is_ok() {
        deliver(requester, notes, chat, delivery);
    } else if let Some(requester) = requester {
        chat.refuse_uncommitted(requester, "not sent", delivery);
    }
    // The row of a message from the table `outbox` stays where it is, and is sent later.
}

fn deliver(requester: Option<&Requester>, notes: &[SenderNote], chat: &mut Chat, delivery: &mut Delivery) {
    let message = delivery.next_message().expect("every send of a turn has its message");
    let seq = message.seq;
    let copy = chat.feed_message(message, requester.map(|requester| requester.session), delivery);
    if let Some(requester) = requester {
        acknowledge(requester, seq, notes, chat, delivery);
    }
    if let Some((sessions, copy)) = copy {
        sessions.into_iter().for_each(|session| chat.announce_to(session, &copy, delivery));
    }
}

/// Sends a program `accepted` for its message, or a person the notices about it, each once in a turn.
fn acknowledge(requester: &Requester, seq: Seq, notes: &[SenderNote], chat: &mut Chat, delivery: &mut Delivery) {
    let session = requester.session;
    if chat.sessions.get(&session).is_some_and(|session| session.outbox.capabilities().wants_accepted) {
        return chat.reply(requester, &Reply::Accepted { seq, at: delivery.at }, delivery);
    }
    for note in notes {
        if delivery.notes.insert((session, *note)) {
            let reply = match note {
                SenderNote::Stored(peer) => {
                    let record = &chat.peers[peer].record;
                    Reply::StoredForLater { peer: record.name.clone(), seen: record.seen }
                }
                SenderNote::Alone(room) => Reply::Alone { room: chat.rooms[room].name.clone() },
            };
            chat.notify(session, &reply, delivery);
        }
    }
}

/// Completes a message that was sent twice in one turn.
pub(super) fn complete_repeated(requester: &Requester, nth: usize, chat: &mut Chat, delivery: &mut Delivery) {
    let seq = Seq::new(delivery.before.get() + 1 + nth as i64);
    let at = delivery.at;
    chat.reply_if_committed(requester, |_| Reply::Accepted { seq, at }, "not sent", delivery);
}
