//! Kinds of lines: notices, past messages, floods of numbered messages. Owns no socket.

use std::ops::Range;

/// Number of messages that, with [`LARGE_PADDING`], exceed the buffers between the server and a client that does not
/// read: 8 MB.
pub(crate) const LARGE_FLOOD: usize = 1000;

/// Bytes of each message of a [`LARGE_FLOOD`] besides its number.
pub(crate) const LARGE_PADDING: usize = 8000;

/// Whether a line is a notice, neither a message nor an error.
pub(crate) fn is_notice(line: &str) -> bool {
    line.starts_with("* ")
}

/// Messages and errors among these lines.
pub(crate) fn messages(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| !is_notice(line)).collect()
}

/// Message in a line of a history, after the time: `from alice: TEXT` or `to bob: TEXT`.
pub(crate) fn past_message(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("* ")?;
    let year = rest.get(..5)?;
    let has_time = year.ends_with('-') && year[..4].bytes().all(|byte| byte.is_ascii_digit());
    let start = [rest.find(" from "), rest.find(" to ")].into_iter().flatten().min()?;
    has_time.then(|| &rest[start + 1..])
}

/// Numbered messages for one or several peers, one a line, each followed by this many bytes.
pub(crate) fn flood(to: &str, numbers: Range<usize>, padding: usize) -> Vec<u8> {
    let padding = "x".repeat(padding);
    numbers.flat_map(|number| format!("{to}: {number} {padding}\n").into_bytes()).collect()
}

/// Number of a message of a [`flood`].
pub(crate) fn flood_number(line: &str, sender: &str) -> Option<usize> {
    let text = line.strip_prefix("from ")?.strip_prefix(sender)?.strip_prefix(": ")?;
    text.split(' ').next()?.parse().ok()
}

/// Checks that no number is missing, duplicated or out of order.
#[track_caller]
pub(crate) fn assert_contiguous(numbers: &[usize]) {
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "number {} came after {}", pair[1], pair[0]);
    }
}
