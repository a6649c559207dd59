//! Errors that keep the server from starting. Owns their words; never finds one.

use std::net::SocketAddr;

use crate::certificate::CertificateError;
use crate::config::ConfigError;
use crate::plugin::{LoadError, TakenName};
use crate::store::StoreError;

/// Error that keeps the server from starting.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server cannot listen on an address.
    #[error(
        "cannot listen on {address}: {source}; use another address (--listen), or stop the program that uses this one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The file that lists the plugins has a mistake.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A plugin cannot be loaded.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// A plugin may not have its name.
    #[error(transparent)]
    TakenName(#[from] TakenName),
    /// The server cannot receive signals.
    #[error("cannot watch for signals: {source}")]
    Signals {
        /// Error of the system.
        source: std::io::Error,
    },
}
