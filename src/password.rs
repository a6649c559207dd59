//! Passwords, and what is stored of them. Owns their forms, and that neither prints itself; never hashes one.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

use crate::limits::PASSWORD_BYTES_MAX;

/// Password that never prints itself. Plugins that check logins get it as a string.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Password(String);

/// Error about a text that is not a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// The text is empty.
    #[error("the password is empty")]
    Empty,
    /// The text holds white space or a control character.
    #[error("a password holds no blanks and no control characters")]
    Blank,
    /// The text is too long.
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
}

/// Hash of a password, with its salt and its parameters, in the form of the Password Hashing Competition: `$argon2id$v=19$m=…`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

impl Password {
    /// Takes a password as it was typed, whatever it is.
    pub fn new(password: String) -> Self {
        Password(password)
    }

    /// Checks a new password. Letters that look the same and have several encodings count as the same; RFC 8265, section 4.2.
    pub fn check_new(&self) -> Result<(), BadPassword> {
        if self.0.is_empty() {
            Err(BadPassword::Empty)
        } else if self.0.len() > PASSWORD_BYTES_MAX {
            Err(BadPassword::TooLong)
        } else if self.0.contains(|character: char| character.is_whitespace() || character.is_control()) {
            Err(BadPassword::Blank)
        } else {
            Ok(())
        }
    }

    /// Returns the password as it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text that is hashed: the password in normalization form C.
    pub(crate) fn normalized(&self) -> String {
        self.0.nfc().collect()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl PasswordHash {
    /// Takes a hash as it was made, or stored.
    pub fn new(hash: &str) -> Self {
        PasswordHash(hash.into())
    }

    /// Returns the hash in the form in which it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), BadPassword> {
        Password::new(password.to_owned()).check_new()
    }

    #[test]
    fn new_passwords_are_checked() {
        assert_eq!(check("correct-horse"), Ok(()));
        assert_eq!(check("grüße"), Ok(()));
        assert_eq!(check(""), Err(BadPassword::Empty));
        assert_eq!(check("two words"), Err(BadPassword::Blank));
        assert_eq!(check("tab\t"), Err(BadPassword::Blank));
        assert_eq!(check(&"x".repeat(PASSWORD_BYTES_MAX + 1)), Err(BadPassword::TooLong));
    }

    #[test]
    fn encodings_of_one_letter_are_the_same() {
        let [composed, decomposed] = ["é", "e\u{301}"].map(|text| Password::new(text.to_owned()).normalized());
        assert_eq!(composed, decomposed);
    }

    #[test]
    fn neither_a_password_nor_its_hash_prints_itself() {
        assert_eq!(format!("{:?}", Password::new("secret".to_owned())), "Password(…)");
        assert_eq!(format!("{:?}", PasswordHash::new("$argon2id$…")), "PasswordHash(…)");
    }
}
