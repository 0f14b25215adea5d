//! Hashing passwords with argon2id on a bounded pool of its own threads.
//!
//! A hash takes 16 ms and 19 MiB on purpose, or what the settings say. Left on the web workers, or unbounded, a flood
//! of logins would starve inference; here it fills a short queue and is shed.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use super::HashParameters;
use super::stored::StoredHash;
use crate::password::policy::{NewPassword, PasswordPolicy};
use crate::{Error, Result, crypto::random};

/// Memory that the hashes computed at a time may take together, in KiB, where their number is not set.
const MEMORY_BUDGET_KIB: u32 = 512 * 1024;
/// Longest password that is hashed, in bytes: anything longer is not one that was ever set.
const MAX_PASSWORD_BYTES: usize = 1024;
/// How much lower than the rest the hashing threads run (`nice`).
const NICENESS: i32 = 10;

/// Bounds of the pool, and what it makes.
#[derive(Clone, Debug)]
pub struct PasswordHashing {
    /// Which passwords may be chosen.
    pub policy: PasswordPolicy,
    /// What a hash costs.
    pub parameters: HashParameters,
    /// Hashes at a time; `None`: one less than the cores and as many as fit into 512 MiB, at least one.
    pub threads: Option<NonZeroUsize>,
    /// Hashes waiting; one more is refused.
    pub queue: usize,
    /// Longest wait in the queue.
    pub patience: Duration,
}

impl Default for PasswordHashing {
    fn default() -> Self {
        Self {
            policy: PasswordPolicy::default(),
            parameters: HashParameters::default(),
            threads: None,
            queue: 16,
            patience: Duration::from_secs(2),
        }
    }
}

enum Work {
    Admit(NewPassword, oneshot::Sender<Result<String>>),
    Hash(SecretString, oneshot::Sender<Result<String>>),
    Verify(SecretString, String, oneshot::Sender<bool>),
}

/// The pool. Dropping it ends its threads when their queue is empty.
#[derive(Debug)]
pub struct HashingPool {
    queue: SyncSender<(Instant, Work)>,
    patience: Duration,
    parameters: HashParameters,
    /// What an unknown account's password is checked against, so that the answer takes as long.
    decoy: String,
}

/// What the threads share.
struct Shared {
    work: Mutex<Receiver<(Instant, Work)>>,
    policy: PasswordPolicy,
    parameters: HashParameters,
}

impl PasswordHashing {
    fn threads(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let fitting = (MEMORY_BUDGET_KIB / self.parameters.memory_kib.max(1)) as usize;
        self.threads.map_or(cores.saturating_sub(1).min(fitting).max(1), NonZeroUsize::get)
    }
}

impl HashingPool {
    /// Starts the threads.
    pub fn start(settings: &PasswordHashing) -> Result<Self> {
        let (queue, work) = sync_channel(settings.queue.max(1));
        let parameters = settings.parameters;
        let shared = Arc::new(Shared { work: Mutex::new(work), policy: settings.policy.clone(), parameters });
        for number in 0..settings.threads() {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || shared.serve())
                .map_err(|error| Error::Internal(format!("hashing thread: {error}")))?;
        }
        let decoy = hash(&random::password()?.into(), parameters)?;
        Ok(Self { queue, patience: settings.patience, parameters, decoy })
    }

    /// The hash to store for a new password. [`Error::Invalid`]: the policy forbids it.
    pub async fn hash(&self, password: NewPassword) -> Result<String> {
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Admit(password, reply))?;
        answer.await.map_err(|_| Error::Overloaded)?
    }

    /// The hash to store for a password that its owner has had all along.
    pub(crate) async fn hash_again(&self, password: SecretString) -> Result<String> {
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Hash(password, reply))?;
        answer.await.map_err(|_| Error::Overloaded)?
    }

    /// Whether `password` is the one behind `stored`; without one, or with one that is not understood or too costly,
    /// the decoy is checked and the answer is no.
    pub async fn verify(&self, password: SecretString, stored: Option<String>) -> Result<bool> {
        let stored = stored.filter(|stored| StoredHash::parse(stored).is_ok());
        let known = stored.is_some();
        let (reply, answer) = oneshot::channel();
        self.submit(Work::Verify(password, stored.unwrap_or_else(|| self.decoy.clone()), reply))?;
        Ok(answer.await.map_err(|_| Error::Overloaded)? && known)
    }

    /// Whether a stored hash is what would be made today.
    pub(crate) fn is_up_to_date(&self, stored: &str) -> bool {
        StoredHash::parse(stored).is_ok_and(|stored| stored.is_up_to_date(self.parameters))
    }

    fn submit(&self, work: Work) -> Result<()> {
        self.queue.try_send((Instant::now() + self.patience, work)).map_err(|_| Error::Overloaded)
    }
}

impl Shared {
    fn serve(&self) {
        // Best effort: without the right to do it, hashing merely runs at normal priority.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        loop {
            let next = self.work.lock().recv();
            let Ok((give_up, work)) = next else { return };
            // Dropping the reply tells the waiting side that it came too late.
            if Instant::now() > give_up {
                continue;
            }
            // A fault in one password costs its answer; a thread that ended would be missed until the next start.
            if catch_unwind(AssertUnwindSafe(|| self.do_work(work))).is_err() {
                tracing::error!("hashing a password panicked");
            }
        }
    }

    /// A caller that has gone away is not an error.
    fn do_work(&self, work: Work) {
        match work {
            Work::Admit(new, reply) => {
                let hashed = self.policy.admit(new).and_then(|password| hash(&password, self.parameters));
                drop(reply.send(hashed));
            }
            Work::Hash(password, reply) => drop(reply.send(hash(&password, self.parameters))),
            Work::Verify(password, stored, reply) => drop(reply.send(matches(&password, &stored))),
        }
    }
}

fn hash(password: &SecretString, parameters: HashParameters) -> Result<String> {
    parameters.hash(password.expose_secret().as_bytes())
}

fn matches(password: &SecretString, stored: &str) -> bool {
    let password = password.expose_secret().as_bytes();
    password.len() <= MAX_PASSWORD_BYTES
        && StoredHash::parse(stored).is_ok_and(|stored| stored.is_of(password))
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

    #[tokio::test]
    async fn other_parameters_make_other_hashes_and_the_old_ones_verify() {
        let parameters = HashParameters { memory_kib: 12_288, iterations: 3, parallelism: 2 };
        let pool = HashingPool::start(&PasswordHashing::default()).unwrap();
        let costlier = PasswordHashing { parameters, ..PasswordHashing::default() };
        let costlier = HashingPool::start(&costlier).unwrap();
        let old = pool.hash_again("Correct-horse-9".into()).await.unwrap();
        let new = costlier.hash_again("Correct-horse-9".into()).await.unwrap();
        assert!(new.starts_with("$argon2id$v=19$m=12288,t=3,p=2$"), "{new}");
        assert!(pool.is_up_to_date(&old) && !pool.is_up_to_date(&new) && costlier.is_up_to_date(&new));
        assert!(costlier.verify("Correct-horse-9".into(), Some(old)).await.unwrap());
        let hashing = |memory_kib| PasswordHashing {
            parameters: HashParameters { memory_kib, ..parameters },
            ..PasswordHashing::default()
        };
        assert_eq!(hashing(MEMORY_BUDGET_KIB).threads(), 1);
        assert_eq!(hashing(MEMORY_BUDGET_KIB * 2).threads(), 1);
    }
}
