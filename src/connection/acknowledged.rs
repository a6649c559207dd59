//! What the system knows of the bytes that were written to a socket. Owns the one call that no library makes safe.

use std::net::TcpStream;

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
}
