//! Everything that is kept about a person, for that person.

use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;
use storage::{ApiKey, AuditEvent, Notice, Scope, Service, Session, StoredFile, UsageRow};
use uuid::Uuid;

use crate::accounts::people::Person;
use crate::audit::{Entry, subject};
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::external::ExternalIdentity;
use crate::limits::Window;
use crate::second_factors::SecondFactorState;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Exports of one account in an hour: each reads everything.
const EXPORTS_PER_HOUR: u32 = 5;
/// Rows of one kind in an export, the newest.
const MOST_ROWS: i64 = 10_000;

/// Everything that is kept about a person. What proves who they are stays out.
pub struct Export {
    /// The account.
    pub person: Person,
    /// Sessions that are still kept, ended or not.
    pub sessions: Vec<Session>,
    /// Who they are at other issuers.
    pub identities: Vec<ExternalIdentity>,
    /// Keys, revoked or not.
    pub api_keys: Vec<ApiKey>,
    /// Models that were granted to the account or its role.
    pub granted_models: Vec<String>,
    /// How they stand with second factors.
    pub second_factor: SecondFactorState,
    /// Usage by day, model and credential.
    pub usage: Vec<UsageRow>,
    /// Files, as they are described; each is had by its id.
    pub files: Vec<StoredFile>,
    /// Their notices.
    pub notices: Vec<Notice>,
    /// What they did, and what was done to their account; of others, neither who they are nor where they were.
    pub events: Vec<AuditEvent>,
}

impl Auth {
    /// Gathers everything about the caller. Of each kind the newest ten thousand at most.
    pub async fn export(&self, principal: &Principal, origin: &Origin) -> Result<Export> {
        principal.require_whole_person()?;
        let account = principal.account;
        self.reserve(&[Window {
            name: "export",
            key: format!("window:export:{}", account.simple()),
            limit: EXPORTS_PER_HOUR,
            period: Duration::from_secs(3600),
        }])
        .await?;
        let mut tx = self.begin_own(principal).await?;
        let entry = Entry::success(Event::DataAccess, origin).by(account).on("account", account);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        let second_factor = self.second_factor_state(principal).await?;
        let mut tx = self.store.read(Scope::Account(account)).await?;
        let person = self.open_person(tx.users().find(account).await?.ok_or(Error::NotFound)?)?;
        let sessions = tx.personal_data(account, MOST_ROWS).sessions().await?;
        let api_keys = tx.personal_data(account, MOST_ROWS).api_keys().await?;
        let files = tx.personal_data(account, MOST_ROWS).files().await?;
        let identities = tx.identities().list(account, MOST_ROWS).await?;
        let granted_models = tx.models().granted_to(account, &person.role).await?;
        let (first, last) = (DateTime::UNIX_EPOCH.date_naive(), self.now().date_naive());
        let (usage, _) = tx.usage().summary(account, first, last).await?;
        let notices = tx.personal_data(account, MOST_ROWS).notices().await?;
        drop(tx);
        let events = self.events_concerning(account).await?;
        let identities = self.open_identities(identities)?;
        Ok(Export {
            person,
            sessions,
            identities,
            api_keys,
            granted_models,
            second_factor,
            usage,
            files,
            notices,
            events,
        })
    }

    /// What others did to the account is not the account's to read, except here, and without who they are and where
    /// they were.
    async fn events_concerning(&self, account: Uuid) -> Result<Vec<AuditEvent>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        let mut events = tx.personal_data(account, MOST_ROWS).events(&subject("account", account)).await?;
        for event in events.iter_mut().filter(|event| event.actor.is_some_and(|actor| actor != account)) {
            (event.actor, event.address, event.request_id) = (None, None, None);
        }
        Ok(events)
    }
}

impl Export {
    /// The event's details.
    pub fn detail(event: &AuditEvent) -> Value {
        let canonical = serde_json::from_slice(&event.canonical).unwrap_or(Value::Null);
        canonical.get("detail").cloned().unwrap_or_default()
    }
}
