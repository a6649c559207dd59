//! The server: listens, accepts, and stops in good order. Owns the listeners, the signals and the order in which things
//! end; never parses.

mod admission;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_signal::{Signal, Signals};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::lock::Semaphore;
use smol::stream::StreamExt;
use smol::{Async, Executor, future};

use self::admission::Admission;
use crate::backoff::Backoff;
use crate::broker::{self, Broker, Event, Handle};
use crate::config::{self, Config, ConfigError, Limits, PluginConfig};
use crate::connection::{self, HTTP, Shared, TLS};
use crate::limits::{
    ACCEPT_RETRY_MS_MAX, ACCEPT_RETRY_MS_MIN, LISTEN_BACKLOG_CONNECTIONS, OUTBOX_POLL_MS, REJECTED_CONNECTIONS_MAX,
    SHUTDOWN_S_MAX,
};
use crate::message::SessionId;
use crate::plugin::{self, LoadError, LoadedPlugin, PluginManager, Plugins, ReloadPlan};
use crate::protocol::{ProtocolTable, json, plain};
use crate::store::{DatabaseWatch, Store, StoreError, StoreOptions};
use crate::timeout::{sleep, timeout};
use crate::transport::tcp::Tcp;

/// The exit code of a process that a second signal ends; 128 and SIGINT's number, as a shell has it.
const EXIT_INTERRUPTED: i32 = 130;

const ACCEPT_RETRY_MIN: Duration = Duration::from_millis(ACCEPT_RETRY_MS_MIN);
const ACCEPT_RETRY_MAX: Duration = Duration::from_millis(ACCEPT_RETRY_MS_MAX);

/// The protocols that share each port: a further one is a row here.
const PROTOCOLS: ProtocolTable = ProtocolTable { detectors: &[json::DETECTOR, TLS, HTTP], otherwise: plain::decoder };

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
    /// The file that names the plugins.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A plugin.
    #[error(transparent)]
    Plugin(#[from] LoadError),
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
    watch: DatabaseWatch,
    limits: Limits,
    admission: Arc<Admission>,
    /// The file that names the plugins: read again at each reload.
    plugins: PathBuf,
    /// As the file names them.
    loaded: Vec<LoadedPlugin>,
    /// Those of the program that the server is part of.
    embedded: Vec<LoadedPlugin>,
    stopper: Stopper,
    stops: Receiver<()>,
}

impl Server {
    /// Loads the plugins, opens the store, and listens. From here on SIGINT and SIGTERM stop the server in good order, and SIGHUP
    /// has it load its plugins anew.
    pub fn bind(config: &Config) -> Result<Server, ServeError> {
        let signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup]);
        let signals = signals.map_err(|source| ServeError::Signals { source })?;
        let entries = config::load_plugins(&config.plugins)?;
        let loaded = entries.into_iter().map(plugin::load).collect::<Result<_, _>>()?;
        let admission = Arc::new(Admission::new(&config.limits, raise_descriptor_limit()));
        let store = Store::open(&config.data, StoreOptions::new(config.durability, config.retention))?;
        let listeners = config.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<String> = listeners.iter().map(address_of).collect();
        log::info!("listening on {}, data in {}", addresses.join(", "), config.data.display());
        let watch = store.watch();
        let (handle, broker) = broker::open(store, &config.limits);
        let (stop, stops) = async_channel::bounded(1);
        Ok(Server {
            listeners,
            signals,
            handle,
            broker,
            watch,
            limits: config.limits,
            admission,
            plugins: config.plugins.clone(),
            loaded,
            embedded: Vec::new(),
            stopper: Stopper { stops: stop },
            stops,
        })
    }

    /// Adds a plugin that is part of this program; it is asked before those of the file, and no reload ends it.
    pub fn add_plugin(&mut self, config: PluginConfig, plugin: Box<dyn plugin::Plugin>) {
        self.embedded.push(LoadedPlugin::embedded(config, plugin));
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.get_ref().local_addr().ok()).collect()
    }

    /// What stops the server as a signal does.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until SIGINT, SIGTERM or [`Stopper::stop`], then stops accepting, deals with what was read, delivers what the clients take in
    /// time, and closes the database. A second signal ends the process at once: what was accepted is on disk.
    pub fn run(self) {
        let Server {
            listeners,
            signals,
            handle,
            broker,
            watch,
            limits,
            admission,
            plugins: file,
            loaded,
            embedded,
            stopper,
            stops,
        } = self;
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = async_channel::bounded(1);
        let (cut, cut_off) = async_channel::bounded(1);
        let (alive, gone) = async_channel::bounded::<()>(1);
        let plugins = Arc::new(Plugins::default());
        let shared =
            Arc::new(Shared { broker: handle, plugins: plugins.clone(), protocols: PROTOCOLS, stop: stopped, limits });
        let turned_away = Arc::new(Semaphore::new(REJECTED_CONNECTIONS_MAX));
        let ended = async {
            let mut broker = executor.spawn(broker.run());
            let watching = executor.spawn(watch_outbox(watch, shared.broker.clone()));
            // A task of its own: what is waited for here is looked at whenever anything happens, by a system call.
            let (reload, reloads) = async_channel::bounded(1);
            let heeding = executor.spawn(handle_signals(signals, reload, stopper));
            let all = embedded.into_iter().chain(loaded).collect();
            let manager = PluginManager::start(all, plugins, executor.clone(), shared.broker.clone()).await;
            let keeping = executor.spawn(keep_plugins(manager, file, reloads.clone()));
            let accepting: Vec<_> = listeners
                .into_iter()
                .map(|listener| {
                    let acceptor = Acceptor {
                        executor: executor.clone(),
                        shared: shared.clone(),
                        admission: admission.clone(),
                        turned_away: turned_away.clone(),
                        cut_off: cut_off.clone(),
                        alive: alive.clone(),
                    };
                    executor.spawn(acceptor.accept(listener))
                })
                .collect();
            // The broker outlives its handles, and we hold one: it ends before only by a panic, which goes on here.
            let broken = async {
                (&mut broker).await;
                false
            };
            let told_to_stop = async { stops.recv().await.is_ok() };
            assert!(future::or(told_to_stop, broken).await, "the broker runs until it is let go");
            log::debug!("stopping");
            // A task that is dropped is cancelled: nobody is accepted any more, and nothing is taken out of the outbox.
            drop((accepting, watching));
            drop((stop, shared, alive));
            drain_connections(&gone, cut).await;
            reloads.close();
            keeping.await.stop().await;
            let store = broker.await;
            drop(heeding);
            store
        };
        let store = smol::block_on(executor.run(ended));
        store.close();
        log::debug!("stopped");
    }
}

/// Stops a server in good order, from wherever it is.
#[derive(Clone, Debug)]
pub struct Stopper {
    /// Closed once the server was told.
    stops: Sender<()>,
}

impl Stopper {
    /// Has the server stop; it takes its time for that.
    pub fn stop(&self) {
        let _ = self.stops.try_send(());
        self.stops.close();
    }
}

/// What it takes to serve whoever connects.
struct Acceptor {
    executor: Arc<Executor<'static>>,
    shared: Arc<Shared>,
    admission: Arc<Admission>,
    /// Taken by who is being told that there is no room.
    turned_away: Arc<Semaphore>,
    /// Closed when the clients' time is up.
    cut_off: Receiver<()>,
    /// Held by every connection, so that its closing says that all are gone.
    alive: Sender<()>,
}

impl Acceptor {
    /// Accepts, whatever becomes of those accepted, and whatever keeps it from accepting for a while.
    async fn accept(self, listener: Async<TcpListener>) {
        let mut backoff = Backoff::new(ACCEPT_RETRY_MIN, ACCEPT_RETRY_MAX);
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    backoff.reset();
                    log::debug!("accepted {address}");
                    self.serve(Tcp::new(socket), address.ip());
                    // While a crowd comes, accepting is no wait.
                    future::yield_now().await;
                }
                Err(error) => {
                    let delay = backoff.next_delay();
                    log::warn!("cannot accept a connection, trying again in {} ms: {error}", delay.as_millis());
                    sleep(delay).await;
                }
            }
        }
    }

    fn serve(&self, tcp: Tcp, address: IpAddr) {
        match self.admission.admit(address) {
            Ok(admitted) => {
                tcp.keep_alive(self.shared.limits.dead_after_s);
                let served = connection::serve(tcp, SessionId::unused(), self.shared.clone());
                self.spawn(served, admitted);
            }
            // In a flood of them, those over a few are closed without a word.
            Err(refusal) => {
                if let Some(place) = self.turned_away.try_acquire_arc() {
                    let stop = self.shared.stop.clone();
                    self.spawn(connection::refuse(tcp, refusal, self.shared.protocols, stop), place);
                }
            }
        }
    }

    /// Runs a connection until it ends by itself or by the cut, and holds something for it so long.
    fn spawn(&self, served: impl Future<Output = ()> + Send + 'static, held: impl Send + 'static) {
        let (cut_off, alive) = (self.cut_off.clone(), self.alive.clone());
        // It lives as long as the connection, and so does what it holds. A block around both would hold `served` twice: as
        // what it was given, and as what it waits for.
        let cut = async move {
            let _ = cut_off.recv().await;
            drop((alive, held));
        };
        // Nobody waits for it in particular.
        self.executor.spawn(future::or(served, cut)).detach();
    }
}

/// Whoever writes to the database may have written into its table `outbox`.
async fn watch_outbox(mut watch: DatabaseWatch, broker: Handle) {
    loop {
        watch.touched(OUTBOX_POLL_MS).await;
        broker.tell(Event::OutboxTouched).await;
    }
}

/// Waits until every connection is gone, and cuts off those that take too long.
async fn drain_connections(gone: &Receiver<()>, cut: Sender<()>) {
    // Nothing is ever sent: it ends when the last sender is dropped.
    let _ = timeout(Duration::from_secs(SHUTDOWN_S_MAX), gone.recv()).await;
    drop(cut);
    let _ = gone.recv().await;
}

/// Does what signals ask for: SIGHUP a reload, the first of the others a stop, and the second the end at once.
async fn handle_signals(mut signals: Signals, reload: Sender<()>, stopper: Stopper) {
    while let Some(signal) = signals.next().await {
        match signal {
            // One that waits already reads what is there when its turn comes.
            Ok(Signal::Hup) => _ = reload.try_send(()),
            Ok(_) if stopper.stops.is_closed() => std::process::exit(EXIT_INTERRUPTED),
            Ok(_) => stopper.stop(),
            Err(error) => log::warn!("a signal could not be read: {error}"),
        }
    }
}

/// Loads the plugins anew whenever that is asked for.
async fn keep_plugins(mut manager: PluginManager, file: PathBuf, reloads: Receiver<()>) -> PluginManager {
    while reloads.recv().await.is_ok() {
        match wanted_plugins(&manager, &file) {
            Ok(wanted) => {
                manager.reload(wanted).await;
                log::info!("the plugins are as {} has them", file.display());
            }
            Err(error) => log::error!("the plugins stay as they were: {error}"),
        }
    }
    manager
}

/// What the file says now, whole or not at all.
fn wanted_plugins(manager: &PluginManager, file: &Path) -> Result<Vec<ReloadPlan>, ServeError> {
    let wanted = |entry: PluginConfig| match manager.keeps(&entry) {
        true => Ok(ReloadPlan::Unchanged(entry)),
        false => plugin::load(entry).map(ReloadPlan::New),
    };
    let mut all = manager.embedded();
    for entry in config::load_plugins(file)? {
        all.push(wanted(entry)?);
    }
    Ok(all)
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

/// Each connection takes a descriptor: as many as the system lets us have; getrlimit(2), RLIMIT_NOFILE. Says how many.
fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        log::warn!("the limit of descriptors cannot be raised: {error}");
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}
