//! Errors of the configuration. Owns how each is reported; never finds one.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::trust::TrustError;

/// Mistake in a file or in a flag. The message says where it is, and how to correct it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file exists and cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file is a link that leads nowhere.
    #[error("{} is a link to {}, which does not exist; correct the link, or remove it", path.display(), target.display())]
    Dangling {
        /// Path of the link.
        path: PathBuf,
        /// Target of the link.
        target: PathBuf,
    },
    /// Another user may change the file.
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    /// A line of the file is not TOML, or has an unknown key, or a value of the wrong type.
    #[error("{}:{line}: {problem}", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Description of the mistake, and how to correct it.
        problem: String,
    },
    /// A value has the right type and is not valid.
    #[error("{setting} {problem}")]
    Invalid {
        /// Place and value: `holdline.toml:2: data = ""` or `--data ""`.
        setting: String,
        /// Description of the mistake, and how to correct it.
        problem: String,
    },
    /// Other machines can reach an address, and `open` is not set.
    #[error(
        "{setting} can be reached from other machines{}, and anyone there could log in as anyone who has no password, and listen on \
         the way; either set required = true below [accounts] and a certificate below [tls], or, on a network that you trust, use \
         --open or open = true; otherwise listen on 127.0.0.1",
        .address.map(|address| format!(" (as {address})")).unwrap_or_default()
    )]
    Exposed {
        /// Place and value of the address.
        setting: String,
        /// Resolved address, if the setting is a host name.
        address: Option<SocketAddr>,
    },
}
