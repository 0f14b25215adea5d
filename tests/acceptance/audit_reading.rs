//! The audit trail is read by those with `audit:read`, in pages, as a file and as it grows; and each reading is in it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Pair, Person, Server, eventually, promise, read_all};

const AUDIT: &str = "/api/v1/admin/audit";
const DAY: Duration = Duration::from_secs(86_400);

/// Opens a stream; what the server says so far can be [`hear`]d.
fn listen(server: &Server, token: &str, headers: &str) -> TcpStream {
    let mut stream = server.connect();
    let head = format!(
        "GET {AUDIT}/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is sent");
    stream
}

/// Reads until these words came, and gives all that came.
#[track_caller]
fn hear(stream: &mut TcpStream, words: &str) -> String {
    let (mut heard, mut buffer) = (String::new(), [0; 4096]);
    while !heard.contains(words) {
        let count = stream.read(&mut buffer).unwrap_or_else(|error| panic!("{words:?}: {error}: {heard}"));
        assert_ne!(count, 0, "the stream ended before {words:?}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    heard
}

/// The numbers of the events that were heard.
fn numbers(heard: &str) -> Vec<i64> {
    heard.lines().filter_map(|line| line.strip_prefix("id: ")?.trim().parse().ok()).collect()
}

/// A trail with one failed login of grace in it, and ada who reads it.
struct Readable {
    server: Server,
    ada: Person,
    grace: Person,
    /// The request that failed to log in.
    request: String,
}

impl Readable {
    fn new(pair: Pair) -> Self {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (ada, grace) = (server.person_with_role(&admin, "ada", "moderator"), server.person("grace"));
        let failed = server.try_log_in(&grace.email, "Wrong-horse-battery-9").is(401);
        let request = failed.header("x-request-id").expect("each answer has one").to_owned();
        grace.api.get(AUDIT).refused(403, "insufficient_permissions");
        // Before the trail is counted: a refusal comes into it within a second.
        eventually("it is listed", || (server.audited("PERMISSION_DENIED", "failure") == 1).then_some(()));
        Self { server, ada, grace, request }
    }

    fn find(&self, query: &str) -> Vec<Value> {
        self.ada.api.get(&format!("{AUDIT}?{query}")).is(200).items()
    }

    /// What a query finds, each with this value.
    #[track_caller]
    fn only(&self, query: &str, member: &str, value: Value) -> Vec<Value> {
        let items = self.find(query);
        assert!(!items.is_empty() && items.iter().all(|event| event[member] == value), "{query}: {items:?}");
        items
    }

    /// Answers the failed login.
    fn every_filter_finds_its_events_and_no_others(&self) -> Value {
        let (ada, grace) = (&self.ada, &self.grace);
        let event = self.only("action=LOGIN_FAILURE", "outcome", json!("failure"))[0].clone();
        self.only(&format!("actor={}", grace.id), "actor", json!(grace.id));
        self.only(&format!("target=account:{}", ada.id), "target", json!(format!("account:{}", ada.id)));
        self.only("outcome=failure", "outcome", json!("failure"));
        let of_request =
            self.only(&format!("request_id={}", self.request), "request_id", json!(self.request));
        assert_eq!(of_request[0]["id"], event["id"]);
        assert_eq!(event["address"], "127.0.0.1");
        assert!(event["detail"].is_object(), "{event}");
        assert!(
            self.find("from=2100-01-01T00:00:00Z").is_empty()
                && self.find("to=2000-01-01T00:00:00Z").is_empty()
        );
        assert!(self.find("action=LOGIN_FAILURE&outcome=success").is_empty());
        assert!(self.find("action=%27%20OR%201%3D1%20--").is_empty(), "a filter is a value");
        for query in [
            "nonsense=1",
            "actor=me",
            "from=yesterday",
            "from=-9999-01-01T00:00:00Z",
            "to=%2B10000-01-01T00:00:00Z",
            "limit=0",
            "limit=101",
            "cursor=x",
        ] {
            ada.api.get(&format!("{AUDIT}?{query}")).is(400);
        }
        event
    }

    /// Readings come while one pages: the rest stays what it was.
    fn pages_show_every_event_once(&self, event: &Value) {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.ada.api.get(&format!("{AUDIT}?limit=3{cursor}")).is(200).json();
            pages.extend(page["items"].as_array().expect("a list").clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let ids: BTreeSet<&str> = pages.iter().filter_map(|event| event["id"].as_str()).collect();
        assert_eq!(ids.len(), pages.len(), "none twice");
        assert!(ids.contains(event["id"].as_str().expect("an id")));
    }

    fn each_reading_is_recorded(&self, event: &Value) {
        let readings = || self.server.audited("audit.read", "success");
        let before = readings();
        let one = format!("{AUDIT}/{}", event["id"].as_str().expect("an id"));
        let shown = self.ada.api.get(&one).is(200).json();
        assert_eq!((&shown["id"], &shown["action"]), (&event["id"], &event["action"]));
        self.ada.api.get(&format!("{AUDIT}/01890000-0000-7000-8000-000000000000")).refused(404, "not_found");
        self.find("action=LOGIN_FAILURE");
        assert_eq!(readings(), before + 2, "once for each request that reads something");
        let reading = self.find("action=audit.read")[0].clone();
        assert_eq!((&reading["actor"], &reading["detail"]["how"]), (&json!(self.ada.id), &json!("page")));
    }

    fn a_key_with_this_scope_alone_reads_too(&self) {
        let key = self.server.key(&self.ada.make_key(&["audit:read"]));
        key.get(AUDIT).is(200);
        let chain = key.get(&format!("{AUDIT}/chain")).is(200).json();
        assert!(chain["last_link"].as_i64() > Some(0), "{chain}");
    }

    fn an_export_has_every_event(&self) {
        let events = self.server.world.audit_events().len();
        let file = self.ada.api.get(&format!("{AUDIT}/export")).is(200);
        assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"audit.jsonl\""));
        let lines: Vec<Value> =
            file.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), events, "all there were when it was asked for");
        let times: Vec<&str> = lines.iter().filter_map(|event| event["id"].as_str()).collect();
        assert!(times.is_sorted(), "oldest first");
        let table =
            self.ada.api.get(&format!("{AUDIT}/export?format=csv&action=LOGIN_FAILURE")).is(200).text();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(
            (rows[0], rows.len()),
            ("seq,id,at,action,outcome,actor,target,request_id,address,detail", 2),
            "{table}"
        );
        assert!(rows[1].contains(&self.request), "{table}");
        self.ada.api.get(&format!("{AUDIT}/export?format=xml")).is(400);
    }
}

promise! {
    fn the_trail_is_searched_read_and_exported_and_whoever_reads_is_in_it(pair) {
        let trail = Readable::new(pair);
        let event = trail.every_filter_finds_its_events_and_no_others();
        trail.pages_show_every_event_once(&event);
        trail.each_reading_is_recorded(&event);
        trail.a_key_with_this_scope_alone_reads_too();
        trail.an_export_has_every_event();
    }

    fn what_a_key_may_ask_in_a_minute_does_not_end_what_it_reads(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let body = json!({"name": "reader", "scopes": ["audit:read"], "limits": {"requests_per_minute": 2}});
        let (_, key) = admin.make_key_with(body);
        let mut stream = listen(&server, &key, "");
        hear(&mut stream, ": the audit trail");
        // Each is heard at the next look, of which there are more than it may have requests.
        for name in ["ada", "grace", "edsger", "barbara", "mia"] {
            let person = server.person(name);
            hear(&mut stream, &person.id);
        }
    }

    fn a_stream_goes_on_where_it_was_and_ends_with_the_right(pair) {
        let server = Server::start(pair, &[("AUDIT_READERS", "1")]);
        let admin = server.admin();
        let ada = server.person_with_role(&admin, "ada", "moderator");
        let token = &ada.tokens.access;
        let key = ada.make_key(&["audit:read"]);
        for what in ["stream", "export"] {
            // Who asks for headers alone listens to nothing, and takes nobody's place.
            assert!(ada.api.send("HEAD", &format!("{AUDIT}/{what}"), None, b"").is(200).body.is_empty());
        }
        let mut stream = listen(&server, token, "");
        let head = hear(&mut stream, ": the audit trail");
        assert!(head.contains("text/event-stream") && head.contains("no-store"), "{head}");
        ada.api.get(&format!("{AUDIT}/export")).refused(503, "overloaded");
        server.person("grace");
        let heard = hear(&mut stream, "LOGIN_SUCCESS");
        let first = numbers(&heard);
        assert!(!first.is_empty() && first.is_sorted(), "{heard}");
        drop(stream);

        // What came meanwhile comes at once, nothing twice.
        server.person("edsger");
        let last = first.last().expect("there is one");
        let mut stream = eventually("the place is free again", || {
            let mut stream = listen(&server, token, &format!("Last-Event-ID: {last}\r\n"));
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).ok()?;
            (&begin == b"HTTP/1.1 200").then_some(stream)
        });
        let heard = hear(&mut stream, "LOGIN_SUCCESS");
        assert_eq!(numbers(&heard).first(), Some(&(last + 1)), "{heard}");

        // A day is the longest, also for a key that is good for longer.
        drop(stream);
        ada.api.get(&format!("{AUDIT}/stream?seconds=86401")).invalid(&["seconds"]);
        let mut stream = eventually("the place is free again", || {
            let mut stream = listen(&server, &key, "");
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).ok()?;
            (&begin == b"HTTP/1.1 200").then_some(stream)
        });
        hear(&mut stream, ": the audit trail");
        server.advance(DAY);
        assert!(read_all(stream).ends_with("0\r\n\r\n"));
        server.key(&key).get(AUDIT).is(200);
        let (admin, ada) = (server.log_in(&admin.email, &admin.password), server.log_in(&ada.email, &ada.password));
        let mut stream = listen(&server, &ada.tokens.access, "");
        hear(&mut stream, ": the audit trail");

        // The right ends, and so does the stream.
        admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"role": "user"})).is(200);
        let rest = read_all(stream);
        assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
        assert!(!rest.contains("account.changed"), "what comes after is not told: {rest}");
        for wrong in ["-1", "x", "1.5"] {
            admin.api.with("Last-Event-ID", wrong).get(&format!("{AUDIT}/stream?seconds=0")).invalid(&["Last-Event-ID"]);
        }
    }
}
