//! Listening and accepting connections. Owns the listening sockets' options, and the tasks of the connections; never reads from a
//! connection.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use rustls::ServerConfig;
use smol::lock::Semaphore;
use smol::{Async, Executor, future};

use super::admission::{Admission, Admitted};
use super::error::ServeError;
use crate::backoff::Backoff;
use crate::connection::{self, Shared};
use crate::limits::{ACCEPT_RETRY_MS_MAX, ACCEPT_RETRY_MS_MIN, LISTEN_BACKLOG_CONNECTIONS};
use crate::message::SessionId;
use crate::source::Source;
use crate::timeout::sleep;
use crate::transport::Transport;
use crate::transport::stream::Stream;
use crate::transport::tcp::Tcp;

/// Listens on each address. One that is listed twice, or that another one includes, needs no socket of its own.
pub(super) fn listen_on(addresses: &[SocketAddr]) -> Result<Vec<Async<TcpListener>>, ServeError> {
    let includes = |other: &SocketAddr, address: &SocketAddr| {
        let is_all =
            other.ip().is_unspecified() && other.is_ipv6() == address.is_ipv6() && !address.ip().is_unspecified();
        is_all && other.port() == address.port()
    };
    let is_needed = |index: usize, address: &SocketAddr| {
        let is_included = addresses.iter().any(|other| includes(other, address));
        address.port() == 0 || !addresses[..index].contains(address) && !is_included
    };
    let needed = addresses.iter().enumerate().filter(|(index, address)| is_needed(*index, address));
    needed.map(|(_, address)| listen(*address, addresses)).collect()
}

/// Listens on an address of a list.
fn listen(address: SocketAddr, all: &[SocketAddr]) -> Result<Async<TcpListener>, ServeError> {
    let listening = || {
        let listener =
            if shares_port(address, all) { bind_without_ipv4(address)? } else { Async::<TcpListener>::bind(address)? };
        // A second time, with room for a crowd: the standard library asks for a backlog of 128.
        rustix::net::listen(&listener, LISTEN_BACKLOG_CONNECTIONS)?;
        Ok(listener)
    };
    listening().map_err(|source| ServeError::Listen { address, source })
}

/// Whether an address stands for all IPv6 addresses, and another one of the list is an IPv4 address with the same port.
fn shares_port(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let is_all_of_ipv6 = address.is_ipv6() && address.ip().is_unspecified() && address.port() != 0;
    is_all_of_ipv6 && all.iter().any(|other| other.is_ipv4() && other.port() == address.port())
}

/// Binds a socket for all IPv6 addresses that leaves those of IPv4 to another socket: ipv6(7), IPV6_V6ONLY.
fn bind_without_ipv4(address: SocketAddr) -> io::Result<Async<TcpListener>> {
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_ipv6_v6only(&socket, true)?;
    // As the standard library does: a restart must not wait for old connections.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    rustix::net::listen(&socket, LISTEN_BACKLOG_CONNECTIONS)?;
    Async::new(TcpListener::from(socket))
}

/// Accepts connections, and starts a task for each.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) executor: Arc<Executor<'static>>,
    /// Values that all connections share.
    pub(super) shared: Arc<Shared>,
    pub(super) admission: Arc<Admission>,
    /// The server's side of TLS; `None` without a certificate.
    pub(super) encryption: Option<Arc<ServerConfig>>,
    /// Permits for connections over the limit that are sent the reason.
    pub(super) rejections: Arc<Semaphore>,
    /// Closed when the time of the shutdown is over.
    pub(super) cut_off: Receiver<()>,
    /// Held by every connection: its channel closes when all have ended.
    pub(super) alive: Sender<()>,
}

impl Acceptor {
    /// Accepts connections forever. After an error it tries again, because the system may lack descriptors only for a while.
    pub(super) async fn accept(self, listener: Async<TcpListener>) {
        let (min, max) = (Duration::from_millis(ACCEPT_RETRY_MS_MIN), Duration::from_millis(ACCEPT_RETRY_MS_MAX));
        let mut backoff = Backoff::new(min, max);
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    backoff.reset();
                    log::debug!("accepted {address}");
                    self.serve(Tcp::new(socket, address.ip()));
                    // While a crowd connects, `accept` never waits, and the others would have no turn.
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

    fn serve(&self, tcp: Tcp) {
        match self.admission.admit(Source::of(tcp.peer_address()), Instant::now()) {
            Ok(admitted) => {
                tcp.keep_alive(self.shared.limits.dead_after_s);
                let stream = Stream::new(tcp, self.encryption.clone());
                let served = connection::serve(stream, SessionId::unused(), self.shared.clone());
                match admitted.delay {
                    Duration::ZERO => self.spawn(served, admitted),
                    delay => self.spawn_later(delay, served, admitted),
                }
            }
            // In a flood of connections, most are closed without a word.
            Err(refusal) => {
                if let Some(permit) = self.rejections.try_acquire_arc() {
                    let stop = self.shared.stop.clone();
                    self.spawn(connection::refuse(tcp, refusal, self.shared.protocols, stop), permit);
                }
            }
        }
    }

    /// Runs a connection of a source that connects too fast, after a while. What the client sends meanwhile waits in the system's buffer.
    fn spawn_later(&self, delay: Duration, served: impl Future<Output = ()> + Send + 'static, admitted: Admitted) {
        // A future of its own, so that a connection that need not wait holds no memory for it.
        let later = async move {
            sleep(delay).await;
            served.await;
        };
        self.spawn(later, admitted);
    }

    /// Runs a connection until it ends, or until the shutdown cuts it off. Holds `held` as long.
    fn spawn(&self, served: impl Future<Output = ()> + Send + 'static, held: impl Send + 'static) {
        let (cut_off, alive) = (self.cut_off.clone(), self.alive.clone());
        // This future lives as long as the connection, and so does what it holds. One block around both futures would hold
        // `served` twice: as what it captured, and as what it awaits.
        let cut = async move {
            let _ = cut_off.recv().await;
            drop((alive, held));
        };
        self.executor.spawn(future::or(served, cut)).detach();
    }
}
