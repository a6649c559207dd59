use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// Makes a certificate in a new directory, and moves it and its key to files of their own.
fn pair(directory: &TempDir, name: &str) -> (PathBuf, PathBuf) {
    let made = tempfile::tempdir().unwrap();
    self_signed::create_once(made.path()).unwrap();
    let pem = fs::read_to_string(self_signed::path(made.path())).unwrap();
    let (certificate, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").unwrap());
    let paths = (directory.path().join(format!("{name}.crt")), directory.path().join(format!("{name}.key")));
    fs::write(&paths.0, certificate).unwrap();
    fs::write(&paths.1, key).unwrap();
    fs::set_permissions(&paths.1, fs::Permissions::from_mode(0o600)).unwrap();
    paths
}

fn files((certificate, key): (PathBuf, PathBuf)) -> TlsConfig {
    TlsConfig::Files { certificate, key }
}

fn open(config: &TlsConfig) -> Result<Arc<Certificate>, String> {
    Certificate::open(config, Path::new("/nowhere")).map_err(|error| error.to_string())
}

#[test]
fn self_signed_certificate_is_made_once_and_is_private() {
    let data = tempfile::tempdir().unwrap();
    let first = Certificate::open(&TlsConfig::SelfSigned, data.path()).unwrap().fingerprint();
    assert_eq!(Certificate::open(&TlsConfig::SelfSigned, data.path()).unwrap().fingerprint(), first);
    assert_eq!(fingerprint(&TlsConfig::SelfSigned, data.path()).unwrap(), first);
    let mode = fs::metadata(self_signed::path(data.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(first.to_string().len(), 32 * 3 - 1);
}

#[test]
fn changed_files_are_read_again_and_a_bad_pair_leaves_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (pair(&directory, "old"), pair(&directory, "new"));
    let certificate = open(&files(old.clone())).unwrap();
    let fingerprint = certificate.fingerprint();
    assert!(!certificate.has_changed());
    fs::copy(&new.0, &old.0).unwrap();
    assert!(certificate.has_changed());
    let error = certificate.reload().unwrap_err().to_string();
    assert!(error.contains("is not that of the certificate"), "{error}");
    assert_eq!(certificate.fingerprint(), fingerprint);
    assert!(!certificate.has_changed(), "a mistake is reported once");
    fs::copy(&new.1, &old.1).unwrap();
    assert!(certificate.has_changed());
    certificate.reload().unwrap();
    assert_ne!(certificate.fingerprint(), fingerprint);
}

#[test]
fn mistakes_in_files_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = pair(&directory, "a");
    let absent = directory.path().join("absent");
    let error = |certificate: &Path, key: &Path| open(&files((certificate.to_owned(), key.to_owned()))).unwrap_err();
    assert!(error(&absent, &key).starts_with(&format!("{} does not exist", absent.display())));
    assert!(error(&key, &key).starts_with(&format!("{} contains no certificate in PEM", key.display())));
    assert!(
        error(&certificate, &certificate).starts_with(&format!("{} contains no private key", certificate.display()))
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(error(&certificate, &key).contains(&format!("chmod o-r {}", key.display())));
}
