//! `/register` and `/password`: make a name an account, and change its password. The passwords are checked and hashed before. Once the
//! change is committed, the other sessions of the name end: they may be somebody else's.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::message::{PeerId, SessionId};
use crate::password::PasswordHash;
use crate::protocol::{AccountChange, Code, Refusal, Reply};
use crate::store::Entry;

/// Outcome of a request that is refused.
const OUTCOME: &str = "nothing was done";

/// Refuses passwords that were not checked: only those of plugins are not.
pub(super) fn decide_unchecked() -> Result<(), Refusal> {
    Err(Refusal::new(Code::NotAllowed, "a plugin logs in without a password").with_outcome(OUTCOME))
}

pub(super) fn decide(
    change: AccountChange,
    requester: &Requester,
    chat: &Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    let peer = &chat.peers[&requester.peer];
    let name = &peer.record.name;
    let (password, reply) = match change {
        AccountChange::Register { password } if peer.password.is_none() => {
            (password, Reply::Registered { name: name.clone() })
        }
        AccountChange::Register { .. } => {
            let words = format!("{name} has a password already; /password OLD NEW changes it");
            return Err(Refusal::new(Code::BadRequest, words).with_outcome(OUTCOME));
        }
        AccountChange::ChangePassword { old, new } if peer.password.as_ref() == Some(&old) => {
            (new, Reply::PasswordChanged)
        }
        AccountChange::ChangePassword { .. } => return Err(changed_meanwhile(chat, requester.peer)),
    };
    if turn.changes_account(requester.peer) {
        return Err(changed_meanwhile(chat, requester.peer));
    }
    turn.change_account(Entry::Account { peer: requester.peer, password: Some(password), at: turn.at() });
    turn.complete(Completion::Account { requester: requester.clone(), reply });
    Ok(())
}

fn changed_meanwhile(chat: &Chat, peer: PeerId) -> Refusal {
    let name = &chat.peers[&peer].record.name;
    Refusal::new(Code::BadPassword, format!("the password of {name} was changed meanwhile")).with_outcome(OUTCOME)
}

pub(super) fn complete(requester: &Requester, reply: &Reply, chat: &mut Chat, delivery: &mut Delivery) {
    if delivery.commit.is_err() {
        return chat.refuse_uncommitted(requester, OUTCOME, delivery);
    }
    chat.reply(requester, reply, delivery);
    let name = &chat.peers[&requester.peer].record.name;
    let words = format!("the password of {name} was set on another connection; log in again");
    chat.end_other_sessions(requester, &Refusal::new(Code::BadPassword, words), delivery);
}

impl Chat {
    /// Ends all other sessions of a peer at once, with this reason. What waits for them is replayed at the next login.
    fn end_other_sessions(&mut self, requester: &Requester, reason: &Refusal, delivery: &mut Delivery) {
        let sessions = self.peers[&requester.peer].sessions.iter().copied();
        let others: Vec<SessionId> = sessions.filter(|session| *session != requester.session).collect();
        for session in others {
            self.notify(session, &Reply::Refused(reason.clone()), delivery);
            self.end(session, delivery);
        }
    }

    /// Applies the passwords that a turn committed. Must be called before the next turn is decided.
    pub(in crate::broker) fn apply_account(&mut self, peer: PeerId, password: Option<PasswordHash>) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.password = password;
        }
    }
}
