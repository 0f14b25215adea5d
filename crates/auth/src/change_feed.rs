//! Follows the change feed: changes by other replicas and the command line, read each second.

use storage::{Change, Scope, Service};

use crate::callers::freshness::ChangeSubject;
use crate::limits::rules;
use crate::models::lifecycle;
use crate::{Auth, Result, ip_rules, operation, signing};

/// Changes read at a time.
const FEED_BATCH: u32 = 1000;

/// What a batch of changes made out of date, to be read again once for all of them.
#[derive(Default)]
struct Outdated {
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
        loop {
            let mut tx = self.store.read(Scope::Service(Service::Feed)).await?;
            let changes = tx.changes().since(self.freshness.position(), FEED_BATCH).await?;
            drop(tx);
            self.freshness.note_contact();
            let outdated = self.note_changes(&changes);
            self.read_again(&outdated).await?;
            if let Some(last) = changes.last() {
                self.freshness.advance(last.seq);
            }
            if changes.len() < FEED_BATCH as usize {
                return Ok(());
            }
        }
    }

    fn note_changes(&self, changes: &[Change]) -> Outdated {
        let now = self.now();
        let missed = changes.first().filter(|first| self.freshness.has_missed(first.seq));
        let mut outdated = if missed.is_some() { Outdated::EVERYTHING } else { Outdated::default() };
        if let Some(first) = missed {
            tracing::warn!("this replica was cut off for so long that it missed changes; it starts afresh");
            self.principals.forget_all();
            self.note_model_change(first.seq);
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
        outdated
    }

    async fn read_again(&self, outdated: &Outdated) -> Result<()> {
        if outdated.signing_keys {
            self.keyring.load(&self.store, &self.encryption).await?;
            // What a removed key signed was verified while it was there.
            self.principals.forget_all();
        }
        if outdated.limits {
            self.read_limits().await?;
        }
        if outdated.operation {
            self.follow_operation().await?;
        }
        if outdated.ip_rules {
            self.load_ip_rules().await?;
        }
        Ok(())
    }
}
