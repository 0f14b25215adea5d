//! Bodies that take their time: refused ones are let in to the end, so that the client reads why, and the time that a
//! body takes is the request's.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::harness::{Server, promise, sample};

const PREDICT: &str = "POST /api/v1/models/digits/predict";
const LOGIN: &str = "POST /api/v1/auth/login";
const LARGE: usize = 20 << 20;
const PIECE: usize = 512 << 10;

/// Sends a large body as most clients do, all of it before a look at the answer, over some two seconds. Gives the
/// answer.
#[track_caller]
fn upload(server: &Server, line: &str, headers: &str) -> String {
    let mut stream = server.connect();
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {LARGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the server reads");
    let piece = vec![b'x'; PIECE];
    for _ in 0..LARGE / PIECE {
        stream.write_all(&piece).unwrap_or_else(|error| panic!("{line}: cut off: {error}"));
        std::thread::sleep(Duration::from_millis(50));
    }
    // Otherwise the server would wait for the client to close.
    stream.shutdown(Shutdown::Write).expect("half a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{line}: no answer: {error}"));
    answer
}

promise! {
    fn whoever_uploads_first_and_reads_later_learns_why_it_was_refused(pair) {
        let server = Server::start(pair, &[]);
        let readonly = server.person("ada").make_key(&["models:read"]);
        let key = format!("X-API-Key: {readonly}\r\n");
        let refusals = [
            (PREDICT, "", "401"),
            (PREDICT, &*key, "403"),
            ("POST /nothing", "", "404"),
            ("POST /health", "", "405"),
            (LOGIN, "", "413"),
            (LOGIN, "Content-Encoding: gzip\r\n", "415"),
        ];
        std::thread::scope(|scope| {
            for (line, headers, status) in refusals {
                let server = &server;
                scope.spawn(move || {
                    let answer = upload(server, line, headers);
                    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
                    assert!(answer.to_lowercase().contains("connection: close"), "{line}: {answer}");
                });
            }
        });
    }

    fn whoever_asks_before_it_uploads_is_answered_at_once(pair) {
        let server = Server::start(pair, &[]);
        for (line, status) in [(LOGIN, "413"), (PREDICT, "401"), ("POST /nothing", "404")] {
            let started = Instant::now();
            let mut stream = server.connect();
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {LARGE}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("the server reads");
            let (mut answer, mut buffer) = (String::new(), [0; 4096]);
            while !answer.contains(&format!("HTTP/1.1 {status} ")) {
                let read = stream.read(&mut buffer).expect("an answer");
                assert_ne!(read, 0, "{line}: {answer}");
                answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            assert!(started.elapsed() < Duration::from_secs(2), "{line}: {:?}", started.elapsed());
        }
    }

    fn the_time_for_an_inference_runs_from_the_requests_arrival(pair) {
        let server = Server::start(pair, &[("INFER_TIMEOUT_SECONDS", "1")]);
        let ada = server.person("ada");
        let picture = sample("7-1");
        let head = format!(
            "{PREDICT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: image/png\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            ada.tokens.access,
            picture.len()
        );
        for (pause, status) in [(0, "200"), (1500, "504")] {
            let mut stream = server.connect();
            stream.write_all(head.as_bytes()).expect("the server reads");
            std::thread::sleep(Duration::from_millis(pause));
            stream.write_all(&picture).expect("the server reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }
}
