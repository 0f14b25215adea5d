//! The delivery state of alerts, for operators, who can have one sent again that was given up.

use storage::{AlertRecord, Page, PageRequest, Scope, Service, named_enum};
use uuid::Uuid;

use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

named_enum! {
    /// How far an alert is.
    pub enum AlertState {
        /// To be sent, for the first time or again.
        Waiting = "waiting",
        /// Its receiver accepted it.
        Sent = "sent",
        /// Every attempt failed.
        GivenUp = "given_up",
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
