//! Mistakes in the configuration. Owns how each is reported.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A mistake in a file or in a flag, in words that say where it is and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of the file is not TOML, or holds a key or a value that there is not.
    #[error("{}:{line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The value has the right type and cannot be used.
    #[error("{setting} {problem}")]
    Impossible {
        /// Where it stands and what it is: `holdline.toml:2: data = ""` or `--data ""`.
        setting: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// An address that others can reach, without `open`.
    #[error(
        "{setting} can be reached from other machines{}, and nobody proves who they are yet: anyone who reaches the port \
         can log in as anyone; if that is what you want, say so with --open or with open = true in the configuration \
         file, otherwise listen on 127.0.0.1",
        .address.map(|address| format!(" (as {address})")).unwrap_or_default()
    )]
    Exposed {
        /// Where it stands and what it is.
        setting: String,
        /// What it means, where it does not say it itself.
        address: Option<SocketAddr>,
    },
}
