//! Which addresses files may be fetched from: those that an operator named and, after redirects, public ones only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// Which networks a request may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AllowedNetwork {
    /// Any but link-local and multicast addresses, such as a cloud's metadata service: the operator named the host.
    Named,
    /// Public addresses only: another host named it in a redirect.
    Public,
}

impl AllowedNetwork {
    pub(super) fn covers(self, address: IpAddr) -> bool {
        match self {
            Self::Named => !is_local_link(address),
            Self::Public => is_public(address),
        }
    }

    /// A host written as a number needs no name server, so that it is looked at here.
    pub(super) fn covers_host(self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(address)) => self.covers(address.into()),
            Some(Host::Ipv6(address)) => self.covers(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        }
    }

    pub(super) fn filter(self, addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        addresses.filter(|address| self.covers(address.ip())).collect()
    }
}

/// Whether a host, as a URL writes it, is this machine: `localhost`, `127.0.0.1`, `[::1]`.
pub fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn is_local_link(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
    }
}

/// Whether an address is reachable from everywhere, as the registries of special-purpose addresses say (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [first, second, third, _] = v4.octets();
    let special = matches!(
        (first, second, third),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    // Global unicast addresses, less those for documentation and those that embed IPv4 addresses.
    let [first, second, ..] = v6.segments();
    let special = matches!((first, second), (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff));
    first & 0xe000 == 0x2000 && !special
}

fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn nobody_sends_us_to_an_address_that_is_not_public() {
        for public in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(AllowedNetwork::Public.covers(public.parse().unwrap()), "{public}");
        }
        for hidden in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
        ] {
            assert!(!AllowedNetwork::Public.covers(hidden.parse().unwrap()), "{hidden}");
        }
    }

    #[test]
    fn what_only_looks_like_this_machine_is_another() {
        for own in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in
            ["", "127.evil.example", "127.0.0.1.evil.example", "localhost.example", "[::2]", "10.0.0.1"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn an_operator_names_private_hosts_and_no_metadata() {
        for good in ["127.0.0.1", "10.1.2.3", "fd00::1", "1.1.1.1"] {
            assert!(AllowedNetwork::Named.covers(good.parse().unwrap()), "{good}");
        }
        for bad in ["169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0", "fe80::1", "ff02::1"] {
            assert!(!AllowedNetwork::Named.covers(bad.parse().unwrap()), "{bad}");
        }
    }
}
