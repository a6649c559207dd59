//! Counts and sizes as text for people. Never computes a number.

use crate::limits::WAITING_COUNTED_MAX;

/// Formats a count with its noun: `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Formats a count that stops above [`WAITING_COUNTED_MAX`]: `3`, or `more than 1000000`.
pub(crate) fn at_most_counted(count: u64) -> String {
    if count > WAITING_COUNTED_MAX { format!("more than {WAITING_COUNTED_MAX}") } else { count.to_string() }
}

/// Formats a size: `512 bytes`, `3.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return counted(bytes, "byte");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // A value that would round up to 1024.0 is shown as 1.0 of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_above_the_limit_is_shown_as_more_than_the_limit() {
        assert_eq!(at_most_counted(WAITING_COUNTED_MAX), "1000000");
        assert_eq!(at_most_counted(WAITING_COUNTED_MAX + 1), "more than 1000000");
    }

    #[test]
    fn size_is_shown_with_one_decimal_in_the_largest_unit() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (136_732_672, "130.4 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }
}
