//! Numbers as people read them. Owns no number.

use crate::limits::WAITING_COUNTED_MAX;

/// `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// `3`, or `more than 1000000` where nobody has counted on.
pub(crate) fn at_most_counted(count: u64) -> String {
    if count > WAITING_COUNTED_MAX { format!("more than {WAITING_COUNTED_MAX}") } else { count.to_string() }
}

/// `512 bytes`, `3.4 MiB`: as exact as a person wants it.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return counted(bytes, "byte");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded up to 1024 is 1.0 of the next.
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
    fn very_many_are_not_counted_to_the_end() {
        assert_eq!(at_most_counted(WAITING_COUNTED_MAX), "1000000");
        assert_eq!(at_most_counted(WAITING_COUNTED_MAX + 1), "more than 1000000");
    }

    #[test]
    fn a_size_is_as_exact_as_a_person_wants_it() {
        for (bytes, said) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (136_732_672, "130.4 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), said, "{bytes}");
        }
    }
}
