//! A TCP socket as a stream. Owns its options, and what the kernel reports of its bytes; never looks at the bytes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use smol::Async;
use smol::io::AsyncWrite;

use super::Transport;
use crate::tcp_state;

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Tcp {
    socket: Async<TcpStream>,
    /// Address of the client, as it was when it connected.
    peer_address: IpAddr,
    /// Bytes written so far. One task reads and writes it; it is atomic only so that both halves of a connection may hold a reference.
    written_bytes: AtomicU64,
}

impl Tcp {
    /// Takes a socket that was just accepted.
    pub(crate) fn new(socket: Async<TcpStream>, peer_address: IpAddr) -> Self {
        // An outbox leaves in one write: the kernel has nothing to gather, and gathering makes it slower.
        let _ = socket.get_ref().set_nodelay(true);
        Tcp { socket, peer_address: peer_address.to_canonical(), written_bytes: AtomicU64::new(0) }
    }

    /// Makes the kernel probe the connection while it is idle, so that it fails in time if the other end is gone; tcp(7).
    pub(crate) fn keep_alive(&self, dead_after_s: u64) {
        if dead_after_s == 0 {
            return;
        }
        if let Err(error) = tcp_state::keep_alive(&self.socket, dead_after_s) {
            log::warn!("idle connections cannot be probed, so dead ones stay open: {error}");
        }
    }
}

impl Tcp {
    /// Returns the next byte, and leaves it to be read. `None` is the end of the stream. Fails with
    /// [`ErrorKind::WouldBlock`](io::ErrorKind::WouldBlock) if there is none yet.
    pub(super) fn peek(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let bytes = self.socket.get_ref().peek(&mut byte)?;
        Ok((bytes == 1).then_some(byte[0]))
    }

    /// Writes some of these bytes, and returns how many. Fails with [`ErrorKind::WouldBlock`](io::ErrorKind::WouldBlock) if the socket is full.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.socket.get_ref().write(bytes)?;
        self.written_bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }
}

impl Transport for Tcp {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.get_ref().read(bytes)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_readable(context).map(drop)
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut &self.socket).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.written_bytes.fetch_add(written as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }

    fn abort(&self) {
        // This fails if the socket has failed already.
        let _ = sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    fn acknowledged_bytes(&self) -> u64 {
        // If the system does not report outstanding bytes, written bytes count as acknowledged.
        let outstanding = tcp_state::outstanding_bytes(&self.socket).unwrap_or(0);
        self.written_bytes().saturating_sub(outstanding)
    }

    fn silence(&self) -> Option<Duration> {
        tcp_state::silence(&self.socket)
    }

    fn is_broken(&self) -> bool {
        // A socket that is closed, and not half closed, has no peer; getpeername(2), ENOTCONN.
        self.socket.get_ref().peer_addr().is_err()
    }

    fn peer_address(&self) -> IpAddr {
        self.peer_address
    }

    fn is_encrypted(&self) -> bool {
        false
    }
}
