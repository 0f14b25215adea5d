//! Undoing answers, as far as possible and as far as no other answer holds the same thing.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use storage::{IncidentEntry, Scope, Service, Tx};
use uuid::Uuid;

use super::answers::{Actor, Answer, Effects};
use super::{EntryKind, HeldSubject};
use crate::audit::Entry;
use crate::callers::access::Permissions;
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::operation::{self, Operation, OperationChange};
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Who undoes which answer.
struct Undoing<'a> {
    actor: &'a Principal,
    own: Permissions,
    /// What the answer reported when it ran.
    detail: &'a Value,
    /// What it held until now.
    held: Vec<String>,
    origin: &'a Origin,
}

/// What came of it, and what stays as it is and why.
type Undone = (Effects, Vec<Value>);

impl Auth {
    /// Undoes what an answer did, as far as it can be undone: sessions that ended stay ended, evidence stays, and so
    /// does what other answers hold. The entry that it adds to the timeline tells what stays and why.
    pub async fn undo_answer(
        &self,
        actor: &Principal,
        id: Uuid,
        entry: Uuid,
        origin: &Origin,
    ) -> Result<IncidentEntry> {
        let found = {
            let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
            tx.incidents().entry(id, entry).await?.filter(|entry| entry.kind == EntryKind::Answer.name())
        };
        let found = found.ok_or(Error::NotFound)?;
        let named = found.detail["answer"].as_str().and_then(|name| name.parse::<Answer>().ok());
        let answer = named.ok_or(Error::NotFound)?;
        let (mut tx, own) = self.begin_answer(actor, id, answer).await?;
        if !tx.incidents().undo(entry).await? {
            return Err(Error::NothingToUndo("this was undone before"));
        }
        let held = tx.incident_holds().release(entry).await?;
        let undoing = Undoing { actor, own, detail: &found.detail, held, origin };
        let (effects, stays) = match answer {
            Answer::DisableAccounts => self.enable(&mut tx, &undoing).await?,
            Answer::BlockAddress => unblock(&mut tx, &undoing).await?,
            Answer::Maintenance => self.reopen(&mut tx, &undoing).await?,
            Answer::EndSessions => {
                return Err(Error::NothingToUndo(
                    "sessions that ended stay ended; their owners log in again",
                ));
            }
            Answer::CollectEvidence => {
                return Err(Error::NothingToUndo("evidence changes nothing; it goes with the incident"));
            }
        };
        let detail = json!({"answer": answer.name(), "entry": entry, "stays": stays});
        let added = self.record_finding(&mut tx, id, EntryKind::Undone, Some(actor), &detail).await?;
        let event = Entry::success(Event::IncidentAnswerUndone, origin).on("incident", id).with(detail);
        self.record(&mut tx, event.by(actor.account)).await?;
        self.commit_effects(tx, effects).await?;
        Ok(added)
    }

    /// Switches on again those that the answer held, and that nothing else keeps off.
    async fn enable(&self, tx: &mut Tx, undoing: &Undoing<'_>) -> Result<Undone> {
        let accounts: Vec<Uuid> =
            serde_json::from_value(undoing.detail["accounts"].clone()).unwrap_or_default();
        let (mut effects, mut stays) = Undone::default();
        for id in accounts {
            let account = HeldSubject::Account(id);
            let Some(standing) = tx.accounts().standing(id).await? else { continue };
            if !Permissions::from_names(&standing.permissions).is_subset(undoing.own) {
                return Err(Error::Refused("one of the accounts may do more than you may"));
            }
            if !undoing.held.contains(&account.name()) {
                stays.push(account.unchanged_because("somebody switched it on or off since"));
                continue;
            }
            let others = account.holders(tx).await?;
            if others.is_empty() {
                let by = Actor { by: Some(undoing.actor), own: Some(undoing.own) };
                self.switch(tx, by, id, true, undoing.origin).await?;
                effects.changed.push(ChangeSubject::Account(id));
            } else {
                stays.push(account.still_held(&others));
            }
        }
        Ok((effects, stays))
    }

    /// Goes back to the mode before, unless somebody set another one since, or other answers hold the service closed.
    async fn reopen(&self, tx: &mut Tx, undoing: &Undoing<'_>) -> Result<Undone> {
        if undoing.detail["before"].is_null() {
            return Err(Error::NothingToUndo("the service was closed before; this changed nothing"));
        }
        let before = previous_mode(undoing.detail)?;
        let now = operation::lock_mode(tx).await?;
        if !now.is_next_of(&before) {
            return Err(Error::NothingToUndo(
                "the mode was changed since; set it with PUT /api/v1/admin/maintenance",
            ));
        }
        let others = closed_by(tx, &now).await?;
        if !others.is_empty() {
            return Ok((Effects::default(), vec![HeldSubject::Operation.still_held(&others)]));
        }
        let change = OperationChange {
            mode: before.mode,
            message: before.message,
            retry_after: Some(before.retry_after),
        };
        let operation = Some(self.operate(tx, Some(undoing.actor), change, undoing.origin).await?);
        Ok((Effects { operation, ..Effects::default() }, Vec::new()))
    }
}

/// Removes the block that the answer made. A network that other answers blocked too stays blocked until their end.
async fn unblock(tx: &mut Tx, undoing: &Undoing<'_>) -> Result<Undone> {
    let network =
        undoing.detail["network"].as_str().ok_or(Error::NothingToUndo("the address was never blocked"))?;
    let rules = tx.ip_rules().live().await?;
    let rule = rules.into_iter().find(|rule| rule.automatic && rule.network == network);
    let Some(rule) = rule else { return Ok(Undone::default()) };
    let (network, now) = (HeldSubject::Network(network), tx.now());
    let mut others = network.holders(tx).await?;
    others.retain(|other| blocked_until(other).is_some_and(|until| until > now));
    let effects = Effects { rule: Some(rule.id), ..Effects::default() };
    let Some(until) = others.iter().filter_map(blocked_until).max() else {
        tx.ip_rules().remove(rule.id).await?;
        return Ok((effects, Vec::new()));
    };
    tx.ip_rules().end_at(rule.id, until).await?;
    let mut detail = network.still_held(&others);
    detail["until"] = json!(until);
    Ok((effects, vec![detail]))
}

fn blocked_until(answer: &IncidentEntry) -> Option<DateTime<Utc>> {
    serde_json::from_value(answer.detail["until"].clone()).ok()
}

/// The answers that hold the service in the mode in which it is. Those from before somebody set one hold nothing.
pub(super) async fn closed_by(tx: &mut Tx, now: &Operation) -> Result<Vec<IncidentEntry>> {
    let mut holders = HeldSubject::Operation.holders(tx).await?;
    holders.retain(|holder| previous_mode(&holder.detail).is_ok_and(|before| now.is_next_of(&before)));
    Ok(holders)
}

/// The mode that an answer closed.
fn previous_mode(detail: &Value) -> Result<Operation> {
    serde_json::from_value(detail["before"].clone())
        .map_err(|error| Error::Internal(format!("an answer's memory: {error}")))
}
