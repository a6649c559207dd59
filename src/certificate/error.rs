//! Errors of a certificate. Owns how each is reported; never finds one.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem;
use rustls::{Error, InconsistentKeys};

use crate::trust::{TrustError, for_shell};

/// Reason why the server cannot use a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file does not exist.
    #[error("{} does not exist; correct certificate and key in [tls], or use self_signed = true", path.display())]
    Missing {
        /// Path of the file.
        path: PathBuf,
    },
    /// A file cannot be read, or another user may change it.
    #[error(transparent)]
    Untrusted(TrustError),
    /// Every user can read the key.
    #[error("{} holds a private key, and every user can read it; make it private: chmod o-r {}", path.display(), for_shell(path))]
    Public {
        /// Path of the key.
        path: PathBuf,
    },
    /// A file contains no certificate.
    #[error("{} contains no certificate in PEM{problem}; expected lines from -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// Path of the file.
        path: PathBuf,
        /// Description of the mistake, with `: ` before it, or nothing.
        problem: String,
    },
    /// A file contains no private key.
    #[error("{} contains no private key in PEM: {problem}; expected lines from -----BEGIN PRIVATE KEY-----, without a passphrase", path.display())]
    NoKey {
        /// Path of the file.
        path: PathBuf,
        /// Description of the mistake.
        problem: String,
    },
    /// The key is that of another certificate.
    #[error("the key in {} is not that of the certificate in {}; use the files that belong together", key.display(), certificate.display())]
    Mismatch {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of the key.
        key: PathBuf,
    },
    /// The certificate or the key has a form that TLS cannot use.
    #[error("cannot use the certificate in {} with the key in {}: {source}", certificate.display(), key.display())]
    Unusable {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of the key.
        key: PathBuf,
        /// Error of the TLS library.
        source: Error,
    },
    /// The server has not made its certificate yet.
    #[error("{} does not exist; the server makes it at its first start, so start it once", path.display())]
    NotMadeYet {
        /// Path of the file.
        path: PathBuf,
    },
    /// No certificate can be made.
    #[error("cannot make a certificate in {}: {problem}", path.display())]
    NotMade {
        /// Path of its file.
        path: PathBuf,
        /// Description of the mistake.
        problem: String,
    },
}

impl CertificateError {
    pub(super) fn no_certificate(path: &Path, error: Option<pem::Error>) -> Self {
        let problem = error.map(|error| format!(": {error}")).unwrap_or_default();
        CertificateError::NoCertificate { path: path.to_owned(), problem }
    }

    pub(super) fn no_key(path: &Path, error: pem::Error) -> Self {
        CertificateError::NoKey { path: path.to_owned(), problem: error.to_string() }
    }

    pub(super) fn unusable(certificate: &Path, key: &Path, source: Error) -> Self {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        match source {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch { certificate, key },
            source => CertificateError::Unusable { certificate, key, source },
        }
    }

    pub(super) fn not_made(path: &Path, problem: impl ToString) -> Self {
        CertificateError::NotMade { path: path.to_owned(), problem: problem.to_string() }
    }
}
