//! Admission of a login: the plugins decide first, then the account of the name. Owns this order; never reads or writes the stream.

use std::time::Instant;

use super::passwords;
use super::shared::Shared;
use crate::auth::Attempt;
use crate::broker::{Access, FoundAccount, taken};
use crate::message::PeerName;
use crate::password::Password;
use crate::plugin::{ConnectCall, LoginCall, LoginVerdict};
use crate::protocol::{Code, Login, Refusal, Rejected};
use crate::source::Source;

/// Outcome of a login that is refused.
const OUTCOME: &str = "not logged in";

/// Result of a login.
pub(super) enum LoginAdmission {
    /// The client may use the name. Boxed, because the future of a connection always takes the memory of its largest state.
    Admitted(Box<AdmittedLogin>),
    /// The name has a password, and the client sent none.
    NeedsPassword(Login),
    /// The login is refused. With the name, if its password was wrong and may be asked for again.
    Refused(Rejected, Option<PeerName>),
}

/// Login that is admitted, with the proof for the broker.
#[derive(Debug)]
pub(super) struct AdmittedLogin {
    pub(super) login: Login,
    pub(super) access: Access,
}

/// Admits a login, unless it uses a plugin's name, a plugin refuses it, or its password is not that of the name.
pub(super) async fn admit(login: Login, connection: ConnectCall, shared: &Shared) -> LoginAdmission {
    let source = Source::of(connection.address);
    let set = shared.plugins.current();
    if set.has(&login.name) {
        let words = format!("{} is the name of a plugin; choose another name; not logged in", login.name);
        return refused(login, Refusal::new(Code::BadName, words));
    }
    let Login { name, password, .. } = &login;
    let call = || LoginCall { name: name.clone(), password: password.clone(), connection: connection.clone() };
    match set.log_in(call).await {
        // A name is registered with its password, whoever admits it.
        LoginVerdict::Allow if !login.registers => admitted(login, Access::Plugin),
        LoginVerdict::Refuse(refusal) => refused(login, refusal),
        LoginVerdict::Allow | LoginVerdict::Pass => admit_by_account(login, source, shared).await,
    }
}

async fn admit_by_account(mut login: Login, source: Source, shared: &Shared) -> LoginAdmission {
    let account = match shared.broker.find_account(&login.name).await {
        Ok(account) => account,
        // A name that may not be new has no password: with one, it looks like any other name.
        Err(refusal) if refusal.code == Code::BadName && login.password.is_some() && !login.registers => {
            FoundAccount { password: None, source: None, is_used: false }
        }
        Err(refusal) => return refused(login, refusal),
    };
    match login.password.take() {
        Some(password) if login.registers => register(login, &password, &account, source, shared).await,
        Some(password) => verify(login, &password, account, source, shared).await,
        None if account.password.is_some() => LoginAdmission::NeedsPassword(login),
        None if shared.accounts.required => {
            let words = "only names with a password may log in here; register yours: /register NAME PASSWORD";
            refused(login, Refusal::new(Code::AccountRequired, words).with_outcome(OUTCOME))
        }
        None => admitted(login, Access::Free),
    }
}

async fn verify(
    login: Login,
    password: &Password,
    account: FoundAccount,
    source: Source,
    shared: &Shared,
) -> LoginAdmission {
    let FoundAccount { password: hash, source: known_source, .. } = account;
    let attempt =
        Attempt { name: &login.name, password, source, hash: hash.as_ref(), known_source, at: Instant::now() };
    match (shared.authenticator.verify(attempt).await, hash) {
        (Ok(()), Some(hash)) => admitted(login, Access::Password(hash)),
        (Ok(()), None) => unreachable!("without a hash no password is right"),
        (Err(refusal), hash) => {
            // Where free names may log in, a person whose name has two words is better asked for the name again.
            let may_have_password = hash.is_some() || shared.accounts.required;
            let asked = may_have_password.then(|| login.name.clone());
            let refusal = match refusal.code {
                Code::BadPassword => refusal.with_outcome("a name is one word, such as uncle-bob"),
                _ => refusal,
            };
            LoginAdmission::Refused(Rejected { id: login.id, refusal: refusal.with_outcome(OUTCOME) }, asked)
        }
    }
}

async fn register(
    login: Login,
    password: &Password,
    account: &FoundAccount,
    source: Source,
    shared: &Shared,
) -> LoginAdmission {
    if account.is_used || account.password.is_some() {
        let refusal = taken(&login.name);
        return refused(login, refusal);
    }
    match passwords::hash_for_registration(password, source, shared).await {
        Ok(hash) => admitted(login, Access::Registration(hash)),
        Err(refusal) => refused(login, refusal.with_outcome("not registered")),
    }
}

fn admitted(login: Login, access: Access) -> LoginAdmission {
    LoginAdmission::Admitted(Box::new(AdmittedLogin { login, access }))
}

fn refused(login: Login, refusal: Refusal) -> LoginAdmission {
    LoginAdmission::Refused(Rejected { id: login.id, refusal }, None)
}
