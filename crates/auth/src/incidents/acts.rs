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
        let mut act = Act { auth: self, tx, incident, actor, affected, origin, effects: Effects::default() };
        let mut detail = match answer {
            Answer::DisableAccounts => act.disable().await?,
            Answer::EndSessions => act.log_all_out().await?,
            Answer::BlockAddress => act.block().await?,
            Answer::Maintenance => act.close().await?,
            Answer::CollectEvidence => json!({"bundle": self.evidence(act.tx, affected).await?}),
        };
        detail["answer"] = json!(answer.name());
        Ok((detail, act.effects))
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
}

/// An answer that is being given.
struct Act<'a> {
    auth: &'a Auth,
    tx: &'a mut Tx,
    incident: Uuid,
    actor: Actor<'a>,
    affected: &'a Affected,
    origin: &'a Origin,
    effects: Effects,
}

impl Act<'_> {
    /// Switches the accounts off. One that other incidents' answers switched off is held off by this one, too.
    async fn disable(&mut self) -> Result<Value> {
        let (mut done, mut held, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for id in &self.affected.accounts {
            match self.hold_off(*id).await? {
                Err(reason) => {
                    skipped.push(json!({"account": id, "reason": reason}));
                    continue;
                }
                Ok(Off::Already) => held.push(id),
                Ok(Off::Now) => {
                    self.auth.switch(self.tx, self.actor, *id, false, self.origin).await?;
                    self.log_out(*id).await?;
                }
            }
            self.effects.holds.push(HeldSubject::Account(*id).name());
            done.push(id);
        }
        Ok(json!({"accounts": done, "off_before": held, "skipped": skipped}))
    }

    /// How an account comes to be off, or why it stays as it is.
    async fn hold_off(&mut self, id: Uuid) -> Result<std::result::Result<Off, &'static str>> {
        match reachable(self.tx, self.actor, id).await? {
            Err(reason) => Ok(Err(reason)),
            Ok(standing) if standing.active => {
                let stays = keep_one_administrator(self.tx, id).await;
                Ok(stays.map(|()| Off::Now).map_err(|_| "it is the last administrator"))
            }
            Ok(_) => {
                let holders = HeldSubject::Account(id).holders(self.tx).await?;
                let is_ours = holders.is_empty() || is_held_for(&holders, self.incident);
                // Off for want of a role: no token may switch on again what an incident wants off.
                self.tx.identities().forget_lost_roles(id).await?;
                Ok(if is_ours { Err("it was switched off already") } else { Ok(Off::Already) })
            }
        }
    }

    async fn log_all_out(&mut self) -> Result<Value> {
        let (mut done, mut skipped) = (Vec::new(), Vec::new());
        for id in &self.affected.accounts {
            if let Err(reason) = reachable(self.tx, self.actor, *id).await? {
                skipped.push(json!({"account": id, "reason": reason}));
                continue;
            }
            self.log_out(*id).await?;
            done.push(id);
        }
        Ok(json!({"accounts": done, "skipped": skipped}))
    }

    async fn log_out(&mut self, account: Uuid) -> Result<()> {
        let ended = self.tx.sessions().revoke_all(account, None, REASON).await?;
        self.tx.identities().end_tokens(account).await?;
        let entry = Entry::success(Event::SessionEnded, self.origin).on("account", account);
        let entry = entry.with(json!({"reason": REASON, "sessions": ended.len()}));
        self.effects.changed.push(ChangeSubject::Account(account));
        self.auth.record(self.tx, entry.by_optional(self.actor.by)).await
    }

    /// Closes the service to everyone but those who run it. Where somebody closed it already, by an emergency stop above
    /// all, it stays as they said; where other incidents' answers did, this one holds it closed, too.
    async fn close(&mut self) -> Result<Value> {
        let now = operation::lock_mode(self.tx).await?;
        if !now.is_closed() {
            let change =
                OperationChange { mode: OperatingMode::Maintenance, message: None, retry_after: None };
            let closed = self.auth.operate(self.tx, self.actor.by, change, self.origin).await?;
            self.effects.operation = Some(closed);
            self.effects.holds.push(HeldSubject::Operation.name());
            return Ok(json!({"before": now}));
        }
        let holders = closed_by(self.tx, &now).await?;
        let Some(first) = holders.first().filter(|_| !is_held_for(&holders, self.incident)) else {
            return Ok(json!({"skipped": "the service is closed already"}));
        };
        self.effects.holds.push(HeldSubject::Operation.name());
        Ok(json!({"before": first.detail["before"], "closed_before": true}))
    }

    /// Refuses the address for a while, where rules and reason allow that.
    async fn block(&mut self) -> Result<Value> {
        let address = self.affected.address.ok_or_else(|| Error::invalid("address", "name an address"))?;
        let until = self.tx.now() + self.auth.incidents.block_for;
        let Some(rule) = self.auth.block_within(self.tx, address, until, REASON).await? else {
            return Ok(
                json!({"skipped": "this address stays open: it is ours, a rule lets it in, or there are too many blocks"}),
            );
        };
        self.effects.rule = Some(rule.id);
        self.effects.holds.push(HeldSubject::Network(&rule.network).name());
        Ok(json!({"network": rule.network, "until": until}))
    }
}

/// How an account comes to be off.
enum Off {
    /// By this answer.
    Now,
    /// Other incidents' answers switched it off.
    Already,
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
