//! The server: listens, accepts, and stops in good order. Owns the listeners, the signals and the order in which things
//! end; never parses.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_signal::{Signal, Signals};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::stream::StreamExt;
use smol::{Async, Executor, Timer, future};

use crate::broker::{self, Broker, Handle};
use crate::config::Config;
use crate::connection::{self, Shared};
use crate::limits::{ACCEPT_RETRY_MS_MAX, ACCEPT_RETRY_MS_MIN, LISTEN_BACKLOG_CONNECTIONS, SHUTDOWN_S_MAX};
use crate::message::SessionId;
use crate::store::{Store, StoreError};

/// The exit code of a process that a second signal ends; 128 and SIGINT's number, as a shell has it.
const EXIT_INTERRUPTED: i32 = 130;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address to listen on.
    #[error("cannot listen on {address}: {source}; name another address with --listen, or stop what uses this one")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The signals that stop the server.
    #[error("cannot watch for signals: {source}")]
    Signals {
        /// What the system said.
        source: std::io::Error,
    },
}

/// A server that listens, and does not accept yet.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Async<TcpListener>>,
    signals: Signals,
    handle: Handle,
    broker: Broker,
}

impl Server {
    /// Opens the store, and listens. From here on a signal stops the server in good order.
    pub fn bind(config: &Config) -> Result<Server, ServeError> {
        let signals = Signals::new([Signal::Int, Signal::Term]).map_err(|source| ServeError::Signals { source })?;
        raise_descriptor_limit();
        let store = Store::open(&config.data, config.durability)?;
        let listeners = config.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<String> = listeners.iter().map(address_of).collect();
        log::info!("listening on {}, data in {}", addresses.join(", "), config.data.display());
        let (handle, broker) = broker::open(store, config.limits.mailbox_max);
        Ok(Server { listeners, signals, handle, broker })
    }

    /// Serves until SIGINT or SIGTERM, then stops accepting, deals with what was read, delivers what the clients take in
    /// time, and closes the database. A second signal ends the process at once: what was accepted is on disk.
    pub fn run(self) {
        let Server { listeners, mut signals, handle, broker } = self;
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = async_channel::bounded(1);
        let (cut, cut_off) = async_channel::bounded(1);
        let (alive, gone) = async_channel::bounded::<()>(1);
        let shared = Arc::new(Shared { broker: handle, stop: stopped });
        let ended = async {
            let mut broker = executor.spawn(broker.run());
            let accepting: Vec<_> = listeners
                .into_iter()
                .map(|listener| {
                    let acceptor = Acceptor {
                        executor: executor.clone(),
                        shared: shared.clone(),
                        cut_off: cut_off.clone(),
                        alive: alive.clone(),
                    };
                    executor.spawn(acceptor.accept(listener))
                })
                .collect();
            let signal = async {
                wait_for_signal(&mut signals).await;
                None
            };
            // The broker outlives its handles, and we hold one: it ends before only by a panic, which goes on here.
            let broken = async { Some((&mut broker).await) };
            assert!(future::or(signal, broken).await.is_none(), "the broker runs until it is let go");
            log::debug!("stopping");
            // A task that is dropped is cancelled: nobody is accepted any more.
            drop(accepting);
            drop((stop, shared, alive));
            let second = async {
                wait_for_signal(&mut signals).await;
                std::process::exit(EXIT_INTERRUPTED);
            };
            let in_order = async {
                give_time(&gone, cut).await;
                broker.await
            };
            future::or(in_order, second).await
        };
        let store = smol::block_on(executor.run(ended));
        store.close();
        log::debug!("stopped");
    }
}

/// What it takes to serve whoever connects.
struct Acceptor {
    executor: Arc<Executor<'static>>,
    shared: Arc<Shared>,
    /// Closed when the clients' time is up.
    cut_off: Receiver<()>,
    /// Held by every connection, so that its closing says that all are gone.
    alive: Sender<()>,
}

impl Acceptor {
    /// Accepts, whatever becomes of those accepted, and whatever keeps it from accepting for a while.
    async fn accept(self, listener: Async<TcpListener>) {
        let mut retry_ms = ACCEPT_RETRY_MS_MIN;
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    retry_ms = ACCEPT_RETRY_MS_MIN;
                    log::debug!("accepted {address}");
                    self.serve(socket);
                }
                Err(error) => {
                    log::warn!("cannot accept a connection, trying again in {retry_ms} ms: {error}");
                    Timer::after(Duration::from_millis(retry_ms)).await;
                    retry_ms = ACCEPT_RETRY_MS_MAX.min(2 * retry_ms);
                }
            }
        }
    }

    fn serve(&self, socket: Async<TcpStream>) {
        // What waits in an outbox leaves in one write: there is nothing to gather in the kernel. Without it, it is slower.
        let _ = socket.get_ref().set_nodelay(true);
        let served = connection::serve(Arc::new(socket), next_session(), self.shared.clone());
        let (cut_off, alive) = (self.cut_off.clone(), self.alive.clone());
        let until_cut = async move {
            let _alive = alive;
            let cut = async {
                let _ = cut_off.recv().await;
            };
            future::or(served, cut).await;
        };
        // It ends by itself or by the cut: nobody waits for it in particular.
        self.executor.spawn(until_cut).detach();
    }
}

fn next_session() -> SessionId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    SessionId::new(LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

/// Waits until every connection is gone, and cuts off those that take too long.
async fn give_time(gone: &Receiver<()>, cut: Sender<()>) {
    let all_gone = async {
        let _ = gone.recv().await;
    };
    let time_is_up = async {
        Timer::after(Duration::from_secs(SHUTDOWN_S_MAX)).await;
    };
    future::or(all_gone, time_is_up).await;
    drop(cut);
    let _ = gone.recv().await;
}

async fn wait_for_signal(signals: &mut Signals) {
    while let Some(signal) = signals.next().await {
        match signal {
            Ok(_) => return,
            Err(error) => log::warn!("a signal could not be read: {error}"),
        }
    }
}

fn listen(address: SocketAddr) -> Result<Async<TcpListener>, ServeError> {
    let listening = || {
        let listener = Async::<TcpListener>::bind(address)?;
        // Again, with room for a crowd: the standard library asks for 128.
        rustix::net::listen(&listener, LISTEN_BACKLOG_CONNECTIONS)?;
        Ok(listener)
    };
    listening().map_err(|source| ServeError::Listen { address, source })
}

fn address_of(listener: &Async<TcpListener>) -> String {
    listener.get_ref().local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
}

/// Each connection takes a descriptor: as many as the system lets us have; getrlimit(2), RLIMIT_NOFILE.
fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        log::warn!("at most {current:?} connections, the limit of descriptors cannot be raised: {error}");
    }
}
