//! Answers to an incident: run automatically, as the settings say for each kind, or by a person with the permissions.
//! Each answer is one transaction with its timeline entry and its events, remembers what it changed, and can be undone.

use std::net::IpAddr;

use serde_json::{Value, json};
use storage::{Incident, IncidentEntry, IncidentUpdate, Scope, Service, Tx, named_enum};
use uuid::Uuid;

use super::{Affected, EntryKind, IncidentKind, check_accounts};
use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::operation::Operation;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Where a planned answer keeps what whoever opened the incident may do; absent: nobody in particular opened it.
const BOUND: &str = "within";
/// Answers that are run in one go.
const MOST_AT_ONCE: usize = 20;

named_enum! {
    /// An answer to an incident.
    pub enum Answer {
        /// Switch the accounts off.
        DisableAccounts = "disable_accounts",
        /// End the accounts' sessions.
        EndSessions = "end_sessions",
        /// Refuse the address for a while.
        BlockAddress = "block_address",
        /// Close the service to everyone but those who run it.
        Maintenance = "maintenance",
        /// Keep what is known at the moment.
        CollectEvidence = "collect_evidence",
    }
}

impl Answer {
    /// The permission needed besides `incidents:manage` to run or undo it: incidents must not raise anyone's rights.
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
    /// To which accounts; none: those that the incident is about.
    pub accounts: Vec<Uuid>,
    /// To which address; none: that of the incident.
    pub address: Option<IpAddr>,
}

/// On whose behalf an answer is run.
#[derive(Clone, Copy, Default)]
pub(super) struct Actor<'a> {
    /// Who runs it; none: the program.
    pub by: Option<&'a Principal>,
    /// What they may do, or whoever opened the incident when it was planned; none: everything.
    pub own: Option<Permissions>,
}

impl Actor<'_> {
    /// Why an account is not theirs to touch that may do more than they.
    pub const fn refusal(self) -> &'static str {
        if self.by.is_some() {
            "it may do more than you may"
        } else {
            "it may do more than whoever opened the incident"
        }
    }
}

/// What to announce once an answer is committed.
#[derive(Default)]
pub(super) struct Effects {
    pub changed: Vec<ChangeSubject>,
    pub operation: Option<Operation>,
    /// A rule about addresses that came or went.
    pub rule: Option<Uuid>,
    /// What the answer holds from now on.
    pub holds: Vec<String>,
}

impl Auth {
    /// Queues the automatic answers to an incident of this kind, to be run within a second. An answer that the person
    /// who opened the incident may not give is left out, which the timeline notes; the others keep what that person may
    /// do, so that accounts that may do more are skipped when they run.
    pub(super) async fn plan_answers(
        &self,
        tx: &mut Tx,
        incident: &Incident,
        kind: IncidentKind,
        affected: &Affected,
        opener: Actor<'_>,
    ) -> Result<()> {
        let opened = json!({"accounts": affected.accounts, "address": affected.address});
        let by = opener.by.map(|actor| actor.account);
        tx.incidents().note(Uuid::now_v7(), incident.id, EntryKind::Opened.name(), by, &opened).await?;
        for answer in self.answers_to(incident, kind, affected) {
            let may = opener.own.is_none_or(|own| own.contains(answer.permission()));
            let mut detail = opened.clone();
            detail["answer"] = json!(answer.name());
            if !may {
                detail["reason"] = json!(format!("whoever opened it lacks {}", answer.permission()));
            } else if let Some(own) = opener.own {
                detail[BOUND] = json!(own.iter().map(Permission::name).collect::<Vec<_>>());
            }
            let entry = if may { EntryKind::Planned } else { EntryKind::Failed };
            tx.incidents().note(Uuid::now_v7(), incident.id, entry.name(), None, &detail).await?;
        }
        Ok(())
    }

    /// Notes once more that the address is to be blocked, where that answers this kind.
    pub(super) async fn plan_block(
        &self,
        tx: &mut Tx,
        incident: &Incident,
        kind: IncidentKind,
        affected: &Affected,
    ) -> Result<()> {
        if self.answers_to(incident, kind, affected).any(|answer| answer == Answer::BlockAddress) {
            let detail = json!({"accounts": affected.accounts, "address": affected.address,
                "answer": Answer::BlockAddress.name()});
            tx.incidents()
                .note(Uuid::now_v7(), incident.id, EntryKind::Planned.name(), None, &detail)
                .await?;
        }
        Ok(())
    }

    /// The answers to a kind that can be given; a block by itself only where detectors may block.
    fn answers_to(
        &self,
        incident: &Incident,
        kind: IncidentKind,
        affected: &Affected,
    ) -> impl Iterator<Item = Answer> {
        let may_block =
            affected.address.is_some() && (incident.subject.is_none() || self.incidents.auto_block);
        let answers =
            self.incidents.answers.iter().filter(move |(of, _)| *of == kind).map(|(_, answer)| *answer);
        answers.filter(move |answer| *answer != Answer::BlockAddress || may_block)
    }

    /// Runs the answers that wait; to be called every second. Of several replicas one runs each.
    pub async fn run_planned_answers(&self) -> Result<()> {
        for _ in 0..MOST_AT_ONCE {
            let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
            if !tx.incidents().has_kind(EntryKind::Planned.name()).await? {
                return Ok(());
            }
            drop(tx);
            let mut tried = None;
            if let Err(error) = self.run_planned(&mut tried).await {
                // A store that is away comes back; anything else would come again for ever.
                match tried.filter(|_| !matches!(error, Error::Unavailable(_))) {
                    Some(tried) => self.give_up_planned(tried, &error).await?,
                    None => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// `tried` becomes the one that waited first.
    async fn run_planned(&self, tried: &mut Option<Uuid>) -> Result<()> {
        let mut tx = self.begin_exclusive().await?;
        let Some(planned) = tx.incidents().next_of_kind(EntryKind::Planned.name()).await? else {
            return Ok(());
        };
        *tried = Some(planned.id);
        let named = planned.detail["answer"].as_str().and_then(|name| name.parse::<Answer>().ok());
        let answer = named.ok_or_else(|| Error::Internal("an answer of another release".into()))?;
        let affected = Affected::from_detail(&planned.detail);
        let actor = Actor { by: None, own: bound_of(&planned.detail)? };
        let origin = Origin::default();
        let (detail, effects) =
            self.act(&mut tx, planned.incident_id, actor, answer, &affected, &origin).await?;
        tx.incidents().settle(planned.id, EntryKind::Answer.name(), &detail).await?;
        self.finish_answer(tx, &planned, None, answer, effects, &origin).await
    }

    async fn give_up_planned(&self, tried: Uuid, error: &Error) -> Result<()> {
        tracing::error!(%error, "an answer to an incident failed");
        let mut tx = self.begin_exclusive().await?;
        let next = tx.incidents().next_of_kind(EntryKind::Planned.name()).await?;
        // Another replica may have given it up already, and the next one has not been tried.
        if let Some(mut planned) = next.filter(|next| next.id == tried) {
            planned.detail["reason"] = json!("it failed; the log tells why");
            tx.incidents().settle(planned.id, EntryKind::Failed.name(), &planned.detail).await?;
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
        let opened = tx.incidents().first_of_kind(id, EntryKind::Opened.name()).await?;
        let about = opened.map(|opened| Affected::from_detail(&opened.detail)).unwrap_or_default();
        let accounts = if accounts.is_empty() { about.accounts } else { accounts };
        let affected = Affected { accounts, address: address.or(about.address) };
        if affected.accounts.is_empty() && matches!(answer, Answer::DisableAccounts | Answer::EndSessions) {
            return Err(Error::invalid("accounts", "name the accounts"));
        }
        let by = Actor { by: Some(actor), own: Some(own) };
        let (detail, effects) = self.act(&mut tx, id, by, answer, &affected, origin).await?;
        let entry = self.record_finding(&mut tx, id, EntryKind::Answer, Some(actor), &detail).await?;
        self.finish_answer(tx, &entry, Some(actor), answer, effects, origin).await?;
        Ok(entry)
    }

    /// The collected evidence, for callers who may also read the trail.
    pub async fn incident_evidence(
        &self,
        actor: &Principal,
        id: Uuid,
        entry: Uuid,
        origin: &Origin,
    ) -> Result<Value> {
        let mut tx = self.begin_reading(actor, Answer::CollectEvidence.permission()).await?;
        let found = tx.incidents().entry(id, entry).await?.ok_or(Error::NotFound)?;
        let bundle = found.detail.get("bundle").cloned().ok_or(Error::NotFound)?;
        let read = Entry::success(Event::AuditRead, origin).by(actor.account).on("incident", id);
        self.record(&mut tx, read.with(json!({"how": "evidence", "entry": entry}))).await?;
        tx.commit().await?;
        Ok(bundle)
    }

    pub(super) async fn begin_answer(
        &self,
        actor: &Principal,
        id: Uuid,
        answer: Answer,
    ) -> Result<(Tx, Permissions)> {
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
        entry: &IncidentEntry,
        actor: Option<&Principal>,
        answer: Answer,
        effects: Effects,
        origin: &Origin,
    ) -> Result<()> {
        for subject in &effects.holds {
            tx.incident_holds().hold(entry.id, subject).await?;
        }
        let detail = json!({"answer": answer.name()});
        let event = Entry::success(Event::IncidentAnswered, origin).on("incident", entry.incident_id);
        self.record(&mut tx, event.with(detail).by_optional(actor)).await?;
        self.commit_effects(tx, effects).await
    }

    pub(super) async fn commit_effects(&self, tx: Tx, effects: Effects) -> Result<()> {
        match (effects.operation, effects.rule) {
            (Some(operation), _) => self.commit_operation(tx, operation).await.map(drop),
            (None, Some(rule)) => self.announce_ip_rules(tx, rule).await,
            (None, None) => self.commit_change(tx, &effects.changed).await,
        }
    }
}

/// What a planned answer may touch at most. What cannot be read is an error: it must not pass for no bound.
fn bound_of(planned: &Value) -> Result<Option<Permissions>> {
    let Some(kept) = planned.get(BOUND) else { return Ok(None) };
    let names: Vec<String> = serde_json::from_value(kept.clone())
        .map_err(|error| Error::Internal(format!("a planned answer's bound: {error}")))?;
    Ok(Some(Permissions::from_names(names)))
}
