//! The OpenAPI document: complete, consistent, the same from every source; and every kind of error body.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Pair, Reply, Server, World, promise, sample};

/// What production wants of its settings; the rest comes from the world of the test.
pub const PRODUCTION: [(&str, &str); 5] = [
    ("APP_ENV", "production"),
    ("TEST_CLOCK", ""),
    ("ENCRYPTION_KEY", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="),
    ("DATABASE_TLS", "disable"),
    ("AUDIT_KEY", "9nBQ3vJH1Wc0m2yq7r5uTzXk8LsEaDgIfPoVbNcMx4Q="),
];

/// The keys among them: a database is read with those that it was written with.
pub const KEYS: [(&str, &str); 2] = [PRODUCTION[2], PRODUCTION[4]];

fn printed() -> Value {
    let finished = World::new(Pair::Embedded).run(&["openapi"], &[], "");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).expect("JSON")
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_changes_only_on_purpose() {
    insta::assert_json_snapshot!("document", printed(), {".info.version" => "[version]"});
}

#[test]
fn every_reference_leads_somewhere() {
    let document = printed();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("nothing outside of the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn the_document_is_openapi_3_1_with_unique_operations() {
    let document = printed();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert_eq!(document["info"]["title"], "Modelgate");
    let schemes = document["components"]["securitySchemes"].clone();
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    assert_eq!(
        (&schemes["api_key"]["in"], &schemes["api_key"]["name"]),
        (&json!("header"), &json!("X-API-Key"))
    );
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let id = operation["operationId"].as_str().unwrap_or_default();
            assert!(!id.is_empty() && ids.insert(id.to_owned()), "{method} {path}: {id:?}");
            let declared: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            let named: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert_eq!(declared, named, "{method} {path}");
        }
    }
}

promise! {
    fn a_development_server_serves_the_document_that_is_printed(pair) {
        let server = Server::start(pair, &[]);
        let served = server.anon().get("/openapi.json").is(200);
        assert_eq!(served.header("content-type"), Some("application/json"));
        assert_eq!(served.json(), printed());
        server.anon().act("/openapi.json").refused(405, "method_not_allowed");
        assert!(server.anon().send("HEAD", "/openapi.json", None, b"").is(200).body.is_empty());
    }

    fn the_pages_load_nothing_from_elsewhere(pair) {
        let server = Server::start(pair, &[]);
        let page = server.anon().get("/docs/").is(200);
        assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
        let policy = page.header("content-security-policy").expect("a policy").to_owned();
        assert!(policy.contains("script-src 'self'") && !policy.contains("http"), "{policy}");
        let text = page.text();
        for attribute in ["src=\"", "href=\""] {
            for target in text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(!target.contains("//"), "{target} is elsewhere");
                server.anon().get(&format!("/docs/{}", target.trim_start_matches("./"))).is(200);
            }
        }
        assert!(!text.contains("<script>"), "the policy would stop an inline script");
    }

    fn production_keeps_the_document_to_itself_unless_told(pair) {
        let world = World::new(pair);
        let mut server = world.start(&PRODUCTION);
        for path in ["/openapi.json", "/docs", "/docs/", "/docs/index.html"] {
            server.anon().get(path).refused(404, "not_found");
        }
        server.anon().get("/health").is(200);
        let body = json!({"email": "a@example.com", "password": "Correct-horse-battery-9", "name": "Ada"});
        server.anon().post("/api/v1/auth/register", &body).refused(403, "registration_closed");
        assert_eq!(server.stop(), Some(0));
        let server = world.start(&[PRODUCTION.as_slice(), &[("API_DOCS_ENABLED", "true")]].concat());
        server.anon().get("/openapi.json").is(200);
    }
}

/// A body as it stands in the snapshot: without what differs from run to run.
fn shown(reply: &Reply) -> Value {
    let mut body = reply.json();
    if let Some(id) = body.get_mut("request_id") {
        *id = json!("[request id]");
    }
    let names = ["www-authenticate", "allow", "retry-after", "content-type"];
    let mut headers: BTreeMap<&str, &str> =
        names.into_iter().filter_map(|name| Some((name, reply.header(name)?))).collect();
    headers.entry("retry-after").and_modify(|seconds| *seconds = "[seconds]");
    let is_id = |part: &&str| part.len() == 36 && part.matches('-').count() == 4;
    let request = reply.request.split('/').map(|part| if is_id(&part) { "[id]" } else { part });
    let request = request.collect::<Vec<_>>().join("/");
    json!({"request": request, "status": reply.status, "headers": headers, "body": body})
}

#[test]
fn error_bodies_change_only_on_purpose() {
    let limits =
        [("RATE_LIMIT_REGISTER_PER_MINUTE", "2"), ("MAX_FILE_SIZE_MB", "1"), ("ALLOWED_HOSTS", "127.0.0.1")];
    let server = Server::start(Pair::Embedded, &limits);
    let (anon, ada) = (server.anon(), server.person("ada"));
    let key = server.key(&ada.make_key(&["models:read"]));
    let admin = server.admin();
    let login = "/api/v1/auth/login";
    let replies = [
        anon.send("POST", login, Some("application/json"), b"{"),
        anon.post(login, &json!({"email": "ada@example.com", "password": "x", "more": 1})),
        anon.post(login, &json!({"email": "ada@example.com"})),
        anon.post(
            "/api/v1/auth/register",
            &json!({"email": "nobody", "password": "Correct-horse-battery-9", "name": "A"}),
        ),
        ada.api.predict(b"no picture"),
        ada.api.post("/v2/models/digits/infer", &json!({"inputs": []})),
        ada.api.with("X-API-Key", "mg_").get("/api/v1/me"),
        anon.with("Host", "elsewhere.example").get("/api/v1/me"),
        anon.get("/api/v1/me"),
        anon.post(login, &json!({"email": "ada@example.com", "password": "Wrong-horse-battery-9"})),
        server.user("no.token.atall").get("/api/v1/me"),
        anon.get("/v2"),
        ada.api.get("/api/v1/admin/users"),
        key.predict(&sample("1-1")),
        key.get("/api/v1/api-keys"),
        anon.get("/nothing"),
        anon.get("/v2/nothing"),
        ada.api.get("/api/v1/api-keys/01890000-0000-7000-8000-000000000000"),
        ada.api.get("/api/v1/models/nothing"),
        ada.api.get("/v2/models/nothing"),
        ada.api.send("PATCH", "/api/v1/me", None, b""),
        anon.get("/v2/models/digits/infer"),
        admin.api.delete(&format!("/api/v1/admin/users/{}", admin.id)),
        ada.api.predict(&vec![0; (1 << 20) + 1]),
        anon.send("POST", login, Some("text/plain"), b"{}"),
        anon.post("/api/v1/auth/register", &json!({})),
        ada.api.send("POST", "/v2/models/digits/infer", Some("text/plain"), b"{}"),
    ];
    let replies: Vec<Value> = replies.iter().map(shown).collect();
    insta::assert_json_snapshot!("errors", replies);
}
