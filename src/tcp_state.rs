//! State of a TCP connection that only the kernel knows, for both ends: unacknowledged bytes, and signs of life. Owns the two system calls
//! that no library makes safe; never reads or writes.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

use crate::limits::{KEEPALIVE_PROBES, KEEPALIVE_S_MAX};

/// Makes the kernel probe the connection while it is idle, so that it fails within this many seconds if the other end is gone; tcp(7).
pub(crate) fn keep_alive(socket: impl AsFd, dead_after_s: u64) -> io::Result<()> {
    // The probes begin after two fifths of the time without traffic.
    let dead_after_s = dead_after_s.min(KEEPALIVE_S_MAX);
    let interval_s = (dead_after_s / (KEEPALIVE_PROBES as u64 + 2)).max(1);
    let idle_s = dead_after_s.saturating_sub(KEEPALIVE_PROBES as u64 * interval_s).max(1);
    sockopt::set_tcp_keepidle(&socket, Duration::from_secs(idle_s))?;
    sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(interval_s))?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
    Ok(sockopt::set_socket_keepalive(&socket, true)?)
}

/// Returns the bytes written to the socket that the other end's TCP has not acknowledged, unsent ones included: tcp(7), SIOCOUTQ.
/// The call still works after a reset. `None`: the system does not report them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) fn outstanding_bytes(socket: impl AsFd) -> Option<u64> {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as the socket is borrowed, and this request, which a socket knows as SIOCOUTQ,
    // writes one `int` to where the pointer says, which is ours and lives on.
    let answer = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if answer == 0 { u64::try_from(bytes).ok() } else { None }
}

/// Other systems do not report them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn outstanding_bytes(_: impl AsFd) -> Option<u64> {
    None
}

/// Returns the time since the other end's TCP last acknowledged anything, old bytes too, as it does when it is probed: tcp(7), TCP_INFO,
/// tcpi_last_ack_recv. `None`: the system does not report it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) fn silence(socket: impl AsFd) -> Option<Duration> {
    use std::mem::{MaybeUninit, size_of};
    use std::os::fd::AsRawFd;

    // SAFETY: every field is a number, and all zeroes are one.
    let mut info: libc::tcp_info = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut bytes = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as the socket is borrowed, and the call writes at most `bytes` bytes to where
    // the pointer says, which are ours and live on.
    let answer = unsafe {
        let info = (&raw mut info).cast();
        libc::getsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, &raw mut bytes)
    };
    (answer == 0).then(|| Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

/// Other systems do not report it; they end a connection that stays silent, in their own time.
#[cfg(not(target_os = "linux"))]
pub(crate) fn silence(_: impl AsFd) -> Option<Duration> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_behind_a_full_window_are_outstanding() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(bytes) = near.write(&[b'x'; 65536]) {
            written += bytes;
        }
        let outstanding = outstanding_bytes(&near).unwrap() as usize;
        assert!(outstanding > 0 && outstanding < written, "{outstanding} of {written}");
        far.read_exact(&mut vec![0; written]).unwrap();
        // The acknowledgement may be delayed.
        while outstanding_bytes(&near).unwrap() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_acknowledgement_ends_the_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _far = listener.accept().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let before = silence(&near).unwrap();
        assert!(before >= Duration::from_millis(30), "{before:?}");
        near.write_all(b"x").unwrap();
        while outstanding_bytes(&near).unwrap() > 0 {
            std::thread::yield_now();
        }
        assert!(silence(&near).unwrap() < before);
    }
}
