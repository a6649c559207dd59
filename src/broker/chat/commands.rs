//! Commands: one file for each request, with up to three functions: `lookup` of the names that it needs, `decide`, and `complete`. Owns the
//! matches that call them, which are exhaustive: a request that is missing in one of them does not compile.

mod account;
mod ack;
mod help;
mod history;
mod join;
mod leave;
mod list_values;
mod ping;
mod plugin_command;
mod plugins;
mod quit;
mod search;
pub(super) mod send;
mod set_value;
mod topic;
mod who;

use super::completion::{Completion, Requester};
use super::delivery::Delivery;
use super::lookup::LookupBuilder;
use super::scans::{FinishedScan, ScanPurpose};
use super::state::Chat;
use super::turn::TurnBuilder;
use crate::message::{PeerId, Recipient, SessionId};
use crate::protocol::{FilteredSend, PluginRequest, Refusal, Request, Submission, Work};
use crate::store::ScanResult;

/// Adds the names and ids that a request needs, before its turn is decided.
pub(super) fn lookup<'a>(submission: &'a Submission, session: SessionId, lookup: &mut LookupBuilder<'a>) {
    match &submission.work {
        Work::Client(request) => match request {
            Request::Send(draft) => send::lookup(draft, submission.id.as_ref(), session, lookup),
            Request::Join { room } => join::lookup(room, lookup),
            Request::Leave { room } => leave::lookup(room, lookup),
            Request::ShowTopic { room } | Request::SetTopic { room, .. } => topic::lookup(room, lookup),
            Request::History(range) => history::lookup(range, lookup),
            Request::Register { .. } | Request::ChangePassword { .. } => {}
            Request::Ack { .. } | Request::Who | Request::Search { .. } | Request::Ping { .. } => {}
            Request::Help | Request::Command { .. } | Request::Plugins | Request::Quit => {}
        },
        Work::Filtered(filtered) => send::lookup_filtered(filtered, submission.id.as_ref(), session, lookup),
        Work::Plugin(PluginRequest::SetValue { .. } | PluginRequest::ListValues) => {}
        Work::Account(_) | Work::Refused(_) | Work::Answered(_) => {}
    }
}

/// Returns the number of sessions that get something of a request, besides that of its sender. The names must have been looked up.
pub(super) fn receivers(submission: &Submission, sender: PeerId, chat: &Chat) -> usize {
    match &submission.work {
        Work::Client(Request::Send(draft)) => send::receivers(draft, sender, chat),
        Work::Filtered(FilteredSend { outcome: Ok(draft), .. }) => send::receivers(draft, sender, chat),
        Work::Client(Request::SetTopic { room, .. }) => {
            chat.room_ids.get(room).map_or(0, |room| chat.sessions_of(Recipient::Room(*room)))
        }
        Work::Client(_) | Work::Filtered(_) | Work::Plugin(_) | Work::Account(_) => 0,
        Work::Refused(_) | Work::Answered(_) => 0,
    }
}

/// Decides a request: changes the state, and adds entries, reads and completions to the turn.
pub(super) fn decide(
    work: Work,
    requester: &Requester,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    match work {
        Work::Client(request) => decide_client_request(request, requester, chat, turn),
        Work::Plugin(PluginRequest::SetValue { key, value }) => set_value::decide(key, value, requester, turn),
        Work::Plugin(PluginRequest::ListValues) => list_values::decide(requester, turn),
        Work::Account(change) => account::decide(change, requester, chat, turn),
        Work::Filtered(filtered) => send::decide_filtered(filtered, requester, chat, turn),
        Work::Refused(refusal) => Err(refusal),
        Work::Answered(reply) => {
            turn.reply(requester.clone(), *reply);
            Ok(())
        }
    }
}

fn decide_client_request(
    request: Request,
    requester: &Requester,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    match request {
        Request::Send(draft) => send::decide(draft, requester, chat, turn),
        Request::Ack { seq } => ack::decide(seq, requester, chat),
        Request::Join { room } => join::decide(room, requester, chat, turn),
        Request::Leave { room } => leave::decide(&room, requester, chat, turn),
        Request::ShowTopic { room } => topic::decide_show(&room, requester, chat, turn),
        Request::SetTopic { room, topic } => topic::decide_set(&room, topic, requester, chat, turn),
        Request::Who => who::decide(requester, turn),
        Request::History(range) => history::decide(range, requester, chat),
        Request::Search { words, count } => search::decide(words, count, requester, chat),
        Request::Register { .. } | Request::ChangePassword { .. } => account::decide_unchecked(),
        Request::Ping { token } => ping::decide(token, requester, chat, turn),
        Request::Help => help::decide(requester, turn),
        Request::Command { name, .. } => plugin_command::decide(&name),
        Request::Plugins => plugins::decide(requester, turn),
        Request::Quit => quit::decide(requester, turn),
    }
}

/// Completes a step of a turn whose outcome is known.
pub(super) fn complete(completion: Completion, chat: &mut Chat, delivery: &mut Delivery) {
    match completion {
        Completion::Send { requester, notes } => send::complete(requester.as_ref(), &notes, chat, delivery),
        Completion::Repeat { requester, nth } => send::complete_repeated(&requester, nth, chat, delivery),
        Completion::Reply { requester, reply } => chat.reply(&requester, &reply, delivery),
        Completion::Join { requester, room } => join::complete(&requester, room, chat, delivery),
        Completion::JoinAgain { requester, room } => join::complete_again(&requester, room, chat, delivery),
        Completion::Leave { requester, room } => leave::complete(&requester, room, chat, delivery),
        Completion::Account { requester, reply } => account::complete(&requester, &reply, chat, delivery),
        Completion::Registration { requester } => chat.complete_registration(requester, delivery),
        Completion::ShowTopic { requester, room } => topic::complete_show(&requester, &room, chat, delivery),
        Completion::SetTopic { requester, room, topic } => {
            topic::complete_set(&requester, room, topic, chat, delivery);
        }
        Completion::Who { requester } => who::complete(&requester, chat, delivery),
        Completion::SetValue { requester, key } => set_value::complete(&requester, key, chat, delivery),
        Completion::ListValues { requester, values } => {
            list_values::complete(&requester, values.result(), chat, delivery);
        }
        Completion::Presence { peer } => chat.change_presence(peer, delivery),
        Completion::End { session, reason } => quit::complete(session, reason, chat, delivery),
    }
}

/// Uses the result of a scan.
pub(super) fn complete_scan(scan: FinishedScan, chat: &mut Chat, delivery: &mut Delivery) {
    let FinishedScan { requester, purpose, result } = scan;
    match (purpose, result) {
        (ScanPurpose::Welcome, Ok(ScanResult::Waiting(waiting))) => chat.welcome(&requester, waiting),
        (ScanPurpose::Welcome, _) => chat.welcome_uncounted(&requester),
        (ScanPurpose::History, result) => history::complete(&requester, result, chat, delivery),
        (ScanPurpose::Search, result) => search::complete(&requester, result, chat, delivery),
    }
    chat.end_unfinished(requester.session);
    chat.end_if_fed(requester.session, delivery);
}
