//! Texts that would be code elsewhere: in every member of every body, in every path, query and credential.

use serde_json::{Map, Value, json};

use crate::harness::{Client, Server, promise};
use crate::routes_matrix::{NOBODY, Operation, document, operations};

/// What breaks out of SQL, templates, shells, logs, paths and numbers.
const HOSTILE: [&str; 12] = [
    "' OR '1'='1",
    "'; DROP TABLE accounts; --",
    "\"; DELETE FROM roles; --",
    "a' UNION SELECT secret FROM credentials --",
    "$1",
    "${7*7}{{7*7}}<%= 7*7 %>",
    "$(id)`id`|id",
    "../../../etc/passwd",
    "\r\nInjected: 1\u{1b}[31m",
    "<script>alert(1)</script>",
    "\u{202e}\u{feff}\u{0}",
    "99999999999999999999999999",
];

/// A value of the type that a schema asks for, with `text` and the member's name wherever a text may stand: no secret
/// must be what also stands in a path.
fn value(document: &Value, schema: &Value, text: &str) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).expect("a schema");
        return value(document, schema, text);
    }
    if let Some(first) = ["oneOf", "anyOf", "allOf"].iter().find_map(|kind| schema[*kind].as_array()?.last())
    {
        return value(document, first, text);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("string");
    match kind {
        "object" => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let filled = properties
                .iter()
                .map(|(name, schema)| (name.clone(), value(document, schema, &format!("{text} {name}"))));
            Value::Object(filled.collect::<Map<_, _>>())
        }
        "array" => json!([value(document, &schema["items"], text)]),
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        _ => json!(text),
    }
}

/// A text as it may stand in a path or a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[track_caller]
fn send(client: &Client, document: &Value, operation: &Operation, text: &str, id: &str) {
    let mut path = operation.path.replace("{id}", id);
    while let Some((start, end)) = path.find('{').zip(path.find('}')) {
        path.replace_range(start..=end, &encoded(text));
    }
    let schema = &operation.body["application/json"]["schema"];
    let body = value(document, schema, text).to_string();
    // The client fails at a 500 by itself.
    let reply = if schema.is_null() {
        client.send(&operation.method, &path, None, b"")
    } else {
        client.send(&operation.method, &path, Some("application/json"), body.as_bytes())
    };
    assert!(!reply.text().to_uppercase().contains("SYNTAX ERROR"), "{}", reply.text());
}

promise! {
    fn no_text_is_taken_for_code(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let document = document(&server);
        // Whatever ends sessions or accounts by itself needs no hostile text for it.
        let mut operations = operations(&server);
        operations.retain(|operation| !operation.is_an_end() && !operation.is_endless());
        let before = server.world.state();
        for text in HOSTILE {
            for operation in &operations {
                for client in [&server.anon(), &ada.api, &admin.api] {
                    send(client, &document, operation, text, &encoded(text));
                }
                send(&admin.api, &document, operation, text, NOBODY);
            }
            for query in ["search", "cursor", "limit", "from", "to", text] {
                let query = format!("{}={}", encoded(query), encoded(text));
                for path in ["/api/v1/admin/users", "/api/v1/auth/sessions", "/api/v1/me/usage", "/api/v1/api-keys"] {
                    let reply = admin.api.get(&format!("{path}?{query}"));
                    assert!(matches!(reply.status, 200 | 400), "{}: {}", reply.request, reply.text());
                }
            }
        }
        // People and keys may be called anything; nobody came or went, no right changed, and the old passwords are
        // good.
        let kept = |rows: Vec<String>| -> Vec<String> {
            let table = |row: &str, name: &str| row.starts_with(&format!("INSERT INTO {name} ")) || row.starts_with(&format!("INSERT INTO public.{name} "));
            rows.into_iter().filter(|row| ["roles", "models", "signing_keys"].iter().any(|name| table(row, name))).collect()
        };
        assert_eq!(kept(before), kept(server.world.state()));
        assert_eq!(server.world.sql("SELECT count(*) FROM accounts").trim(), "2");
        server.log_in(&ada.email, &ada.password);
        server.log_in(&admin.email, &admin.password);
    }

    fn no_credential_is_taken_for_code(pair) {
        let server = Server::start(pair, &[]);
        server.person("ada");
        let before = server.world.state();
        for text in HOSTILE {
            // What no header can hold, no client can send.
            let text: String = text.chars().filter(|character| character.is_ascii_graphic() || *character == ' ').collect();
            for credential in [text.clone(), format!("mg_test_{text}"), format!("mgr_{text}"), format!("{text}.{text}.{text}")] {
                server.user(&credential).get("/api/v1/me").is(401);
                server.anon().with("X-API-Key", &credential).get("/api/v1/me").is(401);
                server.refresh(&credential).refused(401, "invalid_token");
            }
            server.try_log_in(&text, &text).refused(401, "invalid_credentials");
        }
        server.world.is_unchanged_since(&before);
    }

    fn no_field_of_a_request_writes_lines_into_the_log(pair) {
        let server = Server::start(pair, &[("LOG_LEVEL", "debug")]);
        let forged = r#"{"level":"INFO","message":"forged"}"#;
        for break_out in ["\r\n", "\n", "\u{1b}[2J\u{1b}[31m", "\u{85}", "\u{2028}", "\u{8}\u{8}"] {
            let text = format!("x{break_out}{forged}");
            server.try_log_in(&text, "Wrong-horse-battery-9");
            let account = json!({"email": "new@example.com", "password": "Correct-horse-battery-9", "name": text});
            server.anon().post("/api/v1/auth/register", &account).invalid(&["name"]);
            server.anon().get(&format!("/{}", encoded(&text))).is(404);
            server.anon().get(&format!("/health?{}", encoded(&text))).is(200);
        }
        for header in ["User-Agent", "X-Request-Id", "Referer", "X-Forwarded-For"] {
            let head = format!("GET /api/v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}: x\u{1b}[31m\u{85}{forged}\r\n\r\n");
            assert!(server.raw(head.as_bytes()).starts_with("HTTP/1.1 4"));
        }
        let log = server.log();
        for line in log.lines() {
            let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_ne!(entry["message"], "forged", "{line}");
            assert!(!line.contains(|character: char| character.is_control()), "{line:?}");
        }
    }
}
