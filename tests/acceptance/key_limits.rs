//! The limits of a key, how many keys there may be, and the administration of everyone's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Pair, Person, Reply, Server, at_once, promise, sample};

const KEYS: &str = "/api/v1/api-keys";
const MODELS: &str = "/api/v1/models";
const ALL: &str = "/api/v1/admin/api-keys";
const MINUTE: Duration = Duration::from_secs(60);

fn limited(person: &Person, limits: &Value) -> (String, String) {
    person
        .make_key_with(json!({"name": "a key", "scopes": ["models:read", "models:infer"], "limits": limits}))
}

/// What is left of a window, as the header `RateLimit` tells it.
fn left(reply: &Reply, name: &str) -> Option<u64> {
    let item =
        reply.header("ratelimit")?.split(", ").find(|item| item.starts_with(&format!("\"{name}\";")))?;
    item.split(';').find_map(|part| part.strip_prefix("r=")?.parse().ok())
}

promise! {
    fn a_key_is_held_to_its_own_limits_and_to_its_accounts(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_READ_PER_MINUTE", "6"), ("RATE_LIMIT_INFER_PER_MINUTE", "60")]);
        let ada = server.person("ada");
        server.advance(MINUTE);
        let (id, text) = limited(&ada, &json!({"requests_per_minute": 3, "requests_per_hour": 5}));
        let (key, other) = (server.key(&text), server.key(&ada.make_key(&["models:read"])));
        server.advance(MINUTE);
        let first = key.get(MODELS).is(200);
        let policy = "\"read\";q=6;w=60, \"key\";q=3;w=60, \"key-hour\";q=5;w=3600";
        assert_eq!(first.header("ratelimit-policy"), Some(policy));
        assert_eq!((left(&first, "read"), left(&first, "key"), left(&first, "key-hour")), (Some(5), Some(2), Some(4)));
        key.predict(&sample("1-1")).is(200);
        key.get(MODELS).is(200);
        let refused = key.get(MODELS).refused(429, "rate_limited");
        assert_eq!(left(&refused, "read"), Some(4), "what is refused is not counted");
        assert_eq!(left(&other.get(MODELS).is(200), "read"), Some(3), "another key is not held up");
        assert_eq!(other.get(MODELS).is(200).header("ratelimit-policy"), Some("\"read\";q=6;w=60"));
        server.advance(MINUTE);
        key.get(MODELS).is(200);
        key.get(MODELS).is(200);
        let wait = key.get(MODELS).refused(429, "rate_limited").number("retry-after");
        assert!((3400..=3540).contains(&wait), "{wait}");
        // Wider than the account's, they change nothing.
        let wide = json!({"limits": {"requests_per_minute": 1000}});
        assert_eq!(ada.api.put(&format!("{KEYS}/{id}"), &wide).is(200).json()["limits"]["requests_per_minute"], 1000);
        server.advance(MINUTE);
        let answers: Vec<u16> = (0..8).map(|_| key.get(MODELS).status).collect();
        assert_eq!(answers, [200, 200, 200, 200, 200, 200, 429, 429]);
    }

    fn at_the_edge_of_a_keys_limit_no_more_than_fit_get_in(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let (_, text) = limited(&ada, &json!({"requests_per_minute": 5}));
        let key = server.key(&text);
        let answers = at_once(40, |_| key.get(MODELS).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 5, "{answers:?}");
    }

    fn limits_are_shown_kept_and_lifted_by_the_owner_only(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let (id, text) = limited(&ada, &json!({"requests_per_minute": 2}));
        let path = format!("{KEYS}/{id}");
        let shown = || ada.api.get(&path).is(200).json()["limits"].clone();
        let expected = json!({"requests_per_minute": 2, "requests_per_hour": null});
        assert_eq!(shown(), expected);
        assert_eq!(ada.api.get(KEYS).items()[0]["limits"], expected);
        let key = server.key(&text);
        key.put(&path, &json!({"limits": null})).refused(403, "forbidden");
        ada.api.put(&path, &json!({"name": "renamed"})).is(200);
        let rotated = ada.api.act(&format!("{path}/rotate")).is(200);
        assert_eq!((shown(), rotated.json()["limits"].clone()), (expected.clone(), expected));
        // Both secrets are one key; what was refused above counted as well.
        server.advance(MINUTE);
        let successor = server.key(&rotated.member("key"));
        key.get(MODELS).is(200);
        successor.get(MODELS).is(200);
        key.get(MODELS).is(429);
        successor.get(MODELS).is(429);
        ada.api.put(&path, &json!({"limits": null})).is(200);
        assert_eq!(shown(), Value::Null);
        for _ in 0..5 {
            key.get(MODELS).is(200);
        }
        let most = json!({"requests_per_minute": 1_000_000, "requests_per_hour": 1});
        ada.api.put(&path, &json!({"limits": most})).is(200);
        for wrong in [json!({}), json!({"requests_per_minute": 0}), json!({"requests_per_hour": 1_000_001})] {
            ada.api.put(&path, &json!({"limits": wrong})).invalid(&["limits"]);
            let body = json!({"name": "a key", "scopes": ["models:read"], "limits": wrong});
            ada.api.post(KEYS, &body).invalid(&["limits"]);
        }
        for odd in [json!({"requests_per_minute": -1}), json!({"requests_per_day": 1}), json!(5), json!({"requests_per_hour": 1e19})] {
            ada.api.put(&path, &json!({"limits": odd})).refused(400, "malformed_request");
        }
        assert_eq!(shown(), most);
    }

    fn an_account_has_so_many_live_keys(pair) {
        let server = Server::start(pair, &[("MAX_API_KEYS_PER_ACCOUNT", "3")]);
        let (ada, eve) = (server.person("ada"), server.person("eve"));
        let body = json!({"name": "a key", "scopes": ["models:read"]});
        let answers = at_once(8, |_| ada.api.post(KEYS, &body).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 3, "{answers:?}");
        ada.api.post(KEYS, &body).refused(409, "too_many_keys");
        eve.make_key(&["models:read"]);
        let id = ada.api.get(KEYS).items()[0]["id"].as_str().expect("an id").to_owned();
        ada.api.act(&format!("{KEYS}/{id}/rotate")).is(200);
        ada.api.delete(&format!("{KEYS}/{id}")).is(204);
        ada.make_key(&["models:read"]);
        ada.api.post(KEYS, &body).refused(409, "too_many_keys");
    }

    fn everyones_keys_are_seen_and_revoked_by_permission(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (ada, eve) = (server.person("ada"), server.person("eve"));
        let moderator = server.person_with_role(&admin, "grace", "moderator");
        let (id, text) = limited(&ada, &json!({"requests_per_minute": 9}));
        let hers = eve.make_key(&["models:read"]);
        let key = server.key(&text);
        key.get(MODELS).is(200);
        let ids = |reply: Reply| -> Vec<Value> {
            assert!(!reply.text().contains(text.rsplit('_').next().expect("a secret")), "no secret is shown");
            reply.is(200).items().iter().map(|key| key["account_id"].clone()).collect()
        };
        assert_eq!(ids(moderator.api.get(ALL)), [json!(eve.id), json!(ada.id)]);
        assert_eq!(ids(moderator.api.get(&format!("{ALL}?account_id={}", ada.id))), [json!(ada.id)]);
        assert!(ids(moderator.api.get(&format!("{ALL}?account_id={}", admin.id))).is_empty());
        moderator.api.get(&format!("{ALL}?account_id=ada")).invalid(&["account_id"]);
        let watcher = server.key(&moderator.make_key(&["keys:read"]));
        assert_eq!(watcher.get(&format!("{ALL}?limit=1")).is(200).items().len(), 1);
        let one = format!("{ALL}/{id}");
        for client in [&moderator.api, &ada.api] {
            client.delete(&one).refused(403, "insufficient_permissions");
        }
        // Keys manage no keys, whatever their scopes.
        server.key(&admin.make_key(&["keys:manage", "keys:read"])).delete(&one).refused(403, "forbidden");
        admin.api.delete(&one).is(204);
        key.get(MODELS).refused(401, "invalid_token");
        admin.api.delete(&one).refused(404, "not_found");
        server.key(&hers).get(MODELS).is(200);
    }
}

/// A key that is bound to an office is not moved there by what its holder writes into a header.
#[test]
fn an_address_is_believed_from_trusted_proxies_only() {
    let server = Server::start(Pair::Embedded, &[]);
    let ada = server.person("ada");
    let body = json!({"name": "office", "scopes": ["models:read"], "allowed_ips": ["192.0.2.0/24"]});
    let key = server.key(&ada.make_key_with(body).1);
    let claim = |name: &str, value: &str| -> Client { key.with(name, value) };
    for name in
        ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"]
    {
        for value in ["192.0.2.1", "for=192.0.2.1", "::ffff:192.0.2.1"] {
            let status = claim(name, value).get(MODELS).status;
            assert!(matches!(status, 400 | 403), "{name}: {value}: {status}");
        }
    }
    let proxied = Server::start(Pair::Embedded, &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let ada = proxied.person("ada");
    let body = json!({"name": "lab", "scopes": ["models:read"], "allowed_ips": ["::ffff:192.0.2.0/120", "fe80::/10"]});
    let key = proxied.key(&ada.make_key_with(body).1).with("X-Forwarded-Proto", "https");
    // IPv4 is the same however it is written, in the list and by the proxy.
    for (address, status) in [
        ("192.0.2.9", 200),
        ("::ffff:192.0.2.9", 200),
        ("192.0.3.9", 403),
        ("::ffff:192.0.3.9", 403),
        ("fe80::1", 200),
        ("fe80::1%eth0", 400),
    ] {
        assert_eq!(key.with("X-Forwarded-For", address).get(MODELS).status, status, "{address}");
    }
}
