//! A second transport: frames with a length in front, over TCP. Owns which bytes of the connection are in which frame.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::transport::Transport;
use crate::transport::tcp::Tcp;

/// Bytes of a frame without its length, which is one byte: so few that each line is in several frames.
pub(super) const FRAME_BYTES_MAX: usize = 7;

/// Frames over a TCP socket.
pub(super) struct Frames {
    tcp: Tcp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Frames not yet written to TCP.
    unwritten: Vec<u8>,
    /// Ends of the frames that are not acknowledged: in bytes of TCP, and in bytes of the connection.
    ends: VecDeque<(u64, u64)>,
    tcp_bytes: u64,
    written_bytes: u64,
    acknowledged_bytes: u64,
    /// Bytes from TCP that are not a whole frame.
    unread: Vec<u8>,
    /// Contents of frames, not yet read by the connection.
    contents: VecDeque<u8>,
}

/// Appends the contents as frames.
pub(super) fn encode(contents: &[u8], out: &mut Vec<u8>) {
    for frame in contents.chunks(FRAME_BYTES_MAX) {
        out.push(frame.len() as u8);
        out.extend_from_slice(frame);
    }
}

/// Takes the whole frames off `bytes`, and appends their contents.
pub(super) fn decode(bytes: &mut Vec<u8>, contents: &mut impl Extend<u8>) {
    while let Some(length) = bytes.first().map(|length| 1 + *length as usize).filter(|length| bytes.len() >= *length) {
        contents.extend(bytes.drain(..length).skip(1));
    }
}

impl Frames {
    pub(super) fn new(tcp: Tcp) -> Self {
        Frames { tcp, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Transport for Frames {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let State { unread, contents, .. } = &mut *state;
        while contents.is_empty() {
            let mut part = [0; 5];
            match self.tcp.read(&mut part)? {
                0 => return Ok(0),
                read => unread.extend_from_slice(&part[..read]),
            }
            decode(unread, contents);
        }
        io::Read::read(contents, bytes)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.tcp.poll_readable(context)
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        let mut state = self.state();
        let written = bytes.len().min(FRAME_BYTES_MAX);
        encode(&bytes[..written], &mut state.unwritten);
        state.tcp_bytes += 1 + written as u64;
        state.written_bytes += written as u64;
        let end = (state.tcp_bytes, state.written_bytes);
        state.ends.push_back(end);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        while !state.unwritten.is_empty() {
            let written = ready!(self.tcp.poll_write(context, &state.unwritten))?;
            state.unwritten.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        self.tcp.poll_close(context)
    }

    fn abort(&self) {
        self.tcp.abort();
    }

    fn written_bytes(&self) -> u64 {
        self.state().written_bytes
    }

    fn acknowledged_bytes(&self) -> u64 {
        let mut state = self.state();
        let tcp_bytes = self.tcp.acknowledged_bytes();
        while let Some((end, bytes)) = state.ends.front().copied()
            && end <= tcp_bytes
        {
            state.acknowledged_bytes = bytes;
            state.ends.pop_front();
        }
        state.acknowledged_bytes
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
        self.tcp.is_encrypted()
    }
}
