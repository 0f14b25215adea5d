//! Limits set by administrators at run time: kept in memory, and read again when the change feed reports a change.
//!
//! For the windows of an account, the account's own limit takes precedence over its role's, that over the class's, and
//! that over the setting; minute and hour are resolved separately. Limits of a key or a model add windows, so they can
//! only narrow.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::json;
use storage::{RateLimit, Scope, Service};
use uuid::Uuid;

use crate::accounts::directory::{refuse_more_powerful, refuse_more_powerful_role};
use crate::audit::Entry;
use crate::callers::access::{Permission, Permissions};
use crate::callers::principal::Principal;
use crate::events::Event;
use crate::limits::LimitClass;
use crate::service::Origin;
use crate::{Auth, Error, Result, parse_id};

/// The kind in the change feed.
pub(crate) const CHANGE: &str = "limits";
/// The most subjects that may have limits: every replica keeps them all in memory.
const MOST_RULES: u32 = 10_000;
/// The highest limit that can be set, in requests a minute or an hour.
const HIGHEST: u32 = 1_000_000;

/// The limits that can be set for everyone, each with its highest value. Those that guard logins, registrations and
/// mails cannot be switched off: permission to change limits must not make guessing easy.
const CLASSES: [Class; 7] = [
    Class { name: LimitClass::Anonymous.name(), highest: 1000, is_guard: true, is_hourly: false },
    Class { name: LimitClass::Login.name(), highest: 60, is_guard: true, is_hourly: false },
    Class { name: LimitClass::Register.name(), highest: 60, is_guard: true, is_hourly: false },
    Class { name: LimitClass::Mail.name(), highest: 60, is_guard: true, is_hourly: true },
    Class { name: LimitClass::Read.name(), highest: HIGHEST, is_guard: false, is_hourly: false },
    Class { name: LimitClass::Infer.name(), highest: HIGHEST, is_guard: false, is_hourly: false },
    Class { name: "hour", highest: HIGHEST, is_guard: false, is_hourly: true },
];

struct Class {
    name: &'static str,
    highest: u32,
    is_guard: bool,
    is_hourly: bool,
}

/// What a limit applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSubject {
    /// Everyone's requests of a class, by the name of its window.
    Class(String),
    /// Each account of a role.
    Role(String),
    /// An account.
    Account(Uuid),
    /// A key, besides its account.
    Key(Uuid),
    /// Each account's requests to a model, besides everything else.
    Model(String),
}

/// Requests a minute and an hour; 0: no limit; none: not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// A minute.
    pub per_minute: Option<u32>,
    /// An hour.
    pub per_hour: Option<u32>,
}

/// The limits that were set, by what they apply to.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    classes: HashMap<String, Allowance>,
    roles: HashMap<String, Allowance>,
    accounts: HashMap<Uuid, Allowance>,
    keys: HashMap<Uuid, Allowance>,
    models: HashMap<String, Allowance>,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct LimitRules(RwLock<Arc<Rules>>);

impl LimitRules {
    pub fn now(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read())
    }

    fn replace(&self, rows: Vec<RateLimit>) {
        *self.0.write() = Arc::new(Rules::of(rows));
    }
}

impl Rules {
    fn of(rows: Vec<RateLimit>) -> Self {
        let mut rules = Self::default();
        for row in rows {
            let number = |number: Option<i64>| number.map(|number| u32::try_from(number).unwrap_or(HIGHEST));
            let allowance = Allowance { per_minute: number(row.per_minute), per_hour: number(row.per_hour) };
            let id = Uuid::parse_str(&row.subject);
            match (row.scope.as_str(), id) {
                ("class", _) => drop(rules.classes.insert(row.subject, allowance)),
                ("role", _) => drop(rules.roles.insert(row.subject, allowance)),
                ("model", _) => drop(rules.models.insert(row.subject, allowance)),
                ("account", Ok(id)) => drop(rules.accounts.insert(id, allowance)),
                ("key", Ok(id)) => drop(rules.keys.insert(id, allowance)),
                _ => {}
            }
        }
        rules
    }

    /// The limit of a class where `setting` is what the settings say.
    pub fn of_class(&self, name: &str, setting: u32) -> u32 {
        let allowance =
            self.classes.get(name).and_then(|allowance| allowance.per_minute.or(allowance.per_hour));
        allowance.unwrap_or(setting)
    }

    /// What goes before the classes for an account.
    pub fn of_account(&self, account: Uuid, role: &str) -> Allowance {
        let role = self.roles.get(role).copied().unwrap_or_default();
        let own = self.accounts.get(&account).copied().unwrap_or_default();
        Allowance { per_minute: own.per_minute.or(role.per_minute), per_hour: own.per_hour.or(role.per_hour) }
    }

    /// What a key is held to besides.
    pub fn of_key(&self, key: Uuid) -> Allowance {
        self.keys.get(&key).copied().unwrap_or_default()
    }

    /// What each account is held to at a model besides.
    pub fn of_model(&self, model: &str) -> Allowance {
        self.models.get(model).copied().unwrap_or_default()
    }
}

impl LimitSubject {
    /// Parses a scope and a name or id within it; none: there is no such scope, or the name or id is malformed.
    pub fn named(scope: &str, subject: &str) -> Option<Self> {
        let id = || parse_id(subject);
        let name = || (!subject.chars().any(char::is_control)).then(|| subject.to_owned());
        Some(match scope {
            "class" => Self::Class(name()?),
            "role" => Self::Role(name()?),
            "model" => Self::Model(name()?),
            "account" => Self::Account(id()?),
            "key" => Self::Key(id()?),
            _ => return None,
        })
    }

    pub(crate) fn scope(&self) -> &'static str {
        match self {
            Self::Class(_) => "class",
            Self::Role(_) => "role",
            Self::Account(_) => "account",
            Self::Key(_) => "key",
            Self::Model(_) => "model",
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Class(name) | Self::Role(name) | Self::Model(name) => name.clone(),
            Self::Account(id) | Self::Key(id) => id.to_string(),
        }
    }

    /// The account it belongs to, if any. [`Error::NotFound`]: the subject does not exist. A model is not looked up:
    /// the caller has done that.
    pub(crate) async fn owner(&self, tx: &mut storage::Tx) -> Result<Option<Uuid>> {
        match self {
            Self::Class(name) => class(name).map(|_| None).ok_or(Error::NotFound),
            Self::Role(name) => tx.roles().find(name).await?.map(|_| None).ok_or(Error::NotFound),
            Self::Account(id) => tx.accounts().standing(*id).await?.map(|_| Some(*id)).ok_or(Error::NotFound),
            Self::Key(id) => tx.api_keys().owner(*id).await?.map(Some).ok_or(Error::NotFound),
            Self::Model(_) => Ok(None),
        }
    }

    /// Refuses a subject that may do more than the actor: or whoever changes limits could shut those above them out, or
    /// lift their bounds. One that is gone is nobody's.
    pub(crate) async fn refuse_more_powerful(&self, tx: &mut storage::Tx, own: Permissions) -> Result<()> {
        let looked_at = match (self, self.owner(tx).await) {
            (Self::Role(name), _) => refuse_more_powerful_role(tx, own, name).await,
            (_, Ok(Some(owner))) => refuse_more_powerful(tx, own, owner).await.map(drop),
            (_, owner) => owner.map(drop),
        };
        match looked_at {
            Err(Error::NotFound) => Ok(()),
            looked_at => looked_at,
        }
    }

    /// Refuses an allowance that this subject cannot have.
    fn check(&self, allowance: Allowance) -> Result<()> {
        let wrong = |field: &str, message: String| Err(Error::invalid(field, message));
        if allowance == Allowance::default() {
            return wrong("per_minute", "give per_minute, per_hour or both".into());
        }
        let Self::Class(name) = self else { return check_range(allowance, 0, HIGHEST) };
        let class = class(name).ok_or(Error::NotFound)?;
        if class.is_hourly && allowance.per_minute.is_some() {
            return wrong("per_minute", format!("{name} is counted by the hour: give per_hour"));
        }
        if !class.is_hourly && allowance.per_hour.is_some() {
            return wrong("per_hour", format!("{name} is counted by the minute: give per_minute"));
        }
        check_range(allowance, u32::from(class.is_guard), class.highest)
    }
}

fn class(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}

fn check_range(allowance: Allowance, least: u32, most: u32) -> Result<()> {
    for (field, number) in [("per_minute", allowance.per_minute), ("per_hour", allowance.per_hour)] {
        if number.is_some_and(|number| !(least..=most).contains(&number)) {
            return Err(Error::invalid(field, format!("use {least} to {most}")));
        }
    }
    Ok(())
}

impl Auth {
    /// Every limit that was set.
    pub async fn configured_limits(&self) -> Result<Vec<RateLimit>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        Ok(tx.rate_limits().all(MOST_RULES).await?)
    }

    /// Sets a limit; it holds here from the next request, and within a second on every replica. No actor: the command
    /// line.
    pub async fn set_limit(
        &self,
        actor: Option<&Principal>,
        subject: &LimitSubject,
        allowance: Allowance,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, own) = self.begin_operation(actor, Permission::LimitsManage).await?;
        subject.refuse_more_powerful(&mut tx, own).await?;
        self.write_limit(&mut tx, subject, allowance).await?;
        self.announce_limits(&mut tx, actor, subject, Some(allowance), origin).await?;
        tx.commit().await?;
        self.renew_limits().await;
        Ok(())
    }

    /// Sets or removes an account's limit in the transaction that changes the rest of the account. After its commit the
    /// caller has to call [`Auth::renew_limits`].
    pub(crate) async fn change_account_limit(
        &self,
        tx: &mut storage::Tx,
        actor: &Principal,
        own: Permissions,
        account: Uuid,
        allowance: Option<Allowance>,
        origin: &Origin,
    ) -> Result<()> {
        if !own.contains(Permission::LimitsManage) {
            return Err(Error::Forbidden(Permission::LimitsManage));
        }
        let subject = LimitSubject::Account(account);
        match allowance {
            Some(allowance) => self.write_limit(tx, &subject, allowance).await?,
            None => drop(tx.rate_limits().remove(subject.scope(), &subject.name()).await?),
        }
        self.announce_limits(tx, Some(actor), &subject, allowance, origin).await
    }

    async fn write_limit(
        &self,
        tx: &mut storage::Tx,
        subject: &LimitSubject,
        allowance: Allowance,
    ) -> Result<()> {
        let account_id = subject.owner(tx).await?;
        subject.check(allowance)?;
        let replaces = tx.rate_limits().remove(subject.scope(), &subject.name()).await?;
        if !replaces && tx.rate_limits().count().await? >= i64::from(MOST_RULES) {
            return Err(Error::Refused("too many limits are set already; remove some first"));
        }
        tx.rate_limits()
            .set(&RateLimit {
                scope: subject.scope().to_owned(),
                subject: subject.name(),
                account_id,
                per_minute: allowance.per_minute.map(i64::from),
                per_hour: allowance.per_hour.map(i64::from),
                updated_at: self.now(),
            })
            .await?;
        Ok(())
    }

    /// Removes what [`Auth::set_limit`] set.
    pub async fn remove_limit(
        &self,
        actor: Option<&Principal>,
        subject: &LimitSubject,
        origin: &Origin,
    ) -> Result<()> {
        let (mut tx, own) = self.begin_operation(actor, Permission::LimitsManage).await?;
        subject.refuse_more_powerful(&mut tx, own).await?;
        if !tx.rate_limits().remove(subject.scope(), &subject.name()).await? {
            return Err(Error::NotFound);
        }
        self.announce_limits(&mut tx, actor, subject, None, origin).await?;
        tx.commit().await?;
        self.renew_limits().await;
        Ok(())
    }

    /// Reads the limits after a change of them, which is made whatever comes of this: where they cannot be read now,
    /// following the feed reads them.
    pub(crate) async fn renew_limits(&self) {
        if let Err(error) = self.read_limits().await {
            tracing::warn!(%error, "the limits will be read later");
        }
    }

    /// Reads the limits into memory.
    pub(crate) async fn read_limits(&self) -> Result<()> {
        let mut tx = self.store.read(Scope::Service(Service::Upkeep)).await?;
        self.limits.rules.replace(tx.rate_limits().all(MOST_RULES).await?);
        self.over_limit.forget();
        Ok(())
    }

    /// Records the change in the audit trail and announces it to the other replicas.
    async fn announce_limits(
        &self,
        tx: &mut storage::Tx,
        actor: Option<&Principal>,
        subject: &LimitSubject,
        allowance: Option<Allowance>,
        origin: &Origin,
    ) -> Result<()> {
        let detail = match allowance {
            Some(allowance) => json!({
                subject.scope(): subject.name(), "per_minute": allowance.per_minute, "per_hour": allowance.per_hour,
            }),
            None => json!({subject.scope(): subject.name(), "removed": true}),
        };
        let entry = Entry::success(Event::LimitsChanged, origin).by_optional(actor).with(detail);
        self.record(tx, entry).await?;
        tx.changes().append(CHANGE, "").await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn row(scope: &str, subject: &str, per_minute: Option<i64>, per_hour: Option<i64>) -> RateLimit {
        let (scope, subject, updated_at) = (scope.into(), subject.into(), DateTime::UNIX_EPOCH);
        RateLimit { scope, subject, account_id: None, per_minute, per_hour, updated_at }
    }

    #[test]
    fn an_account_goes_before_its_role_and_that_before_the_class() {
        let ada = Uuid::from_u128(1);
        let rules = Rules::of(vec![
            row("class", "infer", Some(5), None),
            row("role", "user", Some(7), Some(70)),
            row("account", &ada.to_string(), Some(0), None),
            row("account", "no id", Some(9), None),
        ]);
        assert_eq!((rules.of_class("infer", 60), rules.of_class("read", 100)), (5, 100));
        assert_eq!(rules.of_account(ada, "user"), Allowance { per_minute: Some(0), per_hour: Some(70) });
        assert_eq!(rules.of_account(Uuid::nil(), "admin"), Allowance::default());
    }

    #[test]
    fn what_guards_logins_can_be_neither_switched_off_nor_raised_beyond_its_bound() {
        let minute = |number| Allowance { per_minute: Some(number), per_hour: None };
        let hour = |number| Allowance { per_minute: None, per_hour: Some(number) };
        let login = LimitSubject::Class("login".into());
        assert!(login.check(minute(60)).is_ok());
        for wrong in [minute(0), minute(61), hour(5), Allowance::default()] {
            assert!(login.check(wrong).is_err(), "{wrong:?}");
        }
        assert!(LimitSubject::Class("infer".into()).check(minute(0)).is_ok());
        assert!(LimitSubject::Class("hour".into()).check(hour(0)).is_ok());
        assert!(LimitSubject::Class("exempt".into()).check(minute(1)).is_err());
        assert!(LimitSubject::Role("user".into()).check(minute(1_000_001)).is_err());
    }
}
