//! Numbers as a JSON array in a column. Owns how they are written and read; never what they count.

use std::fmt::Write;

/// Appends them.
pub(crate) fn write(array: &mut String, numbers: impl Iterator<Item = i64>) {
    array.push('[');
    for (place, number) in numbers.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(array, "{comma}{number}").expect("a string takes all");
    }
    array.push(']');
}

/// Reads them. What is no number is left out: one damaged letter does not hold back the rest.
pub(crate) fn read(array: &str) -> impl DoubleEndedIterator<Item = i64> {
    let numbers = array.trim_matches(['[', ']']).split(',');
    numbers.filter_map(|number| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for numbers in [&[][..], &[7], &[12, 3, 4_000_000_000]] {
            let mut array = String::new();
            write(&mut array, numbers.iter().copied());
            assert_eq!(Vec::from_iter(read(&array)), numbers, "{array}");
        }
        assert_eq!(Vec::from_iter(read("[ 1,x, 3]")), [1, 3]);
    }
}
