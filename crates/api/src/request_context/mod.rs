//! Who is asking, from where and under which id: what is known of a request before anything else.

mod request_ids;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use actix_web::dev::{Extensions, ServiceRequest};
use actix_web::{HttpMessage, HttpRequest};
use auth::Origin;

use crate::settings::Network;
use crate::transport::HeaderLines;

/// The header of the request's id.
pub const REQUEST_ID: &str = "x-request-id";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// Longest request id taken from a client, in bytes.
const MAX_ID: usize = 128;
/// Longest `User-Agent` kept, in characters.
const MAX_USER_AGENT: usize = 256;

/// What is known of a request before anything else.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Found in the answer, in the log and in the audit trail.
    pub id: String,
    /// The client's address, trusted proxies taken into account.
    pub address: IpAddr,
    /// Whether a trusted proxy sent an `X-Forwarded-For` that hides the client. The address is then the proxy's, for
    /// the log; the request is refused.
    pub hidden: bool,
    /// Whether the connection is loopback or came over HTTPS to a trusted proxy.
    pub protected: bool,
    /// When its head had been read.
    pub arrived: Instant,
}

impl RequestContext {
    /// The context of a request; every request has one.
    pub fn of(request: &ServiceRequest) -> Rc<Self> {
        Self::in_extensions(&request.extensions())
    }

    /// When a request arrived, as its context says.
    pub fn arrival(extensions: &Extensions) -> Instant {
        Self::in_extensions(extensions).arrived
    }

    fn in_extensions(extensions: &Extensions) -> Rc<Self> {
        extensions.get::<Rc<Self>>().map_or_else(|| Rc::new(Self::unknown()), Rc::clone)
    }

    /// For the audit trail.
    pub fn origin(request: &HttpRequest, extensions: &Extensions) -> Origin {
        Self::in_extensions(extensions).origin_of(request.headers())
    }

    /// For the audit trail.
    pub fn origin_of(&self, headers: &impl HeaderLines) -> Origin {
        Origin {
            address: Some(self.address),
            user_agent: headers.text("user-agent").map(|agent| agent.chars().take(MAX_USER_AGENT).collect()),
            request_id: Some(self.id.clone()),
        }
    }

    fn unknown() -> Self {
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { id: String::new(), address, hidden: true, protected: false, arrived: Instant::now() }
    }

    /// The context of a request that came over a connection with this peer.
    pub fn read(peer: Option<SocketAddr>, headers: &impl HeaderLines, trusted: &[Network]) -> Self {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let by_proxy = is_trusted(trusted, peer);
        // Of several lines one may be the client's own claim: all of them must say so.
        let mut protos = headers.lines(FORWARDED_PROTO);
        let is_https = |proto: &[u8]| proto.eq_ignore_ascii_case(b"https");
        let https = by_proxy && protos.next().is_some_and(is_https) && protos.all(is_https);
        let client = if by_proxy { client_behind(headers, trusted, peer) } else { Some(peer) };
        let address = client.unwrap_or(peer);
        Self {
            id: request_id(headers).unwrap_or_else(request_ids::next),
            address,
            hidden: client.is_none(),
            arrived: Instant::now(),
            // A proxy on this machine does not make what came to it in the clear any safer.
            protected: https || (peer.is_loopback() && address.is_loopback()),
        }
    }
}

/// A client's own id is kept when it is harmless in a log and a header.
fn request_id(headers: &impl HeaderLines) -> Option<String> {
    let id = headers.text(REQUEST_ID)?;
    let harmless = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (harmless && (1..=MAX_ID).contains(&id.len())).then(|| id.to_owned())
}

/// Walks `X-Forwarded-For` from the right: each trusted hop vouches for the one before it, the first untrusted is the
/// client. What stands further left is the client's own claim, whatever its bytes. None where a trusted hop vouches for
/// something that is no address: the proxy must not be taken for the client then.
fn client_behind(headers: &impl HeaderLines, trusted: &[Network], peer: IpAddr) -> Option<IpAddr> {
    let lines: Vec<&[u8]> = headers.lines(FORWARDED_FOR).collect();
    let mut client = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        client = hop_address(hop)?;
        if !is_trusted(trusted, client) {
            break;
        }
    }
    Some(client)
}

/// An address as proxies write it: bare, or with a port; IPv6 then in brackets.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|hop: SocketAddr| hop.ip()));
    address.ok().map(|address| address.to_canonical())
}

fn is_trusted(trusted: &[Network], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.0.contains(&address))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    use super::*;

    fn client(peer: &str, forwarded: impl AsRef<[u8]>) -> String {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        let peer = format!("{peer}:1234").parse().unwrap();
        let forwarded = HeaderValue::from_bytes(forwarded.as_ref()).unwrap();
        let request = TestRequest::default().peer_addr(peer).insert_header((FORWARDED_FOR, forwarded));
        let request = request.to_srv_request();
        let context = RequestContext::read(request.peer_addr(), request.headers(), &trusted);
        if context.hidden { "hidden".into() } else { context.address.to_string() }
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_no_trusted_proxy_has() {
        assert_eq!(client("192.0.2.9", "198.51.100.1"), "192.0.2.9", "an untrusted peer is the client");
        assert_eq!(client("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", "203.0.113.7, 198.51.100.1"),
            "198.51.100.1",
            "the left part is a claim"
        );
        assert_eq!(client("10.0.0.1", "198.51.100.1, 10.0.0.2"), "198.51.100.1", "two proxies");
        assert_eq!(client("10.0.0.1", "nonsense, 198.51.100.1"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", b"\xff\xfe, 198.51.100.1"), "198.51.100.1", "a claim of any bytes");
        assert_eq!(client("192.0.2.9", "nonsense"), "192.0.2.9", "nobody trusted says so");
    }

    #[test]
    fn an_address_may_have_a_port() {
        assert_eq!(client("10.0.0.1", "198.51.100.1:4711"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "198.51.100.1, 10.0.0.2:80"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(client("10.0.0.1", "[2001:db8::1]"), "2001:db8::1");
        assert_eq!(client("10.0.0.1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(client("10.0.0.1", "::ffff:198.51.100.1"), "198.51.100.1");
    }

    #[test]
    fn a_client_that_a_trusted_proxy_hides_is_not_the_proxy() {
        for forwarded in
            ["nonsense", "unknown", "", "198.51.100.1, nonsense", "198.51.100.1, nonsense, 10.0.0.2"]
        {
            assert_eq!(client("10.0.0.1", forwarded), "hidden", "{forwarded:?}");
        }
        assert_eq!(client("10.0.0.1", b"198.51.100.1, \xff"), "hidden");
    }

    #[test]
    fn a_proxy_that_says_two_things_says_nothing() {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        for (protos, expected) in [
            (&["https"][..], true),
            (&["HTTPS", "https"], true),
            (&["https", "http"], false),
            (&["http", "https"], false),
            (&["https, http"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut request = TestRequest::default().peer_addr("10.0.0.1:1234".parse().unwrap());
            for proto in protos {
                request = request.append_header((FORWARDED_PROTO, *proto));
            }
            let request = request.to_srv_request();
            let context = RequestContext::read(request.peer_addr(), request.headers(), &trusted);
            assert_eq!(context.protected, expected, "{protos:?}");
        }
    }

    #[test]
    fn only_a_harmless_request_id_is_kept() {
        let kept = |id: &str| {
            request_id(TestRequest::default().insert_header((REQUEST_ID, id)).to_http_request().headers())
        };
        assert_eq!(kept("abc-1.2_3").as_deref(), Some("abc-1.2_3"));
        assert_eq!(kept("a b"), None);
        assert_eq!(kept("a\t[31m"), None);
        assert_eq!(kept(&"a".repeat(129)), None);
    }
}
