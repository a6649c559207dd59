//! Tests of the seams below and above a connection: each transport carries each protocol, which the broker and the store do not notice. Owns the
//! session that all of them pass.

mod client;
mod frames;
mod numbered;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::task::Waker;
use std::thread::{self, JoinHandle};

use async_channel::Sender;
use smol::{Async, Executor};
use tempfile::TempDir;

use self::client::{Client, Heard, Say, Spoken};
use self::frames::{FRAME_BYTES_MAX, Frames};
use super::*;
use crate::auth::Authenticator;
use crate::config::{AccountsConfig, Durability, Limits, Retention};
use crate::plugin::Plugins;
use crate::protocol::{json, plain};
use crate::store::{Store, StoreOptions};
use crate::transport::tcp::Tcp;

/// Bytes of the future that serves a connection: they are most of an idle connection's memory.
const CONNECTION_BYTES_MAX: usize = 1600;

/// The protocols of the server, and one more.
const PROTOCOLS: ProtocolTable =
    ProtocolTable { detectors: &[json::DETECTOR, numbered::DETECTOR, TLS, HTTP], fallback: plain::decoder };

/// A broker with its store, and connections over one transport.
struct Server {
    address: SocketAddr,
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
    _data: TempDir,
}

impl Server {
    fn start<T: Transport + Send + Sync + 'static>(transport: fn(Tcp) -> T) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), StoreOptions::new(Durability::Crash, Retention::default())).unwrap();
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let (stop, stopped) = async_channel::bounded(1);
        let thread = thread::spawn(move || smol::block_on(run(listener, store, transport, stopped)));
        Server { address, stop, thread: Some(thread), _data: data }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.close();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server panicked");
    }
}

async fn run<T: Transport + Send + Sync + 'static>(
    listener: Async<TcpListener>,
    store: Store,
    transport: fn(Tcp) -> T,
    stop: Receiver<()>,
) {
    let limits = Limits::default();
    let (handle, broker) = broker::open(store, &limits);
    let plugins = Arc::new(Plugins::default());
    let (authenticator, accounts) = (Authenticator::default(), AccountsConfig::default());
    let shared = Arc::new(Shared {
        broker: handle,
        plugins,
        authenticator,
        requires_tls: false,
        accounts,
        protocols: PROTOCOLS,
        stop: stop.clone(),
        limits,
    });
    let executor = Executor::new();
    let broker = executor.spawn(broker.run());
    let accepting = async {
        loop {
            let (socket, address) = listener.accept().await.unwrap();
            let served = serve(transport(Tcp::new(socket, address.ip())), SessionId::unused(), shared.clone());
            executor.spawn(served).detach();
        }
    };
    let stopped = async {
        let _ = stop.recv().await;
    };
    executor.run(future::or(accepting, stopped)).await;
    drop(shared);
    executor.run(broker).await.close().unwrap();
}

fn message(text: &str) -> Vec<Heard> {
    vec![Heard::Message(text.to_owned())]
}

/// Logs in, sends, chats in a room, looks at the past, quits, and finds what was sent meanwhile.
fn pass_a_session(server: SocketAddr, spoken: Spoken, is_framed: bool) {
    let connect = || Client::connect(server, spoken, is_framed);
    let mut alice = connect();
    assert_eq!(alice.log_in("alice"), 0);
    alice.say(&Say::Send("bob", "first"));
    assert_eq!(alice.barrier(), []);

    let mut bob = connect();
    assert_eq!(bob.log_in("bob"), 1);
    assert_eq!(bob.barrier(), message("from alice: first"));

    bob.say(&Say::Join("#room"));
    assert_eq!(bob.barrier(), [Heard::Joined]);
    alice.say(&Say::Join("#room"));
    assert_eq!(alice.barrier(), [Heard::Joined]);
    alice.say(&Say::Send("#room", "hello"));
    alice.barrier();
    assert_eq!(bob.barrier(), message("from alice in #room: hello"));
    alice.say(&Say::History);
    assert_eq!(alice.barrier(), ["first", "hello"].map(|text| Heard::Past(text.to_owned())));

    bob.barrier();
    bob.quit();
    alice.say(&Say::Send("bob", "second"));
    alice.barrier();
    let mut bob = connect();
    assert_eq!(bob.log_in("bob"), 1, "what was acknowledged does not come again");
    assert_eq!(bob.barrier(), message("from alice: second"));
}

fn pass_a_session_in_each_protocol<T: Transport + Send + Sync + 'static>(transport: fn(Tcp) -> T, is_framed: bool) {
    for spoken in [Spoken::Plain, Spoken::Json, Spoken::Numbered] {
        let server = Server::start(transport);
        pass_a_session(server.address, spoken, is_framed);
    }
}

#[test]
fn each_protocol_works_over_tcp() {
    pass_a_session_in_each_protocol(|tcp| tcp, false);
}

#[test]
fn each_protocol_works_over_frames() {
    pass_a_session_in_each_protocol(Frames::new, true);
}

#[test]
fn protocols_share_a_room() {
    let server = Server::start(|tcp| tcp);
    let names =
        [("paula", Spoken::Plain), ("jason", Spoken::Json), ("nina", Spoken::Numbered), ("nick", Spoken::Numbered)];
    let mut clients = names.map(|(name, spoken)| {
        let mut client = Client::connect(server.address, spoken, false);
        client.log_in(name);
        client.say(&Say::Join("#room"));
        assert_eq!(client.barrier(), [Heard::Joined]);
        client
    });
    for sender in 0..names.len() {
        clients[sender].say(&Say::Send("#room", "hi"));
        clients[sender].barrier();
        let (name, _) = names[sender];
        for reader in (0..names.len()).filter(|reader| *reader != sender) {
            assert_eq!(clients[reader].barrier(), message(&format!("from {name} in #room: hi")), "{:?}", names[reader]);
        }
    }
}

#[test]
fn a_frame_is_acknowledged_as_a_whole() {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let mut far = TcpStream::connect(listener.get_ref().local_addr().unwrap()).unwrap();
    let (socket, address) = smol::block_on(listener.accept()).unwrap();
    let near = Frames::new(Tcp::new(socket, address.ip()));
    let mut context = std::task::Context::from_waker(Waker::noop());
    while near.poll_write(&mut context, &[b'x'; FRAME_BYTES_MAX]).is_ready() {}
    let written = near.written_bytes();
    let acknowledged = near.acknowledged_bytes();
    assert!(acknowledged < written, "{acknowledged} of {written}");
    assert_eq!(acknowledged % FRAME_BYTES_MAX as u64, 0);
    let reading = thread::spawn(move || {
        let tcp_bytes = written + written / FRAME_BYTES_MAX as u64;
        std::io::Read::read_exact(&mut far, &mut vec![0; tcp_bytes as usize]).unwrap();
        far
    });
    smol::block_on(future::poll_fn(|context| near.poll_flush(context))).unwrap();
    let _far = reading.join().unwrap();
    // The acknowledgement may be delayed.
    while near.acknowledged_bytes() < written {
        thread::yield_now();
    }
}

fn future_bytes<F>(_: fn(Tcp, SessionId, Arc<Shared>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn connection_takes_little_memory() {
    let bytes = future_bytes(serve);
    assert!(bytes <= CONNECTION_BYTES_MAX, "{bytes} bytes");
}
