//! The server's TLS certificate and its private key: from files of the operator, or made here and signed by itself. Owns where they are, when
//! they are read again, and the settings of TLS; never touches a socket.
//!
//! rustls takes the current certificate for each handshake, so a new one concerns new connections only.

mod error;
mod self_signed;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use self::error::CertificateError;
use crate::config::TlsConfig;
use crate::fingerprint::Fingerprint;
use crate::trust;

/// Certificate of a server, which may change while it runs.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: CertificateFiles,
    current: Mutex<Loaded>,
}

/// Files with a certificate and its key, in PEM; RFC 7468. They may be the same file.
#[derive(Clone, Debug)]
struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
}

/// Certificate that was read, and the states of its files before that.
#[derive(Clone, Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    states: [SeenFile; 2],
}

/// Values by which a file that was changed or replaced is recognised; `None` if it cannot be read.
type SeenFile = Option<(u64, i64, i64, u64)>;

impl Certificate {
    /// Reads the certificate. Makes one in the data directory, if the configuration says so and none is there.
    pub(crate) fn open(config: &TlsConfig, data: &Path) -> Result<Arc<Self>, CertificateError> {
        if matches!(config, TlsConfig::SelfSigned) {
            self_signed::create_once(data)?;
        }
        let files = CertificateFiles::of(config, data);
        let current = Mutex::new(files.load()?);
        Ok(Arc::new(Certificate { files, current }))
    }

    /// Returns the settings of TLS: versions 1.2 and 1.3, and this certificate.
    pub(crate) fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring supports these versions");
        Arc::new(builder.with_no_client_auth().with_cert_resolver(self.clone()))
    }

    /// Reads the files again. The old certificate stays in use if that fails.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        // A failure is reported once for each change of the files.
        self.current.lock().states = self.files.states();
        let loaded = self.files.load()?;
        *self.current.lock() = loaded;
        Ok(())
    }

    /// Whether the files were changed or replaced since they were read.
    pub(crate) fn has_changed(&self) -> bool {
        self.current.lock().states != self.files.states()
    }

    /// Returns the fingerprint of the current certificate.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let certified = self.current.lock().certified.clone();
        Fingerprint::of(certified.end_entity_cert().expect("a certificate that was loaded has one"))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.lock().certified.clone())
    }
}

impl CertificateFiles {
    fn of(config: &TlsConfig, data: &Path) -> Self {
        match config {
            TlsConfig::Files { certificate, key } => {
                CertificateFiles { certificate: certificate.clone(), key: key.clone() }
            }
            TlsConfig::SelfSigned => {
                let file = self_signed::path(data);
                CertificateFiles { certificate: file.clone(), key: file }
            }
        }
    }

    fn states(&self) -> [SeenFile; 2] {
        let state = |metadata: Metadata| (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size());
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).ok().map(state))
    }

    fn load(&self) -> Result<Loaded, CertificateError> {
        let states = self.states();
        let chain = self.chain()?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|error| CertificateError::no_key(&self.key, error))?;
        check_is_private(&self.key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = certified.map_err(|error| CertificateError::unusable(&self.certificate, &self.key, error))?;
        Ok(Loaded { certified: Arc::new(certified), states })
    }

    /// Reads the certificate, and those after it in the file, which lead to one that clients know.
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let pem = read(&self.certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Ok(chain),
            chain => Err(CertificateError::no_certificate(&self.certificate, chain.err())),
        }
    }
}

/// Reads the fingerprint of the certificate of this configuration, whether or not a server runs.
pub fn fingerprint(config: &TlsConfig, data: &Path) -> Result<Fingerprint, CertificateError> {
    let files = CertificateFiles::of(config, data);
    if matches!(config, TlsConfig::SelfSigned) && !files.certificate.exists() {
        return Err(CertificateError::NotMadeYet { path: files.certificate });
    }
    let chain = files.chain()?;
    Ok(Fingerprint::of(&chain[0]))
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    match trust::read(path) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(CertificateError::Missing { path: path.to_owned() }),
        Err(error) => Err(CertificateError::Untrusted(error)),
    }
}

/// Checks that a key is not readable by every user.
fn check_is_private(key: &Path) -> Result<(), CertificateError> {
    const OTHERS_READ: u32 = 0o004;
    match std::fs::metadata(key) {
        Ok(metadata) if metadata.mode() & OTHERS_READ != 0 => Err(CertificateError::Public { path: key.to_owned() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
