//! The key cache of one issuer: keys are fetched when they are due, and when a token names an unknown one.
//!
//! Whatever tokens come, an issuer is queried at most once in [`PAUSE`], and the requests that wait for it are bounded.
//! Keys are used for a stated time after they were fetched; then their tokens are refused until they can be fetched
//! again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Duration, Utc};
use parking_lot::RwLock;
use tokio::sync::{Mutex, Semaphore};

use super::documents::{DocumentSource, fetch_keys};
use super::issuer::TrustedIssuer;
use crate::token::foreign::ForeignKey;
use crate::{Error, Result};

/// The least time from one question to an issuer to the next, whether it was answered or not.
const PAUSE: Duration = Duration::seconds(10);
/// Requests that wait for an issuer's answer at a time; one more is refused.
const MOST_WAITING: usize = 64;

const UNKNOWN_KEY: Error =
    Error::InvalidCredential("this token is signed with a key that its issuer does not publish");

/// An issuer and what is known of its keys.
pub(crate) struct Issuer {
    pub trusted: TrustedIssuer,
    known: RwLock<Known>,
    /// Held while the issuer is queried.
    asking: Arc<Mutex<()>>,
    waiting: Semaphore,
    /// Whether a key was removed since [`refresh`](Self::refresh) last returned true.
    has_lost: AtomicBool,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<ForeignKey>>,
    fetched_at: Option<DateTime<Utc>>,
    asked_at: Option<DateTime<Utc>>,
}

impl Issuer {
    pub fn new(trusted: TrustedIssuer) -> Self {
        let waiting = Semaphore::new(MOST_WAITING);
        let has_lost = AtomicBool::new(false);
        Self { trusted, known: RwLock::default(), asking: Arc::default(), waiting, has_lost }
    }

    /// The key of an id. Queries the issuer if it is unknown and a query is allowed.
    pub async fn key(
        self: &Arc<Self>,
        kid: &str,
        source: &Arc<dyn DocumentSource>,
        now: DateTime<Utc>,
    ) -> Result<Arc<ForeignKey>> {
        if let Some(key) = self.usable(kid, now) {
            return Ok(key);
        }
        // Requests that arrive during a query wait for the same answer.
        if self.may_fetch(now) || self.asking.try_lock().is_err() {
            let _place = self.waiting.try_acquire().map_err(|_| Error::Overloaded)?;
            let turn = Arc::clone(&self.asking).lock_owned().await;
            // Another request may have fetched it meanwhile.
            if self.usable(kid, now).is_none() && self.may_fetch(now) {
                // In a task of its own: a caller who goes away would have the issuer asked in vain, and not again soon.
                let (issuer, source) = (Arc::clone(self), Arc::clone(source));
                let asked = tokio::spawn(async move {
                    let _turn = turn;
                    issuer.ask(&*source, now).await;
                });
                asked.await.map_err(|error| Error::Internal(error.to_string()))?;
            }
        }
        match self.usable(kid, now) {
            Some(key) => Ok(key),
            None if self.is_fresh_enough(now) => Err(UNKNOWN_KEY),
            None => Err(Error::IssuerUnavailable),
        }
    }

    /// Fetches the keys if they are due. True once after a key was removed, whichever query noticed it.
    pub async fn refresh(&self, source: &dyn DocumentSource, now: DateTime<Utc>) -> bool {
        let refresh = Duration::seconds(i64::from(self.trusted.keys_refresh_seconds));
        let due = self.read(|known| known.fetched_at.is_none_or(|at| is_over(at, refresh, now)));
        if due
            && self.may_fetch(now)
            && let Ok(_turn) = self.asking.try_lock()
        {
            self.ask(source, now).await;
        }
        self.has_lost.swap(false, Ordering::AcqRel)
    }

    async fn ask(&self, source: &dyn DocumentSource, now: DateTime<Utc>) {
        self.known.write().asked_at = Some(now);
        match fetch_keys(&self.trusted, source).await {
            Ok(keys) => {
                let mut known = self.known.write();
                if known.keys.keys().any(|kid| !keys.contains_key(kid)) {
                    self.has_lost.store(true, Ordering::Release);
                }
                (known.keys, known.fetched_at) = (keys, Some(now));
            }
            Err(error) => {
                let issuer = &self.trusted.issuer;
                tracing::warn!(issuer, error, "the keys of an issuer could not be fetched");
            }
        }
    }

    fn usable(&self, kid: &str, now: DateTime<Utc>) -> Option<Arc<ForeignKey>> {
        let key = self.read(|known| known.keys.get(kid).cloned());
        key.filter(|_| self.is_fresh_enough(now))
    }

    fn is_fresh_enough(&self, now: DateTime<Utc>) -> bool {
        let stale = Duration::seconds(i64::from(self.trusted.keys_stale_seconds));
        self.read(|known| known.fetched_at.is_some_and(|at| now - at <= stale))
    }

    fn may_fetch(&self, now: DateTime<Utc>) -> bool {
        self.read(|known| known.asked_at.is_none_or(|at| is_over(at, PAUSE, now)))
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read())
    }
}

/// Whether so long a time is over. A clock that was set back is no reason to wait; a request that was a moment
/// earlier than the one that asked is none to ask again.
fn is_over(since: DateTime<Utc>, time: Duration, now: DateTime<Utc>) -> bool {
    (now - since).abs() >= time
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Mutex as Lock;
    use std::sync::atomic::AtomicUsize;

    use serde_json::json;

    use super::super::documents::Fetched;
    use super::*;

    /// An issuer's host, which can be down.
    #[derive(Debug, Default)]
    struct Host {
        kids: Lock<Option<Vec<&'static str>>>,
        asked: AtomicUsize,
    }

    impl Host {
        fn has(&self, kids: Option<&[&'static str]>) {
            *self.kids.lock().unwrap() = kids.map(<[_]>::to_vec);
        }
    }

    impl DocumentSource for Host {
        fn fetch<'a>(&'a self, _: &'a str) -> Fetched<'a> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let key = |kid: &&str| {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
                       "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
            };
            let kids = self.kids.lock().unwrap().clone();
            Box::pin(async move {
                tokio::task::yield_now().await;
                let keys: Vec<_> = kids.ok_or("down")?.iter().map(key).collect();
                Ok(json!({"keys": keys}).to_string().into_bytes())
            })
        }
    }

    fn world() -> (Arc<Issuer>, Arc<Host>, impl Fn(i64) -> DateTime<Utc>) {
        let described = json!({"issuer": "https://id.example.com", "audience": "us", "default_role": "user",
                               "jwks_uri": "https://id.example.com/keys"});
        let issuer = Issuer::new(serde_json::from_value(described).unwrap());
        (Arc::new(issuer), Arc::default(), |seconds| {
            DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
        })
    }

    #[tokio::test]
    async fn a_flood_of_unknown_keys_asks_once() {
        let (issuer, host, at) = world();
        let source: Arc<dyn DocumentSource> = Arc::clone(&host) as _;
        host.has(Some(&["a"]));
        assert!(issuer.key("a", &source, at(0)).await.is_ok());
        for number in 0..100 {
            let unknown = issuer.key(&format!("x{number}"), &source, at(number % 10)).await;
            assert!(matches!(unknown, Err(Error::InvalidCredential(_))));
        }
        assert_eq!(host.asked.load(Ordering::SeqCst), 1);
        host.has(Some(&["a", "b"]));
        let now = at(10);
        let asked = (0..50).map(|_| issuer.key("b", &source, now));
        let mut found = 0;
        for answer in asked {
            found += usize::from(answer.await.is_ok());
        }
        assert_eq!(
            (found, host.asked.load(Ordering::SeqCst)),
            (50, 2),
            "a new key is found with one question"
        );
        let a_moment_earlier = issuer.key("x", &source, at(9)).await;
        assert!(
            a_moment_earlier.is_err() && host.asked.load(Ordering::SeqCst) == 2,
            "it waited while another asked"
        );
        host.has(Some(&["c"]));
        let now = at(20);
        let ask = || issuer.key("c", &source, now);
        let (first, second, third) = tokio::join!(ask(), ask(), ask());
        assert!(first.is_ok() && second.is_ok() && third.is_ok(), "at the same time, too");
        assert_eq!(host.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn keys_outlive_their_issuer_for_a_stated_time() {
        let (issuer, host, at) = world();
        let source: Arc<dyn DocumentSource> = Arc::clone(&host) as _;
        assert!(
            matches!(issuer.key("a", &source, at(0)).await, Err(Error::IssuerUnavailable)),
            "down at first"
        );
        assert!(matches!(issuer.key("a", &source, at(1)).await, Err(Error::IssuerUnavailable)));
        assert_eq!(host.asked.load(Ordering::SeqCst), 1);
        host.has(Some(&["a"]));
        assert!(!issuer.refresh(&*source, at(5)).await, "not before the pause is over");
        assert!(issuer.key("a", &source, at(5)).await.is_err());
        issuer.refresh(&*source, at(10)).await;
        assert!(issuer.key("a", &source, at(10)).await.is_ok());
        host.has(None);
        for seconds in [610, 3610] {
            issuer.refresh(&*source, at(seconds)).await;
            assert!(issuer.key("a", &source, at(seconds)).await.is_ok(), "{seconds}");
        }
        assert!(matches!(issuer.key("a", &source, at(3611)).await, Err(Error::IssuerUnavailable)));
        host.has(Some(&["b"]));
        assert!(issuer.refresh(&*source, at(3700)).await, "a is gone");
        assert!(issuer.key("b", &source, at(3700)).await.is_ok());
        assert!(issuer.key("a", &source, at(3720)).await.is_err());
        assert!(issuer.key("b", &source, at(-5)).await.is_ok(), "a clock set back is no outage");
    }
}
