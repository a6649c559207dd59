//! The thread that hashes passwords, one at a time: each takes megabytes and many milliseconds on purpose. Owns its queue and the parameters of
//! the hash; never knows whose password it is.
//!
//! The hash is Argon2id (RFC 9106) with 7 MiB, 5 passes and 1 lane: by OWASP's table as strong as 19 MiB and 2 passes, and kinder to a small
//! device. <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::thread;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use async_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::limits::{
    PASSWORD_HASH_KIB, PASSWORD_HASH_LANES, PASSWORD_HASH_PASSES, PASSWORDS_WAITING_MAX,
    PASSWORDS_WAITING_PER_SOURCE_MAX,
};
use crate::password::{Password, PasswordHash};
use crate::source::Source;

/// Handle of the thread, which starts with the first password.
#[derive(Debug, Default)]
pub(super) struct Hasher {
    jobs: OnceLock<Sender<Job>>,
    /// Passwords of each source that wait, or are being hashed.
    waiting: Arc<Mutex<HashMap<Source, usize>>>,
}

/// Error: as many passwords wait as may wait, of this source or of all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overloaded;

/// Work for the thread.
enum Job {
    Hash { password: Password, reply: oneshot::Sender<PasswordHash> },
    Verify { password: Password, hash: Option<PasswordHash>, reply: oneshot::Sender<bool> },
}

impl Job {
    /// Whether nobody waits for the result any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Job::Hash { reply, .. } => reply.is_closed(),
            Job::Verify { reply, .. } => reply.is_closed(),
        }
    }
}

/// Place of a password in the queue, given up when it is dropped.
struct QueuePlace {
    source: Source,
    waiting: Arc<Mutex<HashMap<Source, usize>>>,
}

impl Hasher {
    /// Hashes a password with a new salt.
    pub(super) async fn hash(&self, password: &Password, source: Source) -> Result<PasswordHash, Overloaded> {
        let password = password.clone();
        self.run(source, |reply| Job::Hash { password, reply }).await
    }

    /// Whether a password has this hash. Without a hash it has not, and finding that takes as long.
    pub(super) async fn verify(
        &self,
        password: &Password,
        hash: Option<&PasswordHash>,
        source: Source,
    ) -> Result<bool, Overloaded> {
        let (password, hash) = (password.clone(), hash.cloned());
        self.run(source, |reply| Job::Verify { password, hash, reply }).await
    }

    async fn run<T>(&self, source: Source, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Overloaded> {
        let _place = QueuePlace::take(source, &self.waiting)?;
        let (reply, result) = oneshot::channel();
        let jobs = self.jobs.get_or_init(start);
        jobs.try_send(job(reply)).map_err(|_| Overloaded)?;
        Ok(result.await.expect("the thread answers every job"))
    }
}

impl QueuePlace {
    fn take(source: Source, waiting: &Arc<Mutex<HashMap<Source, usize>>>) -> Result<Self, Overloaded> {
        let mut sources = waiting.lock();
        let count = sources.entry(source).or_default();
        if *count == PASSWORDS_WAITING_PER_SOURCE_MAX {
            return Err(Overloaded);
        }
        *count += 1;
        Ok(QueuePlace { source, waiting: waiting.clone() })
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut sources = self.waiting.lock();
        let count = sources.get_mut(&self.source).expect("a place is counted");
        *count -= 1;
        if *count == 0 {
            sources.remove(&self.source);
        }
    }
}

/// Starts the thread. It ends when the handle is dropped.
fn start() -> Sender<Job> {
    let (sender, jobs) = async_channel::bounded(PASSWORDS_WAITING_MAX);
    let spawned = thread::Builder::new().name("passwords".to_owned()).spawn(move || work(&jobs));
    spawned.expect("a thread can be started");
    sender
}

fn work(jobs: &Receiver<Job>) {
    let argon2 = argon2();
    // A hash of the same cost for names without one. Nobody knows its password.
    let decoy = OnceLock::new();
    while let Ok(job) = jobs.recv_blocking() {
        // A client that left while it waited must not delay the others.
        if job.is_abandoned() {
            continue;
        }
        match job {
            Job::Hash { password, reply } => drop(reply.send(hash(&argon2, &password))),
            Job::Verify { password, hash: Some(hash), reply } => drop(reply.send(verify(&argon2, &password, &hash))),
            Job::Verify { password, hash: None, reply } => {
                let decoy = decoy.get_or_init(|| hash(&argon2, &Password::new(String::new())));
                verify(&argon2, &password, decoy);
                drop(reply.send(false));
            }
        }
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(PASSWORD_HASH_KIB, PASSWORD_HASH_PASSES, PASSWORD_HASH_LANES, None);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.expect("the parameters are within Argon2's bounds"))
}

fn hash(argon2: &Argon2<'_>, password: &Password) -> PasswordHash {
    let mut salt = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut salt).expect("the system has random numbers");
    let hash = argon2.hash_password_with_salt(password.normalized().as_bytes(), &salt);
    PasswordHash::new(&hash.expect("a salt of 16 bytes is within Argon2's bounds").to_string())
}

/// Verifies with the parameters in the hash. One that was damaged by hand fits no password.
fn verify(argon2: &Argon2<'_>, password: &Password, hash: &PasswordHash) -> bool {
    let Ok(hash) = argon2::PasswordHash::new(hash.as_str()) else { return false };
    argon2.verify_password(password.normalized().as_bytes(), &hash).is_ok()
}
