//! What became of alerts, for whoever looks after them; one that was given up is sent again at their word.

use storage::{AlertRecord, Page, PageRequest, Scope, Service};
use uuid::Uuid;

use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// How far an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// To be sent, for the first time or again.
    Waiting,
    /// Its receiver took it.
    Sent,
    /// Nobody took it, however often it was tried.
    GivenUp,
}

impl AlertState {
    const ALL: [Self; 3] = [Self::Waiting, Self::Sent, Self::GivenUp];

    /// The word it is shown as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::GivenUp => "given_up",
        }
    }

    /// The state of a word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Auth {
    /// Alerts, newest first, one for each channel.
    pub async fn alerts(&self, page: &PageRequest, state: Option<AlertState>) -> Result<Page<AlertRecord>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.alerts().list(page, state.map(AlertState::name)).await?)
    }

    /// Has an alert that was given up sent again. [`Error::AlertNotGivenUp`]: it waits or was sent.
    pub async fn retry_alert(&self, actor: &Principal, id: Uuid, origin: &Origin) -> Result<()> {
        let (mut tx, _) = self.begin_administration(actor, Permission::IncidentsManage).await?;
        if !tx.alerts().revive(id).await?.ok_or(Error::NotFound)? {
            return Err(Error::AlertNotGivenUp);
        }
        let entry = Entry::success(Event::AlertRetried, origin).by(actor.account).on("alert", id);
        self.record(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}
