//! Evidence: a snapshot of what is known, kept for a later investigation.

use serde_json::{Value, json};
use storage::{AuditEvent, AuditFilter, PageRequest, Tx};

use super::Affected;
use crate::{Auth, Result};

/// Events of each account, and the latest of anybody.
const MOST_EVENTS: u32 = 50;
/// Accounts that are looked into.
const MOST_ACCOUNTS: usize = 10;
/// Live sessions of each.
const MOST_SESSIONS: u32 = 20;

impl Auth {
    /// A bounded bundle: the latest events, those of the accounts, their live sessions, and what was counted here.
    pub(super) async fn evidence(&self, tx: &mut Tx, affected: &Affected) -> Result<Value> {
        let page = |limit| PageRequest { limit, cursor: None };
        let latest = tx.audit().list(&page(MOST_EVENTS), &AuditFilter::default()).await?;
        let mut accounts = Vec::new();
        for account in affected.accounts.iter().take(MOST_ACCOUNTS) {
            let filter = AuditFilter { actor: Some(*account), ..AuditFilter::default() };
            let events = tx.audit().list(&page(MOST_EVENTS), &filter).await?;
            let sessions = tx.sessions().list(*account, &page(MOST_SESSIONS)).await?;
            let sessions: Vec<Value> = sessions
                .items
                .iter()
                .map(|session| {
                    json!({"id": session.id, "address": session.address, "user_agent": session.user_agent,
                        "created_at": session.created_at, "rotated_at": session.rotated_at})
                })
                .collect();
            accounts
                .push(json!({"account": account, "sessions": sessions, "events": summaries(&events.items)}));
        }
        let counts: serde_json::Map<String, Value> = self
            .security_events()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), json!(count)))
            .collect();
        Ok(json!({
            "collected_at": tx.now(),
            "address": affected.address,
            "mode": self.operation().mode,
            "counted_by_this_replica": counts,
            "accounts": accounts,
            "latest_events": summaries(&latest.items),
        }))
    }
}

fn summaries(events: &[AuditEvent]) -> Vec<Value> {
    let one = |event: &AuditEvent| {
        let canonical: Value = serde_json::from_slice(&event.canonical).unwrap_or_default();
        json!({"event": canonical, "address": event.address})
    };
    events.iter().map(one).collect()
}
