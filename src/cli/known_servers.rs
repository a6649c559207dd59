//! Servers whose certificates a person has confirmed, by their fingerprints. Owns the file that lists them and the question; never
//! checks a certificate.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{env, fmt};

use holdline::client::{self, Account, Distrust, ServerAddress, ServerTrust, UntrustedCertificate};
use holdline::fingerprint::Fingerprint;

use super::output::{errors_go_to_a_terminal, report};

/// Path of the file below the user's configuration.
const FILE: &str = "holdline/known_servers";

/// Mode of the directory of the file.
const DIRECTORY_MODE: u32 = 0o700;

/// Mode of the file.
const FILE_MODE: u32 = 0o600;

/// Returns the account with the certificate that a person has confirmed for its server, now or earlier. Asks on the terminal if the
/// certificate is not trusted otherwise. Without a terminal, or with `--pin`, the account stays as it is.
pub(super) fn confirm(account: Account) -> Account {
    if !account.server.is_encrypted() || account.trust != ServerTrust::SystemRoots {
        return account;
    }
    let pin = known(&account.server).or_else(|| ask_about(&account.server));
    match pin {
        Some(fingerprint) => Account { trust: ServerTrust::Pin(fingerprint), ..account },
        None => account,
    }
}

/// Returns the path of the file; `None` without a home directory.
fn path() -> Option<PathBuf> {
    let directory = |variable| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")))?;
    Some(config.join(FILE))
}

/// Returns the fingerprint that was confirmed for a server. The last line about it counts.
fn known(server: &ServerAddress) -> Option<Fingerprint> {
    find(&fs::read_to_string(path()?).ok()?, server)
}

fn find(list: &str, server: &ServerAddress) -> Option<Fingerprint> {
    let mut known = list.lines().filter_map(|line| {
        let (name, fingerprint) = line.split_once(' ')?;
        (name == server.host_and_port()).then(|| fingerprint.trim().parse().ok())?
    });
    known.next_back()
}

/// Asks on the terminal whether the server's certificate is the right one, if it is not trusted otherwise.
fn ask_about(server: &ServerAddress) -> Option<Fingerprint> {
    // Whoever redirects the errors does not read the question.
    if !errors_go_to_a_terminal() {
        return None;
    }
    let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    let certificate = smol::block_on(client::untrusted_certificate(server))?;
    if !ask(&terminal, &Question { server, certificate: &certificate }).ok()? {
        return None;
    }
    let fingerprint = certificate.fingerprint;
    if let Some(path) = path()
        && let Err(error) = remember(&path, server, fingerprint)
    {
        report(format_args!("cannot remember this in {}: {error}", path.display()));
    }
    Some(fingerprint)
}

/// Question about a certificate.
struct Question<'a> {
    server: &'a ServerAddress,
    certificate: &'a UntrustedCertificate,
}

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Question { server, certificate: UntrustedCertificate { fingerprint, distrust } } = self;
        if let Distrust::Unproven(reason) = distrust {
            writeln!(f, "{server} is not trusted: {reason}.")?;
        }
        writeln!(f, "The SHA-256 fingerprint of its certificate is")?;
        writeln!(f, "    {fingerprint}")?;
        writeln!(f, "Compare it with what `holdline tls fingerprint` prints on the server.")?;
        write!(f, "Are they the same? Then this computer trusts it from now on. [yes/no] ")
    }
}

fn ask(mut terminal: &File, question: &Question<'_>) -> io::Result<bool> {
    write!(terminal, "{question}")?;
    terminal.flush()?;
    let mut answer = String::new();
    BufReader::new(terminal).read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "yes" | "y"))
}

fn remember(path: &Path, server: &ServerAddress, fingerprint: Fingerprint) -> io::Result<()> {
    let directory = path.parent().expect("the file is in a directory");
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    let mut file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
    writeln!(file, "{} {fingerprint}", server.host_and_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_about_a_server_counts() {
        let server = ServerAddress::parse("tls://pi.local:7878").unwrap();
        let [old, new] = ["00", "11"].map(|byte| byte.repeat(32));
        let list =
            format!("pi.local:7878 {old}\npi.local:7878 {new}\npi.local:7879 {old}\nnonsense\npi.local:7878 damaged\n");
        assert_eq!(find(&list, &server), Some(new.parse().unwrap()));
        assert_eq!(find("", &server), None);
    }

    #[test]
    fn remembered_server_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/known_servers");
        let server = ServerAddress::parse("tls://[::1]:7878").unwrap();
        let fingerprint: Fingerprint = "ab".repeat(32).parse().unwrap();
        remember(&path, &server, fingerprint).unwrap();
        assert_eq!(find(&fs::read_to_string(path).unwrap(), &server), Some(fingerprint));
    }
}
