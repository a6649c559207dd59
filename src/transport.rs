//! Streams of bytes to and from clients: TCP now, TLS records or WebSocket frames over it later. Owns what a connection needs of a stream;
//! never looks at what the bytes mean.

pub(crate) mod tcp;

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use smol::future;

/// Stream to one client. All methods take a shared reference, because the reading and the writing half of a connection run side by side in
/// one task. All byte counts are bytes of the connection, not of the frames that carry them.
pub(crate) trait Transport {
    /// Reads what is there. Fails with [`ErrorKind::WouldBlock`] if nothing is; 0 bytes are the end of the stream.
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Waits until [`read`](Self::read) may succeed. One task reads a stream, so one waker is kept.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Writes some of these bytes, and returns how many. They may stay in the transport until it is flushed.
    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Hands all that was written to the system.
    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flushes, and ends the writing direction.
    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Makes the end of the stream a reset, which drops what is in flight.
    fn abort(&self);

    /// Bytes that were written since the stream began.
    fn written_bytes(&self) -> u64;

    /// Bytes of those that the client's TCP has acknowledged. A byte counts when all TCP bytes that carry its frame are acknowledged.
    fn acknowledged_bytes(&self) -> u64;

    /// Time since the client's TCP acknowledged anything, as it does when it is probed. `None`: the system does not report it.
    fn silence(&self) -> Option<Duration>;

    /// Whether the stream was reset, also if a read or a write has taken the error away.
    fn is_broken(&self) -> bool;

    /// Address of the client; 0.0.0.0 if it has disconnected already.
    fn peer_address(&self) -> IpAddr;

    /// Whether nobody in between can read the stream.
    fn is_encrypted(&self) -> bool;
}

/// Waits until there may be something to read. An error of the stream is returned by the next read.
pub(crate) async fn readable(transport: &impl Transport) {
    future::poll_fn(|context| transport.poll_readable(context)).await;
}

/// Writes and flushes all of `bytes`, from which what is written is taken away: so the wait can be given up and begun again.
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
