//! Values that are more than text: networks, hosts and web origins.

use std::str::FromStr;

use ipnet::IpNet;

/// An address or a CIDR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        auth::network(text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is neither an address nor a CIDR block such as 10.0.0.0/8"))
    }
}

/// A host name as `ALLOWED_HOSTS` takes it, or an address as it stands in a URL.
pub(super) fn host(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some();
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if text == "*" || is_address || is_name {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no host name; write it without scheme and port, such as api.example.com"))
}

/// The web origins that may call the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Vec<String>);

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty())
            .map(origin)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn origin(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no origin; write scheme and host, such as https://app.example.com");
    if text == "*" {
        return Err("a wildcard would let every page call the API; list the origins".into());
    }
    let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']);
    if matches!(scheme, "http" | "https") && plain { Ok(text.to_ascii_lowercase()) } else { Err(wrong()) }
}
