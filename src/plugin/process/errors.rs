//! The standard error of a program, in our log. Owns how much of it: the length of a line, and lines a second; never what it
//! means.

use std::time::{Duration, Instant};

use memchr::memchr;
use smol::io::{AsyncRead, AsyncReadExt};
use smol::{Timer, future};

use super::host::ProcessHost;
use crate::limits::{
    PROCESS_ERROR_LINE_BYTES_MAX, PROCESS_ERROR_LINES_PER_S_MAX, PROCESS_ERROR_PAUSE_MS, PROCESS_ERROR_READ_BYTES,
};
use crate::timeout::sleep;

/// Logs what there is to read, until it is closed.
pub(super) async fn log(mut errors: impl AsyncRead + Unpin, host: &dyn ProcessHost) {
    let (mut lines, mut rate) = (LineSplitter::default(), RateLimit::new(Instant::now()));
    let mut bytes = vec![0; PROCESS_ERROR_READ_BYTES];
    loop {
        let read = async { Some(errors.read(&mut bytes).await) };
        let second_over = async {
            rate.second_over().await;
            None
        };
        match future::or(read, second_over).await {
            Some(Ok(read)) if read > 0 => lines.push(&bytes[..read], |line| rate.log(line, host)),
            Some(_) => break,
            None => rate.report(host),
        }
        rate.slow_down().await;
    }
    lines.end(|line| rate.log(line, host));
    rate.report(host);
}

/// Lines, each cut where it is too long.
#[derive(Default)]
struct LineSplitter {
    /// The begin of a line that has not ended.
    line: Vec<u8>,
    is_cut: bool,
}

impl LineSplitter {
    fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(end) = memchr(b'\n', bytes) {
            self.add(&bytes[..end]);
            self.end(&mut each);
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = PROCESS_ERROR_LINE_BYTES_MAX - self.line.len();
        self.is_cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    /// The line ends here, if there is one.
    fn end(&mut self, mut each: impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end();
        match (text.is_empty(), self.is_cut) {
            (true, false) => {}
            (_, false) => each(text),
            (_, true) => each(&format!("{text}…")),
        }
        self.line.clear();
        self.is_cut = false;
    }
}

/// How many lines a second are logged.
struct RateLimit {
    second: Instant,
    /// In this second.
    logged: u64,
    /// In this second.
    left_out: u64,
}

impl RateLimit {
    fn new(now: Instant) -> Self {
        RateLimit { second: now, logged: 0, left_out: 0 }
    }

    fn log(&mut self, line: &str, host: &dyn ProcessHost) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.report(host);
        }
        if self.logged < PROCESS_ERROR_LINES_PER_S_MAX {
            self.logged += 1;
            host.log(line);
        } else {
            self.left_out += 1;
        }
    }

    /// A new second begins: says how many lines of the one before were left out.
    fn report(&mut self, host: &dyn ProcessHost) {
        if self.left_out > 0 {
            host.log(&format!(
                "({} more lines, which are left out: {PROCESS_ERROR_LINES_PER_S_MAX} a second are logged)",
                self.left_out
            ));
        }
        *self = RateLimit::new(Instant::now());
    }

    /// Waits for the end of the second, where there is something to say then.
    async fn second_over(&self) {
        if self.left_out == 0 {
            return future::pending().await;
        }
        Timer::at(self.second + Duration::from_secs(1)).await;
    }

    /// Whoever writes much is held up a little, so that reading it takes nothing from the others.
    async fn slow_down(&self) {
        if self.left_out > 0 {
            sleep(Duration::from_millis(PROCESS_ERROR_PAUSE_MS)).await;
        } else {
            future::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (LineSplitter::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, |line| found.push(line.to_owned()));
        }
        lines.end(|line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn lines_are_put_together_and_the_last_needs_no_end() {
        assert_eq!(lines_of(&[b"a", b"b\n\nc\r\n", b"\xffd"]), ["ab", "c", "\u{fffd}d"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = "x".repeat(PROCESS_ERROR_LINE_BYTES_MAX);
        let found = lines_of(&[long.as_bytes(), b"\n", long.as_bytes(), b"y", long.as_bytes(), b"\nnext"]);
        assert_eq!(found, [long.clone(), format!("{long}…"), "next".to_owned()]);
    }
}
