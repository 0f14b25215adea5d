//! What answers to incidents do to accounts, addresses and the operating mode.

use serde_json::{Value, json};
use storage::{AccountStanding, ServiceAccountUpdate, Tx, UserUpdate};
use uuid::Uuid;

use super::answers::{Actor, Answer, Effects};
use super::holds::is_held_for;
use super::undoing::closed_by;
use super::{Affected, HeldSubject};
use crate::accounts::directory::keep_one_administrator;
use crate::audit::Entry;
use crate::callers::access::Permissions;
use crate::callers::freshness::ChangeSubject;
use crate::events::Event;
use crate::operation::{self, OperatingMode, OperationChange};
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Why sessions end and addresses are refused.
const REASON: &str = "incident";

impl Auth {
    /// Performs an answer and returns what it changed, so that it can be undone.
    pub(super) async fn act(
        &self,
        tx: &mut Tx,
        incident: Uuid,
        actor: Actor<'_>,
        answer: Answer,
        affected: &Affected,
        origin: &Origin,
    ) -> Result<(Value, Effects)> {
        let mut effects = Effects::default();
        let mut detail = match answer {
            Answer::DisableAccounts => {
                self.disable(tx, incident, actor, affected, origin, &mut effects).await?
            }
            Answer::EndSessions => self.log_all_out(tx, actor, affected, origin, &mut effects).await?,
            Answer::BlockAddress => self.block_affected(tx, affected, &mut effects).await?,
            Answer::Maintenance => self.close(tx, incident, actor, origin, &mut effects).await?,
            Answer::CollectEvidence => json!({"bundle": self.evidence(tx, affected).await?}),
        };
        detail["answer"] = json!(answer.name());
        Ok((detail, effects))
    }

    /// Switches the accounts off. One that other incidents' answers switched off is held off by this one, too.
    async fn disable(
        &self,
        tx: &mut Tx,
        incident: Uuid,
        actor: Actor<'_>,
        affected: &Affected,
        origin: &Origin,
        effects: &mut Effects,
    ) -> Result<Value> {
        let (mut done, mut held, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for id in &affected.accounts {
            let refusal = match reachable(tx, actor, *id).await? {
                Err(reason) => Some(reason),
                Ok(standing) if standing.active => {
                    let stays = keep_one_administrator(tx, *id).await;
                    stays.is_err().then_some("it is the last administrator")
                }
                Ok(_) => {
                    let holders = HeldSubject::Account(*id).holders(tx).await?;
                    let is_ours = holders.is_empty() || is_held_for(&holders, incident);
                    // Off for want of a role: no token may switch on again what an incident wants off.
                    tx.identities().forget_lost_roles(*id).await?;
                    held.extend((!is_ours).then_some(id));
                    is_ours.then_some("it was switched off already")
                }
            };
            if let Some(reason) = refusal {
                skipped.push(json!({"account": id, "reason": reason}));
                continue;
            }
            effects.holds.push(HeldSubject::Account(*id).name());
            done.push(id);
            if !held.contains(&id) {
                self.switch(tx, actor, *id, false, origin).await?;
                self.log_out(tx, actor, *id, origin, effects).await?;
            }
        }
        Ok(json!({"accounts": done, "off_before": held, "skipped": skipped}))
    }

    async fn log_all_out(
        &self,
        tx: &mut Tx,
        actor: Actor<'_>,
        affected: &Affected,
        origin: &Origin,
        effects: &mut Effects,
    ) -> Result<Value> {
        let (mut done, mut skipped) = (Vec::new(), Vec::new());
        for id in &affected.accounts {
            if let Err(reason) = reachable(tx, actor, *id).await? {
                skipped.push(json!({"account": id, "reason": reason}));
                continue;
            }
            self.log_out(tx, actor, *id, origin, effects).await?;
            done.push(id);
        }
        Ok(json!({"accounts": done, "skipped": skipped}))
    }

    async fn log_out(
        &self,
        tx: &mut Tx,
        actor: Actor<'_>,
        account: Uuid,
        origin: &Origin,
        effects: &mut Effects,
    ) -> Result<()> {
        let ended = tx.sessions().revoke_all(account, None, REASON).await?;
        tx.identities().end_tokens(account).await?;
        let entry = Entry::success(Event::SessionEnded, origin).on("account", account);
        let entry = entry.with(json!({"reason": REASON, "sessions": ended.len()}));
        effects.changed.push(ChangeSubject::Account(account));
        self.record(tx, entry.by_optional(actor.by)).await
    }

    /// Switches an account on or off, a person's or a program's.
    pub(super) async fn switch(
        &self,
        tx: &mut Tx,
        actor: Actor<'_>,
        account: Uuid,
        active: bool,
        origin: &Origin,
    ) -> Result<()> {
        let person = UserUpdate { active: Some(active), ..UserUpdate::default() };
        if tx.users().update(account, &person).await?.is_none() {
            let program = ServiceAccountUpdate { name: None, role: None, active: Some(active) };
            tx.service_accounts().update(account, &program).await?.ok_or(Error::NotFound)?;
        }
        let entry = Entry::success(Event::AccountChanged, origin).on("account", account);
        let entry = entry.with(json!({"active": active, "reason": REASON}));
        self.record(tx, entry.by_optional(actor.by)).await
    }

    /// Closes the service to everyone but those who run it. Where somebody closed it already, by an emergency stop above
    /// all, it stays as they said; where other incidents' answers did, this one holds it closed, too.
    async fn close(
        &self,
        tx: &mut Tx,
        incident: Uuid,
        actor: Actor<'_>,
        origin: &Origin,
        effects: &mut Effects,
    ) -> Result<Value> {
        let now = operation::lock_mode(tx).await?;
        if !now.is_closed() {
            let change =
                OperationChange { mode: OperatingMode::Maintenance, message: None, retry_after: None };
            let by = actor.by;
            effects.operation = Some(self.operate(tx, by, change, origin).await?);
            effects.holds.push(HeldSubject::Operation.name());
            return Ok(json!({"before": now}));
        }
        let holders = closed_by(tx, &now).await?;
        let Some(first) = holders.first().filter(|_| !is_held_for(&holders, incident)) else {
            return Ok(json!({"skipped": "the service is closed already"}));
        };
        effects.holds.push(HeldSubject::Operation.name());
        Ok(json!({"before": first.detail["before"], "closed_before": true}))
    }

    /// Refuses the address for a while, where rules and reason allow that.
    async fn block_affected(&self, tx: &mut Tx, affected: &Affected, effects: &mut Effects) -> Result<Value> {
        let address = affected.address.ok_or_else(|| Error::invalid("address", "name an address"))?;
        let until = tx.now() + self.incidents.block_for;
        let Some(rule) = self.block_within(tx, address, until, REASON).await? else {
            return Ok(
                json!({"skipped": "this address stays open: it is ours, a rule lets it in, or there are too many blocks"}),
            );
        };
        effects.rule = Some(rule.id);
        effects.holds.push(HeldSubject::Network(&rule.network).name());
        Ok(json!({"network": rule.network, "until": until}))
    }
}

/// How an account stands that the actor may touch, or why they may not.
async fn reachable(
    tx: &mut Tx,
    actor: Actor<'_>,
    account: Uuid,
) -> Result<std::result::Result<AccountStanding, &'static str>> {
    let Some(standing) = tx.accounts().standing(account).await? else {
        return Ok(Err("there is no such account"));
    };
    let theirs = Permissions::from_names(&standing.permissions);
    let is_beyond = actor.own.is_some_and(|own| !theirs.is_subset(own));
    Ok(if is_beyond { Err(actor.refusal()) } else { Ok(standing) })
}
