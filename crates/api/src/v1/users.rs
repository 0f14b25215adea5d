//! A person's account as clients see it, and the rules for what they may write into it.

use std::ops::RangeInclusive;

use auth::{Person, Profile};
use chrono::{DateTime, Utc};
use serde::Serialize;
use storage::ServiceAccount;
use utoipa::ToSchema;
use uuid::Uuid;
use validator::{ValidateEmail, ValidationError};

/// Longest address, in characters.
const MAX_EMAIL: usize = 120;

/// An account: a person's, or, where one of its keys asks who it is, a service account's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserView {
    id: Uuid,
    /// Null for a service account, and for one whose provider tells no address.
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

/// Whether a name has so many characters, without those around it that are not kept; the most holds for all of them.
pub fn has_length(name: &str, bounds: RangeInclusive<usize>) -> bool {
    name.trim().chars().count() >= *bounds.start() && name.chars().count() <= *bounds.end()
}

/// An address of bounded length in which every character shows: no two look the same to whoever reads them.
pub fn check_email(email: &str) -> Result<(), ValidationError> {
    if email.chars().count() > MAX_EMAIL {
        return Err(ValidationError::new("length").with_message("use at most 120 characters".into()));
    }
    // A stranger does not choose which machine mail is sent to (RFC 5321, section 4.1.3).
    let names_machine = email.ends_with(']');
    if !email.validate_email() || names_machine || !auth::is_visible(email) {
        return Err(ValidationError::new("email").with_message("this is not an e-mail address".into()));
    }
    Ok(())
}

/// Of bounded length, and of characters that names have.
pub fn check_name(name: &str) -> Result<(), ValidationError> {
    let fits = name.chars().all(auth::is_name_character);
    if !has_length(name, 2..=50) {
        return Err(ValidationError::new("length").with_message("use 2 to 50 characters".into()));
    }
    if !fits {
        return Err(ValidationError::new("characters").with_message(
            "Name can only contain letters and spaces, apostrophes, hyphens and points".into(),
        ));
    }
    Ok(())
}
