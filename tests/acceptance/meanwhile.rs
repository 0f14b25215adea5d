//! What is revoked while a request is on its way holds for that request, too.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Pair, Person, Server, Tokens, at_once, eventually, promise, read_all};
use crate::signed_requests::Signer;

const PASSWORD: &str = "/api/v1/auth/password";
/// SHA-256 of a limit of seven a minute.
const OF_SEVEN_A_MINUTE: &str = "FHFFJQWqTKNlnziywWSkvjCI0iqKi6Cqtnt5VBrofGQ=";
const NEW_PASSWORD: &str = "Another-horse-battery-9";

/// A request whose head was let through and whose body is still on its way.
struct Half {
    stream: TcpStream,
    rest: String,
}

impl Half {
    fn send(server: &Server, token: &str, request_line: &str, body: &Value) -> Self {
        Self::send_with(server, &format!("Authorization: Bearer {token}\r\n"), request_line, body)
    }

    /// With these lines in place of a credential.
    fn send_with(server: &Server, credential: &str, request_line: &str, body: &Value) -> Self {
        let body = body.to_string();
        let (first, rest) = body.split_at(5);
        let mut stream = server.connect();
        let (host, length) = (server.address(), body.len());
        write!(
            stream,
            "{request_line} HTTP/1.1\r\nHost: {host}\r\n{credential}Connection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{first}"
        )
        .expect("the server reads");
        // The answer to a request sent later shows that this one's head has been read.
        server.anon().get("/health/live").is(200);
        thread::sleep(std::time::Duration::from_millis(100));
        Self { stream, rest: rest.to_owned() }
    }

    fn finish(mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).expect("the server reads");
        let answer = read_all(self.stream);
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

fn user_path(person: &Person) -> String {
    format!("/api/v1/admin/users/{}", person.id)
}

#[test]
fn no_key_undoes_a_stop_on_a_replica_that_has_not_heard_of_it() {
    let server = Server::start(Pair::Shared, &[]);
    let other = server.world.start(&[]);
    let admin = server.admin();
    let key = admin.make_key(&["system:manage"]);
    let there = server.key(&key).at(other.address());
    let maintenance = "/api/v1/admin/maintenance";
    let mut session = admin.api.clone();
    for _ in 0..4 {
        there.get(maintenance).is(200);
        session.put(maintenance, &json!({"mode": "emergency_stop"})).is(200);
        there.put(maintenance, &json!({"mode": "off"})).refused(503, "emergency_stop");
        session = server.log_in(&admin.email, &admin.password).api;
        session.put(maintenance, &json!({"mode": "off"})).is(200);
        eventually("open there, too", || (there.get(maintenance).status == 200).then_some(()));
    }
}

promise! {
    fn a_demoted_administrator_finishes_nothing_that_was_begun(pair) {
        let server = Server::start(pair, &[]);
        let (admin, rogue, ada) = (server.admin(), server.admin_called("rogue"), server.person("ada"));
        let incident = admin.api.post("/api/v1/admin/incidents", &json!({"kind": "other"})).is(201).member("id");
        let admins = "/api/v1/admin";
        let begun = [
            (format!("POST {admins}/incidents"), json!({"kind": "system_compromise"})),
            (format!("POST {admins}/incidents/{incident}/notes"), json!({"text": "It was nothing."})),
            (format!("POST {admins}/incidents/{incident}/answers"), json!({"answer": "disable_accounts", "accounts": [ada.id]})),
            (format!("PUT {admins}/incidents/{incident}"), json!({"status": "closed", "resolution": "Nothing."})),
            (format!("PUT {admins}/maintenance"), json!({"mode": "emergency_stop"})),
            (format!("POST {admins}/ip-rules"), json!({"cidr": "203.0.113.0/24", "effect": "deny"})),
            (format!("PUT {admins}/legal-holds/{}", ada.id), json!({"reason": "none"})),
            (format!("PUT {admins}/quotas/account/{}/requests/day", ada.id), json!({"limit": 1})),
            (format!("POST {admins}/roles"), json!({"name": "own", "permissions": ["audit:read"]})),
            (format!("POST {admins}/service-accounts"), json!({"name": "robot", "role": "admin"})),
        ];
        let halves: Vec<Half> =
            begun.iter().map(|(line, body)| Half::send(&server, &rogue.tokens.access, line, body)).collect();
        admin.api.put(&user_path(&rogue), &json!({"role": "readonly"})).is(200);
        let before = server.world.state();
        for (half, (line, _)) in halves.into_iter().zip(&begun) {
            let answer = half.finish();
            assert!(answer.contains(" 403 "), "{line}: {answer}");
        }
        server.world.is_unchanged_since(&before);
        let incidents = admin.api.get(&format!("{admins}/incidents")).is(200).items();
        assert!(incidents.len() == 1 && incidents[0]["status"] == "open", "{incidents:?}");
        ada.api.get("/api/v1/me").is(200);
        // What somebody says of an incident is in the trail, too.
        let note = format!("{admins}/incidents/{incident}/notes");
        rogue.api.post(&note, &json!({"text": "Late."})).refused(403, "insufficient_permissions");
        assert_eq!(server.audited("incident.changed", "success"), 0);
        admin.api.post(&note, &json!({"text": "Seen."})).is(201);
        assert_eq!(server.audited("incident.changed", "success"), 1);
    }

    fn no_key_undoes_a_stop_that_was_set_while_its_body_was_on_its_way(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let key = admin.make_key(&["system:manage"]);
        let half = Half::send(&server, &key, "PUT /api/v1/admin/maintenance", &json!({"mode": "off"}));
        admin.api.put("/api/v1/admin/maintenance", &json!({"mode": "emergency_stop"})).is(200);
        let answer = half.finish();
        assert!(answer.contains(" 503 "), "{answer}");
        assert_eq!(server.anon().get("/health/ready").is(200).member("mode"), "emergency_stop");
    }

    fn a_secret_that_was_replaced_finishes_nothing(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (id, key) = admin.make_key_with(json!({"name": "old", "scopes": ["limits:manage"]}));
        let half = Half::send(&server, &key, "PUT /api/v1/admin/limits/class/read", &json!({"per_minute": 7}));
        admin.api.act(&format!("/api/v1/api-keys/{id}/rotate?overlap_seconds=0")).is(200);
        let answer = half.finish();
        assert!(answer.contains(" 401 "), "{answer}");
        assert!(!admin.api.get("/api/v1/admin/limits").is(200).text().contains("\"read\""));
    }

    fn a_secret_that_was_replaced_finishes_nothing_that_it_signed(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let wish = json!({"name": "signs", "scopes": ["limits:manage"], "require_signature": true});
        let (id, old) = admin.make_key_with(wish);
        let (path, limit) = ("/api/v1/admin/limits/class/read", json!({"per_minute": 7}));
        let begin = |key: &str| {
            let headers = Signer::new(&server, key).headers("PUT", path, OF_SEVEN_A_MINUTE);
            let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            Half::send_with(&server, &lines, &format!("PUT {path}"), &limit)
        };
        let rotate = format!("/api/v1/api-keys/{id}/rotate?overlap_seconds");
        let new = admin.api.act(&format!("{rotate}=3600")).is(200).member("key");
        // Both are known to the server when the first of them ends.
        let (by_the_new, by_the_old) = (begin(&new), begin(&old));
        assert!(by_the_new.finish().contains(" 204 "));
        admin.api.delete(path).is(204);
        admin.api.act(&format!("{rotate}=0")).is(200);
        let answer = by_the_old.finish();
        assert!(answer.contains(" 401 "), "{answer}");
        assert!(!admin.api.get("/api/v1/admin/limits").is(200).text().contains("\"read\""));
    }

    fn a_demoted_administrator_cannot_finish_promoting_themselves(pair) {
        let server = Server::start(pair, &[]);
        let (admin, rogue) = (server.admin(), server.admin_called("rogue"));
        let line = format!("PUT {}", user_path(&rogue));
        let half = Half::send(&server, &rogue.tokens.access, &line, &json!({"role": "admin"}));
        admin.api.put(&user_path(&rogue), &json!({"role": "readonly"})).is(200);
        let answer = half.finish();
        assert!(answer.contains(" 403 "), "{answer}");
        assert_eq!(admin.api.get(&user_path(&rogue)).is(200).member("role"), "readonly");
    }

    fn an_ended_session_cannot_finish_making_a_key(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let wanted = json!({"name": "late", "scopes": ["models:infer"]});
        let half = Half::send(&server, &ada.tokens.access, "POST /api/v1/api-keys", &wanted);
        ada.api.act("/api/v1/auth/logout-all").is(204);
        let answer = half.finish();
        assert!(answer.contains(" 401 "), "{answer}");
        let again = server.log_in(&ada.email, &ada.password);
        assert_eq!(again.api.get("/api/v1/api-keys").is(200).items(), Vec::<Value>::new());
    }

    fn no_session_opened_with_the_old_password_outlives_its_change(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let change = json!({"current_password": ada.password, "new_password": NEW_PASSWORD});
        let opened: Vec<Option<Tokens>> = at_once(12, |number| {
            if number == 5 {
                // So many hashes at once may be more than a busy machine takes in time.
                let mut changed = ada.api.post(PASSWORD, &change);
                while changed.status == 503 {
                    changed = ada.api.post(PASSWORD, &change);
                }
                changed.is(204);
                return None;
            }
            let reply = server.try_log_in(&ada.email, &ada.password);
            (reply.status == 200).then(|| Tokens::of(&reply))
        });
        for tokens in opened.iter().flatten() {
            server.refresh(&tokens.refresh).is(401);
            server.user(&tokens.access).get("/api/v1/me").is(401);
        }
        ada.api.get("/api/v1/me").is(200);
        server.try_log_in(&ada.email, &ada.password).is(401);
        server.log_in(&ada.email, NEW_PASSWORD);
    }

    fn of_two_password_changes_at_once_one_wins(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let other = server.log_in(&ada.email, &ada.password);
        let answers = at_once(2, |number| {
            let wished = format!("{NEW_PASSWORD}{number}");
            let change = json!({"current_password": ada.password, "new_password": wished});
            let person = if number == 0 { &ada } else { &other };
            (person.api.post(PASSWORD, &change).status, wished)
        });
        let winners: Vec<&String> = answers.iter().filter(|(status, _)| *status == 204).map(|(_, password)| password).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        server.log_in(&ada.email, winners[0]);
    }

    /// The client refuses any 500.
    fn an_account_deleted_in_the_middle_of_its_own_work_breaks_nothing(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        for round in 0..3 {
            let ada = server.person(&format!("ada{round}"));
            at_once(9, |number| match number {
                4 => admin.api.delete(&user_path(&ada)).is(204).status,
                0..=3 => server.try_log_in(&ada.email, &ada.password).status,
                _ => ada.api.post("/api/v1/api-keys", &json!({"name": "k", "scopes": ["models:read"]})).status,
            });
            server.try_log_in(&ada.email, &ada.password).refused(401, "invalid_credentials");
        }
    }

    fn a_refusal_counts_like_any_request_and_tells_what_is_left(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_READ_PER_MINUTE", "6")]);
        let ada = server.person("ada");
        let (_, text) = ada.make_key_with(json!({"name": "k", "scopes": ["models:read"], "allowed_ips": ["192.0.2.0/24"]}));
        let elsewhere = server.key(&text);
        let first = elsewhere.get("/api/v1/models").is(403);
        assert!(first.header("ratelimit").is_some_and(|left| left.contains("\"read\";r=")), "{first:?}");
        ada.api.get("/api/v1/admin/users").is(403);
        let answers: Vec<u16> = (0..6).map(|_| elsewhere.get("/api/v1/models").status).collect();
        assert!(answers.contains(&429), "{answers:?}");
    }
}
