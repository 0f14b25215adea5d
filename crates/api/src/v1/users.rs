//! A person's account as clients see it, and the rules for what they may write into it.

use auth::{Person, Profile};
use chrono::{DateTime, Utc};
use serde::Serialize;
use storage::ServiceAccount;
use utoipa::ToSchema;
use uuid::Uuid;
use validator::ValidateEmail;

use super::rules::{Checked, has_length, require};

/// An account: a person's, or, where one of its keys asks who it is, a service account's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserView {
    id: Uuid,
    /// Null for a service account, and for a person whose provider gives no address.
    email: Option<String>,
    name: String,
    /// The name of a role.
    role: String,
    /// Whether the account may be used.
    active: bool,
    created_at: DateTime<Utc>,
    last_login_at: Option<DateTime<Utc>>,
}

impl From<Person> for UserView {
    fn from(person: Person) -> Self {
        let Person { id, email, name, role, active, created_at, last_login_at } = person;
        let email = Some(email).filter(|email| !email.is_empty());
        Self { id, email, name, role, active, created_at, last_login_at }
    }
}

impl From<ServiceAccount> for UserView {
    fn from(account: ServiceAccount) -> Self {
        let ServiceAccount { id, name, role, active, created_at } = account;
        Self { id, email: None, name, role, active, created_at, last_login_at: None }
    }
}

impl From<Profile> for UserView {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Person(person) => person.into(),
            Profile::Service(account) => account.into(),
        }
    }
}

/// An address of bounded length in which every character is visible, so that no two look the same.
pub fn check_email(email: &str) -> Checked {
    require(email.chars().count() <= auth::MAX_EMAIL, "length", "use at most 120 characters")?;
    // A stranger does not choose which machine mail is sent to (RFC 5321, section 4.1.3).
    let names_machine = email.ends_with(']');
    let is_address = email.validate_email() && !names_machine && auth::is_visible(email);
    require(is_address, "email", "this is not an e-mail address")
}

/// Of bounded length, and of characters that names have.
pub fn check_name(name: &str) -> Checked {
    require(has_length(name, auth::NAME_LENGTH), "length", "use 2 to 50 characters")?;
    let message = "Name can only contain letters and spaces, apostrophes, hyphens and points";
    require(name.chars().all(auth::is_name_character), "characters", message)
}
