//! Integers stored as a JSON array in one column. Formats and parses them; never knows what they mean.

/// Appends the numbers to `array` as a JSON array.
pub(crate) fn write(array: &mut String, numbers: impl Iterator<Item = i64>) {
    array.push('[');
    let mut digits = itoa::Buffer::new();
    for (index, number) in numbers.enumerate() {
        if index > 0 {
            array.push(',');
        }
        array.push_str(digits.format(number));
    }
    array.push(']');
}

/// Parses a JSON array. Skips whatever is not a number, so that a damaged character does not lose the rest.
pub(crate) fn read(array: &str) -> impl DoubleEndedIterator<Item = i64> + Clone {
    let numbers = array.trim_matches(['[', ']']).split(',');
    // Only a number that somebody wrote by hand has blanks around it.
    numbers.filter_map(|number| number.parse().or_else(|_| number.trim().parse()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_numbers_are_read_back_and_damage_is_skipped() {
        for numbers in [&[][..], &[7], &[12, 3, 4_000_000_000]] {
            let mut array = String::new();
            write(&mut array, numbers.iter().copied());
            assert_eq!(Vec::from_iter(read(&array)), numbers, "{array}");
        }
        assert_eq!(Vec::from_iter(read("[ 1,x, 3]")), [1, 3]);
    }
}
