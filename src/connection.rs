//! One client's life: which protocol it speaks, its login, its requests, its messages, its end. Owns the socket; never
//! knows SQL, nor any other peer.

mod acknowledged;
mod detect;
mod input;
mod rate_limiter;
mod requests;
mod writer;

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use smol::io::AsyncWriteExt;
use smol::lock::Mutex;
use smol::{Async, future};

pub(crate) use self::detect::{HTTP, TLS};
use self::input::{Input, ReadOutcome};
use self::requests::RequestReader;
use self::writer::{Progress, Writer};
use crate::broker::{self, EndReason, Event, Handle, Joining};
use crate::config::Limits;
use crate::limits::{CLOSING_STALL_S_MAX, LINGER_S_MAX, LOGIN_REFUSALS_MAX};
use crate::message::SessionId;
use crate::plugin::{ConnectCall, LoginCall, LoginVerdict, MessageSender, Plugins};
use crate::protocol::{Code, Decoder, Detected, Login, ProtocolTable, Refusal, Rejected};
use crate::timeout::{seconds_or_none, sleep, timeout};

/// A socket, which its reader and its writer share.
pub(crate) type Socket = Async<TcpStream>;

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Takes what clients ask.
    pub(crate) broker: Handle,
    /// Looked at by what clients ask, before the broker has it.
    pub(crate) plugins: Arc<Plugins>,
    /// The protocols that are spoken.
    pub(crate) protocols: ProtocolTable,
    /// Closed when the server stops: nothing more is read.
    pub(crate) stop: Receiver<()>,
    /// What one connection may take up.
    pub(crate) limits: Limits,
}

/// What became of a connection's first lines.
enum Handshake {
    /// The client logged in.
    Peer(Login),
    /// The client speaks a protocol that is not spoken here, and gets these last words.
    Foreign(&'static [u8]),
    /// It was refused for good.
    Refused,
    /// It took too long.
    Late,
    /// It is gone.
    Gone,
}

/// Why a client's requests came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All input is dealt with.
    Input,
    /// It said `/quit`: what it sends after that is not read.
    Quit,
    /// The server stops.
    Stop,
    /// The connection broke: there is nothing to wait for.
    Broken,
    /// The broker has let go of the session by itself, as of a login that it cannot look up.
    BrokerClosed,
}

/// Serves one client, from its first byte to its last.
pub(crate) async fn serve(socket: Socket, session: SessionId, shared: Arc<Shared>) {
    let mut input = Input::new(&socket, (shared.protocols.otherwise)(), shared.stop.clone());
    let login_timeout_s = shared.limits.login_timeout_s;
    let handshake = timeout(seconds_or_none(login_timeout_s), handshake(&mut input, &socket, &shared)).await;
    match handshake.unwrap_or(Handshake::Late) {
        Handshake::Peer(login) => run_session(&mut input, &socket, session, login, &shared).await,
        Handshake::Foreign(words) => reject(&socket, words, &mut input).await,
        Handshake::Late => {
            let refusal = encoded(input.decoder(), too_late(login_timeout_s));
            reject(&socket, &refusal, &mut input).await;
        }
        Handshake::Refused => close(&socket, &mut input, LINGER_S_MAX).await,
        Handshake::Gone => {}
    }
}

/// Tells one for whom there is no room why, and closes the connection.
pub(crate) async fn refuse(socket: Socket, refusal: Refusal, protocols: ProtocolTable, stop: Receiver<()>) {
    // Its protocol is not known yet.
    let decoder = (protocols.otherwise)();
    let words = encoded(&*decoder, refusal);
    let mut input = Input::new(&socket, decoder, stop);
    reject(&socket, &words, &mut input).await;
}

fn too_late(timeout_s: u64) -> Refusal {
    Refusal::new(Code::LoginTimeout, format!("no login came within {timeout_s} s (login_timeout_s); goodbye"))
}

/// Finds the protocol, and asks for a name until there is one.
async fn handshake(input: &mut Input<'_>, mut socket: &Socket, shared: &Shared) -> Handshake {
    match detect::detect(input, &shared.protocols).await {
        Some(Detected::Spoken(decoder)) => input.set_decoder(decoder()),
        Some(Detected::Refused(words)) => return Handshake::Foreign(words),
        None => return Handshake::Gone,
    }
    let protocol = input.decoder().protocol();
    if let Err(refusal) = shared.plugins.current().connect(|| connecting(socket, protocol)).await {
        return match socket.write_all(&encoded(input.decoder(), refusal)).await {
            Ok(()) => Handshake::Refused,
            Err(_) => Handshake::Gone,
        };
    }
    log_in(input, socket, &shared.plugins).await
}

/// What plugins are told of a connection.
fn connecting(socket: &Socket, protocol: &'static str) -> ConnectCall {
    // One that is gone already has no address.
    let address = socket.get_ref().peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    ConnectCall { address: address.to_canonical(), protocol, tls: false }
}

/// Says why, in words that the client understands as far as that is known, and closes.
async fn reject(mut socket: &Socket, words: &[u8], input: &mut Input<'_>) {
    let told = async {
        if socket.write_all(words).await.is_ok() {
            close(socket, input, LINGER_S_MAX).await;
        }
    };
    // It may not even take that.
    let _ = timeout(Duration::from_secs(2 * LINGER_S_MAX), told).await;
}

async fn log_in(input: &mut Input<'_>, mut socket: &Socket, plugins: &Plugins) -> Handshake {
    let mut refusals = 0;
    while let Some(login) = next_login(input, socket).await {
        let rejected = match login {
            Ok(login) => match admit(&login, connecting(socket, input.decoder().protocol()), plugins).await {
                Ok(()) => return Handshake::Peer(login),
                Err(mut refusal) => {
                    refusals += usize::from(refusal.code != Code::BadName);
                    refusal.message.push_str(match refusal.code {
                        _ if refusals >= LOGIN_REFUSALS_MAX => ", goodbye",
                        Code::BadPassword => ", try again with the name alone",
                        _ => ", you may try again",
                    });
                    Rejected { id: login.id, refusal }
                }
            },
            Err(rejected) => rejected,
        };
        if socket.write_all(&encoded(input.decoder(), rejected)).await.is_err() {
            break;
        }
        if refusals >= LOGIN_REFUSALS_MAX {
            return Handshake::Refused;
        }
        // What was read may hold thousands of bad names more.
        future::yield_now().await;
    }
    Handshake::Gone
}

/// Whether somebody may log in: what plugins say comes first.
async fn admit(login: &Login, connection: ConnectCall, plugins: &Plugins) -> Result<(), Refusal> {
    let Login { name, password, .. } = login;
    let set = plugins.current();
    if set.has(name) {
        return Err(Refusal::new(Code::BadName, format!("{name} is the name of a plugin; not logged in")));
    }
    let logging_in = || LoginCall { name: name.clone(), password: password.clone(), connection: connection.clone() };
    match set.log_in(logging_in).await {
        LoginVerdict::Allow => Ok(()),
        LoginVerdict::Refuse(refusal) => Err(refusal),
        LoginVerdict::Pass if password.is_none() => Ok(()),
        LoginVerdict::Pass => {
            let words = format!("{name} has no password, so none is taken; not logged in");
            Err(Refusal::new(Code::BadPassword, words))
        }
    }
}

/// Reads up to the next login or mistake, and writes what the protocol itself answers before that. `None`: the client is gone.
async fn next_login(input: &mut Input<'_>, mut socket: &Socket) -> Option<Result<Login, Rejected>> {
    loop {
        let mut replies = Vec::new();
        let login = input.decode_login(&mut replies);
        if !replies.is_empty() && socket.write_all(&replies).await.is_err() {
            return None;
        }
        if login.is_some() {
            return login;
        }
        if input.fill().await != ReadOutcome::Some {
            return None;
        }
    }
}

fn encoded(decoder: &dyn Decoder, rejected: impl Into<Rejected>) -> Vec<u8> {
    let mut bytes = Vec::new();
    decoder.encode_rejection(rejected.into(), &mut bytes);
    bytes
}

/// The life of a session: its requests go to the broker, and what the broker has for it is written, side by side.
async fn run_session(input: &mut Input<'_>, socket: &Socket, session: SessionId, login: Login, shared: &Shared) {
    let Shared { broker, limits, .. } = shared;
    let (sender, receiver) = broker::outbox();
    let encoder = input.decoder().start_session(&login);
    let wants_accepted = encoder.capabilities.wants_accepted;
    let Login { id, name, .. } = login;
    let joining = Joining { id, encoder, is_plugin: false, outbox: sender };
    broker.tell(Event::Join { session, name: name.clone(), joining }).await;
    let progress = Progress::default();
    let dead_after = seconds_or_none(limits.dead_after_s);
    let mut writer = Writer::new(socket, session, receiver, broker, &progress, dead_after);
    let ended = {
        let mut writing = pin!(writer.run());
        // Held while plugins look at what was read: that is dealt with, whatever becomes of the connection.
        let filtering = Mutex::new(());
        let broker_closed = async {
            writing.as_mut().await;
            let _filtered = filtering.lock().await;
            Ended::BrokerClosed
        };
        let sender = MessageSender { name: &name, wants_accepted };
        let reader = RequestReader::new(input, session, sender, shared, &progress);
        let ended = future::or(reader.run(&filtering), broker_closed).await;
        match ended {
            Ended::Input => {
                broker.tell(Event::End { session, reason: EndReason::Client }).await;
                finish(writing, &progress).await;
            }
            Ended::Stop => {
                broker.tell(Event::End { session, reason: EndReason::Shutdown }).await;
                finish(writing, &progress).await;
            }
            // The request is in the broker's hands.
            Ended::Quit => finish(writing, &progress).await,
            Ended::Broken | Ended::BrokerClosed => {}
        }
        ended
    };
    // What was acknowledged last is delivered too, however the connection ended.
    writer.report(0).await;
    broker.tell(Event::Leave { session }).await;
    if writer.is_dead() {
        log::debug!("session {session} is dead: no sign of life for {} s", limits.dead_after_s);
        return abort(socket);
    }
    // A server that stops keeps nobody waiting: what it wrote is acknowledged.
    let linger_s = if ended == Ended::Stop { 0 } else { LINGER_S_MAX };
    close(socket, input, linger_s).await;
}

/// Waits until everything queued is written and acknowledged, or nothing has moved for a while.
async fn finish(writing: Pin<&mut impl Future<Output = ()>>, progress: &Progress) {
    let is_stalled = async {
        let (mut before, mut still_s) = (progress.taken(), 0);
        while still_s < CLOSING_STALL_S_MAX {
            sleep(Duration::from_secs(1)).await;
            let now = progress.taken();
            still_s = if now == before { still_s + 1 } else { 0 };
            before = now;
        }
    };
    future::or(writing, is_stalled).await;
}

/// Closes our side, then waits a little for the client's: a socket that is closed with bytes unread is reset, and the
/// client may lose what it has not read yet.
async fn close(socket: &Socket, input: &mut Input<'_>, linger_s: u64) {
    let _ = socket.get_ref().shutdown(std::net::Shutdown::Write);
    let _ = timeout(Duration::from_secs(linger_s), input.discard()).await;
}

/// Drops the connection and what is on its way, with a reset: the other end is not there to be waited for.
fn abort(socket: &Socket) {
    // It fails on a socket that has failed already.
    let _ = rustix::net::sockopt::set_socket_linger(socket.get_ref(), Some(Duration::ZERO));
}

/// Whether a socket was reset, also where a read or a write has taken the error away: one that is closed and not half closed
/// has no peer any more; getpeername(2), ENOTCONN.
fn is_broken(socket: &Socket) -> bool {
    socket.get_ref().peer_addr().is_err()
}
