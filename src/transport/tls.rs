//! The server's end of TLS over a TCP socket, by rustls. Owns the TLS state of a connection, and which TCP bytes carry which bytes of the
//! connection; never chooses a certificate.
//!
//! The handshake is a part of reading: the first bytes of the client arrive after it. Renegotiation does not exist in rustls, and no early
//! data (0-RTT) is accepted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{ServerConfig, ServerConnection};

use super::Transport;
use super::tcp::Tcp;
use crate::limits::TLS_BUFFER_BYTES_MAX;

/// TLS state of one connection.
#[derive(Debug)]
pub(super) struct Tls {
    connection: ServerConnection,
    /// Bytes of the connection that were taken to be written.
    written_bytes: u64,
    /// Bytes of the connection that are acknowledged.
    acknowledged_bytes: u64,
    /// For each flush that is not acknowledged: the bytes of the connection that were written up to then, and the TCP bytes that carry them.
    flushed: VecDeque<(u64, u64)>,
}

impl Tls {
    /// Starts a handshake.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        Ok(Tls { connection, written_bytes: 0, acknowledged_bytes: 0, flushed: VecDeque::new() })
    }

    /// Reads bytes of the connection, as [`Transport::read`] does. A client that ends its TCP stream without TLS's own end has ended its
    /// input, too.
    pub(super) fn read(&mut self, tcp: &Tcp, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive(tcp)?,
                read => return read,
            }
        }
    }

    /// Reads TLS records, and sends what the handshake replies.
    fn receive(&mut self, tcp: &Tcp) -> io::Result<()> {
        self.connection.read_tls(&mut TcpReader(tcp))?;
        let processed = self.connection.process_new_packets();
        // Also after an error: then it is an alert, which says what was wrong. What does not fit into the socket is left for a flush.
        let _ = self.send(&mut TcpWriter { tcp, context: None });
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error)).map(drop)
    }

    /// Writes bytes of the connection, as [`Transport::poll_write`] does.
    pub(super) fn poll_write(&mut self, tcp: &Tcp, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let written = self.connection.writer().write(bytes)?;
            if written > 0 || bytes.is_empty() {
                self.written_bytes += written as u64;
                return Poll::Ready(Ok(written));
            }
            // The buffer is full.
            if self.poll_flush(tcp, context)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Passes all written bytes to the system.
    pub(super) fn poll_flush(&mut self, tcp: &Tcp, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.send(&mut TcpWriter { tcp, context: Some(context) }) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            sent => sent?,
        }
        let flushed_bytes = self.flushed.back().map_or(self.acknowledged_bytes, |last| last.0);
        // During the handshake, rustls holds what is written.
        if flushed_bytes < self.written_bytes && !self.connection.is_handshaking() {
            self.flushed.push_back((self.written_bytes, tcp.written_bytes()));
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all TLS records to the socket.
    fn send(&mut self, socket: &mut TcpWriter<'_, '_, '_>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(socket)?;
        }
        Ok(())
    }

    /// Flushes, and ends the writing direction with TLS's own end (`close_notify`).
    pub(super) fn poll_close(&mut self, tcp: &Tcp, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.send_close_notify();
        match self.poll_flush(tcp, context)? {
            Poll::Ready(()) => tcp.poll_close(context),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Returns the number of bytes of the connection that were written.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Returns the number of written bytes whose TCP bytes are acknowledged.
    pub(super) fn acknowledged_bytes(&mut self, tcp: &Tcp) -> u64 {
        if !self.flushed.is_empty() {
            let tcp_bytes = tcp.acknowledged_bytes();
            while let Some((bytes, carried_by)) = self.flushed.front()
                && *carried_by <= tcp_bytes
            {
                self.acknowledged_bytes = *bytes;
                self.flushed.pop_front();
            }
            // An idle connection holds no memory for it.
            if self.flushed.is_empty() {
                self.flushed = VecDeque::new();
            }
        }
        self.acknowledged_bytes
    }
}

/// Reads a socket without waiting.
struct TcpReader<'t>(&'t Tcp);

impl Read for TcpReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

/// Writes to a socket without waiting. Fails with [`ErrorKind::WouldBlock`] if the socket is full.
struct TcpWriter<'t, 'c, 'w> {
    tcp: &'t Tcp,
    /// Task that is woken when the socket has room.
    context: Option<&'c mut Context<'w>>,
}

impl Write for TcpWriter<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.context {
            None => self.tcp.try_write(bytes),
            Some(context) => match self.tcp.poll_write(context, bytes) {
                Poll::Ready(written) => written,
                Poll::Pending => Err(ErrorKind::WouldBlock.into()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
