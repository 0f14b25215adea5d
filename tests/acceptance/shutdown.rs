//! A server that stops answers the running requests, writes what is pending and ends with 0.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Pair, Server, World, at_once, eventually, promise, read_all, sample};

/// A login whose body is still on its way.
fn half_a_login(server: &Server) -> (TcpStream, &'static [u8]) {
    let (head, tail) = BODY.split_at(10);
    let mut stream = server.connect();
    let length = BODY.len();
    write!(
        stream,
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{head}",
        server.address()
    )
    .expect("the server reads");
    stream.flush().expect("the server reads");
    (stream, tail.as_bytes())
}

const BODY: &str = r#"{"email": "ada@example.com", "password": "Correct-horse-battery-9"}"#;

/// Alone on a Postgres, where whoever does not say that it leaves is in the next one's way for 15 s.
const ALONE: (&str, &str) = ("REDIS_URL", "");

#[test]
fn one_that_cannot_start_is_in_nobodys_way() {
    let world = World::new(Pair::Shared);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let refused = world.run(&["serve"], &[ALONE, ("PORT", &port)], "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cannot listen on"), "{refused:?}");
    assert_eq!(world.start(&[ALONE]).stop(), Some(0), "the next one starts at once");

    let other_key = "b2ZhbGxvdGhlcmtleXN0aGlzaXN0aGV3cm9uZ29uZSE=";
    let refused = world.run(&["serve"], &[ALONE, ("ENCRYPTION_KEY", other_key)], "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("ENCRYPTION_KEY"), "{refused:?}");
    world.start(&[ALONE]).anon().get("/health/ready").is(200);
}

#[test]
fn of_two_servers_in_one_folder_the_second_is_refused_until_the_first_is_gone() {
    let world = World::new(Pair::Embedded);
    let server = world.start(&[]);
    let refused = world.run(&["serve"], &[], "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("DATA_DIR"), "{refused:?}");
    // Commands are not servers.
    let ada = server.admin_called("ada");
    assert_eq!(server.cli(&["check"], "").code, Some(0));
    ada.api.get("/api/v1/me").is(200);
    // Killed, not stopped: the lock ends with the process.
    drop(server);
    world.start(&[]).user(&ada.tokens.access).get("/api/v1/me").is(200);
}

promise! {
    fn a_stop_right_after_the_start_is_heeded(pair) {
        for _ in 0..3 {
            let mut server = Server::start(pair, &[]);
            assert_eq!(server.stop(), Some(0));
            assert!(server.log().contains("\"message\":\"stopped\""));
        }
    }

    fn what_has_begun_is_answered(pair) {
        let mut server = Server::start(pair, &[]);
        server.person("ada");
        let mut begun: Vec<(TcpStream, &[u8])> = (0..4).map(|_| half_a_login(&server)).collect();
        std::thread::sleep(Duration::from_millis(100));
        let stopped = Instant::now();
        server.terminate();
        server.wait_for_log("stop", |entry| entry["message"] == "stopping");
        eventually("new connections are refused", || {
            TcpStream::connect(server.address()).is_err().then_some(())
        });
        for (stream, tail) in &mut begun {
            stream.write_all(tail).expect("the server still reads");
        }
        for (stream, _) in begun {
            let answer = read_all(stream);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let token = answer.split(r#""access_token":""#).nth(1).and_then(|rest| rest.split('"').next());
            server.user(token.expect("a token"));
        }
        assert_eq!(server.wait(), Some(0));
        assert!(stopped.elapsed() < Duration::from_secs(15), "{:?}", stopped.elapsed());
        assert!(server.log().contains("\"message\":\"stopped\""));
    }

    fn readiness_fails_before_the_door_closes(pair) {
        let mut server = Server::start(pair, &[("DRAIN_SECONDS", "2")]);
        server.terminate();
        let draining = eventually("readiness fails", || {
            Some(server.anon().get("/health/ready")).filter(|answer| answer.status == 503)
        });
        assert_eq!(draining.json()["status"], "unavailable");
        assert_eq!(draining.json()["mode"], "draining");
        assert_eq!(server.anon().get("/health/live").status, 200);
        assert_eq!(server.wait(), Some(0));
    }

    fn one_that_never_finishes_does_not_hold_the_server(pair) {
        let mut server = Server::start(pair, &[("SHUTDOWN_TIMEOUT_SECONDS", "1")]);
        let (_stream, _) = half_a_login(&server);
        std::thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        assert_eq!(server.stop(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    fn usage_is_written_before_the_end(pair) {
        let mut server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let day = server.anon().get("/health").json()["timestamp"].as_str().map(|now| now[..10].to_owned());
        for _ in 0..5 {
            ada.api.predict(&sample("1-1")).is(200);
        }
        // Workers take the connections that they opened with them.
        at_once(12, |_| ada.api.get("/api/v1/files").is(200));
        assert_eq!(server.stop(), Some(0));
        assert!(!server.log().contains("could not be done"), "{}", server.log());
        let server = server.world.start(&[]);
        let ada = server.log_in(&ada.email, &ada.password);
        let usage = ada.api.get("/api/v1/me/usage").is(200).json();
        let requests: i64 = usage["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|item| item["requests"].as_i64())
            .sum();
        assert_eq!(requests, 5, "{usage}");
        assert_eq!(usage["items"][0]["day"], json!(day));
    }

    fn a_second_server_takes_over_at_once(pair) {
        let mut server = Server::start(pair, &[]);
        let ada = server.person("ada");
        assert_eq!(server.stop(), Some(0));
        let next = server.world.start(&[]);
        next.user(&ada.tokens.access).get("/api/v1/me").is(200);
        next.refresh(&ada.tokens.refresh).is(200);
    }
}
