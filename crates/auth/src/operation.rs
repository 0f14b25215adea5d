//! The operating mode: open to everyone, to its operators, or to nobody but operators who log in again.
//!
//! The mode is one row, and its changes are numbered like all others: a replica learns of it through the change feed.
//! What a request asks is in memory, one atomic read while everything is open (docs/decisions/0024).

use std::sync::atomic::{AtomicU8, Ordering};

use chrono::{DateTime, Duration, Utc};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::{Scope, Service, Tx, named_enum};

use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// The kind in the change feed.
pub(crate) const CHANGE: &str = "operation";
/// Where the mode is kept among the settings.
const KEY: &str = "operation";
/// Why sessions end with an emergency stop.
const STOPPED: &str = "emergency_stop";
/// How long after an emergency stop a replica may not have heard of it and still let somebody in. Their sessions end
/// when the stop does; meanwhile they are refused.
const STRAGGLERS: Duration = Duration::seconds(10);
/// The default `Retry-After`, in seconds.
const RETRY_AFTER: u32 = 60;

named_enum! {
    /// How far the service is open. Health and readiness answer in every mode.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    #[repr(u8)]
    pub enum OperatingMode {
        /// Open to everyone.
        #[default]
        Off = "off",
        /// Open to everyone, while readiness is 503 on every replica, so that load balancers look elsewhere.
        Draining = "draining",
        /// Open to callers with `system:manage` only.
        Maintenance = "maintenance",
        /// Every session is ended and every API key refused; people with `system:manage` may log in again.
        EmergencyStop = "emergency_stop",
    }
}

/// The mode and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The mode.
    pub mode: OperatingMode,
    /// The message to refused callers.
    pub message: Option<String>,
    /// Their `Retry-After`, in seconds.
    pub retry_after: u32,
    /// When the mode was set; none: it never was.
    pub since: Option<DateTime<Utc>>,
    /// How often it was set: of two, the higher one is the later.
    number: i64,
}

impl Default for Operation {
    fn default() -> Self {
        Self { mode: OperatingMode::Off, message: None, retry_after: RETRY_AFTER, since: None, number: 0 }
    }
}

impl Operation {
    /// Whether nobody set another one between that one and this.
    pub(crate) fn is_next_of(&self, before: &Self) -> bool {
        self.number == before.number + 1
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.mode, OperatingMode::Maintenance | OperatingMode::EmergencyStop)
    }

    /// While the service is closed, refuses callers with no more than `permissions`; in an emergency stop every key.
    pub(crate) fn admit(&self, permissions: Permissions, is_key: bool) -> Result<()> {
        let is_stopped = self.mode == OperatingMode::EmergencyStop;
        let may_enter = permissions.contains(Permission::SystemManage) && !(is_stopped && is_key);
        if may_enter || !self.is_closed() {
            return Ok(());
        }
        let retry_after = std::time::Duration::from_secs(self.retry_after.into());
        Err(Error::Closed { is_stopped, message: self.message.clone(), retry_after })
    }
}

/// A mode to set.
#[derive(Clone, Debug)]
pub struct OperationChange {
    /// The mode.
    pub mode: OperatingMode,
    /// The message to refused callers; none: a general one.
    pub message: Option<String>,
    /// Their `Retry-After`, in seconds; none: a minute.
    pub retry_after: Option<u32>,
}

/// The mode as this replica knows it.
#[derive(Debug, Default)]
pub(crate) struct OperationSwitch {
    mode: AtomicU8,
    known: RwLock<Operation>,
}

impl OperationSwitch {
    fn known(&self) -> Operation {
        self.known.read().clone()
    }

    /// Takes the mode over, unless a later one is known.
    fn remember(&self, operation: Operation) {
        let mut known = self.known.write();
        if operation.number >= known.number {
            self.mode.store(operation.mode as u8, Ordering::Release);
            *known = operation;
        }
    }

    /// Has the next reading taken over, whatever its number is.
    pub fn forget_number(&self) {
        self.known.write().number = i64::MIN;
    }

    fn is_closed(&self) -> bool {
        self.mode.load(Ordering::Acquire) >= OperatingMode::Maintenance as u8
    }
}

impl Auth {
    /// The mode, as this replica knows it.
    pub fn operation(&self) -> Operation {
        self.operation.known()
    }

    /// Refuses visitors while the service is closed.
    pub fn require_open(&self) -> Result<()> {
        self.require_open_to(Permissions::default(), false)
    }

    /// While the service is closed, refuses callers with no more than `permissions`; in an emergency stop every key.
    pub(crate) fn require_open_to(&self, permissions: Permissions, is_key: bool) -> Result<()> {
        if self.operation.is_closed() { self.operation.known().admit(permissions, is_key) } else { Ok(()) }
    }

    pub(crate) fn require_open_to_caller(&self, principal: &Principal) -> Result<()> {
        self.require_open_to(principal.permissions, principal.credential.is_key())
    }

    /// Sets the mode, here from the next request on and everywhere as soon as the change feed was read. An emergency
    /// stop ends every session, the actor's own too, and every token of other issuers so far. `actor` is none on the
    /// command line and for the program itself.
    pub async fn set_operation(
        &self,
        actor: Option<&Principal>,
        change: OperationChange,
        origin: &Origin,
    ) -> Result<Operation> {
        let (mut tx, _) = self.begin_operation(actor, Permission::SystemManage).await?;
        let operation = self.operate(&mut tx, actor, change, origin).await?;
        self.commit_operation(tx, operation).await
    }

    /// Sets the mode inside a transaction that [`commit_operation`](Self::commit_operation) ends.
    pub(crate) async fn operate(
        &self,
        tx: &mut Tx,
        actor: Option<&Principal>,
        change: OperationChange,
        origin: &Origin,
    ) -> Result<Operation> {
        let (before, now) = (lock_mode(tx).await?, tx.now());
        // Looked at under the lock: a stop that was set meanwhile is not undone by a key.
        if before.mode == OperatingMode::EmergencyStop && actor.is_some_and(|actor| actor.credential.is_key())
        {
            before.admit(Permissions::default(), true)?;
        }
        let operation = Operation {
            mode: change.mode,
            message: change.message.filter(|_| change.mode != OperatingMode::Off),
            retry_after: change.retry_after.unwrap_or(RETRY_AFTER),
            since: Some(now),
            number: before.number + 1,
        };
        tx.settings().put(KEY, &json!(operation)).await?;
        let is_stop = |operation: &Operation| operation.mode == OperatingMode::EmergencyStop;
        let ended = if is_stop(&operation) {
            tx.identities().end_every_token().await?;
            tx.sessions().revoke_every(now, None, STOPPED).await?
        } else if let Some(since) = before.since.filter(|_| is_stop(&before)) {
            // The actor who ends the stop was admitted just now.
            let own = actor.map(|actor| actor.credential.id());
            tx.sessions().revoke_every(since + STRAGGLERS, own, STOPPED).await?
        } else {
            0
        };
        let detail = json!({"mode": operation.mode, "before": before.mode, "number": operation.number, "sessions_ended": ended});
        let entry = Entry::success(Event::OperationChanged, origin).with(detail);
        self.record(tx, entry.by_optional(actor)).await?;
        Ok(operation)
    }

    pub(crate) async fn commit_operation(&self, mut tx: Tx, operation: Operation) -> Result<Operation> {
        tx.changes().append(CHANGE, operation.mode.name()).await?;
        // Sessions may have ended: every replica reads its cached principals again.
        self.commit_change(tx, &[ChangeSubject::Policy]).await?;
        self.operation.remember(operation.clone());
        Ok(operation)
    }

    /// Reads the mode, after the change feed reported a change.
    pub(crate) async fn follow_operation(&self) -> Result<()> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        self.operation.remember(read(&mut tx).await?);
        Ok(())
    }
}

/// The mode, which nobody else sets until the end of the transaction.
pub(crate) async fn lock_mode(tx: &mut Tx) -> Result<Operation> {
    tx.settings().lock(KEY).await?;
    read(tx).await
}

pub(crate) async fn read(tx: &mut Tx) -> Result<Operation> {
    let Some(kept) = tx.settings().get(KEY).await? else { return Ok(Operation::default()) };
    serde_json::from_value(kept).map_err(|error| Error::Internal(format!("the operating mode: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: i64, mode: OperatingMode) -> Operation {
        Operation { mode, number, ..Operation::default() }
    }

    #[test]
    fn what_was_set_earlier_replaces_nothing() {
        let switch = OperationSwitch::default();
        switch.remember(numbered(2, OperatingMode::Maintenance));
        assert!(switch.is_closed());
        switch.remember(numbered(1, OperatingMode::Off));
        assert_eq!(switch.known().mode, OperatingMode::Maintenance);
        switch.remember(numbered(3, OperatingMode::Draining));
        assert!(!switch.is_closed(), "draining refuses nobody");
        switch.remember(numbered(4, OperatingMode::EmergencyStop));
        assert!(switch.is_closed());
    }
}
