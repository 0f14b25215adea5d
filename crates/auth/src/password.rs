//! Hashing passwords with argon2id on a bounded pool of its own threads.
//!
//! A hash takes 16 ms and 19 MiB on purpose. Left on the web workers, or unbounded, a flood of logins would starve
//! inference; here it fills a short queue and is shed.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use crate::{Error, Result, policy::NewPassword, random};

/// Memory of one hash in KiB and passes over it: OWASP's and ASVS 5.0's floor for argon2id with one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Longest password that is hashed, in bytes: anything longer is not one that was ever set.
const MAX_PASSWORD_BYTES: usize = 1024;
/// How much lower than the rest the hashing threads run (`nice`).
const NICENESS: i32 = 10;

/// Bounds of the pool.
#[derive(Clone, Debug)]
pub struct PasswordHashing {
    /// Hashes at a time; `None`: one less than the cores, at least one.
    pub threads: Option<NonZeroUsize>,
    /// Hashes waiting; one more is refused.
    pub queue: usize,
    /// Longest wait in the queue.
    pub patience: Duration,
}

impl Default for PasswordHashing {
    fn default() -> Self {
        Self { threads: None, queue: 16, patience: Duration::from_secs(2) }
    }
}

enum Work {
    Hash(SecretString, oneshot::Sender<Result<String>>),
    Verify(SecretString, String, oneshot::Sender<Result<bool>>),
}

/// The pool. Dropping it ends its threads when their queue is empty.
#[derive(Debug)]
pub struct HashingPool {
    queue: SyncSender<(Instant, Work)>,
    patience: Duration,
    /// What an unknown account's password is checked against, so that the answer takes as long.
    decoy: String,
}

impl HashingPool {
    /// Starts the threads.
    pub fn start(settings: &PasswordHashing) -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = settings.threads.map_or(cores.saturating_sub(1).max(1), NonZeroUsize::get);
        let (queue, work) = sync_channel(settings.queue.max(1));
        let work = Arc::new(Mutex::new(work));
        for number in 0..threads {
            let work = Arc::clone(&work);
            thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || serve(&work))
                .map_err(|error| Error::Internal(format!("hashing thread: {error}")))?;
        }
        let decoy = hash(&random::password()?.into())?;
        Ok(Self { queue, patience: settings.patience, decoy })
    }

    /// The PHC string to store for `password`.
    pub async fn hash(&self, password: NewPassword) -> Result<String> {
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Hash(password.into_secret(), reply))?;
        answer.await.map_err(|_| Error::Overloaded)?
    }

    /// Whether `password` is the one behind `stored`; without one, the decoy is checked and the answer is no.
    pub async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<bool> {
        let known = stored.is_some();
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Verify(password, stored.unwrap_or_else(|| self.decoy.clone()), reply))?;
        Ok(answer.await.map_err(|_| Error::Overloaded)?? && known)
    }

    fn submit(&self, work: Work) -> Result<()> {
        self.queue.try_send((Instant::now() + self.patience, work)).map_err(|_| Error::Overloaded)
    }
}

fn serve(queue: &Mutex<Receiver<(Instant, Work)>>) {
    // Best effort: without the right to do it, hashing merely runs at normal priority.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((give_up, work)) = next else { return };
        // Dropping the reply tells the waiting side that it came too late.
        if Instant::now() > give_up {
            continue;
        }
        // A caller that has gone away is not an error.
        match work {
            Work::Hash(password, reply) => drop(reply.send(hash(&password))),
            Work::Verify(password, stored, reply) => drop(reply.send(Ok(matches(&password, &stored)))),
        }
    }
}

fn hasher() -> Result<Argon2<'static>> {
    let params =
        Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &SecretString) -> Result<String> {
    let salt = random::bytes::<16>()?;
    hasher()?
        .hash_password_with_salt(password.expose_secret().as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| Error::Internal(error.to_string()))
}

fn matches(password: &SecretString, stored: &str) -> bool {
    let password = password.expose_secret().as_bytes();
    password.len() <= MAX_PASSWORD_BYTES && Argon2::default().verify_password(password, stored).is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_hash_verifies_its_own_password_only() {
        let pool = HashingPool::start(&PasswordHashing::default()).unwrap();
        let password = || SecretString::from("Correct-horse-9");
        let stored = pool.hash(NewPassword::check("password", password(), &[]).unwrap()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(pool.verify(password(), Some(stored.clone())).await.unwrap());
        assert!(!pool.verify("Correct-horse-8".into(), Some(stored.clone())).await.unwrap());
        assert!(!pool.verify(password(), None).await.unwrap());
        assert!(!pool.verify("x".repeat(2000).into(), Some(stored)).await.unwrap());
    }

    #[tokio::test]
    async fn a_full_queue_sheds_at_once() {
        let settings =
            PasswordHashing { threads: NonZeroUsize::new(1), queue: 1, ..PasswordHashing::default() };
        let pool = Arc::new(HashingPool::start(&settings).unwrap());
        let attempts: Vec<_> = (0..20)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.verify("guess".into(), None).await })
            })
            .collect();
        let mut shed = 0;
        for attempt in attempts {
            shed += usize::from(matches!(attempt.await.unwrap(), Err(Error::Overloaded)));
        }
        assert!(shed >= 10, "only {shed} of 20 were shed");
    }
}
