//! What the system knows of the bytes that were written to a socket, and of the one they were written to. Owns the two
//! calls that no library makes safe.

use std::net::TcpStream;
use std::time::Duration;

/// Bytes written to the socket that the other end's TCP has not acknowledged, unsent ones included: tcp(7), SIOCOUTQ.
/// It can still be asked after a reset. `None`: the system does not tell.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn outstanding_bytes(socket: &TcpStream) -> Option<u64> {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as the socket is borrowed, and this request, which a socket knows as SIOCOUTQ,
    // writes one `int` to where the pointer says, which is ours and lives on.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if answer == 0 { u64::try_from(bytes).ok() } else { None }
}

/// Elsewhere what is written counts as acknowledged.
#[cfg(not(target_os = "linux"))]
pub(super) fn outstanding_bytes(_: &TcpStream) -> Option<u64> {
    None
}

/// The time since the other end's TCP last acknowledged anything, old things too, as it does when it is probed: tcp(7),
/// TCP_INFO, tcpi_last_ack_recv. `None`: the system does not tell.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn silence(socket: &TcpStream) -> Option<Duration> {
    use std::mem::{MaybeUninit, size_of};
    use std::os::fd::AsRawFd;

    // SAFETY: every field is a number, and all zeroes are one.
    let mut info: libc::tcp_info = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut bytes = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as the socket is borrowed, and the call writes at most `bytes` bytes to where
    // the pointer says, which are ours and live on.
    let answer = unsafe {
        let info = (&raw mut info).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, &raw mut bytes)
    };
    (answer == 0).then(|| Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

/// Elsewhere the system itself ends a connection that stays silent, in its own time.
#[cfg(not(target_os = "linux"))]
pub(super) fn silence(_: &TcpStream) -> Option<Duration> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_a_full_window_keeps_back_is_outstanding() {
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
        // An acknowledgement may take its time.
        while outstanding_bytes(&near).unwrap() > 0 {
            std::thread::yield_now();
        }
    }
    #[test]
    fn one_who_acknowledges_is_not_silent() {
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
