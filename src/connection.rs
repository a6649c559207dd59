//! Connection of one client, from its first byte to its last: detection of the protocol, login, requests, messages, end. Owns the stream;
//! never knows SQL or any other peer.

mod admission;
mod detect;
mod http;
mod login;
mod passwords;
mod rate_limiter;
mod reader;
mod requests;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use smol::future;
use smol::lock::{Mutex, Semaphore};

use self::admission::AdmittedLogin;
pub(crate) use self::detect::{HTTP, TLS};
use self::login::Handshake;
use self::reader::LineReader;
use self::requests::{ReaderEnd, RequestReader};
pub(crate) use self::shared::Shared;
use self::writer::{OutboxWriter, Progress};
use crate::broker::{self, Event, Joining, OutboxReceiver, SessionOutput};
use crate::limits::{CLOSING_STALL_S_MAX, LINGER_S_MAX};
use crate::message::{PeerName, SessionId};
use crate::plugin::MessageSender;
use crate::protocol::{Login, ProtocolTable, Refusal};
use crate::source::Source;
use crate::timeout::{seconds_or_none, sleep, timeout};
use crate::transport::{self, Transport};

/// Serves one client, from its first byte to its last.
pub(crate) async fn serve(transport: impl Transport, session: SessionId, shared: Arc<Shared>) {
    let mut reader = LineReader::new(&transport, (shared.protocols.fallback)(), shared.stop.clone());
    let login_timeout_s = shared.limits.login_timeout_s;
    // Boxed, because the future of a connection always takes the memory of its largest state.
    let handshake = Box::pin(login::handshake(&mut reader, &shared));
    let handshake = timeout(seconds_or_none(login_timeout_s), handshake).await;
    match handshake.unwrap_or(Handshake::TimedOut) {
        Handshake::LoggedIn(admitted) => run_session(&mut reader, session, admitted, &shared).await,
        Handshake::Unsupported(last_words) => reject(&mut reader, last_words).await,
        Handshake::TimedOut => {
            let last_words = login::encode(reader.decoder(), login::too_late(login_timeout_s, reader.unread()));
            reject(&mut reader, &last_words).await;
        }
        Handshake::Refused => close(&mut reader, LINGER_S_MAX).await,
        Handshake::Disconnected => {}
    }
}

/// Sends a refusal to a client that is over a limit of connections, and closes the connection.
pub(crate) async fn refuse(transport: impl Transport, refusal: Refusal, protocols: ProtocolTable, stop: Receiver<()>) {
    // The client's protocol is not known yet.
    let decoder = (protocols.fallback)();
    let last_words = login::encode(&*decoder, refusal);
    let mut reader = LineReader::new(&transport, decoder, stop);
    reject(&mut reader, &last_words).await;
}

/// Writes the last words, if the client reads them in time, and closes the connection.
async fn reject(reader: &mut LineReader<'_, impl Transport>, last_words: &[u8]) {
    let written = async {
        if transport::write_all(reader.transport(), last_words).await.is_ok() {
            close(reader, LINGER_S_MAX).await;
        }
    };
    let _ = timeout(Duration::from_secs(2 * LINGER_S_MAX), written).await;
}

/// Runs a session: submits its requests to the broker and writes what the broker sends to it.
async fn run_session<T: Transport>(
    reader: &mut LineReader<'_, T>,
    session: SessionId,
    admitted: Box<AdmittedLogin>,
    shared: &Shared,
) {
    let Shared { broker, limits, .. } = shared;
    let transport = reader.transport();
    let permits = Arc::new(Semaphore::new(1));
    let (name, wants_accepted, joining, receiver) = start_session(reader, *admitted, &permits);
    broker.send(Event::Join { session, name: name.clone(), joining }).await;
    let progress = Progress::default();
    let mut writer = OutboxWriter::new(transport, session, broker, receiver, &progress);
    writer.set_dead_after(seconds_or_none(limits.dead_after_s));
    let sender = MessageSender { name: &name, session, broker, wants_accepted };
    let mut requests = RequestReader::new(reader, (session, permits), sender, shared, &progress);
    let end = run_halves(&mut requests, &mut writer, &progress).await;
    // A last report, because messages may have been acknowledged since the one before.
    writer.report(0).await;
    broker.send(Event::Leave { session }).await;
    if writer.is_dead() {
        log::debug!("session {session} is dead: no sign of life for {} s", limits.dead_after_s);
        return transport.abort();
    }
    // A shutdown does not linger: everything that was written is acknowledged.
    let linger_s = if end == ReaderEnd::Stop { 0 } else { LINGER_S_MAX };
    close(reader, linger_s).await;
}

/// Makes the encoder and the outbox of a session. Returns the name, whether the client gets a reply to each message that it sends, the
/// broker's part of the session, and the receiving end of the outbox.
fn start_session(
    reader: &mut LineReader<'_, impl Transport>,
    AdmittedLogin { login, access }: AdmittedLogin,
    permits: &Arc<Semaphore>,
) -> (PeerName, bool, Box<Joining>, OutboxReceiver) {
    let (sender, receiver) = broker::outbox();
    let encoder = reader.start_session(&login);
    let wants_accepted = encoder.capabilities.wants_accepted;
    let source = Source::of(reader.transport().peer_address());
    let Login { id, name, .. } = login;
    let output = SessionOutput::Lines { encoder, outbox: sender };
    let joining = Joining { id, source, access, output, permit: permits.try_acquire_arc() };
    (name, wants_accepted, Box::new(joining), receiver)
}

/// Reads and writes side by side, until the client's requests end and everything queued for it is written.
async fn run_halves<T: Transport>(
    requests: &mut RequestReader<'_, '_, T>,
    writer: &mut OutboxWriter<'_, T>,
    progress: &Progress,
) -> ReaderEnd {
    let mut writing = pin!(writer.run());
    // Locked while plugins filter a batch or its passwords are checked, so that the batch is submitted even if the connection ends meanwhile.
    let filtering = Mutex::new(());
    let broker_closed = async {
        writing.as_mut().await;
        let _filtered = filtering.lock().await;
        ReaderEnd::BrokerClosed
    };
    let end = future::or(requests.run(&filtering), broker_closed).await;
    if matches!(end, ReaderEnd::Input | ReaderEnd::Stop | ReaderEnd::Quit) {
        finish(writing, progress).await;
    }
    end
}

/// Waits until everything queued is written and acknowledged, or the client has taken nothing for a while.
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

/// Ends the writing direction, then waits a little for the client to end its own: a socket that is closed with unread bytes is reset, and
/// the client may lose what it has not read yet.
async fn close(reader: &mut LineReader<'_, impl Transport>, linger_s: u64) {
    let closed = async {
        let _ = transport::close(reader.transport()).await;
        reader.discard().await;
    };
    let _ = timeout(Duration::from_secs(linger_s), closed).await;
}
