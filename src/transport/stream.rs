//! A client's stream: TCP, or TLS over TCP if the client begins with a TLS handshake and the server has a certificate. Owns this choice; never
//! looks at later bytes.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ServerConfig;

use super::Transport;
use super::tcp::Tcp;
use super::tls::Tls;

/// First byte of a TLS record that holds a handshake; RFC 8446, section 5.1.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// A client's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: Tcp,
    /// The server's side of TLS; `None` without a certificate.
    encryption: Option<Arc<ServerConfig>>,
    /// TLS, if the client uses it. Unset before the client's first byte. The lock is never waited for: one task reads and writes a stream.
    tls: OnceLock<Option<Box<Mutex<Tls>>>>,
}

impl Stream {
    /// Takes a socket that was just accepted. Nothing of it was read.
    pub(crate) fn new(tcp: Tcp, encryption: Option<Arc<ServerConfig>>) -> Self {
        let tls = if encryption.is_some() { OnceLock::new() } else { OnceLock::from(None) };
        Stream { tcp, encryption, tls }
    }

    fn tls(&self) -> Option<&Mutex<Tls>> {
        self.tls.get()?.as_deref()
    }

    /// Decides by the first byte whether the client uses TLS. Fails with [`ErrorKind::WouldBlock`](io::ErrorKind::WouldBlock) if there is none yet.
    fn detect(&self) -> io::Result<Option<&Mutex<Tls>>> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls.as_deref());
        }
        let tls = match &self.encryption {
            Some(config) if self.tcp.peek()? == Some(TLS_HANDSHAKE) => {
                let tls = Tls::new(config.clone()).map_err(io::Error::other)?;
                Some(Box::new(Mutex::new(tls)))
            }
            _ => None,
        };
        Ok(self.tls.get_or_init(|| tls).as_deref())
    }
}

impl Transport for Stream {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.detect()? {
            Some(tls) => tls.lock().read(&self.tcp, bytes),
            None => self.tcp.read(bytes),
        }
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(tls) = self.tls() {
            // What the handshake replies may be left. An error is returned by the next read.
            let _ = tls.lock().poll_flush(&self.tcp, context);
        }
        self.tcp.poll_readable(context)
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.tls() {
            Some(tls) => tls.lock().poll_write(&self.tcp, context, bytes),
            None => self.tcp.poll_write(context, bytes),
        }
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.tls() {
            Some(tls) => tls.lock().poll_flush(&self.tcp, context),
            None => self.tcp.poll_flush(context),
        }
    }

    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.tls() {
            Some(tls) => tls.lock().poll_close(&self.tcp, context),
            None => self.tcp.poll_close(context),
        }
    }

    fn abort(&self) {
        self.tcp.abort();
    }

    fn written_bytes(&self) -> u64 {
        self.tls().map_or_else(|| self.tcp.written_bytes(), |tls| tls.lock().written_bytes())
    }

    fn acknowledged_bytes(&self) -> u64 {
        self.tls().map_or_else(|| self.tcp.acknowledged_bytes(), |tls| tls.lock().acknowledged_bytes(&self.tcp))
    }

    fn silence(&self) -> Option<Duration> {
        self.tcp.silence()
    }

    fn is_broken(&self) -> bool {
        self.tcp.is_broken()
    }

    fn peer_address(&self) -> IpAddr {
        self.tcp.peer_address()
    }

    fn is_encrypted(&self) -> bool {
        self.tls().is_some()
    }
}
