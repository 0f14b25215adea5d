//! The limits and which of them a request falls under.

pub(crate) mod ahead;
pub(crate) mod in_flight;
pub(crate) mod over_limit;
pub(crate) mod priority;
pub(crate) mod rules;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use storage::named_enum;
use uuid::Uuid;

use crate::callers::principal::{Credential, Principal};
use crate::limits::rules::{LimitRules, Rules};

/// Requests a window; 0 switches that window off.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Per minute and address, without a credential.
    pub anonymous_per_minute: u32,
    /// Inferences per minute and account.
    pub infer_per_minute: u32,
    /// Other calls per minute and account.
    pub read_per_minute: u32,
    /// Everything per hour and account.
    pub per_hour: u32,
    /// Login attempts per minute: per address, per account name and network, and per account; where only the last is used
    /// up, the right password still gets in from networks that the account knows.
    pub login_per_minute: u32,
    /// Registrations per minute and address.
    pub register_per_minute: u32,
    /// Mails asked for per hour: per network address or account that asks, and per purpose and address that they go to.
    pub mail_per_hour: u32,
}

named_enum! {
    /// Which limits a route falls under; declared with the route. The name is that of its window, too.
    pub enum LimitClass {
        /// None: health, readiness, keys.
        Exempt = "exempt",
        /// Whatever else needs no credential.
        Anonymous = "anonymous",
        /// Proving who one is.
        Login = "login",
        /// Making an account.
        Register = "register",
        /// Asking for a mail.
        Mail = "mail",
        /// Anything with a credential that is not an inference.
        Read = "read",
        /// Running a model.
        Infer = "infer",
    }
}

/// One window that a request is counted in.
#[derive(Clone)]
pub(crate) struct Window {
    pub name: &'static str,
    pub key: String,
    pub limit: u32,
    pub period: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The limits in force: the settings, and what administrators set.
pub(crate) struct LimitBook {
    settings: Limits,
    pub rules: LimitRules,
}

impl LimitBook {
    pub fn new(settings: Limits) -> Self {
        Self { settings, rules: LimitRules::default() }
    }

    /// The windows that a visitor's request is counted in, without those switched off.
    pub fn of_anonymous(&self, class: LimitClass, address: IpAddr) -> Vec<Window> {
        let minute = self.minute(&self.rules.now(), class);
        let subject = network_of(address).to_string();
        minute.into_iter().flat_map(|limited| limited.window(&subject)).collect()
    }

    /// The windows that a caller's request is counted in: the account's, those of a key that has its own, and those
    /// of a model for which there are any.
    pub fn of_caller(&self, principal: &Principal, class: LimitClass, model: Option<&str>) -> Vec<Window> {
        let rules = self.rules.now();
        let mut buffer = Uuid::encode_buffer();
        let account: &str = principal.account.simple().encode_lower(&mut buffer);
        let configured = rules.of_account(principal.account, &principal.role);
        let hour = rules.of_class("hour", self.settings.per_hour);
        let minute = self.minute(&rules, class).map(|limited| match class {
            LimitClass::Read | LimitClass::Infer => limited.or(configured.per_minute),
            _ => limited,
        });
        let mut windows: Vec<Window> =
            minute.into_iter().flat_map(|limited| limited.window(account)).collect();
        if class != LimitClass::Exempt {
            windows.extend(
                Limited { name: "hour", limit: hour, period: HOUR }.or(configured.per_hour).window(account),
            );
        }
        if let Credential::ApiKey { id } = principal.credential
            && class != LimitClass::Exempt
        {
            let (own, configured) = (principal.limits.unwrap_or_default(), rules.of_key(id));
            let key = id.simple().to_string();
            windows.extend(narrower("key", MINUTE, own.requests_per_minute, configured.per_minute, &key));
            windows.extend(narrower("key-hour", HOUR, own.requests_per_hour, configured.per_hour, &key));
        }
        if let Some(model) = model.filter(|_| class == LimitClass::Infer) {
            windows.extend(Self::at_model(&rules, account, model));
        }
        windows
    }

    /// The windows of a model alone, for a caller whose other windows were counted before it was known.
    pub fn of_model(&self, account: Uuid, model: &str) -> Vec<Window> {
        Self::at_model(&self.rules.now(), &account.simple().to_string(), model)
    }

    fn at_model(rules: &Rules, account: &str, model: &str) -> Vec<Window> {
        let configured = rules.of_model(model);
        if configured.per_minute.or(configured.per_hour).is_none() {
            return Vec::new();
        }
        let key = format!("{account}:{model}");
        let minute = narrower("model", MINUTE, None, configured.per_minute, &key);
        minute.into_iter().chain(narrower("model-hour", HOUR, None, configured.per_hour, &key)).collect()
    }

    /// A window of attempts to prove who one is, unless it is switched off.
    pub fn attempts(&self, key: String) -> Option<Window> {
        let name = LimitClass::Login.name();
        let limit = self.rules.now().of_class(name, self.settings.login_per_minute);
        (limit > 0).then_some(Window { name, key, limit, period: MINUTE })
    }

    /// The window of mails for a purpose to an address (by what it is found by), or on behalf of an account (`by`, its
    /// id).
    pub fn mail_window(&self, which: &'static str, whose: &str) -> Option<Window> {
        let key = format!("window:mail:{which}:{whose}");
        let name = LimitClass::Mail.name();
        let limit = self.rules.now().of_class(name, self.settings.mail_per_hour);
        (limit > 0).then_some(Window { name, key, limit, period: HOUR })
    }

    fn minute(&self, rules: &Rules, class: LimitClass) -> Option<Limited> {
        let settings = &self.settings;
        let (setting, period) = match class {
            LimitClass::Exempt => return None,
            LimitClass::Anonymous => (settings.anonymous_per_minute, MINUTE),
            LimitClass::Login => (settings.login_per_minute, MINUTE),
            LimitClass::Register => (settings.register_per_minute, MINUTE),
            LimitClass::Mail => (settings.mail_per_hour, HOUR),
            LimitClass::Read => (settings.read_per_minute, MINUTE),
            LimitClass::Infer => (settings.infer_per_minute, MINUTE),
        };
        let name = class.name();
        Some(Limited { name, limit: rules.of_class(name, setting), period })
    }
}

/// A limit that is not yet about anybody; 0 is none.
struct Limited {
    name: &'static str,
    limit: u32,
    period: Duration,
}

impl Limited {
    fn or(self, configured: Option<u32>) -> Self {
        Self { limit: configured.unwrap_or(self.limit), ..self }
    }

    fn window(self, subject: &str) -> Option<Window> {
        let Self { name, limit, period } = self;
        (limit > 0).then(|| Window { name, key: key_of(name, subject), limit, period })
    }
}

/// The window of the lower of a key's or model's own limit and the configured one (0: no limit), if there is either.
fn narrower(
    name: &'static str,
    period: Duration,
    own: Option<u32>,
    configured: Option<u32>,
    subject: &str,
) -> Option<Window> {
    let configured = configured.filter(|limit| *limit > 0);
    let limit = own.into_iter().chain(configured).min()?;
    Some(Window { name, key: key_of(name, subject), limit, period })
}

fn key_of(name: &str, subject: &str) -> String {
    ["window:", name, ":", subject].concat()
}

/// What one customer holds: an IPv4 address, also where it is written as IPv6, or an IPv6 /64.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_of_one_customer_share_a_window() {
        let key = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
