//! Errors of bytes that are not an entry, in words for the operator. Never reads bytes.

/// Number of the form that is written.
pub(super) const FORM: u8 = 1;

/// Reason why bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version of holdline wrote it.
    #[error(
        "the entry has form {found}, and this holdline reads form {FORM}; use the holdline that wrote it, or a newer one"
    )]
    Form {
        /// Number of its form.
        found: u8,
    },
    /// No entry has this kind.
    #[error("the entry has kind {found}, which form {FORM} does not have; the bytes are damaged")]
    Kind {
        /// Number of its kind.
        found: u8,
    },
    /// The bytes end too early.
    #[error("the entry ends within its field {field}; the bytes are cut off")]
    Truncated {
        /// Field that is not complete.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("the entry's field {field} {reason}; the bytes are damaged")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Fault of its value.
        reason: &'static str,
    },
    /// Bytes follow the entry.
    #[error("{bytes} bytes follow the entry; the bytes are damaged")]
    Trailing {
        /// Number of bytes.
        bytes: usize,
    },
}
