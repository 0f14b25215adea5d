//! Retention of incidents, and erasure of a person's data from them.

use chrono::Duration;
use serde_json::{Value, json};
use storage::{Scope, Service, Tx};
use uuid::Uuid;

use crate::audit::{Entry, subject};
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Result};

/// How long an incident is kept after it was closed, with its timeline and its evidence.
const INCIDENTS_KEPT: Duration = Duration::days(365);
/// Entries and incidents that are looked at in one go.
const AT_ONCE: i64 = 50;

impl Auth {
    /// Removes closed incidents that were kept long enough, and writes down how many. What names an account under a
    /// legal hold stays. To be called now and then.
    pub async fn prune_incidents(&self) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        let incidents = remove_closed(&mut tx).await?;
        if incidents > 0 {
            let (origin, detail) = (Origin::default(), json!({"incidents": incidents}));
            self.record(&mut tx, Entry::success(Event::IncidentsPruned, &origin).with(detail)).await?;
            tracing::info!(incidents, "old incidents are pruned");
        }
        Ok(tx.commit().await?)
    }
}

async fn remove_closed(tx: &mut Tx) -> Result<u64> {
    let mut held = Vec::new();
    for account in tx.legal_holds().accounts().await? {
        held.extend(naming(tx, account).await?.into_iter().map(|entry| entry.incident_id));
    }
    let (before, mut after, mut removed) = (tx.now() - INCIDENTS_KEPT, Uuid::nil(), 0);
    loop {
        let closed = tx.incidents().closed_before(before, after, AT_ONCE).await?;
        let Some(last) = closed.last() else { return Ok(removed) };
        after = *last;
        for id in closed.into_iter().filter(|id| !held.contains(id)) {
            removed += u64::from(tx.incidents().remove(id).await?);
        }
    }
}

/// Takes out of every timeline where an account was that is erased; what happened stays.
pub(crate) async fn forget_whereabouts(tx: &mut Tx, account: Uuid) -> Result<()> {
    for mut entry in naming(tx, account).await? {
        if forget(&mut entry.detail, account) {
            tx.incidents().settle(entry.id, &entry.kind, &entry.detail).await?;
        }
    }
    Ok(())
}

/// Every entry that names an account.
async fn naming(tx: &mut Tx, account: Uuid) -> Result<Vec<storage::IncidentEntry>> {
    let (name, mut all, mut after) = (account.to_string(), Vec::new(), Uuid::nil());
    loop {
        let found = tx.incidents().entries_naming(&name, after, AT_ONCE).await?;
        let Some(last) = found.last() else { return Ok(all) };
        after = last.id;
        all.extend(found);
    }
}

/// Takes out the addresses and browsers of an account's sessions and events, and the address of what is about it alone.
/// False: there were none.
fn forget(detail: &mut Value, account: Uuid) -> bool {
    let (id, before) = (json!(account), detail.clone());
    if detail["accounts"] == json!([id]) {
        clear(detail, &["address"]);
    }
    if let Some(bundle) = detail.get_mut("bundle") {
        if bundle["accounts"].as_array().is_some_and(|all| all.iter().all(|one| one["account"] == id)) {
            clear(bundle, &["address"]);
        }
        for theirs in items(bundle, "accounts").filter(|one| one["account"] == id) {
            items(theirs, "sessions").for_each(|session| clear(session, &["address", "user_agent"]));
        }
        items(bundle, "accounts").for_each(|one| forget_events(one, "events", account));
        forget_events(bundle, "latest_events", account);
    }
    *detail != before
}

/// As erasure does it in the audit trail: what the account did, and what nobody known did to it.
fn forget_events(owner: &mut Value, name: &str, account: Uuid) {
    let (id, target) = (json!(account), json!(subject("account", account)));
    let is_theirs =
        |event: &Value| event["actor"] == id || event["actor"].is_null() && event["target"] == target;
    items(owner, name).filter(|told| is_theirs(&told["event"])).for_each(|told| clear(told, &["address"]));
}

fn items<'a>(owner: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    owner.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

fn clear(value: &mut Value, names: &[&str]) {
    for name in names {
        if let Some(member) = value.get_mut(*name) {
            *member = Value::Null;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_erased_account_no_address_stays_and_of_others_all_do() {
        let [ada, eve] = [1, 2].map(Uuid::from_u128);
        let session = |address: &str| json!({"id": 7, "address": address, "user_agent": "a browser"});
        let event = |actor: Option<Uuid>, target: Uuid, address: &str| json!({"event": {"actor": actor, "target": format!("account:{target}")}, "address": address});
        let mut detail = json!({"answer": "collect_evidence", "bundle": {
            "address": "192.0.2.9",
            "accounts": [
                {"account": ada, "sessions": [session("192.0.2.1")], "events": [event(Some(ada), eve, "192.0.2.2")]},
                {"account": eve, "sessions": [session("192.0.2.3")], "events": [event(Some(eve), ada, "192.0.2.4")]},
            ],
            "latest_events": [event(None, ada, "192.0.2.5"), event(None, eve, "192.0.2.6")],
        }});
        assert!(forget(&mut detail, ada));
        let text = detail.to_string();
        for (address, stays) in
            [("9", true), ("1", false), ("2", false), ("3", true), ("4", true), ("5", false), ("6", true)]
        {
            assert_eq!(text.contains(&format!("192.0.2.{address}")), stays, "{address}: {text}");
        }
        assert_eq!(text.matches("a browser").count(), 1, "{text}");
        assert!(!forget(&mut detail, ada), "nothing is left of her");
        let mut opened = json!({"accounts": [ada], "address": "192.0.2.1"});
        assert!(forget(&mut opened, ada) && opened["address"].is_null());
        let mut both = json!({"accounts": [ada, eve], "address": "192.0.2.1"});
        assert!(!forget(&mut both, ada), "it may be hers or the other's");
    }
}
