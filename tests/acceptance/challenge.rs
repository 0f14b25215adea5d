//! After failures a solved challenge comes first; who verifies it is a stand-in here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Reply, Server, promise};

const PASSWORD: &str = "Correct-horse-battery-9";
const SECRET: &str = "of-these-tests-and-the-verifier-alone";
const PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

/// Answers as siteverify does, by what it is asked about; and remembers what it was asked.
struct Verifier {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Verifier {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/siteverify", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remember = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let header = line.to_ascii_lowercase();
                    length = header
                        .strip_prefix("content-length:")
                        .map_or(length, |text| text.trim().parse().unwrap_or(0));
                    line.clear();
                }
                let mut form = vec![0; length];
                let _ = reader.read_exact(&mut form);
                let form = String::from_utf8_lossy(&form).into_owned();
                let (status, answer) = match form.split('&').find_map(|pair| pair.strip_prefix("response=")) {
                    Some("solved") => ("200 OK", r#"{"success":true,"hostname":"example.com"}"#),
                    Some("nonsense") => ("200 OK", "<html>"),
                    Some("down") => ("502 Bad Gateway", r#"{"success":true}"#),
                    Some("elsewhere") => ("302 Found\r\nLocation: http://127.0.0.1:1/", ""),
                    _ => ("200 OK", r#"{"success":false,"error-codes":["timeout-or-duplicate"]}"#),
                };
                remember.lock().unwrap_or_else(PoisonError::into_inner).push(form);
                let length = answer.len();
                let head =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = reader.get_mut().write_all(format!("{head}{answer}").as_bytes());
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn settings(&self) -> [(&'static str, &str); 4] {
        [
            PROXY,
            ("CHALLENGE_VERIFY_URL", &self.url),
            ("CHALLENGE_SECRET", SECRET),
            ("CHALLENGE_SITE_KEY", "10000000-ffff"),
        ]
    }
}

fn from(server: &Server, address: &str) -> Client {
    server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
}

fn log_in(client: &Client, email: &str, password: &str, token: Option<&str>) -> Reply {
    let body = json!({"email": email, "password": password, "challenge_token": token});
    client.post("/api/v1/auth/login", &body)
}

promise! {
    fn after_three_failures_a_solved_challenge_comes_first(pair) {
        let verifier = Verifier::start();
        let server = Server::start(pair, &verifier.settings());
        server.world.remember(SECRET);
        let register = |client: &Client, email: &str, token: Option<&str>| {
            let body = json!({"email": email, "password": PASSWORD, "name": "Some One", "challenge_token": token});
            client.post("/api/v1/auth/register", &body)
        };
        register(&from(&server, "192.0.2.200"), "ada@example.com", None).is(201);
        let (here, ada) = (from(&server, "192.0.2.1"), "ada@example.com");
        for _ in 0..3 {
            log_in(&here, ada, "Wrong-horse-battery-9", None).refused(401, "invalid_credentials");
        }
        // The right password is not even looked at.
        for password in [PASSWORD, "Wrong-horse-battery-9"] {
            let asked = log_in(&here, ada, password, None).refused(403, "challenge_required");
            assert_eq!(asked.json()["site_key"], "10000000-ffff");
        }
        assert!(verifier.asked().is_empty());
        log_in(&here, ada, PASSWORD, Some("guess")).refused(403, "challenge_required");
        log_in(&here, ada, PASSWORD, Some("solved")).is(200);
        let asked = verifier.asked();
        assert_eq!(asked.len(), 2);
        for part in [format!("secret={SECRET}"), "remoteip=192.0.2.1".into(), "response=solved".into()] {
            assert!(asked[1].split('&').any(|pair| pair == part), "{asked:?}");
        }
        // A solved challenge is not the password.
        log_in(&here, ada, "Wrong-horse-battery-9", Some("solved")).refused(401, "invalid_credentials");

        // The name counts from everywhere, in every spelling; the network for every name. Others go on as before.
        log_in(&from(&server, "198.51.100.1"), " ADA@example.com", PASSWORD, None).refused(403, "challenge_required");
        log_in(&here, "nobody@example.com", PASSWORD, None).refused(403, "challenge_required");
        log_in(&from(&server, "198.51.100.1"), "nobody@example.com", PASSWORD, None).is(401);
        register(&here, "eve@example.com", None).refused(403, "challenge_required");
        here.post("/api/v1/auth/password/forgot", &json!({"email": "eve@example.com"})).refused(403, "challenge_required");
        register(&here, "eve@example.com", Some("solved")).is(201);
        // What proves nothing counts each time.
        let there = from(&server, "203.0.113.1");
        for name in ["a", "b", "c"] {
            there.post("/api/v1/auth/password/forgot", &json!({"email": format!("{name}@example.com")})).is(202);
        }
        there.post("/api/v1/auth/password/forgot", &json!({"email": "d@example.com"})).refused(403, "challenge_required");

        // A verifier that gives no verdict lets nobody in.
        for token in ["nonsense", "down", "elsewhere"] {
            log_in(&here, ada, PASSWORD, Some(token)).refused(503, "unavailable");
        }
        log_in(&here, ada, PASSWORD, Some(&"x".repeat(4097))).invalid(&["challenge_token"]);
        log_in(&here, ada, PASSWORD, Some("a&response=solved")).refused(403, "challenge_required");
        server.advance(Duration::from_secs(901));
        log_in(&here, ada, PASSWORD, None).is(200);
    }

    fn an_operator_may_let_people_in_while_the_verifier_is_down(pair) {
        let verifier = Verifier::start();
        let mut settings = verifier.settings().to_vec();
        settings.extend([("CHALLENGE_FAIL_OPEN", "true"), ("CHALLENGE_AFTER_FAILURES", "0")]);
        let server = Server::start(pair, &settings);
        server.world.remember(SECRET);
        let here = from(&server, "192.0.2.1");
        log_in(&here, "ada@example.com", PASSWORD, None).refused(403, "challenge_required");
        log_in(&here, "ada@example.com", PASSWORD, Some("guess")).refused(403, "challenge_required");
        log_in(&here, "ada@example.com", PASSWORD, Some("down")).refused(401, "invalid_credentials");
        for (name, value, told) in [
            ("CHALLENGE_SITE_KEY", "", "CHALLENGE_SITE_KEY"),
            ("CHALLENGE_VERIFY_URL", "ftp://example.com/", "https://"),
            ("CHALLENGE_VERIFY_URL", "nowhere", "https://"),
        ] {
            let mut wrong = verifier.settings().to_vec();
            wrong.push((name, value));
            let refused = server.world.run(&["check"], &wrong, "");
            assert!(refused.code == Some(1) && refused.stdout.contains(told), "{name}: {refused:?}");
        }
    }
}
