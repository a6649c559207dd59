//! One client's life: which protocol it speaks, its login, its requests, its messages, its end. Owns the socket; never
//! knows SQL, nor any other peer.

mod acknowledged;
mod detect;
mod input;
mod writer;

use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_channel::Receiver;
use smol::io::AsyncWriteExt;
use smol::lock::Semaphore;
use smol::{Async, Timer, future};

use self::detect::Spoken;
use self::input::{Filled, Input};
use self::writer::Writer;
use crate::broker::{self, EndReason, Event, Handle};
use crate::limits::{BATCH_REQUESTS_MAX, CLOSING_STALL_S_MAX, LINGER_S_MAX, LOGIN_REFUSALS_MAX};
use crate::message::{PeerName, SessionId};
use crate::protocol::plain::{self, Login};
use crate::protocol::{Code, Protocol, Refusal, Reply, Request};

/// A socket that its reader and its writer share.
pub(crate) type Socket = Arc<Async<TcpStream>>;

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Takes what clients ask.
    pub(crate) broker: Handle,
    /// Closed when the server stops: nothing more is read.
    pub(crate) stop: Receiver<()>,
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
    LetGo,
}

/// Serves one client, from its first byte to its last.
pub(crate) async fn serve(socket: Socket, session: SessionId, shared: Arc<Shared>) {
    let mut input = Input::new(socket.clone(), shared.stop.clone());
    let spoken = match detect::detect(&mut input).await {
        Some(Spoken::Plain) => Protocol::Plain,
        Some(other) => return turn_away(&socket, other, input).await,
        None => return,
    };
    if let Some(name) = log_in(&mut input, &socket).await {
        converse(input, socket, session, name, spoken, &shared.broker).await;
    }
}

/// A protocol that is not spoken here yet is told so in its own words.
async fn turn_away(socket: &Socket, spoken: Spoken, mut input: Input) {
    if (&**socket).write_all(spoken.refusal()).await.is_ok() {
        close(socket, &mut input, LINGER_S_MAX).await;
    }
}

/// Asks for a name until there is one. `None`: the client is gone, or was refused for good.
async fn log_in(input: &mut Input, socket: &Socket) -> Option<PeerName> {
    let mut refusals = 0;
    loop {
        match next_login(input).await? {
            Ok(Login { name, password: None }) => return Some(name),
            Ok(Login { name, password: Some(_) }) => {
                refusals += 1;
                let again = if refusals < LOGIN_REFUSALS_MAX { "try again with the name alone" } else { "goodbye" };
                let words = format!("{name} has no password, so none is taken; not logged in, {again}");
                answer(socket, Refusal::new(Code::BadPassword, words)).await?;
                if refusals >= LOGIN_REFUSALS_MAX {
                    close(socket, input, LINGER_S_MAX).await;
                    return None;
                }
            }
            Err(refusal) => answer(socket, refusal).await?,
        }
    }
}

/// The next line that is not empty, as a login. `None`: there is none.
async fn next_login(input: &mut Input) -> Option<Result<Login, Refusal>> {
    loop {
        while let Some(line) = input.next_line() {
            match line {
                Ok(line) => {
                    if let Some(login) = plain::parse_login(line) {
                        return Some(login);
                    }
                }
                Err(refusal) => return Some(Err(refusal.but("not logged in"))),
            }
        }
        if input.fill().await != Filled::Some {
            return None;
        }
    }
}

async fn answer(socket: &Socket, refusal: Refusal) -> Option<()> {
    let mut bytes = Vec::new();
    plain::encode_reply(&Reply::Refused(refusal), &mut bytes);
    (&**socket).write_all(&bytes).await.ok()
}

/// The life of a session: its requests go to the broker, and what the broker has for it is written, side by side.
async fn converse(
    mut input: Input,
    socket: Socket,
    session: SessionId,
    name: PeerName,
    protocol: Protocol,
    broker: &Handle,
) {
    let (sender, outbox) = broker::outbox();
    broker.tell(Event::Join { session, name, protocol, outbox: sender }).await;
    let progress = Arc::new(AtomicU64::new(0));
    let mut writer = Writer::new(socket.clone(), session, outbox, broker.clone(), progress.clone());
    let ended = {
        let mut writing = pin!(writer.run());
        let let_go = async {
            writing.as_mut().await;
            Ended::LetGo
        };
        let ended = future::or(read_requests(&mut input, session, broker), let_go).await;
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
            Ended::Broken | Ended::LetGo => {}
        }
        ended
    };
    // What was acknowledged last is delivered too, however the connection ended.
    writer.report(0).await;
    broker.tell(Event::Leave { session }).await;
    // A server that stops keeps nobody waiting: what it wrote is acknowledged.
    let linger_s = if ended == Ended::Stop { 0 } else { LINGER_S_MAX };
    close(&socket, &mut input, linger_s).await;
}

/// Hands requests to the broker, a batch at a time, until there are no more. What was read is dealt with before anything
/// else is read.
async fn read_requests(input: &mut Input, session: SessionId, broker: &Handle) -> Ended {
    let permits = Arc::new(Semaphore::new(1));
    loop {
        // One batch of a connection is under way at a time.
        let permit = permits.acquire_arc().await;
        let mut requests = next_batch(input);
        while requests.is_empty() {
            match input.fill().await {
                Filled::Some => requests = next_batch(input),
                Filled::End => return Ended::Input,
                Filled::Reset => return Ended::Broken,
                Filled::Stop => return Ended::Stop,
            }
        }
        let quits = requests.last() == Some(&Request::Quit);
        broker.tell(Event::Requests { session, requests, permit }).await;
        if quits {
            return Ended::Quit;
        }
    }
}

/// The requests in what was read. A command ends the batch, since its answer may be large: a batch is answered with little
/// more than it holds.
fn next_batch(input: &mut Input) -> Vec<Request> {
    let mut requests = Vec::new();
    while requests.len() < BATCH_REQUESTS_MAX
        && let Some(line) = input.next_line()
    {
        let request = match line {
            Ok(line) => plain::parse(line),
            Err(refusal) => Some(Request::Malformed(refusal.but("not sent"))),
        };
        let Some(request) = request else { continue };
        let ends_batch = matches!(request, Request::Who | Request::History { .. } | Request::Help | Request::Quit);
        requests.push(request);
        if ends_batch {
            break;
        }
    }
    requests
}

/// Waits until everything queued is written and acknowledged, or nothing has moved for a while.
async fn finish(writing: Pin<&mut impl Future<Output = ()>>, progress: &AtomicU64) {
    let is_stalled = async {
        let (mut before, mut still_s) = (progress.load(Ordering::Relaxed), 0);
        while still_s < CLOSING_STALL_S_MAX {
            Timer::after(Duration::from_secs(1)).await;
            let now = progress.load(Ordering::Relaxed);
            still_s = if now == before { still_s + 1 } else { 0 };
            before = now;
        }
    };
    future::or(writing, is_stalled).await;
}

/// Closes our side, then waits a little for the client's: a socket that is closed with bytes unread is reset, and the
/// client may lose what it has not read yet.
async fn close(socket: &Socket, input: &mut Input, linger_s: u64) {
    let _ = socket.get_ref().shutdown(std::net::Shutdown::Write);
    let lingered = async {
        Timer::after(Duration::from_secs(linger_s)).await;
    };
    future::or(input.discard(), lingered).await;
}
