//! People's personal data, opened: the database keeps it sealed.

use chrono::{DateTime, Utc};
use storage::{Page, SealedColumn, User};
use uuid::Uuid;

use crate::accounts::address::is_visible;
use crate::{Auth, Result};

/// A person. Without `Debug`, so that no log contains their data.
pub struct Person {
    /// Their account.
    pub id: Uuid,
    /// The e-mail address as they wrote it.
    pub email: String,
    /// The name they go by.
    pub name: String,
    /// The name of their role.
    pub role: String,
    /// Whether they may act at all.
    pub active: bool,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
    /// When they last proved who they are; none before the first time.
    pub last_login_at: Option<DateTime<Utc>>,
}

/// Longest address, in characters.
pub const MAX_EMAIL: usize = 120;
/// Shortest and longest name, in characters.
pub const NAME_LENGTH: std::ops::RangeInclusive<usize> = 2..=50;
/// The name of a person whose identity provider gives no usable one.
const UNNAMED: &str = "Unnamed";

/// Letters of any script, spaces, apostrophes, hyphens and points: a name can be O'Brien, but no markup and no line.
pub fn is_name_character(c: char) -> bool {
    c.is_alphabetic() || matches!(c, ' ' | '\'' | '’' | '-' | '.' | '\u{300}'..='\u{36f}')
}

/// A name that somebody else wrote, as far as it can be one here.
pub(crate) fn name_of(text: Option<&str>) -> String {
    let kept: String =
        text.unwrap_or_default().chars().filter(|c| is_name_character(*c)).take(*NAME_LENGTH.end()).collect();
    let kept = kept.trim();
    if kept.chars().count() >= *NAME_LENGTH.start() { kept.to_owned() } else { UNNAMED.to_owned() }
}

/// Whether a text that somebody else wrote can be an address here.
pub(crate) fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    text.chars().count() <= MAX_EMAIL
        && is_visible(text)
        && parts.is_some_and(|(user, domain)| !user.is_empty() && !domain.is_empty() && !user.contains('@'))
}

impl Auth {
    /// An address as it is stored, without surrounding space.
    pub(crate) fn seal_email(&self, account: Uuid, email: &str) -> Result<Vec<u8>> {
        self.encryption.seal(&SealedColumn::PersonEmail.place(account), email.trim().as_bytes())
    }

    /// A name as it is stored, without surrounding space.
    pub(crate) fn seal_name(&self, account: Uuid, name: &str) -> Result<Vec<u8>> {
        self.encryption.seal(&SealedColumn::PersonName.place(account), name.trim().as_bytes())
    }

    /// Opens what is stored of a person.
    pub(crate) fn open_person(&self, user: User) -> Result<Person> {
        let User { id, email, name, role, active, created_at, last_login_at, .. } = user;
        Ok(Person {
            id,
            email: self.encryption.open_text(&SealedColumn::PersonEmail.place(id), &email)?,
            name: self.encryption.open_text(&SealedColumn::PersonName.place(id), &name)?,
            role,
            active,
            created_at,
            last_login_at,
        })
    }

    /// Opens a page of people.
    pub(crate) fn open_people(&self, page: Page<User>) -> Result<Page<Person>> {
        let people: Result<_> = page.items.into_iter().map(|user| self.open_person(user)).collect();
        Ok(Page { items: people?, next_cursor: page.next_cursor })
    }
}
