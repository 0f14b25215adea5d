//! Somebody else's things, more rights than one has, and ways around the door.

use serde_json::{Value, json};

use crate::harness::{Client, Person, Server, promise};
use crate::routes_matrix::{Operation, document, operations};

const ME: &str = "/api/v1/me";
const KEYS: &str = "/api/v1/api-keys";
const USERS: &str = "/api/v1/admin/users";
const ROLES: &str = "/api/v1/admin/roles";

/// Every id that belongs to someone: of the account, its session and its key, the key's public id.
fn ids(person: &Person) -> Vec<String> {
    let key = person.api.post(KEYS, &json!({"name": "a key", "scopes": ["models:read"]})).is(201);
    let session = &person.api.get("/api/v1/auth/sessions").is(200).items()[0]["id"];
    let session = session.as_str().expect("an id").to_owned();
    vec![person.id.clone(), session, key.member("id"), key.member("public_id")]
}

/// The status of a request whose target is sent byte by byte as it stands.
#[track_caller]
fn status(server: &Server, line: &str, headers: &str) -> u16 {
    let answer = server.raw(format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").as_bytes());
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|answer| answer.get(..3)?.parse().ok());
    status.unwrap_or_else(|| panic!("{line}: {answer:.200}"))
}

fn of_administrators(operation: &Operation) -> bool {
    operation.path.starts_with("/api/v1/admin/")
}

promise! {
    fn anothers_ids_lead_nowhere(pair) {
        let server = Server::start(pair, &[]);
        let (ada, grace, admin) = (server.person("ada"), server.person("grace"), server.admin());
        let theirs = ids(&ada);
        let key = server.key(&grace.make_key(&["models:read", "models:infer"]));
        let nested: Vec<Operation> =
            operations(&server).into_iter().filter(|operation| operation.path.contains("id}")).collect();
        assert!(nested.len() >= 8, "{}", nested.len());
        let before = server.world.state();
        for operation in &nested {
            // Administrators have routes of their own for what is others'.
            let mut callers: Vec<&Client> = vec![&grace.api, &key];
            if !of_administrators(operation) {
                callers.push(&admin.api);
            }
            for (id, caller) in theirs.iter().flat_map(|id| callers.iter().map(move |caller| (id, caller))) {
                let path = operation.path.replace("{id}", id).replace("{key_id}", id).replace("{name}", "digits");
                let reply = caller.send(&operation.method, &path, Some("application/json"), b"{}");
                assert!(matches!(reply.status, 403 | 404), "{}: {} {}", operation.name(), reply.status, reply.text());
                assert!(!reply.text().contains(&ada.email), "{}", reply.text());
            }
        }
        for query in ["account", "account_id", "owner", "user_id"] {
            grace.api.get(&format!("{KEYS}?{query}={}", ada.id)).invalid(&[query]);
            grace.api.get(&format!("{ME}/usage?{query}={}", ada.id)).invalid(&[query]);
        }
        server.world.is_unchanged_since(&before);
        ada.api.get(ME).is(200);
    }

    fn no_body_takes_a_member_that_is_not_its_own(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let (id, _) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        let (key, user) = (format!("{KEYS}/{id}"), format!("{USERS}/{}", ada.id));
        let account = json!({"email": "new@example.com", "password": "Correct-horse-battery-9", "name": "Somebody New"});
        let bodies = [
            (server.anon(), "POST", "/api/v1/auth/register", account),
            (ada.api.clone(), "PUT", ME, json!({"name": "Another Name"})),
            (ada.api.clone(), "POST", KEYS, json!({"name": "another", "scopes": ["models:read"]})),
            (ada.api.clone(), "PUT", &key, json!({"name": "another"})),
            (admin.api.clone(), "PUT", &user, json!({"name": "Another Name"})),
            (admin.api.clone(), "POST", ROLES, json!({"name": "another", "permissions": []})),
        ];
        let before = server.world.state();
        for (client, method, path, body) in &bodies {
            for member in ["is_admin", "admin", "account_id", "owner_id", "tenant_id", "id", "email_verified",
                "created_at", "quota", "security_version", "built_in", "password_hash", "__proto__"] {
                let mut body = body.clone();
                body[member] = json!("admin");
                let sent = client.send(method, path, Some("application/json"), body.to_string().as_bytes());
                sent.refused(400, "malformed_request");
            }
        }
        server.world.is_unchanged_since(&before);
    }

    fn every_body_of_the_document_is_closed_to_unknown_members(pair) {
        let server = Server::start(pair, &[]);
        let document = document(&server);
        // RFC 7009 and RFC 7662 have servers pass over what they do not know, and so has the open inference protocol.
        let is_open = |operation: &&Operation| {
            operation.path.starts_with("/v2") || operation.body.get("application/x-www-form-urlencoded").is_some()
        };
        for operation in operations(&server).iter().filter(|operation| !is_open(operation)) {
            let Some(schema) = operation.body["application/json"]["schema"]["$ref"].as_str() else { continue };
            let named = |name: &str| document.pointer(name.trim_start_matches('#')).expect("a schema");
            let schema = named(schema);
            let kinds = schema["oneOf"].as_array().into_iter().flatten();
            let kinds: Vec<&Value> = kinds.map(|kind| named(kind["$ref"].as_str().expect("a name"))).collect();
            for schema in if kinds.is_empty() { vec![schema] } else { kinds } {
                assert_eq!(schema["additionalProperties"], Value::Bool(false), "{}", operation.name());
            }
        }
    }

    fn no_spelling_of_a_path_opens_an_administrators_route(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let headers = format!("Host: x\r\nAuthorization: Bearer {}\r\n", ada.tokens.access);
        let before = server.world.state();
        for operation in operations(&server).iter().filter(|operation| of_administrators(operation)) {
            let path = operation.path.replace("{id}", &ada.id).replace("{key_id}", &ada.id).replace("{name}", "digits").replace("{role}", "user");
            let (method, rest) = (&operation.method, path.trim_start_matches("/api"));
            for path in [
                path.clone(),
                format!("{path}/"),
                format!("/{path}"),
                format!("//x{path}"),
                format!("/api/.{rest}"),
                format!("/api/%2e{rest}"),
                format!("/api/x/..{rest}"),
                format!("/%61pi{rest}"),
                format!("/API{rest}"),
                format!("/api{}", rest.replace('/', "%2f")),
                format!("/health/../api{rest}"),
                format!("{path};a=b"),
                format!("{path}?role=admin"),
                format!("{path}%00"),
                format!("/health%23/../..{path}"),
            ] {
                let got = status(&server, &format!("{method} {path}"), &headers);
                assert!(matches!(got, 400 | 403..=405), "{method} {path}: {got}");
            }
        }
        for (method, header) in [("GET", "X-HTTP-Method-Override: DELETE"), ("POST", "X-Method-Override: PUT"), ("POST", "X-HTTP-Method: DELETE")] {
            let got = status(&server, &format!("{method} {USERS}/{}", ada.id), &format!("{headers}{header}\r\n"));
            assert!(matches!(got, 403 | 405), "{header}: {got}");
        }
        server.world.is_unchanged_since(&before);
        assert!(server.metric("security_events_total{event_type=\"PERMISSION_DENIED\"}") >= 10.0);
    }

    fn the_route_that_is_guarded_is_the_route_that_is_taken(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let before = server.world.state();
        let bearer = format!("Authorization: Bearer {}\r\n", ada.tokens.access);
        let rewrites = ["X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Path"];
        for header in rewrites {
            let hidden = format!("Host: x\r\n{bearer}{header}: /health\r\n");
            assert_eq!(status(&server, &format!("GET {USERS}"), &hidden), 403, "{header}");
            let wished = format!("Host: x\r\n{header}: {USERS}\r\n");
            let answer = server.raw(format!("GET /health HTTP/1.1\r\nConnection: close\r\n{wished}\r\n").as_bytes());
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"model_loaded\""), "{header}: {answer}");
        }
        for host in ["x/health", "x/health?", "x#", "health", "x\\health"] {
            let got = status(&server, &format!("GET {USERS}"), &format!("Host: {host}\r\n{bearer}"));
            assert!(matches!(got, 400 | 403), "{host}: {got}");
        }
        for target in [&format!("http://x{USERS}"), &format!("http://health{USERS}"), &format!("http://x/health/..{USERS}")] {
            let got = status(&server, &format!("GET {target}"), &format!("Host: x\r\n{bearer}"));
            assert!(matches!(got, 400 | 403 | 404), "{target}: {got}");
        }
        let got = status(&server, &format!("GET {USERS}"), "Host: x\r\nX-User-Id: admin\r\nX-Forwarded-User: admin\r\nRemote-User: admin\r\n");
        assert_eq!(got, 401);
        server.world.is_unchanged_since(&before);
    }

    /// Names that look like another counter's key count for themselves.
    fn one_callers_counters_are_no_others(pair) {
        let limits = [("RATE_LIMIT_LOGIN_PER_MINUTE", "3"), ("RATE_LIMIT_READ_PER_MINUTE", "40"), ("TRUSTED_PROXIES", "127.0.0.1")];
        let server = Server::start(pair, &limits);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let from = |address: &str| server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address);
        let names = ["192.0.2.200", "ip:192.0.2.200", &format!("account:{}", ada.id), &format!("read:{}", ada.id), &ada.id, "*", "mg:*"];
        for (network, name) in names.iter().enumerate() {
            for host in 0..4 {
                let there = from(&format!("198.51.{network}.{host}"));
                let status = there.post("/api/v1/auth/login", &json!({"email": name, "password": "Wrong-horse-battery-9"})).status;
                assert_eq!(status, if host < 3 { 401 } else { 429 }, "{name}");
            }
        }
        let body = json!({"email": ada.email, "password": ada.password});
        from("192.0.2.200").post("/api/v1/auth/login", &body).is(200);
        while ada.api.get(ME).status == 200 {}
        ada.api.get(ME).refused(429, "rate_limited");
        grace.api.get(ME).is(200);
        assert!(grace.api.get(&format!("{ME}/usage")).is(200).items().is_empty());
    }

    fn who_may_read_the_audit_trail_may_nothing_else(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        admin.api.post(ROLES, &json!({"name": "auditor", "permissions": ["audit:read"]})).is(201);
        let auditor = server.person_with_role(&admin, "auditor", "auditor");
        let before = server.world.state();
        for operation in operations(&server) {
            let needs = operation.scopes.clone().unwrap_or_default();
            if needs.iter().any(|scope| scope != "audit:read") {
                let reply = operation.ask(&auditor.api);
                assert_eq!(reply.status, 403, "{}: {}", operation.name(), reply.text());
            }
        }
        server.world.is_unchanged_since(&before);
    }
}
