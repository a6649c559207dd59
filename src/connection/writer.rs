//! The writing half of a connection: everything that waits in the outbox leaves in one write, and the broker is told what
//! was written. Owns the bytes on their way; never what they say.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_channel::Receiver;
use smol::io::AsyncWriteExt;

use super::Socket;
use crate::broker::{Chunk, Event, Handle};
use crate::message::SessionId;

/// Writes one session's outbox.
pub(super) struct Writer {
    socket: Socket,
    session: SessionId,
    outbox: Receiver<Chunk>,
    broker: Handle,
    /// Grows with what the client takes, for whoever watches whether it still does.
    written_bytes: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn new(
        socket: Socket,
        session: SessionId,
        outbox: Receiver<Chunk>,
        broker: Handle,
        written_bytes: Arc<AtomicU64>,
    ) -> Self {
        Writer { socket, session, outbox, broker, written_bytes }
    }

    /// Runs until the broker lets go of the outbox and all of it is written, or the socket fails.
    pub(super) async fn run(self) -> io::Result<()> {
        while let Ok(mut chunk) = self.outbox.recv().await {
            let mut chunks = 1;
            while let Ok(next) = self.outbox.try_recv() {
                chunk.append(next);
                chunks += 1;
            }
            self.write(&chunk.bytes).await?;
            let written = Event::Written { session: self.session, chunks, delivered: chunk.delivered };
            self.broker.tell(written).await;
        }
        Ok(())
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut socket = &*self.socket;
        while !bytes.is_empty() {
            let written = socket.write(bytes).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
            self.written_bytes.fetch_add(written as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}
