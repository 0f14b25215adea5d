//! Hidden clients, plain HTTP, foreign host names and addresses that rules shut out are refused before anything is
//! read.

use std::net::Ipv6Addr;

use actix_web::dev::ServiceRequest;
use actix_web::web;
use storage::IpPlace;

use crate::app::App;
use crate::error::{ApiError, Code};
use crate::health;
use crate::request_context::RequestContext;
use crate::transport::HeaderLines;

/// What a host's name may hold besides letters and digits (RFC 3986, section 3.2.2).
const OF_NAMES: &[u8] = b"-._~%!$&'()*+,;=";

/// Why a request is answered before anything else looks at it, if it is: not where it came over loopback, over a trusted
/// proxy that says https, or to a health probe.
///
/// It is never redirected: a client that sent its credential in the clear must notice (ASVS 4.1.2).
pub fn refusal(request: &ServiceRequest, context: &RequestContext) -> Option<ApiError> {
    let Some(app) = request.app_data::<web::Data<App>>() else {
        return Some(ApiError::internal("the app has no state"));
    };
    // Its body would have no end, whatever it says of its length.
    if request.headers().lines("upgrade").any(names_websocket) {
        let advice = "No connection is upgraded to WebSocket here; send the request without Upgrade.";
        return Some(ApiError::new(Code::MalformedRequest, advice));
    }
    // The host of a target stands above the header (RFC 9112, section 3.2.2).
    let of_target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = of_target.or_else(|| request.headers().lines("host").next());
    let Ok(host) = host.map(read_host).transpose() else {
        return Some(ApiError::new(Code::MalformedRequest, "The Host header is no host's name."));
    };
    refuse(app, context, health::PATHS.contains(&request.path()), host)
}

fn names_websocket(line: &[u8]) -> bool {
    line.to_ascii_lowercase().windows(b"websocket".len()).any(|word| word == b"websocket")
}

/// A host as the header may name it (RFC 9112, section 3.2): nothing, or a name or an address, with or without a port.
fn read_host(bytes: &[u8]) -> Result<&str, ()> {
    let host = std::str::from_utf8(bytes).map_err(|_| ())?;
    let (name_is_right, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (name.bytes().all(|byte| byte.is_ascii_alphanumeric() || OF_NAMES.contains(&byte)), port)
        }
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    let is_right = name_is_right && port.bytes().all(|byte| byte.is_ascii_digit());
    is_right.then_some(host).ok_or(())
}

/// Why a request to this host is refused, if it is.
pub fn refuse(app: &App, context: &RequestContext, is_probe: bool, host: Option<&str>) -> Option<ApiError> {
    if context.hidden {
        return Some(ApiError::new(
            Code::MalformedRequest,
            "X-Forwarded-For does not tell the client's address; proxies must append it.",
        ));
    }
    if !is_probe && !context.protected {
        return Some(ApiError::new(Code::HttpsRequired, "Use HTTPS; nothing is served in the clear."));
    }
    if is_probe {
        return None;
    }
    if let Err(error) = app.auth.require_address(context.address, IpPlace::All) {
        return Some(error.into());
    }
    let allowed = &app.settings.program.allowed_hosts;
    if allowed.is_empty() || allowed.iter().any(|served| names(host, served)) {
        return None;
    }
    Some(ApiError::new(Code::UnknownHost, "The Host header names a host that is not served here."))
}

/// Whether a setting means this host: `*` any, `*.example.com` each below that name.
fn names(host: Option<&str>, allowed: &str) -> bool {
    let (host, allowed) = (host.unwrap_or_default(), allowed.trim());
    let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    let host = host.unwrap_or_default();
    match allowed.strip_prefix('*') {
        Some("") => true,
        Some(below) if below.starts_with('.') => {
            let end = host.len().checked_sub(below.len()).filter(|start| *start > 0);
            end.and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(below))
        }
        _ => host.eq_ignore_ascii_case(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::{names, read_host};

    #[test]
    fn a_star_is_any_host_and_at_the_front_each_below_a_name() {
        for (host, allowed, served) in [
            ("Api.Example.com:80", "api.example.com", true),
            ("anything", "*", true),
            ("a.example.com", "*.example.com", true),
            ("a.b.EXAMPLE.com:8080", " *.example.com", true),
            ("example.com", "*.example.com", false),
            (".example.com", "*.example.com", false),
            ("evilexample.com", "*.example.com", false),
            ("a.example.com.evil.example", "*.example.com", false),
            ("b.example.com", "*b.example.com", false),
            ("[::1]:80", "[::1]", true),
        ] {
            assert_eq!(names(Some(host), allowed), served, "{host} by {allowed}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in [
            "",
            "x",
            "api.example.com",
            "api.example.com:8080",
            "a_b:",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
        ] {
            assert_eq!(read_host(host.as_bytes()), Ok(host));
        }
        for host in [
            "a b", "a@b", "a/b", "a:b", "a:-1", "a:1:2", "::1", "[::1", "[::1]x", "[x]", "http://a", "a\\b",
            "a?b", "ü",
        ] {
            assert_eq!(read_host(host.as_bytes()), Err(()), "{host}");
        }
        assert_eq!(read_host(b"\xff"), Err(()));
    }
}
