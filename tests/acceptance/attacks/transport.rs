//! Requests that mean one thing to a proxy and another to the server, headers that are missing, answers that are kept.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Server, promise, read_all};
use crate::routes_matrix::operations;

const ME: &str = "/api/v1/me";

promise! {
    fn no_other_protocol_is_agreed_on(pair) {
        let server = Server::start(pair, &[]);
        let before = server.world.state();
        let ask = |headers: &str| server.raw(format!("GET {ME} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes());
        for upgrade in [
            "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
            "Connection: Upgrade, close\r\nUpgrade: TLS/1.2\r\n",
        ] {
            let answer = ask(upgrade);
            assert!(!answer.contains("HTTP/1.1 101") && !answer.to_lowercase().contains("upgrade:"), "{upgrade}: {answer}");
        }
        for name in ["Authorization ", "Authorization\t", " Authorization", "Authorization\u{b}"] {
            let answer = ask(&format!("{name}: Bearer x\r\nConnection: close\r\n"));
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{name:?}: {answer:.100}");
        }
        server.world.is_unchanged_since(&before);
    }

    fn a_chunk_extension_hides_no_second_request(pair) {
        let server = Server::start(pair, &[]);
        let hidden = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
        for chunk in [
            "2;a=b;c=\"d\"\r\n{}\r\n0\r\n\r\n".to_owned(),
            format!("2;a=\"\r\n{hidden}\"\r\n{{}}\r\n0\r\n\r\n"),
            format!("2\n;{hidden}\r\n{{}}\r\n0\r\n\r\n"),
            format!("2\r\n{{}}\r\n0;{}\r\n\r\n", "a".repeat(100_000)),
            "2\r\n{}\r\n0\r\nTrailer: x\r\nContent-Length: 5\r\n\r\n".to_owned(),
        ] {
            let answer = server.raw(
                format!("POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}")
                    .as_bytes(),
            );
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{chunk:.40}: {answer:.200}");
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{chunk:.40}: {answer}");
        }
    }

    fn hundreds_that_dribble_hold_up_nobody(pair) {
        let server = Server::start(pair, &[("BODY_TIMEOUT_SECONDS", "2")]);
        let ada = server.person("ada");
        let mut slow: Vec<_> = (0..300).map(|_| server.connect()).collect();
        for stream in &mut slow {
            stream.write_all(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nX-A: ").expect("the server reads");
        }
        let begun = Instant::now();
        for _ in 0..20 {
            ada.api.get(ME).is(200);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let answer = read_all(slow.pop().expect("one of them"));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer:.200}");
    }

    fn a_token_in_a_body_is_no_credential(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let body = json!({"access_token": ada.tokens.access, "token": ada.tokens.access});
        server.anon().put(ME, &body).refused(401, "authentication_required");
        let form = format!("access_token={}", ada.tokens.access);
        let kind = "application/x-www-form-urlencoded";
        server.anon().send("PUT", ME, Some(kind), form.as_bytes()).refused(401, "authentication_required");
        assert_ne!(ada.api.get(ME).member("name"), "");
    }

    fn numbers_beyond_any_type_are_refused(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for number in ["1e999", "-1e999", "1e-999999999", "NaN", "Infinity", "0x10", "1_000", "9223372036854775808", "1e400"] {
            let body = format!(r#"{{"name": "a key", "scopes": ["models:read"], "expires_at": {number}}}"#);
            let sent = ada.api.send("POST", "/api/v1/api-keys", Some("application/json"), body.as_bytes());
            sent.refused(400, "malformed_request");
            let body = format!(r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, {number}], "data": [1]}}]}}"#);
            ada.api.send("POST", "/v2/models/digits/infer", Some("application/json"), body.as_bytes()).is(400);
        }
        assert!(ada.api.get("/api/v1/api-keys").items().is_empty());
    }

    fn nothing_private_may_be_kept_by_anyone_on_the_way(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        for operation in operations(&server) {
            let public = operation.path.starts_with("/.well-known/");
            for client in [&server.anon(), &admin.api] {
                if operation.path.contains("/logout") {
                    continue;
                }
                let reply = operation.ask(client);
                let kept = reply.header("cache-control").expect("checked of every answer");
                assert!(public || kept == "no-store", "{}: {kept}", operation.name());
            }
        }
    }
}
