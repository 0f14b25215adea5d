//! Growing the chain: pending events get links, links get seals. One replica at a time does it, under a database lock.

use chrono::{DateTime, Duration, Utc};
use parking_lot::Mutex;
use storage::{AuditLink, AuditRecord, AuditSeal, Scope, Service, Store, Tx};

use super::keys::{AuditKeys, BEFORE_FIRST, LinkMac, MacStatus};
use super::seal;
use crate::{Error, Result};

/// Links of one transaction: on SQLite everybody who writes waits for its end.
const BATCH: u32 = 500;
/// Transactions of one call.
const BATCHES: u32 = 20;

/// How the trail is kept.
pub struct AuditSettings {
    /// What it is written with.
    pub keys: AuditKeys,
    /// Links after which there is a seal at the latest.
    pub seal_every: u32,
    /// How long a link is without a seal at most.
    pub seal_after: Duration,
}

/// The audit trail: what vouches for it, and checks it.
pub struct AuditTrail {
    pub(super) store: Store,
    pub(super) settings: AuditSettings,
    /// The last link that this process saw.
    seen: Mutex<Option<AuditLink>>,
    /// The number of a link that is gone, until that is recorded.
    lost: Mutex<Option<i64>>,
}

/// How far the chain is.
#[derive(Clone, Debug)]
pub struct AuditStanding {
    /// Since when the oldest event waits for its link; none: none does.
    pub waiting_since: Option<DateTime<Utc>>,
    /// The number of the last link; 0 before the first.
    pub last_link: i64,
    /// The last seal.
    pub last_seal: Option<AuditSeal>,
}

/// The end of the chain.
struct End {
    seq: i64,
    mac: LinkMac,
    /// Whether events without a MAC may still be linked: before the first one that has one.
    adopts: bool,
}

impl AuditTrail {
    /// The trail in this store.
    pub fn new(store: Store, settings: AuditSettings) -> Self {
        Self { store, settings, seen: Mutex::default(), lost: Mutex::default() }
    }

    /// What it is written with.
    pub fn keys(&self) -> &AuditKeys {
        &self.settings.keys
    }

    /// How far the chain is.
    pub async fn standing(&self) -> Result<AuditStanding> {
        let mut tx = self.read().await?;
        Ok(AuditStanding {
            waiting_since: tx.audit_chain().oldest_pending().await?,
            last_link: tx.audit_chain().last_link().await?.map_or(0, |link| link.seq),
            last_seal: tx.audit_chain().last_seal().await?,
        })
    }

    /// Refuses keys of which none has made the chain: it would go on in a way that nobody can verify. Looks at events
    /// anew that were refused, for the keys may have been the reason.
    pub async fn open(&self) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        if let Some(link) = tx.audit_chain().last_link().await? {
            self.keys().known(&link.key_id)?;
        }
        tx.audit_chain().reconsider().await?;
        Ok(tx.commit().await?)
    }

    /// Links what waits and seals what is due; to be called several times a second. `is_last`: nobody may call for a
    /// while, so that the end is sealed, due or not. Answers the last seal.
    pub async fn advance(&self, is_last: bool) -> Result<Option<AuditSeal>> {
        for _ in 0..BATCHES {
            let (due, seal) = self.is_due(is_last).await?;
            if !due {
                return Ok(seal);
            }
            self.link_batch(is_last).await?;
        }
        Ok(None)
    }

    /// Whether the chain goes on from where this process last saw it end. If not, the number of the link that is gone
    /// or is another one now; returned until it is [told](Self::told_of_lost_end).
    pub(crate) async fn lost_end(&self) -> Result<Option<i64>> {
        let seen = self.seen.lock().clone();
        let mut tx = self.read().await?;
        let last = tx.audit_chain().last_link().await?;
        let lost = match seen.filter(|seen| last.as_ref() != Some(seen)) {
            Some(seen) => (!goes_on_from(&mut tx, &seen).await?).then_some(seen.seq),
            None => None,
        };
        *self.seen.lock() = last;
        let mut untold = self.lost.lock();
        *untold = untold.or(lost);
        Ok(*untold)
    }

    pub(crate) fn told_of_lost_end(&self) {
        *self.lost.lock() = None;
    }

    /// Whether the chain agrees with a seal that was kept elsewhere, as far as it is not pruned.
    pub async fn vouches_for(&self, kept: &AuditSeal) -> Result<bool> {
        let mut tx = self.read().await?;
        if tx.audit_chain().pruned_through().await?.is_some_and(|through| kept.seq < through) {
            return Ok(true);
        }
        Ok(tx.audit_chain().seal_at(kept.seq).await?.is_some_and(|seal| seal == *kept))
    }

    async fn is_due(&self, is_last: bool) -> Result<(bool, Option<AuditSeal>)> {
        let mut tx = self.read().await?;
        let seal = tx.audit_chain().last_seal().await?;
        if tx.audit_chain().has_pending().await? {
            return Ok((true, seal));
        }
        let last = tx.audit_chain().last_link().await?.map_or(0, |link| link.seq);
        Ok((self.is_seal_due(last, seal.as_ref(), tx.now(), is_last), seal))
    }

    fn is_seal_due(&self, last: i64, seal: Option<&AuditSeal>, now: DateTime<Utc>, is_last: bool) -> bool {
        let unsealed = last - seal.map_or(0, |seal| seal.seq);
        let old = seal.is_none_or(|seal| (now - seal.sealed_at).abs() >= self.settings.seal_after);
        unsealed >= i64::from(self.settings.seal_every) || (unsealed > 0 && (old || is_last))
    }

    async fn link_batch(&self, is_last: bool) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        tx.audit_chain().lock().await?;
        let mut end = self.end(&mut tx).await?;
        for event in tx.audit_chain().pending(BATCH).await? {
            self.link(&mut tx, &mut end, &event).await?;
        }
        let now = tx.now();
        let seal = tx.audit_chain().last_seal().await?;
        if self.is_seal_due(end.seq, seal.as_ref(), now, is_last) {
            let seal = seal::make(self.keys(), end.seq, &end.mac, seal.as_ref(), now)?;
            tx.audit_chain().seal(&seal).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn link(&self, tx: &mut Tx, end: &mut End, event: &AuditRecord) -> Result<()> {
        match self.keys().mac_status(event) {
            MacStatus::Valid => end.adopts = false,
            MacStatus::Missing if end.adopts => {}
            MacStatus::Missing | MacStatus::Invalid => {
                tracing::error!(event = %event.id, "an audit event that this program did not write, or not with AUDIT_KEY, gets no link; run modelgate audit verify");
                return Ok(tx.audit_chain().refuse(event.id).await?);
            }
        }
        let key = self.keys().active();
        let seq = end.seq + 1;
        let mac = key.link(&end.mac, seq, event);
        let link = AuditLink { seq, event_id: event.id, mac: mac.to_vec(), key_id: key.id() };
        tx.audit_chain().link(&link).await?;
        (end.seq, end.mac) = (seq, mac);
        Ok(())
    }

    async fn end(&self, tx: &mut Tx) -> Result<End> {
        let Some(last) = tx.audit_chain().last_link().await? else {
            let sealed = tx.audit_chain().last_seal().await?.is_some();
            if sealed {
                return Err(Error::Internal("the audit chain has seals and no links: it was cut off".into()));
            }
            return Ok(End { seq: 0, mac: BEFORE_FIRST, adopts: true });
        };
        let event = tx.audit_chain().links(last.seq - 1, 1).await?.pop().and_then(|linked| linked.event);
        let broken = || Error::Internal(format!("the MAC of audit link {} cannot be read", last.seq));
        Ok(End {
            seq: last.seq,
            mac: last.mac.as_slice().try_into().map_err(|_| broken())?,
            adopts: event.is_some_and(|event| event.mac.is_none()),
        })
    }

    pub(super) async fn read(&self) -> Result<Tx> {
        Ok(self.store.read(Scope::Service(Service::Audit)).await?)
    }
}

/// Whether a link is still there as it was, or was pruned.
async fn goes_on_from(tx: &mut Tx, seen: &AuditLink) -> Result<bool> {
    let there = tx.audit_chain().links(seen.seq - 1, 1).await?.pop();
    if there.is_some_and(|linked| linked.link == *seen) {
        return Ok(true);
    }
    Ok(tx.audit_chain().pruned_through().await?.is_some_and(|through| seen.seq <= through))
}
