//! Bad content: invalid JSON, members and values that break a rule. Each is reported, none is an internal error.

use serde_json::{Value, json};

use crate::bad_requests::{LOGIN, send_json, someone, still_works};
use crate::harness::{Reply, Server, promise};
use crate::routes_matrix::NOBODY;

/// Whatever route it is on: what it may be is told, what was sent is not.
fn every_parameter_is_told_by_its_name(server: &Server) {
    let (admin, document) = (server.admin(), server.anon().get("/openapi.json").is(200).json());
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{name}", "digits").replace("{version}", "1").replace("{role}", "user");
        let path: Vec<&str> =
            path.split('/').map(|part| if part.starts_with('{') { NOBODY } else { part }).collect();
        let path = path.join("/");
        for (method, operation) in item.as_object().expect("an item") {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            // A file that is named by no id is none of one's own: 404.
            let of_query =
                parameters.filter(|parameter| parameter["in"] == "query" && parameter["name"] != "file");
            for parameter in of_query {
                let schema = parameter["schema"].to_string();
                let is_any_text =
                    !["integer", "boolean", "enum", "uuid", "date"].iter().any(|kind| schema.contains(kind));
                let name =
                    parameter["name"].as_str().filter(|_| !is_any_text).unwrap_or("nothing_of_this_name");
                let reply =
                    admin.api.send(&method.to_uppercase(), &format!("{path}?{name}=s3cret-value"), None, b"");
                let told = reply.invalid(&[name]).text();
                assert!(!told.contains("s3cret"), "{method} {path}: {told}");
                for inside in ["u32", "usize", "serde", "deserialize", "field `", "Option", "variant"] {
                    assert!(!told.contains(inside), "{method} {path}: {told}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "{seen} parameters");
}

promise! {
    fn json_that_is_none_is_refused(pair) {
        let (server, ada) = someone(pair, &[]);
        let anon = server.anon();
        let good = json!({"email": ada.email, "password": ada.password}).to_string();
        let deep = "[".repeat(200_000);
        let deep_object = r#"{"email":"#.repeat(50_000);
        let bodies = [
            "",
            " ",
            "{",
            "}",
            "{}",
            "[]",
            "null",
            "true",
            "7",
            "\"text\"",
            "{\"email\"}",
            "{'email': 'a'}",
            "{\"email\": \"a\", \"password\": \"b\",}",
            "{\"email\": \"a\" \"password\": \"b\"}",
            "NaN",
            "{\"email\": \"\\ud800\", \"password\": \"b\"}",
            &format!("{good} {good}"),
            &format!("{good}x"),
            &format!("\u{feff}{good}"),
            &deep,
            &deep_object,
            "[\"ada@example.com\", \"Correct-horse-battery-9\"]",
        ];
        for body in bodies {
            let reply = send_json(&anon, LOGIN, body.as_bytes());
            assert_eq!(
                (reply.status, &reply.json()["code"]),
                (400, &json!("malformed_request")),
                "{:.80}",
                body
            );
        }
        send_json(&anon, LOGIN, b"{\"email\": \"\xff\xfe\", \"password\": \"b\"}")
            .refused(400, "malformed_request");
        send_json(&anon, LOGIN, format!("\n\t {good} \r\n").as_bytes()).is(200);
        still_works(&server);
    }

    fn members_must_be_known_there_and_of_their_type(pair) {
        let (server, ada) = someone(pair, &[]);
        let anon = server.anon();
        let refused = |body: &Value, part: &str| {
            let told = anon.post(LOGIN, body).refused(400, "malformed_request").member("detail");
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        };
        refused(&json!({"email": "a", "password": "b", "admin": true}), "admin");
        refused(&json!({"email": "a"}), "password");
        refused(&json!({"email": ["a"], "password": "b"}), "a string");
        refused(&json!({"email": null, "password": "b"}), "a string");
        refused(&json!({"email": "a", "password": 12_345_678}), "a string");
        refused(&json!({"email": "a", "password": {"$ne": ""}}), "a string");
        let twice = send_json(&anon, LOGIN, br#"{"email": "a", "email": "b", "password": "c"}"#);
        assert!(twice.refused(400, "malformed_request").member("detail").contains("duplicate"));
        // What was sent may be a secret in the wrong place.
        let told = anon.post(LOGIN, &json!({"email": {"my-secret": 1}, "password": 47_114_711})).text();
        assert!(!told.contains("my-secret") && !told.contains("47114711"), "{told}");
        let (role, active) =
            (json!({"name": "Ada", "role": "admin"}), json!({"name": "Ada", "active": false}));
        ada.api.put("/api/v1/me", &role).refused(400, "malformed_request");
        ada.api.put("/api/v1/me", &active).refused(400, "malformed_request");
        assert_eq!(ada.api.get("/api/v1/me").json()["role"], "user");
    }

    fn fields_that_break_a_rule_are_all_named(pair) {
        let (server, ada) = someone(pair, &[]);
        let register = |email: &str, password: &str, name: &str| {
            server
                .anon()
                .post("/api/v1/auth/register", &json!({"email": email, "password": password, "name": name}))
        };
        let password = "Correct-horse-battery-9";
        register("no-address", password, "A").invalid(&["email", "name"]);
        register(&format!("{}@example.com", "a".repeat(200)), password, "Ada").invalid(&["email"]);
        for name in [
            "A",
            " ",
            "<b>Ada</b>",
            "Ada\nLovelace",
            "Ada\u{202e}",
            "Robert'); DROP TABLE users;--",
            &"a".repeat(51),
        ] {
            register("b@example.com", password, name).invalid(&["name"]);
        }
        let long = format!("Aa1-{}", "x".repeat(500));
        for password in ["", "short", "alllowercase-123", "NODIGITSATALL-aaa", "ada@example.com-A1", &long] {
            let reply = register("ada@example.com", password, "Ada Lovelace").invalid(&["password"]);
            assert!(password.is_empty() || !reply.text().contains(password), "{}", reply.text());
        }
        register("o.brien@example.com", password, "Siân O'Brien-Łukasz").is(201);
        for (path, field) in [
            ("/api/v1/api-keys?limit=0", "limit"),
            ("/api/v1/api-keys?limit=101", "limit"),
            ("/api/v1/api-keys?cursor=!", "cursor"),
            ("/api/v1/me/usage?from=2026-01-02&to=2026-01-01", "from"),
            ("/api/v1/me/usage?from=1900-01-01&to=2026-01-01", "from"),
        ] {
            ada.api.get(path).invalid(&[field]);
        }
        for query in ["limit=ten", "limit=-1", "limit=99999999999", "limit=1&limit=2"] {
            ada.api.get(&format!("/api/v1/api-keys?{query}")).invalid(&["limit"]);
        }
        every_parameter_is_told_by_its_name(&server);
    }

    fn values_at_the_edge_of_their_types_are_no_fault(pair) {
        let (server, ada) = someone(pair, &[]);
        let admin = server.admin();
        let answered =
            |reply: Reply| assert!(matches!(reply.status, 200 | 400), "{}: {}", reply.request, reply.text());
        for date in ["-262143-01-01", "%2B262142-12-31", "0000-01-01", "9999-12-31", "2026-02-30", "", "%00"]
        {
            answered(ada.api.get(&format!("/api/v1/me/usage?from={date}")));
            answered(ada.api.get(&format!("/api/v1/me/usage?to={date}")));
            answered(ada.api.get(&format!("/api/v1/me/usage?from={date}&to={date}")));
        }
        let long = "x".repeat(10_000);
        for search in ["%00", "%25", "_", "%27", "%5C", "%22%3B--", "%F0%9F%98%80", "%ff", &long, ""] {
            answered(admin.api.get(&format!("/api/v1/admin/users?search={search}")));
        }
        for cursor in ["%00", "AAAA", "-1", "9223372036854775808", &long, "", "%7B%7D"] {
            answered(admin.api.get(&format!("/api/v1/admin/users?cursor={cursor}")));
            answered(ada.api.get(&format!("/api/v1/auth/sessions?cursor={cursor}")));
        }
        for expiry in [
            "+262142-12-31T23:59:59Z",
            "-262143-01-01T00:00:00Z",
            "9999-12-31T23:59:60Z",
            "2026-11-31T00:00:00Z",
            "0001-01-01T00:00:00+23:59",
            "soon",
        ] {
            let body = json!({"name": "a key", "scopes": ["models:read"], "expires_at": expiry});
            assert_eq!(ada.api.post("/api/v1/api-keys", &body).status, 400, "{expiry}");
        }
        for (field, value) in [
            ("allowed_ips", json!(["1.2.3.4/33"])),
            ("allowed_ips", json!(["\u{0}"])),
            ("models", json!(["\u{0}"])),
            ("models", json!(["x".repeat(5000)])),
            ("name", json!("\u{0}")),
            ("scopes", json!(["\u{0}"])),
            ("scopes", json!(["*"])),
        ] {
            let mut body = json!({"name": "a key", "scopes": ["models:read"]});
            body[field] = value;
            assert_eq!(ada.api.post("/api/v1/api-keys", &body).status, 400, "{body:.200}");
        }
        let (id, _) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        let key = format!("/api/v1/api-keys/{id}");
        for (field, value) in [
            ("models", json!(["a b"])),
            ("models", json!(vec!["a"; 101])),
            ("allowed_ips", json!(vec!["10.0.0.1"; 101])),
            ("scopes", json!(vec!["models:read"; 101])),
            ("scopes", json!([])),
            ("name", json!("")),
        ] {
            let mut body = json!({});
            body[field] = value;
            ada.api.put(&key, &body).invalid(&[field]);
        }
        server
            .anon()
            .post(LOGIN, &json!({"email": "a\u{0}b", "password": "c"}))
            .refused(400, "malformed_request");
        server
            .anon()
            .post("/api/v1/auth/refresh", &json!({"refresh_token": "\u{1}\u{7f}ä"}))
            .refused(401, "invalid_token");
        server
            .anon()
            .post("/api/v1/auth/refresh", &json!({"refresh_token": long}))
            .refused(401, "invalid_token");
        still_works(&server);
    }
}
