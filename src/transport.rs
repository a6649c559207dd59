//! Streams of bytes to and from clients: TCP, and TLS over TCP. Owns the interface that a connection needs of a
//! stream; never interprets the bytes.

pub(crate) mod stream;
pub(crate) mod tcp;
mod tls;

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use smol::future;

/// Stream to one client. All methods take a shared reference, because the reading and the writing half of a connection run side by side in
/// one task. All byte counts are bytes of the connection, not of the frames that carry them.
pub(crate) trait Transport {
    /// Reads available bytes. Fails with [`ErrorKind::WouldBlock`] if there are none; 0 bytes are the end of the stream.
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Waits until [`read`](Self::read) may succeed. One task reads a stream, so one waker is stored.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Writes some of these bytes, and returns how many. They may stay in the transport until it is flushed.
    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Passes all written bytes to the system.
    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flushes, and ends the writing direction.
    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Makes the connection end with a reset, which drops the bytes in flight.
    fn abort(&self);

    /// Returns the number of bytes that were written since the stream began.
    fn written_bytes(&self) -> u64;

    /// Returns the number of written bytes that the client's TCP has acknowledged. A byte counts when all TCP bytes that carry its frame are
    /// acknowledged.
    fn acknowledged_bytes(&self) -> u64;

    /// Returns the time since the client's TCP last acknowledged anything, including probes. `None`: the system does not report it.
    fn silence(&self) -> Option<Duration>;

    /// Whether the stream was reset, even if a read or a write has already returned the error.
    fn is_broken(&self) -> bool;

    /// Returns the address of the client, also after it has disconnected.
    fn peer_address(&self) -> IpAddr;

    /// Whether the stream is encrypted on its way.
    fn is_encrypted(&self) -> bool;
}

/// Waits until there may be something to read. An error of the stream is returned by the next read.
pub(crate) async fn readable(transport: &impl Transport) {
    future::poll_fn(|context| transport.poll_readable(context)).await;
}

/// Writes and flushes all of `bytes`. Removes the written part from `bytes`, so the future can be dropped and a new call continues.
pub(crate) async fn write_from(transport: &impl Transport, bytes: &mut &[u8]) -> io::Result<()> {
    future::poll_fn(|context| {
        while !bytes.is_empty() {
            match transport.poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => *bytes = &bytes[written..],
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        transport.poll_flush(context)
    })
    .await
}

/// Writes and flushes all of `bytes`.
pub(crate) async fn write_all(transport: &impl Transport, mut bytes: &[u8]) -> io::Result<()> {
    write_from(transport, &mut bytes).await
}

/// Ends the writing direction.
pub(crate) async fn close(transport: &impl Transport) -> io::Result<()> {
    future::poll_fn(|context| transport.poll_close(context)).await
}
