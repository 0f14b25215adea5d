//! The chain over the audit trail: each event gets a numbered link, some links a seal. Their content is decided in
//! `auth`.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::{Result, Tx};

/// The lock held while the chain grows.
const LOCK: &str = "audit_chain";

/// Every column of an event.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AuditRecord {
    /// Its id.
    pub id: Uuid,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What was done.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Who did it.
    pub actor: Option<Uuid>,
    /// What it was done to.
    pub target: Option<String>,
    /// The request it was done in.
    pub request_id: Option<String>,
    /// Its canonical form, byte for byte.
    pub canonical: Vec<u8>,
    /// Key id and MAC of its writer; none: from before there were MACs.
    pub mac: Option<Vec<u8>>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AuditLink {
    /// Its number; there are no gaps.
    pub seq: i64,
    /// The event.
    pub event_id: Uuid,
    /// What ties it to the link before.
    pub mac: Vec<u8>,
    /// The key of `mac`.
    pub key_id: String,
}

/// A link and its event, where that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedEvent {
    /// The link.
    pub link: AuditLink,
    /// The event.
    pub event: Option<AuditRecord>,
}

/// An event without a link.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct UnlinkedEvent {
    /// The event.
    #[sqlx(flatten)]
    pub event: AuditRecord,
    /// Whether it waits for one.
    pub waits: bool,
}

/// A seal: a signed statement about the link of its number.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AuditSeal {
    /// The link that it seals, with all before it.
    pub seq: i64,
    /// The statement, byte for byte.
    pub head: Vec<u8>,
    /// The signature of `head`.
    pub signature: Vec<u8>,
    /// The key of the signature.
    pub key_id: String,
    /// When it was made.
    pub sealed_at: DateTime<Utc>,
}

/// A seal and the MAC of its link, where that is still there.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SealedLink {
    /// The seal.
    #[sqlx(flatten)]
    pub seal: AuditSeal,
    /// The link's.
    pub link_mac: Option<Vec<u8>>,
}

#[derive(FromRow)]
struct LinkedRow {
    #[sqlx(flatten)]
    link: AuditLink,
    id: Option<Uuid>,
    occurred_at: Option<DateTime<Utc>>,
    action: Option<String>,
    outcome: Option<String>,
    actor: Option<Uuid>,
    target: Option<String>,
    request_id: Option<String>,
    canonical: Option<Vec<u8>>,
    event_mac: Option<Vec<u8>>,
}

impl From<LinkedRow> for LinkedEvent {
    fn from(row: LinkedRow) -> Self {
        let event = (|| {
            Some(AuditRecord {
                id: row.id?,
                occurred_at: row.occurred_at?,
                action: row.action?,
                outcome: row.outcome?,
                actor: row.actor,
                target: row.target,
                request_id: row.request_id,
                canonical: row.canonical?,
                mac: row.event_mac,
            })
        })();
        Self { link: row.link, event }
    }
}

/// The columns of an [`AuditRecord`].
macro_rules! record_columns {
    () => {
        "audit_events.id, occurred_at, action, outcome, actor, target, request_id, canonical, audit_events.mac"
    };
}

macro_rules! seal_columns {
    () => {
        "audit_seals.seq, audit_seals.head, audit_seals.signature, audit_seals.key_id, audit_seals.sealed_at"
    };
}

/// Queries on the chain.
pub struct AuditChain<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl AuditChain<'_> {
    /// Waits until nobody else adds to the chain, and holds everyone else off until the transaction ends.
    pub async fn lock(&mut self) -> Result<()> {
        self.tx.lock(LOCK).await
    }

    /// Whether an event waits for its link.
    pub async fn has_pending(&mut self) -> Result<bool> {
        let found =
            query!(self.tx, value Uuid, "SELECT event_id FROM audit_pending WHERE NOT refused LIMIT 1")?;
        Ok(found.is_some())
    }

    /// Events that wait for their link: those without a MAC first, then by id.
    pub async fn pending(&mut self, limit: u32) -> Result<Vec<AuditRecord>> {
        query!(
            self.tx,
            all AuditRecord,
            concat!(
                "SELECT ", record_columns!(), " FROM audit_pending \
                 JOIN audit_events ON audit_events.id = audit_pending.event_id WHERE NOT refused \
                 ORDER BY audit_events.mac IS NOT NULL, audit_events.id LIMIT $1"
            ),
            i64::from(limit)
        )
    }

    /// When the oldest of the events that wait happened.
    pub async fn oldest_pending(&mut self) -> Result<Option<DateTime<Utc>>> {
        query!(
            self.tx,
            value DateTime<Utc>,
            "SELECT occurred_at FROM audit_pending JOIN audit_events ON audit_events.id = audit_pending.event_id \
             WHERE NOT refused ORDER BY audit_events.id LIMIT 1"
        )
    }

    /// Gives an event its link.
    pub async fn link(&mut self, link: &AuditLink) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO audit_links (seq, event_id, mac, key_id) VALUES ($1, $2, $3, $4)",
            link.seq,
            link.event_id,
            &link.mac,
            &link.key_id
        )?;
        query!(self.tx, execute, "DELETE FROM audit_pending WHERE event_id = $1", link.event_id)?;
        Ok(())
    }

    /// Leaves an event without a link.
    pub async fn refuse(&mut self, event: Uuid) -> Result<()> {
        query!(self.tx, execute, "UPDATE audit_pending SET refused = true WHERE event_id = $1", event)?;
        Ok(())
    }

    /// Lets the events that were refused be looked at again. Answers how many.
    pub async fn reconsider(&mut self) -> Result<u64> {
        query!(self.tx, execute, "UPDATE audit_pending SET refused = false WHERE refused")
    }

    /// The last link.
    pub async fn last_link(&mut self) -> Result<Option<AuditLink>> {
        query!(
            self.tx,
            optional AuditLink,
            "SELECT seq, event_id, mac, key_id FROM audit_links ORDER BY seq DESC LIMIT 1"
        )
    }

    /// The MAC of a link.
    pub async fn mac_at(&mut self, seq: i64) -> Result<Option<Vec<u8>>> {
        query!(self.tx, value Vec<u8>, "SELECT mac FROM audit_links WHERE seq = $1", seq)
    }

    /// Links and their events behind a number, in order.
    pub async fn links(&mut self, after: i64, limit: u32) -> Result<Vec<LinkedEvent>> {
        let rows = query!(
            self.tx,
            all LinkedRow,
            "SELECT audit_links.seq, audit_links.event_id, audit_links.mac, audit_links.key_id, audit_events.id, \
             occurred_at, action, outcome, actor, target, request_id, canonical, audit_events.mac AS event_mac \
             FROM audit_links LEFT JOIN audit_events ON audit_events.id = audit_links.event_id \
             WHERE audit_links.seq > $1 ORDER BY audit_links.seq LIMIT $2",
            after,
            i64::from(limit)
        )?;
        Ok(rows.into_iter().map(LinkedEvent::from).collect())
    }

    /// Events without a link behind an id, in order.
    pub async fn unlinked(&mut self, after: Uuid, limit: u32) -> Result<Vec<UnlinkedEvent>> {
        query!(
            self.tx,
            all UnlinkedEvent,
            concat!(
                "SELECT ", record_columns!(), ", audit_pending.event_id IS NOT NULL AS waits FROM audit_events \
                 LEFT JOIN audit_links ON audit_links.event_id = audit_events.id \
                 LEFT JOIN audit_pending ON audit_pending.event_id = audit_events.id \
                 WHERE audit_links.seq IS NULL AND audit_events.id > $1 ORDER BY audit_events.id LIMIT $2"
            ),
            after,
            i64::from(limit)
        )
    }

    /// Adds a seal.
    pub async fn seal(&mut self, seal: &AuditSeal) -> Result<()> {
        query!(
            self.tx,
            execute,
            "INSERT INTO audit_seals (seq, head, signature, key_id, sealed_at) VALUES ($1, $2, $3, $4, $5)",
            seal.seq,
            &seal.head,
            &seal.signature,
            &seal.key_id,
            seal.sealed_at
        )?;
        Ok(())
    }

    /// The last seal.
    pub async fn last_seal(&mut self) -> Result<Option<AuditSeal>> {
        query!(
            self.tx,
            optional AuditSeal,
            concat!("SELECT ", seal_columns!(), " FROM audit_seals ORDER BY seq DESC LIMIT 1")
        )
    }

    /// The seal of a number.
    pub async fn seal_at(&mut self, seq: i64) -> Result<Option<AuditSeal>> {
        query!(
            self.tx,
            optional AuditSeal,
            concat!("SELECT ", seal_columns!(), " FROM audit_seals WHERE seq = $1"),
            seq
        )
    }

    /// Seals behind a number, in order.
    pub async fn seals(&mut self, after: i64, limit: u32) -> Result<Vec<SealedLink>> {
        query!(
            self.tx,
            all SealedLink,
            concat!(
                "SELECT ", seal_columns!(), ", audit_links.mac AS link_mac FROM audit_seals \
                 LEFT JOIN audit_links ON audit_links.seq = audit_seals.seq \
                 WHERE audit_seals.seq > $1 ORDER BY audit_seals.seq LIMIT $2"
            ),
            after,
            i64::from(limit)
        )
    }

    /// The number up to which the chain was pruned.
    pub async fn pruned_through(&mut self) -> Result<Option<i64>> {
        query!(self.tx, value i64, "SELECT through FROM audit_prunings ORDER BY through DESC LIMIT 1")
    }

    /// The number of the first link whose event an account did, or that names it as its `target`.
    pub async fn first_of(&mut self, account: Uuid, target: &str) -> Result<Option<i64>> {
        query!(
            self.tx,
            one Option<i64>,
            "SELECT min(seq) FROM audit_links JOIN audit_events ON audit_events.id = event_id \
             WHERE actor = $1 OR target = $2",
            account,
            target
        )
    }

    /// The last seal from before a moment and below a number, with at most so many links before it and one behind it.
    pub async fn prunable(&mut self, before: DateTime<Utc>, below: i64, most: i64) -> Result<Option<i64>> {
        query!(
            self.tx,
            value i64,
            "SELECT seq FROM audit_seals WHERE sealed_at < $1 AND seq < $2 \
             AND seq >= (SELECT min(seq) FROM audit_links) AND seq < (SELECT min(seq) FROM audit_links) + $3 \
             AND seq < (SELECT max(seq) FROM audit_links) ORDER BY seq DESC LIMIT 1",
            before,
            below,
            most
        )
    }

    /// Removes what a seal and those before it vouch for; the seal stays.
    pub async fn prune(&mut self, through: i64) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "INSERT INTO audit_prunings (through, pruned_at) VALUES ($1, $2)",
            through,
            now
        )?;
        Ok(())
    }
}
