//! The server: listens, accepts connections, and shuts down in order. Owns the listeners, the signals and the order of the shutdown;
//! never parses a request.

mod accept;
mod admission;
mod certificates;
mod error;
mod orphans;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_signal::{Signal, Signals};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::lock::Semaphore;
use smol::stream::StreamExt;
use smol::{Async, Executor, Task, future};

use self::accept::Acceptor;
use self::admission::Admission;
pub use self::error::ServeError;
use crate::auth::Authenticator;
use crate::broker::{self, Broker, Event, Handle};
use crate::certificate::Certificate;
use crate::config::{self, AccountsConfig, Config, Limits, PluginConfig};
use crate::connection::{HTTP, Shared, TLS};
use crate::limits::{OUTBOX_POLL_MS, REJECTED_CONNECTIONS_MAX, SHUTDOWN_S_MAX};
use crate::plugin::{self, LoadedPlugin, PluginManager, Plugins, ReloadPlan};
use crate::protocol::{ProtocolTable, json, plain};
use crate::store::{DatabaseWatch, Store, StoreOptions};
use crate::timeout::timeout;

/// Exit code of a process that a second signal ends: 128 and SIGINT's number, as shells report it.
const EXIT_INTERRUPTED: i32 = 130;

/// Protocols that share each port. To add one, add its detector here.
const PROTOCOLS: ProtocolTable = ProtocolTable { detectors: &[json::DETECTOR, TLS, HTTP], fallback: plain::decoder };

/// A server that listens, and does not accept connections yet.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Async<TcpListener>>,
    signals: Signals,
    handle: Handle,
    broker: Broker,
    watch: DatabaseWatch,
    limits: Limits,
    /// Names that may log in.
    accounts: AccountsConfig,
    requires_tls: bool,
    admission: Arc<Admission>,
    /// Certificate for TLS.
    certificate: Option<Arc<Certificate>>,
    /// File that lists the plugins. Each reload reads it again.
    plugins: PathBuf,
    /// Plugins of the file.
    loaded: Vec<LoadedPlugin>,
    /// Plugins of the program that embeds the server.
    embedded: Vec<LoadedPlugin>,
    stopper: Stopper,
    stops: Receiver<()>,
    /// Signals of ended children, if the server adopts orphans.
    children: Option<Signals>,
}

impl Server {
    /// Loads the plugins, opens the store, and listens. From now on, SIGINT and SIGTERM shut the server down in order, and SIGHUP
    /// reloads its plugins.
    pub fn bind(config: &Config) -> Result<Server, ServeError> {
        let signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup, Signal::Xfsz]);
        let signals = signals.map_err(|source| ServeError::Signals { source })?;
        let entries = config::load_plugins(&config.plugins)?;
        let loaded = entries.into_iter().map(plugin::load).collect::<Result<_, _>>()?;
        let admission = Arc::new(Admission::new(&config.limits, raise_descriptor_limit()));
        let options = StoreOptions::new(config.durability, config.retention)
            .with_room_waiting_max(config.limits.room_waiting_max);
        let store = Store::open(&config.data, options)?;
        let certificate = config.tls.as_ref().map(|tls| Certificate::open(tls, &config.data)).transpose()?;
        let listeners = accept::listen_on(&config.listen)?;
        let addresses: Vec<String> = listeners.iter().map(address_of).collect();
        log::info!("listening on {}, data in {}", addresses.join(", "), config.data.display());
        if let Some(certificate) = &certificate {
            log::info!("TLS on the same port; SHA-256 fingerprint of the certificate {}", certificate.fingerprint());
        }
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
            accounts: config.accounts,
            requires_tls: config.requires_tls(),
            admission,
            certificate,
            plugins: config.plugins.clone(),
            loaded,
            embedded: Vec::new(),
            stopper: Stopper { stops: stop },
            stops,
            children: None,
        })
    }

    /// Adds a plugin that is part of this program. It is called before the plugins of the file, and no reload ends it.
    pub fn add_plugin(&mut self, config: PluginConfig, plugin: Box<dyn plugin::Plugin>) {
        self.embedded.push(LoadedPlugin::embedded(config, plugin));
    }

    /// Makes this process adopt the processes that plugins leave behind, and wait for all children that end, so that none stays as a
    /// zombie. Only for a program whose other parts wait for no children.
    pub fn adopt_orphans(&mut self) -> Result<(), ServeError> {
        self.children = Some(orphans::adopt().map_err(|source| ServeError::Signals { source })?);
        Ok(())
    }

    /// Returns the addresses that the server listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.get_ref().local_addr().ok()).collect()
    }

    /// Returns a handle that stops the server as a signal does.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until SIGINT, SIGTERM or [`Stopper::stop`]. Then it stops accepting, processes the requests that were read, delivers what
    /// the clients read in time, and closes the database. A second signal ends the process at once: accepted messages are on disk.
    /// Fails if the database was removed, moved or replaced meanwhile.
    pub fn run(self) -> Result<(), ServeError> {
        let executor = Arc::new(Executor::new());
        let store = smol::block_on(executor.run(self.serve(executor.clone())));
        store.close()?;
        log::debug!("stopped");
        Ok(())
    }

    /// Runs all tasks until the server is stopped, and ends them in order. Returns the store, which nothing uses any more.
    async fn serve(self, executor: Arc<Executor<'static>>) -> Store {
        let plugins = Arc::new(Plugins::default());
        let (acceptor, drain) = self.acceptor(&executor, plugins.clone());
        let mut broker = executor.spawn(self.broker.run());
        let outbox_watch = executor.spawn(watch_outbox(self.watch, self.handle.clone()));
        // In a task of its own: polling for signals is a system call, and this task is polled at every event.
        let (reload, reloads) = async_channel::bounded(1);
        let signals = executor.spawn(handle_signals(self.signals, reload, self.stopper));
        let renewals = self.certificate.clone().map(|certificate| executor.spawn(certificates::watch(certificate)));
        let reaper = self.children.map(|children| executor.spawn(orphans::reap(children)));
        let all = self.embedded.into_iter().chain(self.loaded).collect();
        let manager = PluginManager::start(all, plugins, executor.clone(), self.handle).await;
        let reloading = executor.spawn(reload_when_told(manager, self.plugins, self.certificate, reloads.clone()));
        let listeners = self.listeners.into_iter();
        let accepting: Vec<_> = listeners.map(|listener| executor.spawn(acceptor.clone().accept(listener))).collect();
        wait_for_stop(&self.stops, &mut broker).await;
        log::debug!("stopping");
        // Dropping a task cancels it: no connection is accepted any more, and no row is taken from the table `outbox`.
        drop((accepting, outbox_watch, acceptor));
        drain.finish().await;
        reloads.close();
        reloading.await.stop().await;
        let store = broker.await;
        drop((signals, reaper, renewals));
        store
    }

    /// Returns the acceptor of connections, and what ends them at the shutdown.
    fn acceptor(&self, executor: &Arc<Executor<'static>>, plugins: Arc<Plugins>) -> (Acceptor, Drain) {
        let (stop, stopped) = async_channel::bounded(1);
        let (cut, cut_off) = async_channel::bounded(1);
        let (alive, ended) = async_channel::bounded(1);
        let broker = self.handle.clone();
        let authenticator = Authenticator::default();
        let accounts = self.accounts;
        let shared = Shared {
            broker,
            plugins,
            authenticator,
            requires_tls: self.requires_tls,
            accounts,
            protocols: PROTOCOLS,
            stop: stopped,
            limits: self.limits,
        };
        let acceptor = Acceptor {
            executor: executor.clone(),
            shared: Arc::new(shared),
            admission: self.admission.clone(),
            encryption: self.certificate.as_ref().map(Certificate::server_config),
            rejections: Arc::new(Semaphore::new(REJECTED_CONNECTIONS_MAX)),
            cut_off,
            alive,
        };
        (acceptor, Drain { stop, cut, ended })
    }
}

/// Handle that stops a server in order, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    /// Closed once the server is told to stop.
    stops: Sender<()>,
}

impl Stopper {
    /// Makes the server stop. Returns at once; the shutdown takes its time.
    pub fn stop(&self) {
        let _ = self.stops.try_send(());
        self.stops.close();
    }
}

/// Channels that end the connections at the shutdown. Nothing is sent over them: dropping an end is the signal.
struct Drain {
    /// Dropped to stop the readers.
    stop: Sender<()>,
    /// Dropped to end the connections that take too long.
    cut: Sender<()>,
    /// Closed when every connection has ended.
    ended: Receiver<()>,
}

impl Drain {
    /// Stops the readers, waits until every connection has ended, and cuts off those that take too long.
    async fn finish(self) {
        let Drain { stop, cut, ended } = self;
        drop(stop);
        let _ = timeout(Duration::from_secs(SHUTDOWN_S_MAX), ended.recv()).await;
        drop(cut);
        let _ = ended.recv().await;
    }
}

/// Waits until the server is told to stop. The broker outlives its handles, of which the caller has one: it ends earlier only by a
/// panic, which continues here.
async fn wait_for_stop(stops: &Receiver<()>, broker: &mut Task<Store>) {
    let is_stopped = async { stops.recv().await.is_ok() };
    let is_broken = async {
        broker.await;
        false
    };
    assert!(future::or(is_stopped, is_broken).await, "the broker runs until its last handle is dropped");
}

/// Notifies the broker when the database was written to: there may be new rows in the table `outbox`.
async fn watch_outbox(mut watch: DatabaseWatch, broker: Handle) {
    loop {
        watch.touched(OUTBOX_POLL_MS).await;
        broker.send(Event::OutboxTouched).await;
    }
}

/// Handles signals: SIGHUP reloads the plugins, the first other signal stops the server, and the second ends the process at once.
async fn handle_signals(mut signals: Signals, reload: Sender<()>, stopper: Stopper) {
    while let Some(signal) = signals.next().await {
        match signal {
            // A reload that waits already will read the newest file.
            Ok(Signal::Hup) => _ = reload.try_send(()),
            // A file has reached the largest size that the system allows: the write has failed, and nothing else must.
            Ok(Signal::Xfsz) => {}
            Ok(_) if stopper.stops.is_closed() => std::process::exit(EXIT_INTERRUPTED),
            Ok(_) => stopper.stop(),
            Err(error) => log::warn!("cannot read a signal: {error}"),
        }
    }
}

/// Reloads the plugins and the certificate at each request, until the channel is closed.
async fn reload_when_told(
    mut manager: PluginManager,
    file: PathBuf,
    certificate: Option<Arc<Certificate>>,
    reloads: Receiver<()>,
) -> PluginManager {
    while reloads.recv().await.is_ok() {
        if let Some(certificate) = &certificate {
            certificates::reload(certificate);
        }
        match reload(&mut manager, &file).await {
            Ok(()) => log::info!("reloaded the plugins from {}", file.display()),
            Err(error) => log::error!("cannot reload the plugins, the old ones keep running: {error}"),
        }
    }
    manager
}

/// Replaces the plugins by those of the file. Fails as a whole, and changes nothing, if anything is wrong.
async fn reload(manager: &mut PluginManager, file: &Path) -> Result<(), ServeError> {
    let plan = reload_plan(manager, file)?;
    Ok(manager.reload(plan).await?)
}

/// Reads the file and loads its new plugins. Fails as a whole if one of them has a mistake.
fn reload_plan(manager: &PluginManager, file: &Path) -> Result<Vec<ReloadPlan>, ServeError> {
    let plan_of = |entry: PluginConfig| match manager.keeps(&entry) {
        true => Ok(ReloadPlan::Unchanged(entry)),
        false => plugin::load(entry).map(ReloadPlan::New),
    };
    let mut plan = manager.embedded();
    for entry in config::load_plugins(file)? {
        plan.push(plan_of(entry)?);
    }
    Ok(plan)
}

fn address_of(listener: &Async<TcpListener>) -> String {
    listener.get_ref().local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
}

/// Raises the limit of descriptors as far as the system allows, because each connection takes one; getrlimit(2), RLIMIT_NOFILE.
/// Returns the limit.
fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        log::warn!("cannot raise the limit of descriptors (RLIMIT_NOFILE): {error}");
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}
