//! What answers do to accounts, addresses and the operating mode, and how it is taken back.

use serde_json::{Value, json};
use storage::{ServiceAccountUpdate, Tx, UserUpdate};
use uuid::Uuid;

use super::Affected;
use super::answers::{Actor, Answer, Effects};
use crate::accounts::directory::keep_an_administrator;
use crate::audit::Entry;
use crate::callers::access::Permissions;
use crate::callers::freshness::Watched;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::operation::{self, OperatingMode, Operation, OperationChange};
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Why sessions end and addresses are refused.
const REASON: &str = "incident";

impl Auth {
    /// Does it, and tells what was changed, so that it can be undone.
    pub(super) async fn act(
        &self,
        tx: &mut Tx,
        actor: Actor<'_>,
        answer: Answer,
        affected: &Affected,
        origin: &Origin,
    ) -> Result<(Value, Effects)> {
        let mut effects = Effects::default();
        let mut detail = match answer {
            Answer::DisableAccounts | Answer::EndSessions => {
                self.act_on_accounts(tx, actor, answer, affected, origin, &mut effects).await?
            }
            Answer::BlockAddress => self.block_affected(tx, affected, &mut effects).await?,
            Answer::Maintenance => self.close(tx, actor, origin, &mut effects).await?,
            Answer::CollectEvidence => json!({"bundle": self.evidence(tx, affected).await?}),
        };
        detail["answer"] = json!(answer.name());
        Ok((detail, effects))
    }

    async fn act_on_accounts(
        &self,
        tx: &mut Tx,
        actor: Actor<'_>,
        answer: Answer,
        affected: &Affected,
        origin: &Origin,
        effects: &mut Effects,
    ) -> Result<Value> {
        let (mut done, mut skipped) = (Vec::new(), Vec::new());
        for account in &affected.accounts {
            let standing = tx.accounts().standing(*account).await?;
            let beyond = |permissions: &[String]| {
                let theirs = Permissions::from_names(permissions);
                actor.is_some_and(|(_, own)| !theirs.is_subset(own))
            };
            let refusal = match standing {
                None => Some("there is no such account"),
                Some(standing) if beyond(&standing.permissions) => Some("it may do more than you may"),
                Some(standing) if answer == Answer::DisableAccounts && !standing.active => {
                    Some("it was switched off already")
                }
                Some(_) if answer == Answer::DisableAccounts => {
                    let stays = keep_an_administrator(tx, *account).await;
                    stays.is_err().then_some("it is the last administrator")
                }
                Some(_) => None,
            };
            if let Some(reason) = refusal {
                skipped.push(json!({"account": account, "reason": reason}));
                continue;
            }
            if answer == Answer::DisableAccounts {
                self.switch(tx, actor, *account, false, origin).await?;
            }
            let ended = tx.sessions().revoke_all(*account, None, REASON).await?;
            tx.identities().end_tokens(*account).await?;
            let entry = Entry::success(Event::SessionEnded, origin).on("account", *account);
            let entry = entry.with(json!({"reason": REASON, "sessions": ended.len()}));
            self.record(tx, entry.by_some(actor.map(|(actor, _)| actor))).await?;
            effects.changed.push(Watched::Account(*account));
            done.push(account);
        }
        Ok(json!({"accounts": done, "skipped": skipped}))
    }

    /// Switches an account on or off, a person's or a program's.
    async fn switch(
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
        self.record(tx, entry.by_some(actor.map(|(actor, _)| actor))).await
    }

    /// Switches on again those that the answer switched off, and that are still there and off.
    pub(super) async fn enable(
        &self,
        tx: &mut Tx,
        actor: Actor<'_>,
        detail: &Value,
        origin: &Origin,
    ) -> Result<Effects> {
        let accounts: Vec<Uuid> = serde_json::from_value(detail["accounts"].clone()).unwrap_or_default();
        let mut effects = Effects::default();
        for account in accounts {
            let standing = tx.accounts().standing(account).await?.filter(|standing| !standing.active);
            let Some(standing) = standing else { continue };
            let theirs = Permissions::from_names(&standing.permissions);
            if actor.is_some_and(|(_, own)| !theirs.is_subset(own)) {
                return Err(Error::Refused("one of the accounts may do more than you may"));
            }
            self.switch(tx, actor, account, true, origin).await?;
            effects.changed.push(Watched::Account(account));
        }
        Ok(effects)
    }

    /// Closes the service to everyone but those who run it. Where it is closed already, an emergency stop above all, it
    /// stays as it was said.
    async fn close(
        &self,
        tx: &mut Tx,
        actor: Actor<'_>,
        origin: &Origin,
        effects: &mut Effects,
    ) -> Result<Value> {
        let before = operation::hold(tx).await?;
        if before.is_closed() {
            return Ok(json!({"skipped": "the service is closed already"}));
        }
        let change = OperationChange { mode: OperatingMode::Maintenance, message: None, retry_after: None };
        let by = actor.map(|(actor, _)| actor);
        effects.operation = Some(self.operate(tx, by, change, origin).await?);
        Ok(json!({"before": before}))
    }

    /// Goes back to the mode before, unless somebody set another one since.
    pub(super) async fn reopen(
        &self,
        tx: &mut Tx,
        actor: &Principal,
        detail: &Value,
        origin: &Origin,
    ) -> Result<Effects> {
        if detail["before"].is_null() {
            return Err(Error::Refused("the service was closed before; this changed nothing"));
        }
        let before: Operation = serde_json::from_value(detail["before"].clone())
            .map_err(|error| Error::Internal(format!("an answer's memory: {error}")))?;
        if !operation::hold(tx).await?.is_next_of(&before) {
            return Err(Error::Refused(
                "the mode was changed since; set it with PUT /api/v1/admin/maintenance",
            ));
        }
        let change = OperationChange {
            mode: before.mode,
            message: before.message,
            retry_after: Some(before.retry_after),
        };
        let operation = Some(self.operate(tx, Some(actor), change, origin).await?);
        Ok(Effects { operation, ..Effects::default() })
    }

    /// Refuses the address for a while, where rules and reason allow that.
    async fn block_affected(&self, tx: &mut Tx, affected: &Affected, effects: &mut Effects) -> Result<Value> {
        let address = affected.address.ok_or_else(|| Error::invalid("address", "say which address"))?;
        let until = tx.now() + self.incidents.block_for;
        let Some(rule) = self.block_within(tx, address, until, REASON).await? else {
            return Ok(
                json!({"skipped": "this address stays open: it is ours, a rule lets it in, or there are too many blocks"}),
            );
        };
        effects.rule = Some(rule.id);
        Ok(json!({"network": rule.network, "until": until}))
    }

    /// Takes the block away that the answer made. What other answers blocked as well stays blocked for as long as
    /// they said.
    pub(super) async fn unblock(&self, tx: &mut Tx, detail: &Value) -> Result<Effects> {
        let network = detail["network"].as_str().ok_or(Error::Refused("the address was never blocked"))?;
        let rules = tx.ip_rules().live().await?;
        let rule = rules.into_iter().find(|rule| rule.automatic && rule.network == network);
        let Some(rule) = rule else { return Ok(Effects::default()) };
        let others = tx.incidents().blocks_of(network).await?;
        let ends =
            others.into_iter().filter_map(|mut other| serde_json::from_value(other["until"].take()).ok());
        let blocked_until = ends.max().filter(|until| *until > tx.now());
        match blocked_until {
            Some(until) => tx.ip_rules().end_at(rule.id, until).await?,
            None => drop(tx.ip_rules().remove(rule.id).await?),
        }
        Ok(Effects { rule: Some(rule.id), blocked_until, ..Effects::default() })
    }
}
