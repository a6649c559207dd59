//! What lines are: notices or not, past messages, floods of numbered messages. Owns no socket.

use std::ops::Range;

/// With [`LARGE_PADDING`], messages that the systems between the server and a client that does not read cannot hold: 8 MB.
pub(crate) const LARGE_FLOOD: usize = 1000;

/// Bytes that each message of a [`LARGE_FLOOD`] has besides its number.
pub(crate) const LARGE_PADDING: usize = 8000;

/// Whether a line is a notice, neither a message nor an error.
pub(crate) fn is_notice(line: &str) -> bool {
    line.starts_with("* ")
}

/// The messages and errors among these lines.
pub(crate) fn messages(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| !is_notice(line)).collect()
}

/// What stands behind the time of a history's line: `from alice: TEXT` or `to bob: TEXT`.
pub(crate) fn past_message(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("* ")?;
    let year = rest.get(..5)?;
    let has_time = year.ends_with('-') && year[..4].bytes().all(|byte| byte.is_ascii_digit());
    let start = [rest.find(" from "), rest.find(" to ")].into_iter().flatten().min()?;
    has_time.then(|| &rest[start + 1..])
}

/// Numbered messages to one peer or several, one a line, each followed by this many bytes more.
pub(crate) fn flood(to: &str, numbers: Range<usize>, padding: usize) -> Vec<u8> {
    let padding = "x".repeat(padding);
    numbers.flat_map(|number| format!("{to}: {number} {padding}\n").into_bytes()).collect()
}

/// The number of a message of a [`flood`].
pub(crate) fn flood_number(line: &str, sender: &str) -> Option<usize> {
    let text = line.strip_prefix("from ")?.strip_prefix(sender)?.strip_prefix(": ")?;
    text.split(' ').next()?.parse().ok()
}

/// Checks that no number is missing, doubled or out of its place.
#[track_caller]
pub(crate) fn assert_contiguous(numbers: &[usize]) {
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "number {} came after {}", pair[1], pair[0]);
    }
}
