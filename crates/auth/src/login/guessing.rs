//! Guessing passwords: stopped without locking out those who belong here.
//!
//! Each attempt is counted before it is evaluated: by name and place before anything is looked up, and then by account. A
//! place that the account knows is let try though that window is full. A place is known by a session that was opened from
//! its network, or by a live access token of the very account. A name without an account stands for one that does not
//! exist. All go through the same windows and statements, and are answered alike, so that nothing tells them apart.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use storage::{Scope, Service};
use uuid::Uuid;

use crate::accounts::directory::refuse_more_powerful;
use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::principal::{Credential, Principal};
use crate::events::Event;
use crate::limits::{Window, network_of};
use crate::login::sessions::LOGOUT;
use crate::service::Origin;
use crate::{Auth, Error, Result, crypto};

/// Wrong passwords in a row after which only known places are let try (NIST SP 800-63B, section 3.2.2).
const MOST_FAILURES: i64 = 100;
/// Failures that are worth an event, and the time in which they are counted, from the first on.
const SUSPICIOUS_FAILURES: u64 = 5;
const SUSPICION_PERIOD: Duration = Duration::from_secs(300);
/// Passwords and codes that may be tried in a day with one credential.
const CHECKS_PER_DAY: u32 = 100;
const DAY: Duration = Duration::from_secs(86_400);

/// An attempt to log in, counted so far.
pub(crate) struct Attempt {
    /// What the name would be the id of, if it were an account's.
    name: Uuid,
    network: Option<String>,
    /// The session and the account of the access token that came with it.
    held: Option<(Uuid, Uuid)>,
}

/// How an attempt stands that was counted.
pub(crate) struct Standing {
    /// Whether the password is to be looked at. The answer takes as long where it is not.
    pub looked_at: bool,
    /// What is wrong unless the password is looked at and right.
    pub refusal: Error,
}

impl Attempt {
    /// Whom it is about: an account, or in its place what no account has for an id.
    pub fn subject(&self, account: Option<Uuid>) -> Uuid {
        account.unwrap_or(self.name)
    }

    fn network(&self) -> &str {
        self.network.as_deref().unwrap_or("here")
    }
}

impl Auth {
    /// Counts an attempt by its name and its place. `held` is an access token, where the client has one: its session
    /// is a place of its own.
    pub(crate) async fn begin_attempt(
        &self,
        lookup: &str,
        held: Option<&SecretString>,
        origin: &Origin,
    ) -> Result<Attempt> {
        let network = origin.address.map(|address| network_of(address).to_string());
        let attempt = Attempt { name: id_of(lookup), network, held: self.holder_of(held).await };
        let place = match attempt.held {
            Some((session, _)) => self.attempts_at(attempt.name, &session.simple().to_string()),
            None => self.attempts_at(attempt.name, attempt.network()),
        };
        self.reserve(place.as_slice()).await?;
        Ok(attempt)
    }

    /// Counts an attempt for the whole account. Where its window is full, only a right password from a place that the account
    /// knows gets in: what others did is not held against it. Right ones count as well, and all count before the hash:
    /// a count that waited for it would tell the networks that an account uses by what others are answered meanwhile.
    pub(crate) async fn admit_attempt(&self, attempt: &Attempt, account: Option<Uuid>) -> Result<Standing> {
        let subject = attempt.subject(account);
        let holds_one_of_theirs = attempt.held.is_some_and(|(_, account)| account == subject);
        if attempt.held.is_some() && !holds_one_of_theirs {
            // The token of another account proves nothing: it must not be a place of its own.
            self.reserve(self.attempts_at(attempt.name, attempt.network()).as_slice()).await?;
        }
        let mut tx = self.store.read(Scope::Service(Service::Login)).await?;
        let standing = tx.guessing().standing(subject, attempt.network.as_deref(), LOGOUT).await?;
        drop(tx);
        let throttle = match self.reserve(self.limits.attempts(account_key(subject)).as_slice()).await {
            Err(Error::Throttled(throttle)) => Some(throttle),
            counted => counted.map(|_| None)?,
        };
        let is_known = standing.familiar || holds_one_of_theirs;
        let looked_at = is_known || throttle.is_none() && standing.failures < MOST_FAILURES;
        // Whoever holds a token of the account learns nothing of its networks.
        let throttle = throttle.filter(|_| !holds_one_of_theirs);
        Ok(Standing { looked_at, refusal: throttle.map_or(Error::WrongCredentials, Error::Throttled) })
    }

    /// Counts and records that a password or a code was wrong. Many in a short time make one event. What was not
    /// `looked_at` is no failure in a row: the windows bound how soon guesses shut out all but known places.
    pub(crate) async fn record_failure(
        &self,
        subject: Uuid,
        account: Option<Uuid>,
        looked_at: bool,
        origin: &Origin,
    ) -> Result<()> {
        let (repeated, of_account) = self.count_towards_suspicion(subject, origin).await?;
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        tx.guessing().count_failure(subject, looked_at, MOST_FAILURES).await?;
        let failure = Entry::failure(Event::LoginFailure, origin);
        self.record(&mut tx, account.into_iter().fold(failure, Entry::by)).await?;
        // What others did from the same address is not this account's matter.
        let matter = account.filter(|_| of_account >= SUSPICIOUS_FAILURES);
        for counted_by in repeated {
            let detail = json!({"reason": "login_failures", "counted_by": counted_by});
            let suspicion =
                Entry::failure(Event::SuspiciousActivity, origin).with(detail).in_matter_of(matter);
            let target = account.filter(|_| counted_by == "account");
            let suspicion = target.into_iter().fold(suspicion, |entry, id| entry.on("account", id));
            self.record(&mut tx, suspicion).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Counts a password or a code that is about to be checked for one who has proved something already: a session,
    /// or an account half-way through its login. Whoever stole that much can try little, and locks nobody out of
    /// logging in.
    pub(crate) async fn reserve_check(&self, holder: &'static str, id: Uuid) -> Result<()> {
        let [minute, day] = check_keys(holder, id).map(|key| self.limits.attempts(key));
        let day = day.map(|window| Window {
            name: "login-day",
            limit: CHECKS_PER_DAY.max(window.limit),
            period: DAY,
            ..window
        });
        self.reserve(&Vec::from_iter(minute.into_iter().chain(day))).await.map(drop)
    }

    /// Lets an account be logged in to again at once, whatever was tried before.
    pub async fn unlock_user(&self, actor: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        refuse_more_powerful(&mut tx, own, id).await?;
        tx.users().find(id).await?.ok_or(Error::NotFound)?;
        tx.guessing().forget_failures(id).await?;
        let entry = Entry::success(Event::AccountUnlocked, origin).by(actor.account).on("account", id);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        let attempts = [account_key(id), suspicion_key("account", &id.simple().to_string())];
        for key in attempts.into_iter().chain(check_keys("account", id)) {
            self.stand_in.forget(&key).await?;
            if let Err(error) = self.ephemeral.forget(&key).await {
                tracing::warn!(%error, "a window of login attempts could not be forgotten; it ends by itself");
            }
        }
        Ok(())
    }

    /// The session and the account behind an access token; none for anything else.
    async fn holder_of(&self, token: Option<&SecretString>) -> Option<(Uuid, Uuid)> {
        let principal = self.authenticate(token?.expose_secret()).await.ok()?;
        match principal.credential {
            Credential::Session { id, .. } => Some((id, principal.account)),
            Credential::External(_) | Credential::ApiKey { .. } => None,
        }
    }

    fn attempts_at(&self, name: Uuid, place: &str) -> Option<Window> {
        self.limits.attempts(format!("window:login:name:{}:{place}", name.simple()))
    }

    /// By what failures were counted that have just become suspicious; and how many there were of the account.
    async fn count_towards_suspicion(
        &self,
        subject: Uuid,
        origin: &Origin,
    ) -> Result<(Vec<&'static str>, u64)> {
        let address = origin.address.map(|address| ("address", network_of(address).to_string()));
        let counted = [("account", subject.simple().to_string())].into_iter().chain(address);
        // Too high to refuse: what counts is which failure it was.
        let windows: Vec<Window> = counted
            .map(|(counted_by, key)| Window {
                name: counted_by,
                key: suspicion_key(counted_by, &key),
                limit: u32::MAX,
                period: SUSPICION_PERIOD,
            })
            .collect();
        let states = self.reserve(&windows).await?;
        let counts = || states.iter().map(|state| (state.name, state.limit - state.remaining));
        let of_account = counts().find(|(name, _)| *name == "account").map_or(0, |(_, count)| count);
        let just_now = counts().filter(|(_, count)| *count == SUSPICIOUS_FAILURES);
        Ok((just_now.map(|(name, _)| name).collect(), of_account))
    }
}

/// What stands for a name in windows, and for an account where there is none of that name.
pub(crate) fn id_of(lookup: &str) -> Uuid {
    let digest = crypto::sha256(lookup.as_bytes());
    Uuid::from_bytes(std::array::from_fn(|index| digest[index]))
}

fn account_key(subject: Uuid) -> String {
    format!("window:login:account:{}", subject.simple())
}

fn check_keys(holder: &str, id: Uuid) -> [String; 2] {
    ["minute", "day"].map(|period| format!("window:check:{period}:{holder}:{}", id.simple()))
}

fn suspicion_key(counted_by: &str, key: &str) -> String {
    format!("window:failures:{counted_by}:{key}")
}
