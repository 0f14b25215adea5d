//! Follows the change feed: changes by other replicas and the command line, read each second.

use std::sync::atomic::Ordering;

use storage::{Change, Scope, Service};

use crate::callers::freshness::ChangeSubject;
use crate::limits::rules;
use crate::models::lifecycle;
use crate::{Auth, Result, ip_rules, operation, signing};

/// Changes read at a time.
const FEED_BATCH: u32 = 1000;

/// What changes made out of date, until it was read again: once for all of them.
#[derive(Default)]
pub(crate) struct Outdated {
    signing_keys: bool,
    limits: bool,
    operation: bool,
    ip_rules: bool,
}

impl Outdated {
    const EVERYTHING: Self = Self { signing_keys: true, limits: true, operation: true, ip_rules: true };

    fn note(&mut self, kind: &str) {
        match kind {
            signing::CHANGE => self.signing_keys = true,
            rules::CHANGE => self.limits = true,
            operation::CHANGE => self.operation = true,
            ip_rules::CHANGE => self.ip_rules = true,
            _ => {}
        }
    }
}

impl Auth {
    /// Reads what others changed since the last call; to be called every second.
    pub async fn follow_changes(&self) -> Result<()> {
        let mut outdated = self.outdated.lock().await;
        loop {
            let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
            let head = tx.changes().head().await?;
            if head < self.freshness.position() {
                self.go_back(head, &mut outdated);
            }
            let changes = tx.changes().since(self.freshness.position(), FEED_BATCH).await?;
            drop(tx);
            self.freshness.note_contact();
            self.note_changes(&changes, &mut outdated);
            // What cannot be read again is tried again, and keeps nothing else from being followed.
            let read = self.read_again(&mut outdated).await;
            if let Some(last) = changes.last() {
                self.freshness.advance(last.seq);
            }
            if changes.len() < FEED_BATCH as usize {
                return read;
            }
        }
    }

    /// The database lost its last changes: a standby took over, or a backup. Their numbers will be given again.
    fn go_back(&self, head: i64, outdated: &mut Outdated) {
        tracing::error!(head, "the database went back to an earlier state; this replica starts afresh");
        self.freshness.restart(head);
        self.principals.forget_all();
        self.addresses.forget_number();
        self.model_access.forget_number();
        self.operation.forget_number();
        self.model_changes.store(head, Ordering::Release);
        self.feed_restarts.fetch_add(1, Ordering::Release);
        *outdated = Outdated::EVERYTHING;
    }

    /// How often the database went back to an earlier state: what is known by numbers of the feed is of another time
    /// then.
    pub fn feed_restarts(&self) -> u64 {
        self.feed_restarts.load(Ordering::Acquire)
    }

    fn note_changes(&self, changes: &[Change], outdated: &mut Outdated) {
        let now = self.now();
        if let Some(first) = changes.first().filter(|first| self.freshness.has_missed(first.seq)) {
            tracing::warn!("this replica was cut off for so long that it missed changes; it starts afresh");
            self.principals.forget_all();
            self.note_model_change(first.seq);
            *outdated = Outdated::EVERYTHING;
        }
        for change in changes {
            if let Some(watched) = ChangeSubject::parse(&change.kind, &change.subject) {
                self.freshness.note(watched, change.seq, now);
            } else if change.kind == lifecycle::CHANGE {
                self.note_model_change(change.seq);
            } else {
                outdated.note(&change.kind);
            }
        }
    }

    /// Reads all that is out of date; the first error, where something could not be read.
    async fn read_again(&self, outdated: &mut Outdated) -> Result<()> {
        let keys = match outdated.signing_keys {
            true => self.keyring.load(&self.store, &self.encryption).await,
            false => Ok(()),
        };
        if outdated.signing_keys && keys.is_ok() {
            // What a removed key signed was verified while it was there.
            self.principals.forget_all();
        }
        let limits = if outdated.limits { self.read_limits().await } else { Ok(()) };
        let operation = if outdated.operation { self.follow_operation().await } else { Ok(()) };
        let rules = if outdated.ip_rules { self.load_ip_rules().await } else { Ok(()) };
        *outdated = Outdated {
            signing_keys: keys.is_err(),
            limits: limits.is_err(),
            operation: operation.is_err(),
            ip_rules: rules.is_err(),
        };
        keys.and(limits).and(operation).and(rules)
    }
}
