//! IP rules: made by an administrator, on the command line or by a detector; held in the memory of every replica, so
//! that refusing a request costs no query.

pub(crate) mod table;

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use parking_lot::RwLock;
use serde_json::json;
use storage::{IpEffect, IpPlace, IpRule, Page, PageRequest, Scope, Service, Tx};
use uuid::Uuid;

use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::authentication;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::incidents::HeldSubject;
use crate::ip_rules::table::IpTable;
use crate::limits::network_of;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// The kind in the change feed; the subject is the rule's id.
pub(crate) const CHANGE: &str = "ip_rule";

/// What this replica knows of addresses.
pub(crate) struct AddressRules {
    /// As of a number in the change feed.
    table: RwLock<(i64, Arc<IpTable>)>,
    /// `ADMIN_ALLOWED_IPS`: the only networks for administration, whatever rules say; empty: any.
    admin_networks: Vec<IpNet>,
    /// The most rules of administrators, and as many of detectors.
    most: u32,
}

impl AddressRules {
    pub fn new(admin_networks: Vec<IpNet>, most: u32) -> Self {
        Self { table: RwLock::new((i64::MIN, Arc::default())), admin_networks, most }
    }

    fn table(&self) -> Arc<IpTable> {
        Arc::clone(&self.table.read().1)
    }

    /// Takes over a reading, unless a newer one is known.
    fn remember(&self, seen: i64, table: IpTable) {
        let mut known = self.table.write();
        if seen >= known.0 {
            *known = (seen, Arc::new(table));
        }
    }

    /// Has the next reading taken over, whatever its number is.
    pub fn forget_number(&self) {
        self.table.write().0 = i64::MIN;
    }

    fn is_admin_network(&self, address: IpAddr) -> bool {
        self.admin_networks.iter().any(|network| network.contains(&address.to_canonical()))
    }

    fn admits(&self, address: IpAddr, place: IpPlace, now: DateTime<Utc>) -> bool {
        let outside = !self.admin_networks.is_empty() && !self.is_admin_network(address);
        !(place == IpPlace::Admin && outside) && self.table().admits(address, place, now)
    }
}

/// The longest that a rule is made for: years of five digits would sort wrongly as text.
const LONGEST: chrono::Duration = chrono::Duration::days(100 * 365);

/// A rule to be made.
#[derive(Clone, Debug)]
pub struct IpRuleRequest {
    /// An address or a CIDR block.
    pub network: String,
    /// Whether it is allowed or denied.
    pub effect: IpEffect,
    /// Which requests the rule holds for.
    pub applies_to: IpPlace,
    /// Why.
    pub reason: String,
    /// When it ends; none: never.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Auth {
    /// Refuses an address that rules, or `ADMIN_ALLOWED_IPS`, do not let in.
    pub fn require_address(&self, address: IpAddr, place: IpPlace) -> Result<()> {
        if self.addresses.admits(address, place, self.now()) {
            return Ok(());
        }
        self.events.count(Event::AddressRefused);
        Err(Error::AddressRefused)
    }

    /// The rules that hold, newest first.
    pub async fn ip_rules(&self, page: &PageRequest) -> Result<Page<IpRule>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.ip_rules().list(page).await?)
    }

    /// Adds a rule; every replica follows within a second. `actor` is none on the command line. A rule that would shut
    /// out the address that the request comes from is refused unless forced.
    pub async fn add_ip_rule(
        &self,
        actor: Option<&Principal>,
        request: IpRuleRequest,
        force: bool,
        origin: &Origin,
    ) -> Result<IpRule> {
        let network = network(&request.network).map_err(|message| Error::invalid("cidr", message))?;
        let now = self.now();
        if request.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::invalid("expires_at", "choose a time in the future"));
        }
        if request.expires_at.is_some_and(|end| end - now > LONGEST) {
            return Err(Error::invalid("expires_at", "choose a time within 100 years, or none"));
        }
        let rule = IpRule {
            id: Uuid::now_v7(),
            network: network.to_string(),
            effect: request.effect,
            applies_to: request.applies_to,
            automatic: false,
            reason: request.reason.trim().to_owned(),
            created_at: now,
            expires_at: request.expires_at,
        };
        let (mut tx, _) = self.begin_operation(actor, Permission::SystemManage).await?;
        if tx.ip_rules().count(false).await? >= i64::from(self.addresses.most) {
            return Err(Error::TooManyIpRules);
        }
        match tx.ip_rules().add(&rule).await {
            Err(storage::Error::Conflict) => return Err(Error::IpRuleTaken),
            added => added?,
        }
        self.refuse_lockout(&mut tx, force, origin).await?;
        self.commit_ip_rule(tx, Event::IpRuleAdded, actor, &rule, origin).await?;
        Ok(rule)
    }

    /// Removes a rule, as [`Auth::add_ip_rule`] adds one.
    pub async fn remove_ip_rule(
        &self,
        actor: Option<&Principal>,
        id: Uuid,
        force: bool,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, _) = self.begin_operation(actor, Permission::SystemManage).await?;
        let rule = tx.ip_rules().live().await?.into_iter().find(|rule| rule.id == id);
        let rule = rule.ok_or(Error::NotFound)?;
        tx.ip_rules().remove(id).await?;
        if rule.automatic {
            tx.incident_holds().dissolve(&HeldSubject::Network(&rule.network).name()).await?;
        }
        self.refuse_lockout(&mut tx, force, origin).await?;
        self.commit_ip_rule(tx, Event::IpRuleRemoved, actor, &rule, origin).await
    }

    /// Blocks an address until a time, on every replica; an IPv6 /64 as one. None: it stays open, because it is this
    /// machine, administration may come from it, a rule lets it in, or there are too many blocks.
    /// [`announce_ip_rules`](Self::announce_ip_rules) ends the transaction.
    pub(crate) async fn block_within(
        &self,
        tx: &mut Tx,
        address: IpAddr,
        until: DateTime<Utc>,
        reason: &str,
    ) -> Result<Option<IpRule>> {
        let now = self.now();
        let effect = self.addresses.table().effect(address, IpPlace::All, now);
        if self.is_kept_open(address) || until <= now || effect == Some(IpEffect::Allow) {
            return Ok(None);
        }
        let rule = IpRule {
            id: Uuid::now_v7(),
            network: customer(address).to_string(),
            effect: IpEffect::Deny,
            applies_to: IpPlace::All,
            automatic: true,
            reason: reason.to_owned(),
            created_at: now,
            expires_at: Some(until),
        };
        if tx.ip_rules().count(true).await? >= i64::from(self.addresses.most) {
            tracing::warn!("an address is not blocked: there are MAX_IP_RULES blocks already");
            return Ok(None);
        }
        tx.ip_rules().extend(&rule).await?;
        let origin = Origin { address: Some(address), ..Origin::default() };
        let detail = json!({"reason": reason, "until": until});
        self.record(tx, Entry::success(Event::AddressBlocked, &origin).with(detail)).await?;
        Ok(Some(rule))
    }

    /// Whether a block would change anything: no rule speaks of the address, and nothing keeps it open.
    pub(crate) fn can_be_blocked(&self, address: IpAddr) -> bool {
        let effect = self.addresses.table().effect(address, IpPlace::All, self.now());
        effect.is_none() && !self.is_kept_open(address)
    }

    /// This machine, and where administration comes from.
    fn is_kept_open(&self, address: IpAddr) -> bool {
        address.to_canonical().is_loopback() || self.addresses.is_admin_network(address)
    }

    /// Reads the rules.
    pub(crate) async fn load_ip_rules(&self) -> Result<()> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        // Before the rules, so that a change in between is read again rather than missed.
        let seen = tx.changes().head().await?;
        let rules = tx.ip_rules().live().await?;
        self.addresses.remember(seen, IpTable::of(&rules));
        Ok(())
    }

    /// Refuses a change that would shut out the person who makes it.
    async fn refuse_lockout(&self, tx: &mut Tx, force: bool, origin: &Origin) -> Result<()> {
        let Some(address) = origin.address.filter(|_| !force) else { return Ok(()) };
        let open = IpTable::of(&tx.ip_rules().live().await?).admits(address, IpPlace::Admin, self.now());
        if open { Ok(()) } else { Err(Error::WouldShutOut) }
    }

    async fn commit_ip_rule(
        &self,
        mut tx: Tx,
        event: Event,
        actor: Option<&Principal>,
        rule: &IpRule,
        origin: &Origin,
    ) -> Result<()> {
        let detail = json!({
            "network": rule.network,
            "effect": rule.effect.name(),
            "applies_to": rule.applies_to.name(),
            "expires_at": rule.expires_at,
        });
        let entry = Entry::success(event, origin).on("ip_rule", rule.id).with(detail);
        self.record(&mut tx, entry.by_optional(actor)).await?;
        self.announce_ip_rules(tx, rule.id).await
    }

    /// Commits, announces the change to the other replicas, and applies it here at once.
    pub(crate) async fn announce_ip_rules(&self, mut tx: Tx, id: Uuid) -> Result<()> {
        tx.changes().append(CHANGE, &id.to_string()).await?;
        tx.commit().await?;
        if let Err(error) = self.load_ip_rules().await {
            tracing::warn!(%error, "changed rules for addresses hold here within a second");
        }
        Ok(())
    }
}

/// What one customer holds, as a network.
fn customer(address: IpAddr) -> IpNet {
    match network_of(address) {
        address @ IpAddr::V6(_) => IpNet::new_assert(address, 64),
        address => IpNet::from(address),
    }
}

/// A network in its one spelling: IPv4 also where it was written as IPv6 (RFC 4291, section 2.5.5.2).
fn network(text: &str) -> std::result::Result<IpNet, String> {
    let read = authentication::network(text.trim())
        .ok_or_else(|| format!("{text:?} is neither an address nor a CIDR block such as 203.0.113.0/24"))?;
    if read.trunc() != read {
        let (whole, alone) = (read.trunc(), read.addr());
        return Err(format!("{text:?} has bits behind its prefix: write {whole}, or {alone} for it alone"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_network_has_one_spelling() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            (" 192.0.2.0/24 ", "192.0.2.0/24"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:DB8:0::/48", "2001:db8::/48"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected, "{text}");
        }
        for wrong in [
            "",
            "nonsense",
            "192.0.2.0/33",
            "192.0.2.1/24",
            "::ffff:192.0.2.1/120",
            "2001:db8::1/64",
            "10.0.0.0/-1",
            "1.2.3",
        ] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_one_customer_holds_is_blocked_whole() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(customer(address.parse().unwrap()).to_string(), expected);
        }
    }
}
