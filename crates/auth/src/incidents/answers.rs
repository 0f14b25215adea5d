//! What is done about an incident: by itself, as the settings have it for each kind, or by somebody who may. Each answer is
//! one transaction with its entry in the timeline and its events, remembers what it changed, and can be undone.

use std::net::IpAddr;

use serde_json::{Value, json};
use storage::{
    Incident, IncidentEntry, IncidentUpdate, Scope, Service, ServiceAccountUpdate, Tx, UserUpdate,
};
use uuid::Uuid;

use super::{Affected, IncidentKind, check_accounts};
use crate::access::{Permission, Permissions};
use crate::audit::Entry;
use crate::directory::keep_an_administrator;
use crate::events::Event;
use crate::freshness::Watched;
use crate::operation::{OperatingMode, Operation, OperationChange};
use crate::principal::Principal;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Why sessions end with an answer.
const REASON: &str = "incident";
/// Answers that are run in one go.
const MOST_AT_ONCE: usize = 20;

/// Something that is done about an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Switch the accounts off.
    DisableAccounts,
    /// End the accounts' sessions.
    EndSessions,
    /// Refuse the address for a while.
    BlockAddress,
    /// Close the service to everyone but those who run it.
    Maintenance,
    /// Keep what is known at the moment.
    CollectEvidence,
}

impl Answer {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::DisableAccounts,
        Self::EndSessions,
        Self::BlockAddress,
        Self::Maintenance,
        Self::CollectEvidence,
    ];

    /// The word it is stored and shown as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DisableAccounts => "disable_accounts",
            Self::EndSessions => "end_sessions",
            Self::BlockAddress => "block_address",
            Self::Maintenance => "maintenance",
            Self::CollectEvidence => "collect_evidence",
        }
    }

    /// The answer of a word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.name() == name)
    }

    /// What whoever runs or undoes it must have besides `incidents:manage`: incidents are no way up.
    const fn permission(self) -> Permission {
        match self {
            Self::DisableAccounts | Self::EndSessions => Permission::UsersManage,
            Self::BlockAddress | Self::Maintenance => Permission::SystemManage,
            Self::CollectEvidence => Permission::AuditRead,
        }
    }
}

/// An answer that somebody runs.
#[derive(Clone, Debug)]
pub struct AnswerRequest {
    /// What to do.
    pub answer: Answer,
    /// To which accounts.
    pub accounts: Vec<Uuid>,
    /// To which address.
    pub address: Option<IpAddr>,
}

/// Whom an answer is run by, and what they may do; none: the program.
type Actor<'a> = Option<(&'a Principal, Permissions)>;

/// What has to be told once an answer is committed.
#[derive(Default)]
struct Effects {
    changed: Vec<Watched>,
    operation: Option<Operation>,
    /// A rule about addresses that came or went.
    rule: Option<Uuid>,
}

impl Auth {
    /// Notes the answers that an incident of this kind has, to be run within a second. An answer that whoever opened the
    /// incident may not give is left out, and told.
    pub(super) async fn plan_answers(
        &self,
        tx: &mut Tx,
        incident: &Incident,
        kind: IncidentKind,
        affected: &Affected,
        opener: Actor<'_>,
    ) -> Result<()> {
        let opened = json!({"accounts": affected.accounts, "address": affected.address});
        let by = opener.map(|(actor, _)| actor.account);
        tx.incidents().note(Uuid::now_v7(), incident.id, "opened", by, &opened).await?;
        let by_detector = incident.subject.is_some();
        for (_, answer) in self.incidents.answers.iter().filter(|(of, _)| *of == kind) {
            let blocks = *answer == Answer::BlockAddress;
            if blocks && (affected.address.is_none() || (by_detector && !self.incidents.auto_block)) {
                continue;
            }
            let may = opener.is_none_or(|(_, own)| own.contains(answer.permission()));
            let mut detail = opened.clone();
            detail["answer"] = json!(answer.name());
            if !may {
                detail["reason"] = json!(format!("whoever opened it lacks {}", answer.permission()));
            }
            let entry = if may { "planned" } else { "failed" };
            tx.incidents().note(Uuid::now_v7(), incident.id, entry, None, &detail).await?;
        }
        Ok(())
    }

    /// Runs the answers that wait; to be called every second. Of several replicas one runs each.
    pub async fn run_planned_answers(&self) -> Result<()> {
        for _ in 0..MOST_AT_ONCE {
            let mut tx = self.store.read(Scope::Service(Service::Feed)).await?;
            if !tx.incidents().has_kind("planned").await? {
                return Ok(());
            }
            drop(tx);
            if let Err(error) = self.run_planned().await {
                // A store that is away comes back; anything else would come again for ever.
                if matches!(error, Error::Unavailable(_)) {
                    return Err(error);
                }
                self.give_up_planned(&error).await?;
            }
        }
        Ok(())
    }

    async fn run_planned(&self) -> Result<()> {
        let mut tx = self.begin_program().await?;
        let Some(planned) = tx.incidents().next_of_kind("planned").await? else { return Ok(()) };
        let named = planned.detail["answer"].as_str().and_then(Answer::parse);
        let answer = named.ok_or_else(|| Error::Internal("an answer of another release".into()))?;
        let affected = Affected {
            accounts: serde_json::from_value(planned.detail["accounts"].clone()).unwrap_or_default(),
            address: serde_json::from_value(planned.detail["address"].clone()).unwrap_or_default(),
        };
        let origin = Origin::default();
        let (detail, effects) = self.act(&mut tx, None, answer, &affected, &origin).await?;
        tx.incidents().settle(planned.id, "answer", &detail).await?;
        self.finish_answer(tx, planned.incident_id, None, answer, effects, &origin).await
    }

    async fn give_up_planned(&self, error: &Error) -> Result<()> {
        tracing::error!(%error, "an answer to an incident failed");
        let mut tx = self.begin_program().await?;
        if let Some(mut planned) = tx.incidents().next_of_kind("planned").await? {
            planned.detail["reason"] = json!("it failed; the log tells why");
            tx.incidents().settle(planned.id, "failed", &planned.detail).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Runs an answer to an incident that is not closed.
    pub async fn answer_incident(
        &self,
        actor: &Principal,
        id: Uuid,
        request: AnswerRequest,
        origin: &Origin,
    ) -> Result<IncidentEntry> {
        check_accounts(&request.accounts)?;
        let AnswerRequest { answer, accounts, address } = request;
        let (mut tx, own) = self.begin_answer(actor, id, answer).await?;
        let affected = Affected { accounts, address };
        let (detail, effects) = self.act(&mut tx, Some((actor, own)), answer, &affected, origin).await?;
        let entry = self.write_down(&mut tx, id, "answer", Some(actor), &detail).await?;
        self.finish_answer(tx, id, Some(actor), answer, effects, origin).await?;
        Ok(entry)
    }

    /// Undoes what an answer did, as far as it can be undone: sessions that ended stay ended, evidence stays.
    pub async fn undo_answer(&self, actor: &Principal, id: Uuid, entry: Uuid, origin: &Origin) -> Result<()> {
        let found = {
            let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
            tx.incidents().entry(id, entry).await?.filter(|entry| entry.kind == "answer")
        };
        let found = found.ok_or(Error::NotFound)?;
        let answer = found.detail["answer"].as_str().and_then(Answer::parse).ok_or(Error::NotFound)?;
        let (mut tx, own) = self.begin_answer(actor, id, answer).await?;
        if !tx.incidents().undo(entry).await? {
            return Err(Error::Refused("this was undone before"));
        }
        let by = Some((actor, own));
        let effects = match answer {
            Answer::DisableAccounts => self.enable(&mut tx, by, &found.detail, origin).await?,
            Answer::BlockAddress => self.unblock(&mut tx, &found.detail).await?,
            Answer::Maintenance => self.reopen(&mut tx, actor, &found.detail, origin).await?,
            Answer::EndSessions => {
                return Err(Error::Refused("sessions that ended stay ended; their owners log in again"));
            }
            Answer::CollectEvidence => {
                return Err(Error::Refused("evidence changes nothing; it goes with the incident"));
            }
        };
        let undone = json!({"answer": answer.name(), "entry": entry});
        self.write_down(&mut tx, id, "undone", Some(actor), &undone).await?;
        let told = Entry::success(Event::IncidentAnswerUndone, origin).on("incident", id).with(undone);
        self.record(&mut tx, told.by(actor.account)).await?;
        self.commit_effects(tx, effects).await
    }

    /// What was collected, for whoever may also read the trail.
    pub async fn incident_evidence(&self, actor: &Principal, id: Uuid, entry: Uuid) -> Result<Value> {
        actor.require(Answer::CollectEvidence.permission())?;
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        let entry = tx.incidents().entry(id, entry).await?.ok_or(Error::NotFound)?;
        entry.detail.get("bundle").cloned().ok_or(Error::NotFound)
    }

    async fn begin_answer(&self, actor: &Principal, id: Uuid, answer: Answer) -> Result<(Tx, Permissions)> {
        let (mut tx, own) = self.begin_administration(actor, Permission::IncidentsManage).await?;
        if !own.contains(answer.permission()) {
            return Err(Error::Forbidden(answer.permission()));
        }
        tx.incidents().find(id).await?.ok_or(Error::NotFound)?;
        tx.incidents().update(id, &IncidentUpdate::default()).await?.ok_or(Error::IncidentClosed)?;
        Ok((tx, own))
    }

    async fn finish_answer(
        &self,
        mut tx: Tx,
        incident: Uuid,
        actor: Option<&Principal>,
        answer: Answer,
        effects: Effects,
        origin: &Origin,
    ) -> Result<()> {
        let detail = json!({"answer": answer.name()});
        let entry = Entry::success(Event::IncidentAnswered, origin).on("incident", incident).with(detail);
        self.record(&mut tx, entry.by_some(actor)).await?;
        self.commit_effects(tx, effects).await
    }

    async fn commit_effects(&self, tx: Tx, effects: Effects) -> Result<()> {
        match (effects.operation, effects.rule) {
            (Some(operation), _) => self.commit_operation(tx, operation).await.map(drop),
            (None, Some(rule)) => self.tell_of_ip_rules(tx, rule).await,
            (None, None) => self.commit_change(tx, &effects.changed).await,
        }
    }

    /// Does it, and tells what was changed, so that it can be undone.
    async fn act(
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
            Answer::Maintenance => {
                let before = self.operation();
                let change =
                    OperationChange { mode: OperatingMode::Maintenance, message: None, retry_after: None };
                let by = actor.map(|(actor, _)| actor);
                effects.operation = Some(self.operate(tx, by, change, origin).await?);
                json!({"before": before})
            }
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
    async fn enable(
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

    /// Goes back to the mode before, unless somebody set another one since.
    async fn reopen(
        &self,
        tx: &mut Tx,
        actor: &Principal,
        detail: &Value,
        origin: &Origin,
    ) -> Result<Effects> {
        if self.operation().mode != OperatingMode::Maintenance {
            return Err(Error::Refused(
                "the mode was changed since; set it with PUT /api/v1/admin/maintenance",
            ));
        }
        let before: Operation = serde_json::from_value(detail["before"].clone())
            .map_err(|error| Error::Internal(format!("an answer's memory: {error}")))?;
        let change = OperationChange {
            mode: before.mode,
            message: before.message,
            retry_after: Some(before.retry_after),
        };
        let operation = Some(self.operate(tx, Some(actor), change, origin).await?);
        Ok(Effects { operation, ..Effects::default() })
    }
}

impl Auth {
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

    /// Takes the block away that the answer made.
    async fn unblock(&self, tx: &mut Tx, detail: &Value) -> Result<Effects> {
        let network = detail["network"].as_str().ok_or(Error::Refused("the address was never blocked"))?;
        let rules = tx.ip_rules().live().await?;
        let rule = rules.into_iter().find(|rule| rule.automatic && rule.network == network);
        if let Some(rule) = &rule {
            tx.ip_rules().remove(rule.id).await?;
        }
        Ok(Effects { rule: rule.map(|rule| rule.id), ..Effects::default() })
    }
}
