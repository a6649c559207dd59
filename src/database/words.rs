//! Counts and sizes as text for people. Never computes a number.

use bytesize::ByteSize;

use crate::limits::WAITING_COUNTED_MAX;

/// Formats a count with its noun: `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Formats a count that stops above [`WAITING_COUNTED_MAX`]: `3`, or `more than 1000000`.
pub(crate) fn at_most_counted(count: u64) -> String {
    if count > WAITING_COUNTED_MAX { format!("more than {WAITING_COUNTED_MAX}") } else { count.to_string() }
}

/// Formats a size: `512 B`, `3.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_above_the_limit_is_shown_as_more_than_the_limit() {
        assert_eq!(at_most_counted(WAITING_COUNTED_MAX), "1000000");
        assert_eq!(at_most_counted(WAITING_COUNTED_MAX + 1), "more than 1000000");
    }
}
