//! A certificate that the server makes for itself. Owns its file in the data directory, and what the certificate says; never replaces one
//! that exists, because clients know its fingerprint.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustix::fs::OFlags;

use super::CertificateError;
use crate::trust::{Place, Trust, TrustError};

/// Name of the file with the certificate and its key.
const FILE: &str = "tls.pem";

/// Mode of the file: it holds a private key.
const FILE_MODE: u32 = 0o600;

/// Host names that the certificate is for. Clients know it by its fingerprint, whatever name they connect to.
const NAMES: [&str; 2] = ["holdline.local", "localhost"];

/// Returns the path of the file in a data directory.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// Makes a certificate, unless there is one. A crash leaves all of the file or nothing of it.
pub(super) fn create_once(data: &Path) -> Result<(), CertificateError> {
    let path = path(data);
    let untrusted = CertificateError::Untrusted;
    let place = Trust::of_this_process().find(&path).map_err(untrusted)?;
    if place.check_regular().map_err(untrusted)? {
        return Ok(());
    }
    let pem = make().map_err(|error| CertificateError::not_made(&path, error))?;
    write(&place, &pem)
}

/// Makes a certificate that lasts as long as its key: whoever pins it does not look at dates.
fn make() -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.distinguished_name.push(DnType::CommonName, "holdline");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

fn write(place: &Place, pem: &str) -> Result<(), CertificateError> {
    let path = place.path();
    let not_made = |error: std::io::Error| CertificateError::not_made(&path, error);
    let draft = place.sibling(OsString::from(format!(".{FILE}.draft"))).map_err(CertificateError::Untrusted)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let mut file = draft.open_regular(flags, FILE_MODE).map_err(CertificateError::Untrusted)?;
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(not_made)?;
    std::fs::rename(draft.path(), &path).map_err(not_made)?;
    let directory = place.directory().file().map_err(|error: TrustError| not_made(std::io::Error::other(error)))?;
    directory.sync_all().map_err(not_made)
}
