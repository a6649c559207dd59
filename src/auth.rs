//! Authentication: whether the password of a login is that of the name, and hashes of new passwords. Owns the thread that hashes, and the
//! penalties for wrong passwords; never knows a protocol, and stores nothing.

mod hashing;
mod penalties;

use std::fmt;
use std::time::Instant;

use parking_lot::Mutex;

use self::hashing::{Hasher, Overloaded};
use self::penalties::{Penalties, Suspect};
use crate::message::PeerName;
use crate::password::{Password, PasswordHash};
use crate::protocol::{Code, Refusal};
use crate::source::Source;

/// Checks passwords, for all connections of a server.
#[derive(Debug, Default)]
pub(crate) struct Authenticator {
    hasher: Hasher,
    penalties: Mutex<Penalties>,
}

/// Attempt to log in with a password.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// Name of the login.
    pub(crate) name: &'a PeerName,
    /// Password that was sent.
    pub(crate) password: &'a Password,
    /// Source of the connection.
    pub(crate) source: Source,
    /// Stored hash; `None` if the name has no password.
    pub(crate) hash: Option<&'a PasswordHash>,
    /// Source of the latest login by this name, if it is known: there, wrong passwords from elsewhere delay nobody.
    pub(crate) known_source: Option<Source>,
    /// Time of the attempt.
    pub(crate) at: Instant,
}

impl Authenticator {
    /// Checks a password. A name without a password takes as long, and gets the same words, as a wrong password.
    pub(crate) async fn verify(&self, attempt: Attempt<'_>) -> Result<(), Refusal> {
        let Attempt { name, password, source, hash, known_source, at } = attempt;
        let suspect = Suspect { source, name, is_known: known_source == Some(source) };
        let wait = self.penalties.lock().wait(suspect, at);
        if let Some(wait) = wait {
            let seconds = wait.as_secs() + 1;
            return Err(limited(format_args!("too many wrong passwords; try again in {seconds} s")));
        }
        let is_right = self.hasher.verify(password, hash, source).await.map_err(overloaded)?;
        let mut penalties = self.penalties.lock();
        if is_right {
            penalties.forgive(suspect);
            return Ok(());
        }
        penalties.punish(suspect, at);
        let words = format!("the password for {name} is wrong, or {name} has none");
        Err(Refusal::new(Code::BadPassword, words))
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: &Password, source: Source) -> Result<PasswordHash, Refusal> {
        password.check_new().map_err(|bad| Refusal::new(Code::BadPassword, bad.to_string()))?;
        self.hasher.hash(password, source).await.map_err(overloaded)
    }
}

fn overloaded(Overloaded: Overloaded) -> Refusal {
    limited(format_args!("too many passwords are being checked; try again in a moment"))
}

fn limited(words: fmt::Arguments<'_>) -> Refusal {
    Refusal::new(Code::RateLimited, words.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PeerName {
        PeerName::parse(text).unwrap()
    }

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn right_password_is_accepted_and_others_are_refused_alike() {
        let authenticator = Authenticator::default();
        let password = |text: &str| Password::new(text.to_owned());
        let (right, alice) = (password("correct-horse"), name("alice"));
        let here = source("192.0.2.1");
        let hash = smol::block_on(authenticator.hash(&right, here)).unwrap();
        let verify = |password: &Password, hash: Option<&PasswordHash>| {
            let attempt =
                Attempt { name: &alice, password, source: here, hash, known_source: None, at: Instant::now() };
            smol::block_on(authenticator.verify(attempt))
        };
        assert_eq!(verify(&right, Some(&hash)), Ok(()));
        let wrong = verify(&password("wrong"), Some(&hash)).unwrap_err();
        assert_eq!(wrong.code, Code::BadPassword);
        assert_eq!(verify(&right, None).unwrap_err(), wrong, "a name without a password looks the same");
        assert_eq!(
            smol::block_on(authenticator.hash(&password("two words"), here)).unwrap_err().code,
            Code::BadPassword
        );
    }

    #[test]
    fn guessing_delays_the_guesser_and_not_the_owner_at_home() {
        let authenticator = Authenticator::default();
        let password = |text: &str| Password::new(text.to_owned());
        let alice = name("alice");
        let (home, at) = (source("192.0.2.1"), Instant::now());
        let hash = smol::block_on(authenticator.hash(&password("right"), home)).unwrap();
        let verify = |text: &str, source: Source| {
            let (password, hash) = (password(text), Some(&hash));
            let attempt = Attempt { name: &alice, password: &password, source, hash, known_source: Some(home), at };
            smol::block_on(authenticator.verify(attempt)).map_err(|refusal| refusal.code)
        };
        let mut codes = Vec::new();
        for guess in 0..20 {
            codes.push(verify("guess", source(&format!("198.51.100.{guess}"))).unwrap_err());
        }
        assert!(codes.contains(&Code::RateLimited), "guesses from many addresses: {codes:?}");
        assert_eq!(verify("right", home), Ok(()), "the owner logs in at home");
        assert_eq!(verify("right", source("203.0.113.1")), Err(Code::RateLimited), "elsewhere the owner waits");
    }
}
