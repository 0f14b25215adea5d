//! Rules about addresses, found by address: one look-up for each length of prefix that occurs, however many rules
//! there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use storage::{IpEffect, IpPlace, IpRule};

/// The rules, for all requests and for administration.
#[derive(Debug, Default)]
pub(crate) struct IpTable {
    all: Networks,
    admin: Networks,
}

/// Rules by network, IPv4 apart from IPv6: by length of prefix, the longest first, and then by the prefix.
#[derive(Debug, Default)]
struct Networks {
    v4: Prefixes,
    v6: Prefixes,
}

type Prefixes = BTreeMap<Reverse<u8>, HashMap<u128, NetworkRule>>;

/// The rules about one network.
#[derive(Debug, Default)]
struct NetworkRule {
    /// Made by a person.
    chosen: Option<(IpEffect, Until)>,
    /// Made by a detector, which only denies.
    automatic: Option<Until>,
}

type Until = Option<DateTime<Utc>>;

impl IpTable {
    /// Builds the table; rules that this release cannot read are left out.
    pub fn of(rules: &[IpRule]) -> Self {
        let mut table = Self::default();
        for rule in rules {
            let Ok(network) = rule.network.parse::<IpNet>() else { continue };
            let place = match rule.applies_to {
                IpPlace::All => &mut table.all,
                IpPlace::Admin => &mut table.admin,
            };
            let (prefixes, prefix) = match network {
                IpNet::V4(_) => (&mut place.v4, prefix(network.addr(), network.prefix_len())),
                IpNet::V6(_) => (&mut place.v6, prefix(network.addr(), network.prefix_len())),
            };
            let combined =
                prefixes.entry(Reverse(network.prefix_len())).or_default().entry(prefix).or_default();
            if rule.automatic {
                combined.automatic = Some(rule.expires_at);
            } else {
                combined.chosen = Some((rule.effect, rule.expires_at));
            }
        }
        table
    }

    /// The effect of the most specific rule for an address; of two about one network, a person's takes precedence over
    /// a detector's. None: no rule matches.
    pub fn effect(&self, address: IpAddr, place: IpPlace, now: DateTime<Utc>) -> Option<IpEffect> {
        let networks = match place {
            IpPlace::All => &self.all,
            IpPlace::Admin => &self.admin,
        };
        let address = address.to_canonical();
        let prefixes = if address.is_ipv4() { &networks.v4 } else { &networks.v6 };
        prefixes.iter().find_map(|(Reverse(length), rules)| rules.get(&prefix(address, *length))?.at(now))
    }

    /// Whether rules let an address in.
    pub fn admits(&self, address: IpAddr, place: IpPlace, now: DateTime<Utc>) -> bool {
        let open = |place| self.effect(address, place, now) != Some(IpEffect::Deny);
        open(IpPlace::All) && (place == IpPlace::All || open(IpPlace::Admin))
    }
}

impl NetworkRule {
    fn at(&self, now: DateTime<Utc>) -> Option<IpEffect> {
        let holds = |until: Until| until.is_none_or(|until| now < until);
        let chosen = self.chosen.filter(|(_, until)| holds(*until)).map(|(effect, _)| effect);
        chosen.or_else(|| self.automatic.filter(|until| holds(*until)).map(|_| IpEffect::Deny))
    }
}

/// The first `length` bits of an address.
fn prefix(address: IpAddr, length: u8) -> u128 {
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    bits.checked_shr(width - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::time::{Duration, Instant};

    use uuid::Uuid;

    use super::*;

    fn rule(network: &str, effect: IpEffect) -> IpRule {
        IpRule {
            id: Uuid::nil(),
            network: network.into(),
            effect,
            applies_to: IpPlace::All,
            automatic: false,
            reason: String::new(),
            created_at: DateTime::UNIX_EPOCH,
            expires_at: None,
        }
    }

    fn effect(rules: &[IpRule], address: &str) -> Option<IpEffect> {
        IpTable::of(rules).effect(address.parse().unwrap(), IpPlace::All, DateTime::UNIX_EPOCH)
    }

    use IpEffect::{Allow, Deny};

    #[test]
    fn the_most_specific_rule_speaks() {
        let rules = [
            rule("0.0.0.0/0", Deny),
            rule("192.0.2.0/24", Allow),
            rule("192.0.2.128/25", Deny),
            rule("192.0.2.200/32", Allow),
            rule("2001:db8::/32", Deny),
        ];
        for (address, expected) in [
            ("203.0.113.1", Some(Deny)),
            ("192.0.2.127", Some(Allow)),
            ("192.0.2.129", Some(Deny)),
            ("192.0.2.200", Some(Allow)),
            ("::ffff:192.0.2.129", Some(Deny)),
            ("2001:db8:ffff::1", Some(Deny)),
            ("2001:db9::1", None),
            ("::1", None),
        ] {
            assert_eq!(effect(&rules, address), expected, "{address}");
        }
    }

    #[test]
    fn a_rule_that_has_ended_leaves_the_word_to_the_next() {
        let now = DateTime::UNIX_EPOCH;
        let ended = IpRule { expires_at: Some(now), ..rule("192.0.2.1/32", Allow) };
        let wider = rule("192.0.2.0/24", Deny);
        assert_eq!(effect(&[ended.clone(), wider], "192.0.2.1"), Some(Deny));
        let automatic = IpRule { automatic: true, ..rule("192.0.2.1/32", Deny) };
        assert_eq!(effect(&[ended, automatic.clone()], "192.0.2.1"), Some(Deny));
        assert_eq!(effect(&[rule("192.0.2.1/32", Allow), automatic], "192.0.2.1"), Some(Allow), "chosen");
    }

    #[test]
    fn administration_is_open_where_both_places_are() {
        let admin = IpRule { applies_to: IpPlace::Admin, ..rule("0.0.0.0/0", Deny) };
        let office = IpRule { applies_to: IpPlace::Admin, ..rule("192.0.2.0/24", Allow) };
        let table = IpTable::of(&[admin, office, rule("192.0.2.66/32", Deny)]);
        let admits =
            |address: &str, place| table.admits(address.parse().unwrap(), place, DateTime::UNIX_EPOCH);
        for (address, all, admin) in
            [("192.0.2.1", true, true), ("203.0.113.1", true, false), ("192.0.2.66", false, false)]
        {
            assert_eq!((admits(address, IpPlace::All), admits(address, IpPlace::Admin)), (all, admin));
        }
    }

    #[test]
    fn many_rules_are_as_quick_as_few() {
        let many: Vec<IpRule> = (0..20_000_u32)
            .map(|number| {
                let address = std::net::Ipv4Addr::from_bits(number << 8);
                rule(&format!("{address}/{}", 24 + number % 9), Deny)
            })
            .collect();
        let table = IpTable::of(&many);
        let (address, begun) = ("203.0.113.9".parse().unwrap(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(table.effect(address, IpPlace::All, DateTime::UNIX_EPOCH), None);
        }
        assert!(begun.elapsed() < Duration::from_millis(200), "{:?} for a thousand", begun.elapsed());
    }
}
