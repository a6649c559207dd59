//! Standard error of a program, in the server's log. Owns how much is logged: the length of a line, and lines per second; never
//! interprets it.

use std::time::{Duration, Instant};

use memchr::memchr;
use smol::future;
use smol::io::{AsyncRead, AsyncReadExt};

use super::host::ProcessHost;
use crate::limits::{
    PROCESS_ERROR_LINE_BYTES_MAX, PROCESS_ERROR_LINES_PER_S_MAX, PROCESS_ERROR_PAUSE_MS, PROCESS_ERROR_READ_BYTES,
};
use crate::timeout::{sleep, timeout_at};

/// Logs the stream until it is closed.
pub(super) async fn log(mut errors: impl AsyncRead + Unpin, host: &dyn ProcessHost) {
    let (mut lines, mut rate) = (LineSplitter::default(), RateLimit::new(Instant::now()));
    let mut bytes = vec![0; PROCESS_ERROR_READ_BYTES];
    loop {
        match timeout_at(rate.report_at(), errors.read(&mut bytes)).await {
            Ok(Ok(read)) if read > 0 => lines.push(&bytes[..read], |line| rate.log(line, host)),
            Ok(_) => break,
            Err(_) => rate.report(host),
        }
        rate.slow_down().await;
    }
    lines.end(|line| rate.log(line, host));
    rate.report(host);
}

/// Splits bytes into lines, and cuts lines that are too long.
#[derive(Default)]
struct LineSplitter {
    /// Beginning of the current line.
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

    /// Ends the current line, if there is one.
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

/// Limit on the lines that are logged per second.
struct RateLimit {
    /// Start of the current second.
    second: Instant,
    /// Lines logged in this second.
    logged: u64,
    /// Lines left out in this second.
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

    /// Starts a new second, and logs how many lines of the last one were left out.
    fn report(&mut self, host: &dyn ProcessHost) {
        if self.left_out > 0 {
            host.log(&format!(
                "({} more lines were left out; at most {PROCESS_ERROR_LINES_PER_S_MAX} per second are logged)",
                self.left_out
            ));
        }
        *self = RateLimit::new(Instant::now());
    }

    /// Returns the end of the second, if lines must be reported then.
    fn report_at(&self) -> Option<Instant> {
        (self.left_out > 0).then(|| self.second + Duration::from_secs(1))
    }

    /// Delays a program that writes too much, so that reading it takes no time from others.
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
    fn lines_are_joined_from_chunks_and_the_last_needs_no_newline() {
        assert_eq!(lines_of(&[b"a", b"b\n\nc\r\n", b"\xffd"]), ["ab", "c", "\u{fffd}d"]);
    }

    #[test]
    fn long_line_is_cut() {
        let long = "x".repeat(PROCESS_ERROR_LINE_BYTES_MAX);
        let found = lines_of(&[long.as_bytes(), b"\n", long.as_bytes(), b"y", long.as_bytes(), b"\nnext"]);
        assert_eq!(found, [long.clone(), format!("{long}…"), "next".to_owned()]);
    }
}
