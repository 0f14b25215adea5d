//! API keys: never more than their owner may, narrowed as asked, refused the moment they end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Person, Server, promise, sample};

const KEYS: &str = "/api/v1/api-keys";
const MODELS: &str = "/api/v1/models";
const HOUR: Duration = Duration::from_secs(3600);

fn path(id: &str) -> String {
    format!("{KEYS}/{id}")
}

/// A client with a key of these scopes.
fn program(server: &Server, owner: &Person, scopes: &[&str]) -> Client {
    server.key(&owner.make_key(scopes))
}

promise! {
    fn a_key_has_the_documented_form_and_is_shown_once(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let made = ada.api.post(KEYS, &json!({"name": "robot", "scopes": ["models:infer"]})).is(201);
        assert_eq!(made.header("cache-control"), Some("no-store"));
        let key = made.member("key");
        let parts: Vec<&str> = key.split('_').collect();
        assert_eq!((parts[0], parts[1], parts[2].len(), parts[3].len()), ("mg", "test", 12, 49), "{parts:?}");
        assert_eq!(made.member("public_id"), parts[2]);
        for shown in [ada.api.get(KEYS).is(200), ada.api.get(&path(&made.member("id"))).is(200)] {
            assert!(!shown.text().contains(parts[3]), "{}", shown.text());
            assert!(!shown.text().contains("hash"), "{}", shown.text());
        }
        let shown = ada.api.get(&path(&made.member("id"))).json();
        assert_eq!((&shown["name"], &shown["scopes"]), (&json!("robot"), &json!(["models:infer"])));
        assert!(shown["expires_at"].is_string(), "no key is good for ever: {shown}");
    }

    fn a_key_is_taken_in_either_header_and_never_in_a_url(pair) {
        let server = Server::start(pair, &[]);
        let key = server.person("ada").make_key(&["models:read"]);
        server.key(&key).get(MODELS).is(200);
        server.user(&key).get(MODELS).is(200);
        server.anon().with("Authorization", &format!("bearer  {key}")).get(MODELS).is(200);
        for name in ["api_key", "key", "access_token", "X-API-Key"] {
            server
                .anon()
                .get(&format!("{MODELS}?{name}=mg_test_not_a_key"))
                .refused(401, "authentication_required");
        }
        server.key(&key).with("X-API-Key", &key).get(MODELS).refused(400, "ambiguous_credentials");
        server.user(&key).with("X-API-Key", &key).get(MODELS).refused(400, "ambiguous_credentials");
        server
            .anon()
            .with("Authorization", &format!("Basic {key}"))
            .get(MODELS)
            .refused(401, "invalid_token");
    }

    fn a_key_does_what_its_scopes_say(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let (reads, infers) =
            (program(&server, &ada, &["models:read"]), program(&server, &ada, &["models:infer"]));
        reads.get(MODELS).is(200);
        infers.predict(&sample("1-1")).is(200);
        let refused = reads.predict(&sample("1-1")).refused(403, "insufficient_permissions");
        let challenge = refused.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.contains("insufficient_scope") && challenge.contains("models:infer"),
            "{challenge}"
        );
        infers.get(MODELS).refused(403, "insufficient_permissions");
        infers.get("/api/v1/admin/users").refused(403, "insufficient_permissions");
        assert_eq!(reads.get("/api/v1/me").is(200).member("id"), ada.id);
    }

    fn nobody_makes_a_key_that_may_more_than_they_do(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        let make = |person: &Person, scopes: Value| {
            person.api.post(KEYS, &json!({"name": "a key", "scopes": scopes}))
        };
        for scopes in [
            json!(["users:manage"]),
            json!(["models:read", "audit:read"]),
            json!(["models:everything"]),
            json!([]),
            json!([""]),
        ] {
            make(&ada, scopes).invalid(&["scopes"]);
        }
        make(&ada, json!("models:read")).refused(400, "malformed_request");
        make(&admin, json!(["users:manage", "users:read"])).is(201);
        let (id, _) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        ada.api.put(&path(&id), &json!({"scopes": ["users:manage"]})).invalid(&["scopes"]);
        for member in ["expires_at", "id", "account_id", "public_id", "revoked_at"] {
            ada.api.put(&path(&id), &json!({member: null})).refused(400, "malformed_request");
        }
    }

    fn a_key_loses_what_its_owner_loses_and_gets_it_back(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person_with_role(&admin, "ada", "moderator");
        let key = program(&server, &ada, &["users:read", "models:read"]);
        key.get("/api/v1/admin/users").is(200);
        admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"role": "readonly"})).is(200);
        key.get("/api/v1/admin/users").refused(403, "insufficient_permissions");
        key.get(MODELS).is(200);
        admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"role": "admin"})).is(200);
        key.get("/api/v1/admin/users").is(200);
        key.delete(&format!("/api/v1/admin/users/{}", ada.id)).refused(403, "insufficient_permissions");
    }

    fn a_key_ends_when_it_says(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let now = server.anon().get("/health").member("timestamp");
        let day = &now[..10];
        ada.api
            .post(KEYS, &json!({"name": "late", "scopes": ["models:read"], "expires_at": now}))
            .invalid(&["expires_at"]);
        let far = json!({"name": "year", "scopes": ["models:read"], "expires_at": "2100-01-01T00:00:00Z"});
        let far = server.key(&ada.make_key_with(far).1);
        let plain = program(&server, &ada, &["models:read"]);
        server.advance(HOUR * 24 * 90 - HOUR);
        plain.get(MODELS).is(200);
        server.advance(HOUR * 2);
        plain.get(MODELS).refused(401, "invalid_token");
        far.get(MODELS).is(200);
        assert!(!server.anon().get("/health").member("timestamp").starts_with(day), "the clock moved");
    }

    fn a_cached_key_ends_in_time_too(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        server.advance(HOUR);
        let soon = server.anon().get("/health").member("timestamp");
        server.world.turn_back(HOUR);
        let key = server.key(
            &ada.make_key_with(json!({"name": "soon", "scopes": ["models:read"], "expires_at": soon})).1,
        );
        server.advance(HOUR - Duration::from_secs(20));
        key.get(MODELS).is(200);
        server.advance(Duration::from_secs(21));
        key.get(MODELS).refused(401, "invalid_token");
    }

    fn a_key_narrowed_to_models_knows_no_others(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let narrowed = |models: Value| json!({"name": "a key", "scopes": ["models:read", "models:infer"], "models": models});
        let other = server.key(&ada.make_key_with(narrowed(json!(["letters"]))).1);
        other.predict(&sample("1-1")).refused(404, "model_not_found");
        other.get("/api/v1/models/digits").refused(404, "model_not_found");
        other.get("/v2/models/digits").is(404);
        assert!(other.get(MODELS).is(200).items().is_empty());
        let (id, text) = ada.make_key_with(narrowed(json!(["digits"])));
        let key = server.key(&text);
        key.predict(&sample("1-1")).is(200);
        ada.api.put(&path(&id), &json!({"models": ["letters"]})).is(200);
        key.predict(&sample("1-1")).refused(404, "model_not_found");
        ada.api.put(&path(&id), &json!({"name": "renamed"})).is(200);
        key.predict(&sample("1-1")).refused(404, "model_not_found");
        ada.api.put(&path(&id), &json!({"models": null})).is(200);
        key.predict(&sample("1-1")).is(200);
    }

    fn a_key_is_good_from_its_addresses_only(pair) {
        let server = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1")]);
        let ada = server.person("ada");
        let office = ["192.0.2.0/24", "2001:db8::/32"];
        let body = json!({"name": "office", "scopes": ["models:read"], "allowed_ips": office});
        let (id, text) = ada.make_key_with(body);
        let from = |address: &str| {
            server.key(&text).with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
        };
        for inside in ["192.0.2.77", "2001:db8::1", "::ffff:192.0.2.1", "203.0.113.1, 192.0.2.5"] {
            from(inside).get(MODELS).is(200);
        }
        for outside in ["198.51.100.1", "2001:db9::1", "192.0.2.5, 198.51.100.1"] {
            from(outside).get(MODELS).refused(403, "forbidden");
        }
        from("192.0.2.5, nonsense").get(MODELS).refused(400, "malformed_request");
        server.key(&text).get(MODELS).refused(403, "forbidden");
        for here in ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:127.0.0.0/104"] {
            ada.api.put(&path(&id), &json!({"allowed_ips": [here]})).is(200);
            server.key(&text).get(MODELS).is(200);
        }
        from("192.0.2.77").get(MODELS).refused(403, "forbidden");
        ada.api.put(&path(&id), &json!({"allowed_ips": ["300.1.1.1"]})).invalid(&["allowed_ips"]);
        ada.api.put(&path(&id), &json!({"allowed_ips": null})).is(200);
        from("192.0.2.77").get(MODELS).is(200);
    }

    fn keys_manage_no_keys(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (id, text) = admin
            .make_key_with(json!({"name": "a key", "scopes": ["keys:manage", "keys:read", "users:manage"]}));
        let key = server.key(&text);
        key.get(KEYS).refused(403, "forbidden");
        key.get(&path(&id)).refused(403, "forbidden");
        key.post(KEYS, &json!({"name": "child", "scopes": ["keys:read"]})).refused(403, "forbidden");
        key.put(&path(&id), &json!({"name": "renamed"})).refused(403, "forbidden");
        key.delete(&path(&id)).refused(403, "forbidden");
        assert_eq!(admin.api.get(KEYS).items().len(), 1);
    }

    fn anothers_key_does_not_exist(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        for other in [&grace, &admin] {
            other.api.get(&path(&id)).refused(404, "not_found");
            other.api.put(&path(&id), &json!({"name": "mine"})).refused(404, "not_found");
            other.api.delete(&path(&id)).refused(404, "not_found");
            assert!(other.api.get(KEYS).is(200).items().is_empty());
        }
        ada.api.get(&path("00000000-0000-0000-0000-000000000000")).refused(404, "not_found");
        ada.api.get(&path("no-uuid")).refused(404, "not_found");
        server.key(&text).get(MODELS).is(200);
    }

    fn a_revoked_key_is_refused_at_the_next_request(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        let (key, other) = (server.key(&text), program(&server, &ada, &["models:read"]));
        key.get(MODELS).is(200);
        ada.api.delete(&path(&id)).is(204);
        key.get(MODELS).refused(401, "invalid_token");
        server.user(&text).get(MODELS).refused(401, "invalid_token");
        ada.api.delete(&path(&id)).refused(404, "not_found");
        ada.api.put(&path(&id), &json!({"name": "back"})).refused(404, "not_found");
        key.get(MODELS).refused(401, "invalid_token");
        other.get(MODELS).is(200);
        assert_eq!(ada.api.get(KEYS).items().len(), 1, "the list is of live keys");
    }

    fn a_made_up_key_is_refused(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let (first, second) = (ada.make_key(&["models:read"]), ada.make_key(&["models:read"]));
        let changed = |index: usize| {
            let mut text = first.clone().into_bytes();
            text[index] = if text[index] == b'x' { b'y' } else { b'x' };
            String::from_utf8(text).expect("ASCII")
        };
        let mut made_up: Vec<String> = (0..first.len()).step_by(3).map(changed).collect();
        made_up.extend([
            "mg_".into(),
            "mg_test_".into(),
            first[..60].into(),
            format!("{first}0"),
            first.replace("test", "live"),
        ]);
        // The id of one key with the secret of another, its checksum made right.
        let body = format!("{}{}", &first[..21], &second[21..second.len() - 6]);
        made_up.push(format!("{body}{}", checksum(&body)));
        assert_eq!(made_up.last().map(String::len), Some(first.len()));
        assert_eq!(format!("{}{}", &first[..first.len() - 6], checksum(&first[..first.len() - 6])), first);
        for text in &made_up {
            server.anon().with("X-API-Key", text).get(MODELS).refused(401, "invalid_token");
        }
        server.key(&first).get(MODELS).is(200);
    }

    fn what_a_key_is_called_is_checked(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for name in ["", "  ", "two\nlines", &"x".repeat(101)] {
            ada.api.post(KEYS, &json!({"name": name, "scopes": ["models:read"]})).invalid(&["name"]);
        }
        let body =
            json!({"name": "a key", "scopes": ["models:read"], "allowed_ips": ["here", "10.0.0.0/99"]});
        ada.api.post(KEYS, &body).invalid(&["allowed_ips"]);
        ada.api.post(KEYS, &json!({"name": "many", "scopes": vec!["models:read"; 101]})).invalid(&["scopes"]);
        ada.api.post(KEYS, &json!({"scopes": ["models:read"]})).refused(400, "malformed_request");
        ada.api
            .post(KEYS, &json!({"name": "a key", "scopes": ["models:read"], "expires_at": "soon"}))
            .refused(400, "malformed_request");
        assert!(ada.api.get(KEYS).items().is_empty());
        ada.api.post(KEYS, &json!({"name": "\"><script>", "scopes": ["models:read"]})).is(201);
    }

    fn keys_come_in_pages(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for _ in 0..5 {
            ada.make_key(&["models:read"]);
        }
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), String::new());
        for expected in [2, 2, 1] {
            let page = ada.api.get(&format!("{KEYS}?limit=2{cursor}")).is(200);
            assert_eq!(page.items().len(), expected);
            seen.extend(page.items().iter().map(|key| key["id"].to_string()));
            cursor = format!("&cursor={}", page.json()["next_cursor"].as_str().unwrap_or_default());
        }
        assert_eq!((seen.len(), cursor.as_str()), (5, "&cursor="));
        ada.api.get(&format!("{KEYS}?limit=101")).invalid(&["limit"]);
        ada.api.get(&format!("{KEYS}?page=2")).invalid(&["page"]);
    }
}

/// The last six characters of a key, as the format documents them: CRC-32 in base 62.
fn checksum(body: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32(body.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}
