//! Requests with passwords: their passwords are checked and hashed before the broker gets them. Owns this step; never stores a password.

use std::time::Instant;

use super::shared::Shared;
use crate::auth::Attempt;
use crate::config::Registration;
use crate::message::PeerName;
use crate::password::{Password, PasswordHash};
use crate::protocol::{AccountChange, Code, Refusal, Request, Submission, Work};
use crate::source::Source;

/// Outcome of a request that is refused.
const OUTCOME: &str = "nothing was done";

/// Checks and hashes the passwords of a batch, which is a single request if it has any.
pub(super) async fn prepare(requests: &mut [Submission], name: &PeerName, source: Source, shared: &Shared) {
    for submission in requests.iter_mut().filter(|submission| submission.has_passwords()) {
        let change = match &submission.work {
            Work::Client(Request::Register { password }) => hash_for_registration(password, source, shared)
                .await
                .map(|password| AccountChange::Register { password }),
            Work::Client(Request::ChangePassword { old, new }) => change(old, new, (name, source), shared).await,
            _ => continue,
        };
        submission.work = match change {
            Ok(change) => Work::Account(change),
            Err(refusal) => Work::Refused(refusal.with_outcome(OUTCOME)),
        };
    }
}

/// Hashes the password with which a name is registered, if anyone may register.
pub(super) async fn hash_for_registration(
    password: &Password,
    source: Source,
    shared: &Shared,
) -> Result<PasswordHash, Refusal> {
    if shared.accounts.registration == Registration::Closed {
        let words = "nobody may register here (registration); ask the operator of the server";
        return Err(Refusal::new(Code::NotAllowed, words));
    }
    shared.authenticator.hash(password, source).await
}

async fn change(
    old: &Password,
    new: &Password,
    (name, source): (&PeerName, Source),
    shared: &Shared,
) -> Result<AccountChange, Refusal> {
    let found = shared.broker.find_account(name).await?;
    let Some(hash) = found.password else {
        return Err(Refusal::new(Code::BadPassword, format!("{name} has no password; /register PASSWORD sets one")));
    };
    let attempt =
        Attempt { name, password: old, source, hash: Some(&hash), known_source: found.source, at: Instant::now() };
    shared.authenticator.verify(attempt).await?;
    let new = shared.authenticator.hash(new, source).await?;
    Ok(AccountChange::ChangePassword { old: hash, new })
}
