//! The limits and which of them a request falls under.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use uuid::Uuid;

use crate::principal::{Credential, Principal};

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
    /// Login attempts per minute: per address, per account name and network, and per account from networks that it does
    /// not know.
    pub login_per_minute: u32,
    /// Registrations per minute and address.
    pub register_per_minute: u32,
    /// Mails asked for per hour: per network address or account that asks, and per address that they go to.
    pub mail_per_hour: u32,
}

/// Which limits a route falls under; declared with the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitClass {
    /// None: health, readiness, keys.
    Exempt,
    /// Whatever else needs no credential.
    Anonymous,
    /// Proving who one is.
    Login,
    /// Making an account.
    Register,
    /// Asking for a mail.
    Mail,
    /// Anything with a credential that is not an inference.
    Read,
    /// Running a model.
    Infer,
}

/// Who is counted.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// A network address; IPv6 counts by /64, which one customer holds whole.
    Address(IpAddr),
    /// An account, whichever of its credentials is used.
    Account(Uuid),
}

/// One window that a request is counted in.
pub(crate) struct Window {
    pub name: &'static str,
    pub key: String,
    pub limit: u32,
    pub period: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Limits {
    /// The windows of a class for a subject, without those switched off.
    pub(crate) fn windows(&self, class: LimitClass, subject: Subject) -> Vec<Window> {
        let (name, limit, period) = match class {
            LimitClass::Exempt => return Vec::new(),
            LimitClass::Anonymous => ("anonymous", self.anonymous_per_minute, MINUTE),
            LimitClass::Login => ("login", self.login_per_minute, MINUTE),
            LimitClass::Register => ("register", self.register_per_minute, MINUTE),
            LimitClass::Mail => ("mail", self.mail_per_hour, HOUR),
            LimitClass::Read => ("read", self.read_per_minute, MINUTE),
            LimitClass::Infer => ("infer", self.infer_per_minute, MINUTE),
        };
        let subject_key = subject.key();
        let window = |name: &'static str, limit, period| Window {
            name,
            key: format!("window:{name}:{subject_key}"),
            limit,
            period,
        };
        let hour = matches!(subject, Subject::Account(_)).then(|| window("hour", self.per_hour, HOUR));
        [Some(window(name, limit, period)), hour]
            .into_iter()
            .flatten()
            .filter(|window| window.limit > 0)
            .collect()
    }

    /// The windows that a caller's request is counted in: the account's, and those of a key that has its own.
    pub(crate) fn windows_of(&self, principal: &Principal, class: LimitClass) -> Vec<Window> {
        let mut windows = self.windows(class, Subject::Account(principal.account));
        if let (Credential::ApiKey { id }, Some(limits)) = (principal.credential, principal.limits) {
            let window = |name, limit: Option<u32>, period| {
                limit.map(|limit| Window {
                    name,
                    key: format!("window:{name}:{}", id.simple()),
                    limit,
                    period,
                })
            };
            windows.extend(window("key", limits.requests_per_minute, MINUTE));
            windows.extend(window("key-hour", limits.requests_per_hour, HOUR));
        }
        windows
    }

    /// A window of attempts to prove who one is, unless it is switched off.
    pub(crate) fn attempts(&self, key: String) -> Option<Window> {
        let limit = self.login_per_minute;
        (limit > 0).then_some(Window { name: "login", key, limit, period: MINUTE })
    }
}

impl Limits {
    /// The window of mails to an address (`to`, by what it is found by) or at the wish of an account (`by`, its id).
    pub(crate) fn mail_window(&self, which: &'static str, whose: &str) -> Option<Window> {
        let key = format!("window:mail:{which}:{whose}");
        let limit = self.mail_per_hour;
        (limit > 0).then_some(Window { name: "mail", key, limit, period: HOUR })
    }
}

impl Subject {
    fn key(self) -> String {
        match self {
            Self::Account(id) => id.simple().to_string(),
            Self::Address(address) => network_of(address).to_string(),
        }
    }
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
        let key = |text: &str| Subject::Address(text.parse().unwrap()).key();
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
