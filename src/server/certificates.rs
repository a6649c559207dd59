//! Reading the certificate again while the server runs. Owns when that happens, and what the log says of it; never reads a file itself.

use std::sync::Arc;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::limits::TLS_FILES_POLL_S;
use crate::timeout::sleep;

/// Reads the certificate again whenever its files are changed or replaced, as programs that renew certificates do.
pub(super) async fn watch(certificate: Arc<Certificate>) {
    loop {
        sleep(Duration::from_secs(TLS_FILES_POLL_S)).await;
        if certificate.has_changed() {
            reload(&certificate);
        }
    }
}

/// Reads the certificate again, and logs the result.
pub(super) fn reload(certificate: &Certificate) {
    let before = certificate.fingerprint();
    match certificate.reload() {
        Ok(()) if certificate.fingerprint() == before => log::debug!("the certificate is unchanged"),
        Ok(()) => log::info!("new certificate; SHA-256 fingerprint {}", certificate.fingerprint()),
        Err(error) => log::error!("cannot load the new certificate, the old one stays in use: {error}"),
    }
}
