//! Invitations: an administrator makes the account, the person chooses the password.

use secrecy::SecretString;
use serde_json::json;
use storage::{Scope, Service, UserUpdate};

use crate::accounts::directory::may_give;
use crate::accounts::people::Person;
use crate::audit::Entry;
use crate::callers::access::Permission;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::login::links::LinkDelivery;
use crate::login::one_time::Purpose;
use crate::mail::tasks::MailTask;
use crate::password::policy::NewPassword;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// A person to invite. The reader of the request has checked the address and the name.
#[derive(Debug)]
pub struct Invitation {
    /// The e-mail address, as the person writes it.
    pub email: String,
    /// The name to show; empty: they give it themselves.
    pub name: String,
    /// The name of a role.
    pub role: String,
}

impl Auth {
    /// Makes an account that cannot be logged in to until its invitation is accepted.
    pub async fn invite(
        &self,
        actor: &Principal,
        invitation: Invitation,
        origin: &Origin,
    ) -> Result<(Person, LinkDelivery)> {
        let (mut tx, own) = self.begin_administration(actor, Permission::UsersManage).await?;
        may_give(&mut tx, own, &invitation.role).await?;
        let Invitation { email, name, role } = invitation;
        let person = self.create_person(&mut tx, Some(&email), &name, &role).await?;
        let entry = Entry::success(Event::AccountCreated, origin).by(actor.account).on("account", person.id);
        self.record(&mut tx, entry.with(json!({"role": role, "invited": true}))).await?;
        let delivery =
            self.deliver_link(&mut tx, person.id, MailTask::Invitation, Purpose::Invitation).await?;
        tx.commit().await?;
        Ok((person, delivery))
    }

    /// Sets the first password of an account, and its name where one is given.
    pub async fn accept_invitation(
        &self,
        link: &SecretString,
        name: Option<&str>,
        new_password: SecretString,
        origin: &Origin,
    ) -> Result<Person> {
        let accepted = self.activate_invited(link, name, new_password, origin).await;
        self.note_refusal(accepted, Event::InvitationAccepted, origin).await
    }

    async fn activate_invited(
        &self,
        link: &SecretString,
        name: Option<&str>,
        new_password: SecretString,
        origin: &Origin,
    ) -> Result<Person> {
        let (person, password) = self.find_by_link(Purpose::Invitation, link).await?;
        if password.is_some() {
            return Err(Error::InvalidLink);
        }
        let name = name.map_or(person.name.as_str(), str::trim);
        if name.is_empty() {
            return Err(Error::invalid("name", "give your name"));
        }
        let new_password = NewPassword::check("password", new_password, &[&person.email, name])?;
        let hash = self.hashing.hash(new_password).await?;
        let update = UserUpdate { name: Some(self.seal_name(person.id, name)?), ..UserUpdate::default() };
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        self.consume_link(&mut tx, Purpose::Invitation, link).await?;
        tx.users().set_password(person.id, &hash).await?;
        let accepted = tx.users().update(person.id, &update).await?.ok_or(Error::NotFound)?;
        let entry = Entry::success(Event::InvitationAccepted, origin).by(person.id).on("account", person.id);
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        self.open_person(accepted)
    }
}
