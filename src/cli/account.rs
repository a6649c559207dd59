//! Flags of `send` and `tail` about the account: the peer's name and its server. Owns their help and defaults; never connects.

use std::env;

use bpaf::{Parser, construct, long};
use holdline::client::{Account, ServerAddress, ServerTrust};
use holdline::message::PeerName;
use holdline::password::Password;

/// Default address of a server.
const SERVER_DEFAULT: &str = "127.0.0.1:7878";

/// Environment variables with the user's name. cron sets only the second.
const NAME_VARIABLES: [&str; 2] = ["USER", "LOGNAME"];

/// Environment variable with the password. A flag would show it to every user of the machine.
pub(super) const PASSWORD_VARIABLE: &str = "HOLDLINE_PASSWORD";

/// Mistake of a pin for a connection without TLS.
const PIN_NEEDS_TLS: &str = "--pin needs --server=tls://HOST:PORT: without TLS there is no certificate";

/// `--as`, `--server` and `--pin`.
pub(super) fn flags() -> impl Parser<Account> {
    let name = long("as")
        .argument::<String>("NAME")
        .help("Your name [default: from USER or LOGNAME]")
        .parse(|name| PeerName::parse(&name).map_err(|error| format!("--as: {error}")))
        .fallback_with(|| name_of_environment(|variable| env::var(variable).ok()));
    let server = long("server")
        .argument::<String>("ADDR")
        .help(format!("HOST:PORT of the server, or tls://HOST:PORT [default: {SERVER_DEFAULT}]").as_str())
        .fallback(SERVER_DEFAULT.to_owned())
        .parse(|address| ServerAddress::parse(&address).map_err(|error| format!("--server: {error}")));
    let trust = long("pin")
        .argument::<String>("FINGERPRINT")
        .help("With tls://: trusts only the certificate with this SHA-256 fingerprint [default: those for HOST that the system trusts]")
        .parse(|fingerprint| fingerprint.parse().map_err(|error| format!("--pin: {error}")))
        .map(ServerTrust::Pin)
        .fallback(ServerTrust::SystemRoots);
    construct!(name, server, trust)
        .guard(|(_, server, trust)| server.is_encrypted() || *trust == ServerTrust::SystemRoots, PIN_NEEDS_TLS)
        .map(|(name, server, trust)| Account { server, name, password: password(), trust })
}

fn name_of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<PeerName, &'static str> {
    let names = NAME_VARIABLES.iter().filter_map(|name| variable(name));
    let mut names = names.filter_map(|name| PeerName::parse(&name).ok());
    names.next().ok_or("neither USER nor LOGNAME is a valid name; use --as=NAME")
}

fn password() -> Option<Password> {
    env::var(PASSWORD_VARIABLE).ok().filter(|password| !password.is_empty()).map(Password::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(user: Option<&str>, logname: Option<&str>) -> Option<String> {
        let variable = |name: &str| if name == "USER" { user } else { logname }.map(str::to_owned);
        name_of_environment(variable).ok().map(|name| name.to_string())
    }

    #[test]
    fn name_is_the_first_valid_one_of_the_environment() {
        assert_eq!(name(Some("Alice"), Some("bob")).as_deref(), Some("alice"));
        assert_eq!(name(Some("DOMAIN\\alice"), Some("alice")).as_deref(), Some("alice"));
        assert_eq!(name(None, Some("cron")).as_deref(), Some("cron"));
        assert_eq!(name(Some(""), None), None);
    }
}
