//! Identity of a database, as its clients compare it. Owns its form; never decides when a database gets another one.

use std::fmt;

/// Random number that tells a database from all others. The `seq` of a message means nothing in another database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseId(u128);

impl DatabaseId {
    /// Parses 32 hexadecimal digits, the letters small.
    pub fn parse(digits: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let are_digits = digits.len() == 32 && digits.bytes().all(is_digit);
        are_digits.then(|| u128::from_str_radix(digits, 16).ok()).flatten().map(DatabaseId)
    }
}

impl From<[u8; 16]> for DatabaseId {
    fn from(bytes: [u8; 16]) -> Self {
        DatabaseId(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_32_small_hexadecimal_digits() {
        for digits in ["00000000000000000000000000000000", "00ff00ff00ff00ff00ff00ff00ff00ab"] {
            assert_eq!(DatabaseId::parse(digits).unwrap().to_string(), digits);
        }
        for other in ["", "0", "+0ff00ff00ff00ff00ff00ff00ff00ab", "00FF00ff00ff00ff00ff00ff00ff00ab", &"0".repeat(33)]
        {
            assert_eq!(DatabaseId::parse(other), None, "{other}");
        }
    }
}
