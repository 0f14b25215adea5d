//! Holds of answers on accounts, addresses and the operating mode. What several answers hold, of any incidents, stays
//! until the last of them is undone, or until it is changed by hand.

use serde_json::{Value, json};
use storage::{IncidentEntry, Tx};
use uuid::Uuid;

use crate::Result;

/// Something that answers hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeldSubject<'a> {
    /// An account, switched off.
    Account(Uuid),
    /// The service, closed.
    Operation,
    /// A network, blocked.
    Network(&'a str),
}

impl HeldSubject<'_> {
    /// The name that it is held under.
    pub fn name(self) -> String {
        match self {
            Self::Account(id) => format!("account:{id}"),
            Self::Operation => "operation".into(),
            Self::Network(network) => format!("network:{network}"),
        }
    }

    /// The answers that hold it, newest first.
    pub async fn holders(self, tx: &mut Tx) -> Result<Vec<IncidentEntry>> {
        Ok(tx.incident_holds().holders(&self.name()).await?)
    }

    /// Reports that it stays as it is because other answers hold it.
    pub fn still_held(self, holders: &[IncidentEntry]) -> Value {
        let mut detail = self.unchanged_because("other answers hold it");
        let mut incidents: Vec<Uuid> = holders.iter().map(|holder| holder.incident_id).collect();
        incidents.dedup();
        detail["incidents"] = json!(incidents);
        detail
    }

    /// Reports that it stays as it is, and why.
    pub fn unchanged_because(self, reason: &str) -> Value {
        match self {
            Self::Account(id) => json!({"account": id, "reason": reason}),
            Self::Operation => json!({"mode": "maintenance", "reason": reason}),
            Self::Network(network) => json!({"network": network, "reason": reason}),
        }
    }
}

/// Whether an answer to that incident is among the holders.
pub(super) fn is_held_for(holders: &[IncidentEntry], incident: Uuid) -> bool {
    holders.iter().any(|holder| holder.incident_id == incident)
}
