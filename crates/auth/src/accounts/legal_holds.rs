//! Legal holds: while an account is held it is not erased, what is kept of it is not pruned, and neither is the audit
//! trail from its first event on.

use serde_json::json;
use storage::{LegalHold, Page, PageRequest, Scope, Service, Tx};
use uuid::Uuid;

use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

impl Auth {
    /// Who is held.
    pub async fn legal_holds(&self, page: &PageRequest) -> Result<Page<LegalHold>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.legal_holds().list(page).await?)
    }

    /// Holds an account. One that is held already keeps its date and gets the new reason.
    pub async fn place_legal_hold(
        &self,
        actor: &Principal,
        account: Uuid,
        reason: &str,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, _) = self.begin_administration(actor, Permission::UsersManage).await?;
        tx.accounts().standing(account).await?.ok_or(Error::NotFound)?;
        if tx.legal_holds().place(account, reason, actor.account).await? {
            let entry = Entry::success(Event::LegalHoldPlaced, origin).by(actor.account);
            self.record(&mut tx, entry.on("account", account).with(json!({"reason": reason}))).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Releases an account.
    pub async fn release_legal_hold(&self, actor: &Principal, account: Uuid, origin: &Origin) -> Result<()> {
        let (mut tx, _) = self.begin_administration(actor, Permission::UsersManage).await?;
        if !tx.legal_holds().release(account).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::success(Event::LegalHoldReleased, origin).by(actor.account).on("account", account);
        self.record(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}

/// Refuses to erase an account that is held.
pub(crate) async fn refuse_held(tx: &mut Tx, account: Uuid) -> Result<()> {
    if tx.legal_holds().has(account).await? { Err(Error::LegalHold) } else { Ok(()) }
}
