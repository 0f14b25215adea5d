//! Bulk import of people from another system, with the hashes of their passwords there.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use storage::{Scope, Service, Tx};

use crate::audit::Entry;
use crate::events::Event;
use crate::password;
use crate::service::Origin;
use crate::{Auth, Result};

/// A person to import. The reader of the file has checked the address and the name.
#[derive(Debug)]
pub struct ImportedPerson {
    /// The e-mail address.
    pub email: String,
    /// The name to show.
    pub name: String,
    /// The name of a role.
    pub role: String,
    /// The hash of their password: argon2, bcrypt or passlib's pbkdf2_sha256. Without one they have no password.
    pub password_hash: Option<SecretString>,
}

impl Auth {
    /// Makes an account for everyone or for nobody; the error lists what is wrong by the person's position, and repeats
    /// nothing from the file.
    pub async fn import_people(
        &self,
        people: &[ImportedPerson],
        origin: &Origin,
    ) -> Result<Vec<(usize, &'static str)>> {
        let mut tx = self.store.begin(Scope::Service(Service::Login)).await?;
        let problems = self.problems(&mut tx, people).await?;
        if !problems.is_empty() {
            return Ok(problems);
        }
        for person in people {
            let created =
                self.create_person(&mut tx, Some(&person.email), &person.name, &person.role).await?;
            if let Some(hash) = &person.password_hash {
                tx.users().set_password(created.id, hash.expose_secret()).await?;
            }
            let entry = Entry::success(Event::AccountCreated, origin).on("account", created.id);
            self.record(&mut tx, entry.with(json!({"role": person.role, "imported": true}))).await?;
        }
        tx.commit().await?;
        Ok(problems)
    }

    async fn problems(&self, tx: &mut Tx, people: &[ImportedPerson]) -> Result<Vec<(usize, &'static str)>> {
        let roles: BTreeSet<String> = tx.roles().list().await?.into_iter().map(|role| role.name).collect();
        let mut addresses = BTreeSet::new();
        let mut problems = Vec::new();
        for (position, person) in people.iter().enumerate() {
            let lookup = self.email_index.of(&person.email);
            if tx.users().credentials(&lookup).await?.is_some() {
                problems.push((position, "this e-mail address has an account already"));
            }
            if !addresses.insert(lookup) {
                problems.push((position, "this e-mail address stands in the file twice"));
            }
            if !roles.contains(&person.role) {
                problems.push((position, "there is no such role"));
            }
            let hash = person.password_hash.as_ref();
            let refusal = hash.and_then(|hash| password::refusal(hash.expose_secret()));
            problems.extend(refusal.map(|refusal| (position, refusal)));
        }
        Ok(problems)
    }
}
