//! A connection up to its login: detection of the protocol, the hooks `connect` and `login`, refused logins. Owns how often a client may
//! try; never starts the session.

use smol::future;

use super::detect;
use super::reader::{LineReader, LoginLine, ReadOutcome};
use super::shared::Shared;
use crate::limits::LOGIN_REFUSALS_MAX;
use crate::plugin::{ConnectCall, LoginCall, LoginVerdict, Plugins};
use crate::protocol::{Code, Decoder, Detected, Login, Refusal, Rejected};
use crate::transport::{self, Transport};

/// Result of a connection's first lines.
pub(super) enum Handshake {
    /// The client logged in. Boxed, because the future of a connection always takes the memory of its largest state.
    LoggedIn(Box<Login>),
    /// The client speaks a protocol that the server does not support, and gets these last words.
    Unsupported(&'static [u8]),
    /// The client was refused and may not try again, or sent an HTTP request.
    Refused,
    /// The client did not log in within the time limit.
    TimedOut,
    /// The client disconnected, or the server stops.
    Disconnected,
}

/// Detects the protocol, then reads logins until one is admitted.
pub(super) async fn handshake(reader: &mut LineReader<'_, impl Transport>, shared: &Shared) -> Handshake {
    match detect::detect(reader, &shared.protocols).await {
        Some(Detected::Supported(decoder)) => reader.set_decoder(decoder()),
        Some(Detected::Refused(last_words)) => return Handshake::Unsupported(last_words),
        None => return Handshake::Disconnected,
    }
    if let Err(refusal) = shared.plugins.current().connect(|| connect_call(reader)).await {
        return match transport::write_all(reader.transport(), &encode(reader.decoder(), refusal)).await {
            Ok(()) => Handshake::Refused,
            Err(_) => Handshake::Disconnected,
        };
    }
    log_in(reader, &shared.plugins).await
}

/// Makes the refusal of a client that did not log in within the time limit, and sent these bytes last.
pub(super) fn too_late(timeout_s: u64, unread: &[u8]) -> Refusal {
    let has_ended_line = unread.contains(&b'\r') && !unread.contains(&b'\n');
    let hint = if has_ended_line { ": your line ends with CR (\\r), and lines must end with LF (\\n)" } else { "" };
    let words = format!("you did not log in within {timeout_s} s (login_timeout_s){hint}; connection closed");
    Refusal::new(Code::LoginTimeout, words)
}

/// Encodes a refusal of something before the login.
pub(super) fn encode(decoder: &dyn Decoder, rejected: impl Into<Rejected>) -> Vec<u8> {
    let mut bytes = Vec::new();
    decoder.encode_rejection(rejected.into(), &mut bytes);
    bytes
}

async fn log_in(reader: &mut LineReader<'_, impl Transport>, plugins: &Plugins) -> Handshake {
    let mut refusals = 0;
    while let Some(line) = next_login(reader).await {
        let admitted = match line {
            LoginLine::Http => return Handshake::Refused,
            LoginLine::Login(Ok(_)) if reader.is_http_next() => return Handshake::Refused,
            LoginLine::Login(Ok(login)) => admit(login, connect_call(reader), plugins).await,
            LoginLine::Login(Err(rejected)) => Err(rejected),
        };
        let mut rejected = match admitted {
            Ok(login) => return Handshake::LoggedIn(Box::new(login)),
            Err(rejected) => rejected,
        };
        // A program with other mistakes guesses neither names nor passwords.
        refusals += usize::from(matches!(rejected.refusal.code, Code::BadName | Code::BadPassword | Code::Rejected));
        let is_last = refusals >= LOGIN_REFUSALS_MAX;
        rejected.refusal.message.push_str(if is_last { ", connection closed" } else { ", try again" });
        if transport::write_all(reader.transport(), &encode(reader.decoder(), rejected)).await.is_err() {
            break;
        }
        if is_last {
            return Handshake::Refused;
        }
        // Other tasks get a turn, because the buffer may hold thousands of bad logins.
        future::yield_now().await;
    }
    Handshake::Disconnected
}

/// Reads up to the next login, mistake or HTTP request, and writes the protocol's own answers to the lines before it. `None`: the client disconnected.
async fn next_login(reader: &mut LineReader<'_, impl Transport>) -> Option<LoginLine> {
    loop {
        let mut replies = Vec::new();
        let login = reader.decode_login(&mut replies);
        if !replies.is_empty() && transport::write_all(reader.transport(), &replies).await.is_err() {
            return None;
        }
        if login.is_some() {
            return login;
        }
        if reader.fill().await != ReadOutcome::Some {
            return None;
        }
    }
}

/// Admits a login, unless it uses a plugin's name, a plugin refuses it, or no plugin accepts its password.
async fn admit(login: Login, connection: ConnectCall, plugins: &Plugins) -> Result<Login, Rejected> {
    let Login { name, password, .. } = &login;
    let set = plugins.current();
    let login_call = || LoginCall { name: name.clone(), password: password.clone(), connection: connection.clone() };
    let verdict = if set.has(name) { None } else { Some(set.log_in(login_call).await) };
    let refusal = match verdict {
        Some(LoginVerdict::Allow) => return Ok(login),
        Some(LoginVerdict::Pass) if password.is_none() => return Ok(login),
        Some(LoginVerdict::Pass) => without_password(&login),
        Some(LoginVerdict::Refuse(refusal)) => refusal,
        None => {
            let words = format!("{name} is the name of a plugin; choose another name; not logged in");
            Refusal::new(Code::BadName, words)
        }
    };
    Err(Rejected { id: login.id, refusal })
}

/// Refuses a password. Often the client sent none on purpose: a user typed a name of two words, and the second is taken for a password.
fn without_password(Login { name, .. }: &Login) -> Refusal {
    let words =
        format!("{name} has no password: log in with one word, without blanks, for example uncle-bob; not logged in");
    Refusal::new(Code::BadPassword, words)
}

/// Describes a connection to plugins.
fn connect_call(reader: &LineReader<'_, impl Transport>) -> ConnectCall {
    let transport = reader.transport();
    ConnectCall {
        address: transport.peer_address(),
        protocol: reader.decoder().protocol(),
        tls: transport.is_encrypted(),
    }
}
