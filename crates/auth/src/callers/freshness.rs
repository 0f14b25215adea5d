//! Which cached knowledge is out of date.
//!
//! Every change of an account, a session or a key has a number in the change feed. A cached principal remembers the
//! number that it was read at; a change with a higher number makes it stale. This replica learns of its own changes
//! at once, of others' through the ephemeral store (asked at most 20 ms before an admission) and the feed (polled each second).

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use chrono::{DateTime, Duration, Utc};
use parking_lot::RwLock;
use uuid::Uuid;

/// How long a principal is cached; older changes need not be remembered.
pub(crate) const CACHED_FOR: Duration = Duration::seconds(60);

/// Something whose change makes cached principals stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ChangeSubject {
    Account(Uuid),
    Session(Uuid),
    /// Somebody at another issuer, with all their tokens.
    Identity(Uuid),
    ApiKey(Uuid),
    /// What roles may do and to whom models are granted: it concerns everyone.
    Policy,
}

impl ChangeSubject {
    /// The kind in the change feed.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Session(_) => "session",
            Self::Identity(_) => "identity",
            Self::ApiKey(_) => "api_key",
            Self::Policy => "policy",
        }
    }

    pub const fn id(self) -> Uuid {
        match self {
            Self::Account(id) | Self::Session(id) | Self::Identity(id) | Self::ApiKey(id) => id,
            Self::Policy => Uuid::nil(),
        }
    }

    /// Reads a row of the change feed; other kinds are someone else's.
    pub fn parse(kind: &str, subject: &str) -> Option<Self> {
        let id = Uuid::parse_str(subject).ok()?;
        match kind {
            "account" => Some(Self::Account(id)),
            "session" => Some(Self::Session(id)),
            "identity" => Some(Self::Identity(id)),
            "api_key" => Some(Self::ApiKey(id)),
            "policy" => Some(Self::Policy),
            _ => None,
        }
    }

    /// The key of its latest change in the ephemeral store.
    pub fn ephemeral_key(self) -> String {
        ["change:", self.kind(), ":", self.id().simple().encode_lower(&mut Uuid::encode_buffer())].concat()
    }
}

/// What this replica knows of changes.
pub(crate) struct Freshness {
    changed: RwLock<HashMap<ChangeSubject, (i64, DateTime<Utc>)>>,
    /// The feed has been read up to here.
    position: AtomicI64,
    /// Last contact with either store. Silence is real time: moving the clock must not cause it.
    contact: RwLock<Instant>,
    /// A replica that has reached neither store for this long is isolated.
    bound: std::time::Duration,
}

impl Freshness {
    pub fn new(position: i64, bound: std::time::Duration) -> Self {
        Self {
            bound,
            changed: RwLock::default(),
            position: AtomicI64::new(position),
            contact: RwLock::new(Instant::now()),
        }
    }

    pub fn position(&self) -> i64 {
        self.position.load(Ordering::Acquire)
    }

    pub fn advance(&self, position: i64) {
        self.position.fetch_max(position, Ordering::AcqRel);
    }

    /// Begins anew at this number: those after it will be given again.
    pub fn restart(&self, position: i64) {
        self.position.store(position, Ordering::Release);
        self.changed.write().clear();
    }

    /// Whether changes were removed from the feed before they were read: numbers have no gaps.
    pub fn has_missed(&self, next: i64) -> bool {
        next > self.position() + 1
    }

    /// Remembers a change and forgets those that no cached principal can be older than.
    pub fn note(&self, watched: ChangeSubject, number: i64, now: DateTime<Utc>) {
        let mut changed = self.changed.write();
        let before = changed.len();
        let entry = changed.entry(watched).or_insert((number, now));
        *entry = (entry.0.max(number), now);
        // When they become 2, 4, 8, …: what a walk costs is spread over as many notes.
        if changed.len() > before && changed.len().is_power_of_two() {
            changed.retain(|_, (_, at)| now - *at < CACHED_FOR * 2);
        }
    }

    /// Whether nothing in `watched` changed after `seen`.
    pub fn is_current(&self, watched: &[ChangeSubject], seen: i64) -> bool {
        let changed = self.changed.read();
        watched.iter().all(|one| changed.get(one).is_none_or(|(number, _)| *number <= seen))
    }

    /// Notes that a store answered.
    pub fn note_contact(&self) {
        *self.contact.write() = Instant::now();
    }

    /// Whether neither store was reached within the bound.
    pub fn is_isolated(&self) -> bool {
        self.contact.read().elapsed() > self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: std::time::Duration = std::time::Duration::from_secs(30);

    #[test]
    fn a_later_change_makes_stale_and_an_earlier_one_does_not() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let freshness = Freshness::new(0, BOUND);
        let account = ChangeSubject::Account(Uuid::from_u128(1));
        freshness.note(account, 7, now);
        assert!(!freshness.is_current(&[account], 6));
        assert!(freshness.is_current(&[account], 7));
        freshness.note(account, 5, now);
        assert!(!freshness.is_current(&[account], 6), "numbers only rise");
        assert!(freshness.is_current(&[ChangeSubject::Session(Uuid::from_u128(1))], 0));
    }

    #[test]
    fn a_number_that_does_not_follow_tells_of_missed_changes() {
        let freshness = Freshness::new(7, BOUND);
        assert!(!freshness.has_missed(8));
        assert!(freshness.has_missed(9));
        freshness.advance(8);
        assert!(!freshness.has_missed(9));
    }

    #[test]
    fn a_replica_that_hears_from_neither_store_is_isolated_until_one_answers() {
        let freshness = Freshness::new(0, BOUND);
        assert!(!freshness.is_isolated());
        let long_ago = Instant::now().checked_sub(BOUND + std::time::Duration::from_secs(1));
        *freshness.contact.write() = long_ago.unwrap_or_else(Instant::now);
        assert!(freshness.is_isolated());
        freshness.note_contact();
        assert!(!freshness.is_isolated());
    }

    #[test]
    fn what_is_remembered_is_bounded_by_time() {
        let start = DateTime::<Utc>::UNIX_EPOCH;
        let freshness = Freshness::new(0, BOUND);
        for number in 0..10_000 {
            let now = start + Duration::seconds(number);
            freshness.note(ChangeSubject::Account(Uuid::from_u128(number as u128)), number, now);
        }
        let remembered = freshness.changed.read().len();
        assert!(remembered < 300, "{remembered}");
    }
}
