//! `holdline tls`: shows the fingerprint of the server's certificate. Owns its words; never opens a connection.

use std::io;
use std::path::Path;

use bpaf::{OptionParser, Parser};
use holdline::certificate::{self, CertificateError};
use holdline::config::{Flags, TlsConfig};

/// Error of `tls fingerprint`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsCommandError {
    /// The configuration names no certificate.
    #[error(
        "the server has no certificate; put self_signed = true, or certificate and key, below [tls] in holdline.toml"
    )]
    NoCertificate,
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The fingerprint cannot be printed.
    #[error("cannot print the fingerprint")]
    Print(#[source] io::Error),
}

/// Returns the subcommands of `tls`, with their help.
pub(crate) fn options() -> OptionParser<Flags> {
    super::flags::database_flags()
        .to_options()
        .descr("Prints the SHA-256 fingerprint of the server's certificate, for --pin and for people who compare it")
        .command("fingerprint")
        .help("Prints the fingerprint of the server's certificate")
        .to_options()
        .descr("Shows the server's certificate")
}

/// Prints the fingerprint of the certificate.
pub(crate) fn run(config: Option<&TlsConfig>, data: &Path) -> Result<(), TlsCommandError> {
    let config = config.ok_or(TlsCommandError::NoCertificate)?;
    let fingerprint = certificate::fingerprint(config, data)?;
    super::show(&fingerprint.to_string()).map_err(TlsCommandError::Print)
}
