//! Making accounts, and changing one's own.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use storage::{NewUser, Scope, Service, ServiceAccount, Tx, UserUpdate};
use uuid::Uuid;

use crate::accounts::people::Person;
use crate::audit::Entry;
use crate::callers::access::Role;
use crate::callers::freshness::ChangeSubject;
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::mail::notices::NoticeKind;
use crate::password::policy::NewPassword;
use crate::service::Origin;
use crate::{Auth, Error, Result, same_secret};

/// A person who registers. The reader of the request has checked the address and the name.
#[derive(Debug)]
pub struct NewUserRequest {
    /// The e-mail address, as the person writes it.
    pub email: String,
    /// The name to show.
    pub name: String,
    /// The new password.
    pub password: SecretString,
}

/// The profile of an account.
pub enum Profile {
    /// A person.
    Person(Person),
    /// A program.
    Service(ServiceAccount),
}

impl Auth {
    /// Makes an account with `role`, for a person who registers or for the command line.
    pub async fn create_user(&self, request: NewUserRequest, role: Role, origin: &Origin) -> Result<Person> {
        let password = NewPassword::check("password", request.password, &[&request.email, &request.name])?;
        let hash = self.hashing.hash(password).await?;
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        let created = self.create_person(&mut tx, Some(&request.email), &request.name, role.name()).await?;
        tx.users().set_password(created.id, &hash).await?;
        let entry = Entry::success(Event::AccountCreated, origin).on("account", created.id);
        let entry = entry.with(json!({"role": role.name()}));
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(created)
    }

    /// Adds a person without a password. One without an address is nobody that an address could find.
    pub(crate) async fn create_person(
        &self,
        tx: &mut Tx,
        email: Option<&str>,
        name: &str,
        role: &str,
    ) -> Result<Person> {
        let id = Uuid::now_v7();
        let new = NewUser {
            id,
            email: self.seal_email(id, email.unwrap_or_default())?,
            email_lookup: email.map_or_else(|| format!("none:{id}"), |email| self.email_index.of(email)),
            name: self.seal_name(id, name)?,
            role: role.to_owned(),
        };
        match tx.users().create(&new).await {
            Err(storage::Error::Conflict) => Err(Error::EmailTaken),
            created => self.open_person(created?),
        }
    }

    /// The caller's own profile: a person's, or a service account's if the caller is its key.
    pub async fn profile(&self, principal: &Principal) -> Result<Profile> {
        let mut tx = self.store.read(Scope::Account(principal.account)).await?;
        if let Some(user) = tx.users().find(principal.account).await? {
            return self.open_person(user).map(Profile::Person);
        }
        let service = tx.service_accounts().find(principal.account).await?;
        service.map(Profile::Service).ok_or(Error::NotFound)
    }

    /// Changes the caller's own name.
    pub async fn rename(&self, principal: &Principal, name: &str, origin: &Origin) -> Result<Person> {
        principal.require_whole_person()?;
        let mut tx = self.begin_own(principal).await?;
        let name = self.seal_name(principal.account, name)?;
        let update = UserUpdate { name: Some(name), ..UserUpdate::default() };
        let user = tx.users().update(principal.account, &update).await?.ok_or(Error::NotFound)?;
        let entry = Entry::success(Event::AccountChanged, origin).by(principal.account);
        let entry = entry.on("account", principal.account).with(json!({"changed": ["name"]}));
        self.record(&mut tx, entry).await?;
        tx.commit().await?;
        self.open_person(user)
    }

    /// Changes the caller's password, given the present one; every other session ends.
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: SecretString,
        new_password: SecretString,
        origin: &Origin,
    ) -> Result<()> {
        let session = principal.require_session()?;
        let Profile::Person(user) = self.profile(principal).await? else { return Err(Error::NotFound) };
        // A stolen token must not become a way to guess the password.
        self.reserve_check("session", session).await?;
        let stored = {
            let mut tx = self.store.read(Scope::Account(principal.account)).await?;
            tx.users().password_hash(principal.account).await?
        };
        let wrong = || Error::invalid("current_password", "this is not your current password");
        if !self.hashing.verify(current.clone(), stored.clone()).await? {
            return Err(self.refused_proof(principal, wrong(), origin).await?);
        }
        if same_secret(current.expose_secret(), new_password.expose_secret()) {
            return Err(Error::invalid("new_password", "choose another one than the present one"));
        }
        let new_password = NewPassword::check("new_password", new_password, &[&user.email, &user.name])?;
        let hash = self.hashing.hash(new_password).await?;
        let mut tx = self.begin_own(principal).await?;
        // Of two changes at once, one is right about what the password was.
        if tx.users().password_hash(principal.account).await? != stored {
            return Err(wrong());
        }
        tx.users().set_password(principal.account, &hash).await?;
        let ended = tx.sessions().revoke_all(principal.account, Some(session), "password_changed").await?;
        tx.identities().end_tokens(principal.account).await?;
        let entry = Entry::success(Event::PasswordChange, origin).by(principal.account);
        let entry = entry.on("account", principal.account).with(json!({"sessions_ended": ended.len()}));
        self.record(&mut tx, entry).await?;
        self.notify(&mut tx, principal.account, NoticeKind::PasswordChanged).await?;
        self.commit_change(tx, &[ChangeSubject::Account(principal.account)]).await
    }
}
