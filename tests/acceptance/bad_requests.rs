//! Bad requests: a wrong method, path, credential, type or size. Each gets the documented status and body, and the
//! server goes on as before.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Client, Pair, Person, Reply, Server, eventually, promise, read_all, sample};

pub const LOGIN: &str = "/api/v1/auth/login";

/// How much longer than it must take anything may take on a machine that does much besides.
const SLACK: Duration = Duration::from_secs(10);

/// A server, and someone who is logged in on it.
pub fn someone(pair: Pair, settings: &[(&str, &str)]) -> (Server, Person) {
    let server = Server::start(pair, settings);
    let ada = server.person("ada");
    (server, ada)
}

#[track_caller]
pub fn send_json(client: &Client, path: &str, body: &[u8]) -> Reply {
    client.send("POST", path, Some("application/json"), body)
}

/// Nothing that was tried has hurt the server.
#[track_caller]
pub fn still_works(server: &Server) {
    let ada = server.log_in("ada@example.com", "Correct-horse-battery-9");
    ada.api.predict(&sample("7-1")).is(200);
}

promise! {
    fn a_wrong_method_is_told_the_right_ones(pair) {
        let (server, ada) = someone(pair, &[]);
        for (method, path, allow) in [
            ("PATCH", "/api/v1/me", "DELETE, GET, HEAD, PUT"),
            ("DELETE", "/api/v1/auth/login", "POST"),
            ("GET", "/api/v1/auth/login", "POST"),
            ("HEAD", "/api/v1/auth/login", "POST"),
            ("POST", "/health", "GET, HEAD"),
            ("PUT", "/v2", "GET, HEAD"),
            ("GET", "/v2/models/digits/infer", "POST"),
            ("POST", "/api/v1/api-keys/01890000-0000-7000-8000-000000000000", "DELETE, GET, HEAD, PUT"),
            ("OPTIONS", "/api/v1/me", "DELETE, GET, HEAD, PUT"),
            ("TRACE", "/api/v1/me", "DELETE, GET, HEAD, PUT"),
            ("BREW", "/metrics", "GET, HEAD"),
            ("get", "/health", "GET, HEAD"),
        ] {
            for client in [&server.anon(), &ada.api] {
                let reply = client.send(method, path, None, b"").is(405);
                assert_eq!(reply.header("allow"), Some(allow), "{method} {path}");
            }
        }
    }

    fn a_path_is_known_exactly_or_not_at_all(pair) {
        let (server, ada) = someone(pair, &[]);
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/api/v2/me",
            "/api/v1/me/",
            "/api/v1/ME",
            "/health/",
            "/health/live/x",
            "/metrics/",
            "/admin",
            "/.env",
            "/.git/config",
            "/v2//",
            "/v2/models",
            "/v2/models/digits/",
            "/v2x",
            "/openapi.yaml",
            "/wp-login.php",
        ] {
            ada.api.get(path).is(404);
            server.anon().get(path).is(404);
        }
        let token = &ada.tokens.access;
        for path in [
            "//api/v1/me",
            "/api//v1/me",
            "/api/v1/./me",
            "/api/v1/x/../me",
            "/api/v1/%2e%2e/v1/me",
            "/api/v1%2fme",
            "/../etc/passwd",
            "/docs/../health",
            "/docs/%2e%2e/%2e%2e/etc/passwd",
            "/api/v1/me%00",
            "/api/v1/me;a=b",
        ] {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
            );
            let answer = server.raw(head.as_bytes());
            assert!(
                answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 400 "),
                "{path}: {answer:.300}"
            );
        }
        for name in
            ["..", "%2e%2e%2f%2e%2e%2fetc", "a%00b", "%ff", "digits%20", "digits%2f1", "*", &"a".repeat(3000)]
        {
            ada.api.get(&format!("/v2/models/{name}")).is(404);
            ada.api.get(&format!("/api/v1/models/{name}")).is(404);
        }
        still_works(&server);
    }

    fn an_id_that_is_none_names_nothing(pair) {
        let (server, ada) = someone(pair, &[]);
        let admin = server.admin();
        for id in [
            "1",
            "0",
            "me",
            "-1",
            "01890000",
            "01890000-0000-7000-8000-00000000000g",
            "'%20OR%201=1",
            "%00",
            "*",
            &ada.id.replace('-', ""),
            &format!("{{{}}}", ada.id),
            &format!("urn:uuid:{}", ada.id),
        ] {
            ada.api.get(&format!("/api/v1/api-keys/{id}")).refused(404, "not_found");
            ada.api.delete(&format!("/api/v1/auth/sessions/{id}")).refused(404, "not_found");
            admin.api.get(&format!("/api/v1/admin/users/{id}")).refused(404, "not_found");
            admin
                .api
                .put(&format!("/api/v1/admin/users/{id}"), &json!({"active": true}))
                .refused(404, "not_found");
            admin.api.put(&format!("/api/v1/admin/limits/account/{id}"), &json!({"per_minute": 5})).is(404);
        }
        admin.api.get(&format!("/api/v1/admin/users/{}", ada.id.to_uppercase())).is(200);
    }

    fn a_credential_stands_in_one_header(pair) {
        let (server, ada) = someone(pair, &[]);
        let key = ada.make_key(&["models:read"]);
        let token = &ada.tokens.access;
        ada.api.with("X-API-Key", &key).get("/api/v1/me").refused(400, "ambiguous_credentials");
        ada.api
            .with("Authorization", &format!("Bearer {token}"))
            .get("/api/v1/me")
            .refused(400, "ambiguous_credentials");
        server.key(&key).with("X-API-Key", &key).get("/api/v1/models").refused(400, "ambiguous_credentials");
        server.key(&key).with("X-API-Key", &key).get("/v2").is(400);
        for query in ["access_token", "token", "api_key", "key", "X-API-Key", "Authorization"] {
            let path = format!(
                "/api/v1/me?{query}={}",
                if query.contains("key") || query.contains("Key") { &key } else { token }
            );
            server.anon().get(&path).refused(401, "authentication_required");
        }
        server.anon().with("Cookie", &format!("access_token={token}")).get("/api/v1/me").is(401);
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Basic YWRhOnBhc3N3b3Jk",
            &format!("Token {token}"),
            &format!("Bearer{token}"),
            &format!("Bearer {token} {token}"),
            &format!("Bearer {token},Bearer {token}"),
            "Bearer a\tb",
        ] {
            server.anon().with("Authorization", header).get("/api/v1/me").is(401);
        }
        server.anon().with("Authorization", &format!("bearer {token}")).get("/api/v1/me").is(200);
        server.anon().with("X-API-Key", "").get("/api/v1/me").is(401);
    }

    fn types_and_encodings_that_are_not_taken_are_415(pair) {
        let (server, ada) = someone(pair, &[]);
        let body = json!({"email": ada.email, "password": ada.password}).to_string();
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml",
            "application/jsonp",
            "text/json",
            "json",
            "multipart/form-data; boundary=x",
            "",
        ] {
            server
                .anon()
                .send("POST", LOGIN, Some(kind), body.as_bytes())
                .refused(415, "unsupported_media_type");
        }
        for kind in ["application/json; charset=utf-8", "Application/JSON"] {
            server.anon().send("POST", LOGIN, Some(kind), body.as_bytes()).is(200);
        }
        for encoding in ["gzip", "br", "deflate", "zstd", "gzip, gzip", "nonsense"] {
            let client = server.anon().with("Content-Encoding", encoding);
            send_json(&client, LOGIN, body.as_bytes()).refused(415, "unsupported_media_type");
        }
        for plain in ["identity", "Identity"] {
            send_json(&server.anon().with("Content-Encoding", plain), LOGIN, body.as_bytes()).is(200);
        }
    }

    fn bodies_have_an_end(pair) {
        let (server, ada) = someone(pair, &[("MAX_JSON_LENGTH", "2000")]);
        let body = json!({"email": ada.email, "password": ada.password}).to_string();
        let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
        let anon = server.anon();
        send_json(&anon, LOGIN, padded(2000).as_bytes()).is(200);
        let chunked = anon.with("Transfer-Encoding", "chunked");
        send_json(&chunked, LOGIN, padded(2000).as_bytes()).is(200);
        for length in [2001, 100_000, 20_000_000] {
            send_json(&anon, LOGIN, padded(length).as_bytes()).refused(413, "too_large");
            send_json(&chunked, LOGIN, padded(length).as_bytes()).refused(413, "too_large");
        }
        // A length alone must neither be believed nor reserved.
        let head = format!(
            "POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        );
        let answer = server.raw(format!("{head}Content-Length: 99999999999\r\n\r\n{{}}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:.300}");
        still_works(&server);
    }

    fn no_connection_becomes_a_websocket(pair) {
        let (server, ada) = someone(pair, &[]);
        let body = json!({"email": ada.email, "password": ada.password}).to_string();
        for path in [LOGIN, "/health"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nUpgrade: websocket\r\n\
                 Content-Length: {}\r\n\r\n{body}GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                body.len()
            );
            let begun = Instant::now();
            let answer = server.raw(request.as_bytes());
            let is_refused = answer.starts_with("HTTP/1.1 400 ") && answer.contains("WebSocket");
            assert!(is_refused && answer.matches("HTTP/1.1 ").count() == 1, "{answer:.600}");
            assert!(begun.elapsed() < Duration::from_secs(6) + SLACK, "{:?}", begun.elapsed());
        }
        still_works(&server);
    }

    fn a_body_that_breaks_off_or_dawdles_is_given_up(pair) {
        let (server, _) = someone(pair, &[
            ("BODY_TIMEOUT_SECONDS", "1"), ("HEAD_TIMEOUT_SECONDS", "1"), ("KEEP_ALIVE_SECONDS", "1"),
        ]);
        let head = format!(
            "POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: 100\r\n\r\n{{"
        );
        let begun = Instant::now();
        let answer = server.raw(head.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("too long to arrive"),
            "{answer:.600}"
        );
        // A second for the body, and five in which the rest of it is thrown away.
        assert!(begun.elapsed() < Duration::from_secs(6) + SLACK, "{:?}", begun.elapsed());
        let mut broken = server.connect();
        broken.write_all(head.as_bytes()).expect("the server reads");
        broken.shutdown(std::net::Shutdown::Write).expect("half a connection");
        let answer = read_all(broken);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer:.300}");
        let begun = Instant::now();
        let answer = server.raw(b"GET /health HTTP/1.1\r\nHos");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer:.300}");
        assert!(begun.elapsed() < Duration::from_secs(6) + SLACK, "a head has its time, too: {:?}", begun.elapsed());
        // A later one as well, however steadily it dribbles.
        let mut later = server.connect();
        later.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nX-A: ").expect("the server reads");
        let begun = Instant::now();
        eventually("a later head is cut off", || later.write_all(b"a").is_err().then_some(()));
        assert!(begun.elapsed() < Duration::from_secs(2) + SLACK, "{:?}", begun.elapsed());
        still_works(&server);
    }
}
