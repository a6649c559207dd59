//! One client's life: which protocol it speaks, its login, its requests, its messages, its end. Owns the socket; never
//! knows SQL, nor any other peer.

mod acknowledged;
mod detect;
mod input;
mod rate_limiter;
mod writer;

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use smol::io::AsyncWriteExt;
use smol::lock::{Mutex, Semaphore};
use smol::{Async, future};

use self::detect::DetectedProtocol;
use self::input::{Input, ReadOutcome};
use self::rate_limiter::RateLimiter;
use self::writer::{Progress, Writer};
use crate::broker::{self, EndReason, Event, Handle, Joining};
use crate::config::Limits;
use crate::limits::{BATCH_REQUESTS_MAX, CLOSING_STALL_S_MAX, LINGER_S_MAX, LOGIN_REFUSALS_MAX};
use crate::message::{PeerName, SessionId};
use crate::plugin::{ConnectCall, LoginCall, LoginVerdict, Plugins, Sender};
use crate::protocol::{ClientRequest, Code, Login, Protocol, Refusal, Rejected, Reply, Request};
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
    /// Closed when the server stops: nothing more is read.
    pub(crate) stop: Receiver<()>,
    /// What one connection may take up.
    pub(crate) limits: Limits,
}

/// What became of a connection's first lines.
enum Handshake {
    /// A peer.
    Peer(Login),
    /// It speaks what is not spoken here.
    Foreign(DetectedProtocol),
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
    let mut input = Input::new(&socket, shared.stop.clone());
    let login_timeout_s = shared.limits.login_timeout_s;
    let handshake = timeout(seconds_or_none(login_timeout_s), handshake(&mut input, &socket, &shared.plugins)).await;
    match handshake.unwrap_or(Handshake::Late) {
        Handshake::Peer(login) => run_session(&mut input, &socket, session, login, &shared).await,
        Handshake::Foreign(spoken) => reject(&socket, spoken.refusal(), &mut input).await,
        Handshake::Late => {
            let refusal = encoded(input.protocol(), too_late(login_timeout_s));
            reject(&socket, &refusal, &mut input).await;
        }
        Handshake::Refused => close(&socket, &mut input, LINGER_S_MAX).await,
        Handshake::Gone => {}
    }
}

/// Tells one for whom there is no room why, and closes the connection.
pub(crate) async fn refuse(socket: Socket, refusal: Refusal, stop: Receiver<()>) {
    let mut input = Input::new(&socket, stop);
    // What it speaks is not known yet.
    reject(&socket, &encoded(Protocol::Plain, refusal), &mut input).await;
}

fn too_late(timeout_s: u64) -> Refusal {
    Refusal::new(Code::LoginTimeout, format!("no login came within {timeout_s} s (login_timeout_s); goodbye"))
}

/// Finds the protocol, and asks for a name until there is one.
async fn handshake(input: &mut Input<'_>, mut socket: &Socket, plugins: &Plugins) -> Handshake {
    match detect::detect(input).await {
        Some(DetectedProtocol::Plain) => {}
        Some(DetectedProtocol::Json) => input.speak(Protocol::Json),
        Some(foreign) => return Handshake::Foreign(foreign),
        None => return Handshake::Gone,
    }
    let protocol = input.protocol();
    if let Err(refusal) = plugins.current().connect(|| connecting(socket, protocol)).await {
        return match socket.write_all(&encoded(protocol, refusal)).await {
            Ok(()) => Handshake::Refused,
            Err(_) => Handshake::Gone,
        };
    }
    log_in(input, socket, plugins).await
}

/// What plugins are told of a connection.
fn connecting(socket: &Socket, protocol: Protocol) -> ConnectCall {
    // One that is gone already has no address.
    let address = socket.get_ref().peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    ConnectCall { address: address.to_canonical(), protocol: protocol.as_str(), tls: false }
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
    while let Some(login) = next_login(input).await {
        let rejected = match login {
            Ok(login) => match admit(&login, connecting(socket, input.protocol()), plugins).await {
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
        if socket.write_all(&encoded(input.protocol(), rejected)).await.is_err() {
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

/// The next line that is not empty, as a login. `None`: there is none.
async fn next_login(input: &mut Input<'_>) -> Option<Result<Login, Rejected>> {
    let protocol = input.protocol();
    loop {
        while let Some(line) = input.next_line() {
            match line {
                Ok(line) => {
                    if let Some(login) = protocol.parse_login(line) {
                        return Some(login);
                    }
                }
                Err(refusal) => return Some(Err(refusal.with_outcome("not logged in").into())),
            }
        }
        if input.fill().await != ReadOutcome::Some {
            return None;
        }
    }
}

fn encoded(protocol: Protocol, rejected: impl Into<Rejected>) -> Vec<u8> {
    let Rejected { id, refusal } = rejected.into();
    let mut bytes = Vec::new();
    protocol.encode_reply(id.as_ref(), &Reply::Refused(refusal), &mut bytes);
    bytes
}

/// The life of a session: its requests go to the broker, and what the broker has for it is written, side by side.
async fn run_session(
    input: &mut Input<'_>,
    socket: &Socket,
    session: SessionId,
    Login { id, name, acks, .. }: Login,
    shared: &Shared,
) {
    let Shared { broker, limits, .. } = shared;
    let (sender, receiver) = broker::outbox();
    let joining = Joining { id, protocol: input.protocol(), acks, is_plugin: false, outbox: sender };
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
        let ended =
            future::or(read_requests(input, session, &name, shared, &progress, &filtering), broker_closed).await;
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

/// Hands requests to the broker, a batch at a time, until there are no more. What was read is dealt with before anything
/// else is read.
async fn read_requests(
    input: &mut Input<'_>,
    session: SessionId,
    name: &PeerName,
    Shared { broker, plugins, limits, .. }: &Shared,
    progress: &Progress,
    filtering: &Mutex<()>,
) -> Ended {
    let permits = Arc::new(Semaphore::new(1));
    let destinations_max = Limits::or_none(limits.destinations_max);
    let mut rate_limiter = RateLimiter::new(limits.messages_per_s);
    // A plugin's command, for which what was asked before it is to be dealt with.
    let mut command = None;
    loop {
        // One batch of a connection is under way at a time.
        let permit = permits.acquire_arc().await;
        // A server that stops deals with what was read at once.
        if !rate_limiter.is_ready() && !input.unless_stopped(rate_limiter.ready()).await {
            rate_limiter = RateLimiter::new(0);
        }
        let batch_max = rate_limiter.allowed().min(BATCH_REQUESTS_MAX);
        let next_batch = |input: &mut Input<'_>| next_batch(input, batch_max, destinations_max, progress.is_broken());
        let mut requests = match command.take() {
            Some(command) => vec![command],
            None => next_batch(input),
        };
        while requests.is_empty() {
            match input.fill().await {
                ReadOutcome::Some => requests = next_batch(input),
                ReadOutcome::End => return Ended::Input,
                ReadOutcome::Reset => return Ended::Broken,
                ReadOutcome::Stop => return Ended::Stop,
            }
        }
        if requests.len() > 1 {
            command = requests.pop_if(|last| matches!(last.request, Request::Command { .. }));
        }
        rate_limiter.take(requests.len());
        let quits = requests.last().is_some_and(|asked| asked.request == Request::Quit);
        let set = plugins.current();
        if set.concerns(&requests) {
            let _filtering = filtering.lock().await;
            let sender = Sender { name, protocol: input.protocol() };
            requests = set.filter(sender, requests).await;
            broker.tell(Event::Requests { session, requests, permit }).await;
        } else {
            broker.tell(Event::Requests { session, requests, permit }).await;
        }
        if quits {
            return Ended::Quit;
        }
    }
}

/// The requests in what was read. One whose answer may be large ends the batch: a batch is answered with little more than it
/// holds. Once nobody hears the answers, what only asks for one is dropped.
fn next_batch(input: &mut Input<'_>, batch_max: usize, destinations_max: u64, is_unheard: bool) -> Vec<ClientRequest> {
    let protocol = input.protocol();
    let mut requests = Vec::new();
    while requests.len() < batch_max
        && let Some(line) = input.next_line()
    {
        let asked = match line {
            Ok(line) => protocol.parse(line, destinations_max),
            Err(refusal) => Some(Request::Malformed(refusal.with_outcome("not sent")).into()),
        };
        let Some(asked) = asked else { continue };
        if is_unheard && asked.request.is_read_only() {
            continue;
        }
        let ends_batch = asked.request.has_large_reply() || asked.request == Request::Quit;
        requests.push(asked);
        if ends_batch {
            break;
        }
    }
    requests
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
