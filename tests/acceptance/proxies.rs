//! Behind a proxy: the client is who the proxy says it is, and never the proxy.

use serde_json::json;

use crate::harness::{Client, Server, at_once, promise};

const ME: &str = "/api/v1/me";
const MODELS: &str = "/api/v1/models";
const PROXIES: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8");

fn from(client: &Client, forwarded: &str) -> Client {
    client.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", forwarded)
}

promise! {
    fn a_client_that_the_proxy_does_not_tell_is_refused(pair) {
        let server = Server::start(pair, &[PROXIES]);
        let ada = server.person("ada");
        let body = json!({"name": "a key", "scopes": ["models:read"], "allowed_ips": ["127.0.0.1", "10.0.0.0/8"]});
        let key = server.key(&ada.make_key_with(body).1);
        key.get(MODELS).is(200);
        for hidden in ["ä", "unknown", "nonsense", "203.0.113.9, ä", "203.0.113.9, nonsense, 10.1.2.3", "203.0.113.9, "] {
            let there = from(&key, hidden);
            there.get(MODELS).refused(400, "malformed_request");
            there.get("/v2").is(400);
            // The way of a clear connection, which would pass for loopback.
            key.with("X-Forwarded-For", hidden).get(MODELS).refused(400, "malformed_request");
        }
        key.with("X-Forwarded-For", "203.0.113.9").with("X-Forwarded-For", "ä").get(MODELS).is(400);
        let untrusting = Server::start(pair, &[]);
        untrusting.anon().with("X-Forwarded-For", "ä").get(ME).is(401);
    }

    fn what_a_client_claims_of_itself_hides_it_not(pair) {
        let server = Server::start(pair, &[PROXIES, ("RATE_LIMIT_PER_MINUTE", "2")]);
        let ada = server.person("ada");
        let body = json!({"name": "a key", "scopes": ["models:read"], "allowed_ips": ["127.0.0.1", "10.0.0.0/8"]});
        let key = server.key(&ada.make_key_with(body).1);
        for claim in ["ä, 203.0.113.9", "nonsense, 203.0.113.9", "203.0.113.9:4711", "ä, 203.0.113.9:80, 10.1.2.3:80"] {
            from(&key, claim).get(MODELS).refused(403, "forbidden");
            key.with("X-Forwarded-For", claim).get(MODELS).refused(403, "https_required");
        }
        from(&key, "[2001:db8::1]:4711").get(MODELS).refused(403, "forbidden");
        for (claim, status) in [("ä, 203.0.113.9", 401), ("b, 203.0.113.9:1", 401), ("203.0.113.9", 429)] {
            from(&server.anon(), claim).get(ME).is(status);
        }
        from(&server.anon(), "203.0.113.10").get(ME).is(401);
    }

    fn the_guard_counts_an_ipv6_network_as_one(pair) {
        let server = Server::start(pair, &[PROXIES, ("GUARD_PER_SECOND", "5")]);
        let ask = |address: String| from(&server.anon(), &address).get(ME).status;
        let one = at_once(30, |number| ask(format!("2001:db8::{number:x}")));
        assert!(one.contains(&429), "{one:?}");
        let several = at_once(30, |number| ask(format!("2001:db8:1:{number:x}::1")));
        assert!(several.iter().all(|status| *status == 401), "{several:?}");
    }
}
