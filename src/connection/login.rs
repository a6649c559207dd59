//! A connection up to its login: detection of the protocol, the hooks `connect` and `login`, refused logins. Owns how often a client may
//! try; never starts the session.

use smol::future;

use super::admission::{self, AdmittedLogin, LoginAdmission};
use super::detect;
use super::reader::{FirstLine, LineReader, ReadOutcome};
use super::shared::Shared;
use crate::limits::LOGIN_REFUSALS_MAX;
use crate::message::PeerName;
use crate::plugin::ConnectCall;
use crate::protocol::{Code, Decoder, Detected, Login, Refusal, Rejected};
use crate::transport::{self, Transport};

/// Result of a connection's first lines.
pub(super) enum Handshake {
    /// The client logged in. Boxed, because the future of a connection always takes the memory of its largest state.
    LoggedIn(Box<AdmittedLogin>),
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
    if shared.requires_tls && !is_guarded(reader.transport()) {
        let words = "connect over TLS: the server lets nobody else in from other machines; connection closed";
        let refusal = encode(reader.decoder(), Refusal::new(Code::TlsRequired, words));
        return close_with(reader, &refusal).await;
    }
    if let Err(refusal) = shared.plugins.current().connect(|| connect_call(reader)).await {
        let refusal = encode(reader.decoder(), refusal);
        return close_with(reader, &refusal).await;
    }
    log_in(reader, shared).await
}

/// Whether nobody between the client and the server can listen.
fn is_guarded(transport: &impl Transport) -> bool {
    transport.is_encrypted() || transport.peer_address().is_loopback()
}

async fn close_with(reader: &LineReader<'_, impl Transport>, last_words: &[u8]) -> Handshake {
    match transport::write_all(reader.transport(), last_words).await {
        Ok(()) => Handshake::Refused,
        Err(_) => Handshake::Disconnected,
    }
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

async fn log_in(reader: &mut LineReader<'_, impl Transport>, shared: &Shared) -> Handshake {
    let mut refusals = 0;
    while let Some(line) = next_login(reader).await {
        let admission = match line {
            FirstLine::Http => return Handshake::Refused,
            FirstLine::Login(Ok(_)) if reader.is_http_next() => return Handshake::Refused,
            FirstLine::Quit => return Handshake::Refused,
            FirstLine::Login(Ok(login)) => admission::admit(login, connect_call(reader), shared).await,
            FirstLine::Login(Err(rejected)) => LoginAdmission::Refused(rejected, None),
        };
        let mut answer = Vec::new();
        let is_last = match admission {
            LoginAdmission::Admitted(admitted) => return Handshake::LoggedIn(admitted),
            LoginAdmission::NeedsPassword(login) if reader.decoder_mut().ask_password(&login.name, &mut answer) => {
                false
            }
            LoginAdmission::NeedsPassword(login) => {
                refusals += 1;
                let is_last = refusals >= LOGIN_REFUSALS_MAX;
                answer = refuse(reader, without_password(login), None, is_last);
                is_last
            }
            LoginAdmission::Refused(rejected, asked) => {
                // A program with other mistakes guesses neither names nor passwords.
                let is_guess = matches!(
                    rejected.refusal.code,
                    Code::BadName
                        | Code::BadPassword
                        | Code::Rejected
                        | Code::AccountRequired
                        | Code::NotAllowed
                        | Code::RateLimited
                );
                refusals += usize::from(is_guess);
                let is_last = refusals >= LOGIN_REFUSALS_MAX;
                answer = refuse(reader, rejected, asked.filter(|_| !is_last), is_last);
                is_last
            }
        };
        if transport::write_all(reader.transport(), &answer).await.is_err() {
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

/// Refuses a login without the password of its name.
fn without_password(login: Login) -> Rejected {
    let words = format!(
        "{} has a password; send it with the login (holdline send and tail: HOLDLINE_PASSWORD); not logged in",
        login.name
    );
    Rejected { id: login.id, refusal: Refusal::new(Code::BadPassword, words) }
}

/// Encodes a refusal, and asks for the password again if it was wrong.
fn refuse(
    reader: &mut LineReader<'_, impl Transport>,
    mut rejected: Rejected,
    asked: Option<PeerName>,
    is_last: bool,
) -> Vec<u8> {
    rejected.refusal.message.push_str(if is_last { ", connection closed" } else { ", try again" });
    let mut answer = encode(reader.decoder(), rejected);
    if let Some(name) = asked {
        reader.decoder_mut().ask_password(&name, &mut answer);
    }
    answer
}

/// Reads up to the next login, mistake, end or HTTP request, and writes the protocol's own answers to the lines before it. `None`: the client disconnected.
async fn next_login(reader: &mut LineReader<'_, impl Transport>) -> Option<FirstLine> {
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

/// Describes a connection to plugins.
fn connect_call(reader: &LineReader<'_, impl Transport>) -> ConnectCall {
    let transport = reader.transport();
    ConnectCall {
        address: transport.peer_address(),
        protocol: reader.decoder().protocol(),
        tls: transport.is_encrypted(),
    }
}
