//! What is no HTTP, or two things at once, is refused and never reaches a route: nothing can be smuggled in.

use std::io::Write;

use crate::harness::{Server, promise, read_all, sample};

const CLOSE: &str = "Connection: close\r\n";

/// The status of the first answer; none when the server hung up without one.
fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

/// Sends a head, and insists that it is refused, that nothing after it is answered and that no route saw it.
#[track_caller]
fn refused(server: &Server, request: &[u8]) {
    let before = server.log().matches("\"target\":\"access\"").count();
    let answer = server.raw(request);
    let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
    assert!(
        matches!(status(&answer), None | Some(400 | 408 | 413 | 414 | 431 | 501 | 505)),
        "{shown:?}: {answer:.300}"
    );
    assert!(answer.matches("HTTP/1.").count() <= 1, "{shown:?} got two answers: {answer}");
    assert!(!answer.contains("500 Internal"), "{answer}");
    let after = server.log().matches("\"target\":\"access\"").count();
    assert_eq!(after, before, "{shown:?} reached the application");
}

promise! {
    fn what_is_no_http_is_refused(pair) {
        let server = Server::start(pair, &[]);
        for request in [
            b"\x00\x01\x02\x03\r\n\r\n".as_slice(),
            b"hello\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET /health\r\n\r\n",
            b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
            b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /health HTTP/1.1\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\rb\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\r\n folded\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\nX A: a\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n",
            b"GET /hea\x01lth HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            refused(&server, request);
        }
        server.anon().get("/health").is(200);
        assert!(!server.log().contains("\"ERROR\""), "anyone could fill the log: {}", server.log());
    }

    fn heads_have_an_end(pair) {
        let server = Server::start(pair, &[]);
        let long = "a".repeat(200_000);
        let many: String = (0..500).map(|number| format!("X-{number}: a\r\n")).collect();
        refused(&server, format!("GET /health HTTP/1.1\r\nHost: x\r\nX-A: {long}\r\n\r\n").as_bytes());
        refused(&server, format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        refused(&server, format!("{long} /health HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        refused(&server, format!("GET /health HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes());
        let longish = "a".repeat(8000);
        server.anon().with("X-A", &longish).get("/health").is(200);
        server.anon().with("Authorization", &format!("Bearer {longish}")).get("/api/v1/me").is(401);
        server.anon().with("X-API-Key", &longish).get("/api/v1/me").is(401);
    }

    fn nothing_can_be_smuggled_behind_a_body(pair) {
        let server = Server::start(pair, &[]);
        let hidden = "GET /api/v1/me HTTP/1.1\r\nHost: x\r\n\r\n";
        let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        for framing in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 6\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
        ] {
            refused(&server, format!("{head}{framing}\r\n0\r\n\r\n{hidden}").as_bytes());
        }
    }

    fn a_refused_request_ends_its_connection(pair) {
        let server = Server::start(pair, &[("MAX_JSON_LENGTH", "10")]);
        let hidden = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let body = "x".repeat(64);
        // The rest of a body that was refused must not be read as the next request.
        let answer = server.raw(
            format!(
                "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Connection: close\r\nContent-Length: {}\r\n\r\n{body}{hidden}",
                body.len() + hidden.len()
            )
            .as_bytes(),
        );
        assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (Some(413), 1), "{answer}");
        for chunk in [
            "ZZ\r\n{}\r\n0\r\n\r\n",
            "-1\r\n{}\r\n0\r\n\r\n",
            "ffffffffffffffffff\r\n{}",
            "2\r\n{}XX0\r\n\r\n",
        ] {
            let answer = server.raw(
                format!(
                    "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Transfer-Encoding: chunked\r\n\r\n{chunk}{hidden}"
                )
                .as_bytes(),
            );
            let refused = matches!(status(&answer), None | Some(400 | 413));
            assert!(refused && answer.matches("HTTP/1.1 ").count() <= 1, "{chunk:?}: {answer}");
        }
    }

    fn what_follows_an_answered_request_is_the_next_one(pair) {
        let server = Server::start(pair, &[]);
        let one = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
        let body = "{\"email\": \"a\", \"password\": \"b\"}";
        let post = format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let last = format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
        let answer = server.raw(format!("{one}{post}{one}{last}").as_bytes());
        let statuses: Vec<&str> =
            answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
        assert_eq!(statuses, ["200", "401", "200", "404"], "{answer}");
        // An answer to HEAD has no body, whatever came right behind it: one would be read as the next answer.
        let head = one.replace("GET", "HEAD");
        let answer = server.raw(format!("{head}{one}{last}").as_bytes());
        assert!(!answer.split("HTTP/1.1 ").nth(1).is_some_and(|first| first.contains("timestamp")), "{answer}");
    }

    fn strange_methods_and_targets_do_nothing(pair) {
        let server = Server::start(pair, &[]);
        let ask = |line: &str| {
            server.raw(format!("{line} HTTP/1.1\r\nHost: x\r\nX-Secret: told\r\n{CLOSE}\r\n").as_bytes())
        };
        let trace = ask("TRACE /health");
        assert_eq!(status(&trace), Some(405));
        assert!(!trace.contains("told"), "nothing is echoed: {trace}");
        assert!(status(&ask("CONNECT example.com:443")).is_some_and(|status| (400..500).contains(&status)));
        assert!(status(&ask("OPTIONS *")).is_some_and(|status| (400..500).contains(&status)));
        assert_eq!(status(&ask("GET http://elsewhere.example/nothing")), Some(404), "no proxy for others");
        assert!(!ask("GET http://elsewhere.example/health").contains("elsewhere"));
    }

    fn header_values_cannot_break_out(pair) {
        let server = Server::start(pair, &[("ALLOWED_ORIGINS", "https://app.example.com")]);
        for (name, value) in [
            ("X-Request-Id", "a%0d%0aSet-Cookie: b"),
            ("Origin", "https://app.example.com%0d%0aSet-Cookie: b"),
            ("Host", "x%0d%0aSet-Cookie: b"),
        ] {
            let reply = server.anon().with(name, value).get("/api/v1/me");
            assert_eq!(reply.status, if name == "Host" { 400 } else { 401 });
            assert_eq!(reply.header("set-cookie"), None);
            assert!(!format!("{:?}", reply.headers).contains("%0d"), "{:?}", reply.headers);
        }
        let answer =
            server.raw(format!("GET /%0d%0aSet-Cookie:%20b HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n").as_bytes());
        assert_eq!(status(&answer), Some(404));
        assert!(!answer.to_lowercase().contains("\nset-cookie"), "{answer}");
    }

    fn old_http_is_answered(pair) {
        let server = Server::start(pair, &[]);
        let answer = server.raw(b"GET /health HTTP/1.0\r\n\r\n");
        assert_eq!(status(&answer), Some(200), "{answer}");
        assert!(
            answer.contains("x-request-id: ") && answer.contains("x-content-type-options: nosniff"),
            "{answer}"
        );
        assert_eq!(status(&server.raw(b"GET /api/v1/me HTTP/1.0\r\n\r\n")), Some(401));
    }

    fn many_broken_connections_leave_the_server_well(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for number in 0..100 {
            let mut stream = server.connect();
            let head = format!(
                "POST /api/v1/models/digits/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n\
                Authorization: Bearer {}\r\nContent-Length: 5000\r\n\r\n",
                ada.tokens.access
            );
            stream.write_all(&head.as_bytes()[..head.len() - number % 40]).expect("the server reads");
            if number % 3 == 0 {
                stream.write_all(&[0; 100]).expect("the server reads");
            }
            if number % 10 == 0 {
                stream.shutdown(std::net::Shutdown::Write).expect("half a connection");
                drop(read_all(stream));
            }
        }
        ada.api.predict(&sample("7-1")).is(200);
    }
}
