//! IP rules: networks that are allowed or denied, for a while or for good.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{Page, PageRequest, Result, Tx, named_enum};

named_enum! {
    /// The effect of a rule.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum IpEffect {
        /// Requests from the network are allowed.
        Allow = "allow",
        /// Requests from the network are refused.
        Deny = "deny",
    }
}

named_enum! {
    /// The requests that a rule holds for.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum IpPlace {
        /// For every request.
        #[default]
        All = "all",
        /// For administration, besides what holds for every request.
        Admin = "admin",
    }
}

/// A rule about a network.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct IpRule {
    /// A version 7 id.
    pub id: Uuid,
    /// A CIDR block in its one spelling.
    pub network: String,
    /// Whether it is allowed or denied.
    #[sqlx(try_from = "String")]
    pub effect: IpEffect,
    /// The requests that the rule holds for.
    #[sqlx(try_from = "String")]
    pub applies_to: IpPlace,
    /// Whether a detector made it.
    pub automatic: bool,
    /// Why, in the words of its author.
    pub reason: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends; none: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The columns of an [`IpRule`].
macro_rules! rule_columns {
    () => {
        "id, network, effect, applies_to, automatic, reason, created_at, expires_at"
    };
}

/// Queries on rules about addresses.
pub struct IpRules<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl IpRules<'_> {
    /// Every rule that has not ended.
    pub async fn live(&mut self) -> Result<Vec<IpRule>> {
        let now = self.tx.now();
        query!(
            self.tx,
            all IpRule,
            concat!("SELECT ", rule_columns!(), " FROM ip_rules WHERE expires_at IS NULL OR expires_at > $1"),
            now
        )
    }

    /// The rules that have not ended, newest first.
    pub async fn list(&mut self, page: &PageRequest) -> Result<Page<IpRule>> {
        let now = self.tx.now();
        let rules = query!(
            self.tx,
            all IpRule,
            concat!(
                "SELECT ", rule_columns!(), " FROM ip_rules \
                 WHERE id < $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC LIMIT $3"
            ),
            page.below(),
            now,
            page.rows()
        )?;
        Ok(page.page(rules, |rule| rule.id))
    }

    /// How many have not ended, of those that detectors made (`automatic`) or of the others. Until the end of the
    /// transaction no other caller of this can add one.
    pub async fn count(&mut self, automatic: bool) -> Result<i64> {
        self.tx.lock("ip_rules").await?;
        let now = self.tx.now();
        query!(
            self.tx,
            one i64,
            "SELECT COUNT(*) FROM ip_rules WHERE automatic = $1 AND (expires_at IS NULL OR expires_at > $2)",
            automatic,
            now
        )
    }

    /// Adds a rule in place of one that has ended. [`crate::Error::Conflict`]: one holds for this network and place.
    pub async fn add(&mut self, rule: &IpRule) -> Result<()> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "DELETE FROM ip_rules WHERE network = $1 AND applies_to = $2 AND automatic = $3 AND expires_at <= $4",
            &rule.network,
            rule.applies_to.name(),
            rule.automatic,
            now
        )?;
        self.insert(rule).await
    }

    /// Adds a rule, or makes the one that holds last as long. Nothing is made to end sooner.
    pub async fn extend(&mut self, rule: &IpRule) -> Result<()> {
        let extended = query!(
            self.tx,
            execute,
            "UPDATE ip_rules SET reason = $4, \
             expires_at = CASE WHEN expires_at < $5 THEN $5 ELSE expires_at END \
             WHERE network = $1 AND applies_to = $2 AND automatic = $3",
            &rule.network,
            rule.applies_to.name(),
            rule.automatic,
            &rule.reason,
            rule.expires_at
        )?;
        if extended == 0 { self.insert(rule).await } else { Ok(()) }
    }

    async fn insert(&mut self, rule: &IpRule) -> Result<()> {
        query!(
            self.tx,
            execute,
            concat!("INSERT INTO ip_rules (", rule_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"),
            rule.id,
            &rule.network,
            rule.effect.name(),
            rule.applies_to.name(),
            rule.automatic,
            &rule.reason,
            rule.created_at,
            rule.expires_at
        )?;
        Ok(())
    }

    /// Makes a rule end at another time.
    pub async fn end_at(&mut self, id: Uuid, end: DateTime<Utc>) -> Result<()> {
        query!(self.tx, execute, "UPDATE ip_rules SET expires_at = $2 WHERE id = $1", id, end)?;
        Ok(())
    }

    /// Removes a rule. False: there is none with this id.
    pub async fn remove(&mut self, id: Uuid) -> Result<bool> {
        Ok(query!(self.tx, execute, "DELETE FROM ip_rules WHERE id = $1", id)? > 0)
    }

    /// Removes those that ended before a moment. Answers how many.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM ip_rules WHERE id IN (SELECT id FROM ip_rules WHERE expires_at < $1 LIMIT $2)",
            before,
            PRUNED_AT_ONCE
        )
    }
}
