//! Refresh tokens in the wrong hands, in too many hands at once, and cut off half-way.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Server, Tokens, World, at_once, promise};

const ME: &str = "/api/v1/me";
const REFRESH: &str = "/api/v1/auth/refresh";
const RETRY_WINDOW: Duration = Duration::from_secs(10);

#[track_caller]
fn rotate(server: &Server, token: &str) -> Tokens {
    Tokens::of(&server.refresh(token).is(200))
}

promise! {
    fn a_replay_however_old_ends_the_session_and_stands_in_the_trail(pair) {
        let server = Server::start(pair, &[]);
        for (number, later) in [Duration::ZERO, RETRY_WINDOW * 2].into_iter().enumerate() {
            let person = server.person(&format!("person{number}"));
            let parent = rotate(&server, &person.tokens.refresh);
            let present = rotate(&server, &parent.refresh);
            server.advance(later);
            // The grandparent of the present one.
            server.refresh(&person.tokens.refresh).refused(401, "invalid_token");
            for tokens in [&person.tokens, &parent, &present] {
                server.refresh(&tokens.refresh).refused(401, "invalid_token");
                server.user(&tokens.access).get(ME).refused(401, "invalid_token");
            }
            let events = server.world.audit_events();
            let told: Vec<_> = events.iter().filter(|event| event["action"] == "SUSPICIOUS_ACTIVITY").collect();
            assert_eq!(told.len(), number + 1, "once: {told:?}");
            let last = told[number];
            assert_eq!((&last["actor"], &last["outcome"]), (&json!(person.id), &json!("failure")), "{last}");
            assert_eq!(last["detail"], json!({"reason": "refresh_token_reuse", "step": 0, "current": 2}), "{last}");
        }
    }

    fn two_at_once_get_one_successor_each_time(pair) {
        let server = Server::start(pair, &[]);
        let mut token = server.person("ada").tokens.refresh;
        for round in 0..10 {
            let answers = at_once(2, |_| rotate(&server, &token).refresh);
            assert_eq!(answers[0], answers[1], "round {round}");
            token.clone_from(&answers[0]);
        }
        assert_eq!(server.audited("SUSPICIOUS_ACTIVITY", "failure"), 0);
    }

    fn a_refresh_grants_what_the_account_may_now_and_takes_no_wishes(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person_with_role(&admin, "ada", "moderator");
        ada.api.get("/api/v1/admin/users").is(200);
        let before = server.world.state();
        for (wish, value) in [("scope", "users:manage"), ("role", "admin"), ("audience", "modelgate"), ("client_id", "x")] {
            let body = json!({"refresh_token": ada.tokens.refresh, wish: value});
            server.anon().post(REFRESH, &body).refused(400, "malformed_request");
        }
        server.world.is_unchanged_since(&before);
        admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"role": "user"})).is(200);
        let next = rotate(&server, &ada.tokens.refresh);
        server.user(&next.access).get("/api/v1/admin/users").refused(403, "insufficient_permissions");
        let change = json!({"current_password": ada.password, "new_password": "Another-horse-battery-9"});
        let other = server.log_in(&ada.email, &ada.password);
        server.user(&next.access).post("/api/v1/auth/password", &change).is(204);
        server.refresh(&other.tokens.refresh).refused(401, "invalid_token");
        rotate(&server, &next.refresh);
    }

    fn a_token_of_another_installation_is_nothing_here(pair) {
        let (here, there) = (Server::start(pair, &[]), Server::start(pair, &[]));
        let (ada, stranger) = (here.person("ada"), there.person("ada"));
        let before = here.world.state();
        here.refresh(&stranger.tokens.refresh).refused(401, "invalid_token");
        here.user(&stranger.tokens.access).get(ME).refused(401, "invalid_token");
        here.world.is_unchanged_since(&before);
        rotate(&here, &ada.tokens.refresh);
    }

    fn a_refresh_forgives_no_failed_login(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_LOGIN_PER_MINUTE", "5")]);
        let ada = server.person("ada");
        let mut tokens = ada.tokens.clone();
        for _ in 0..4 {
            server.try_log_in(&ada.email, "Wrong-horse-battery-9").refused(401, "invalid_credentials");
            tokens = rotate(&server, &tokens.refresh);
        }
        server.try_log_in(&ada.email, &ada.password).refused(429, "rate_limited");
        assert_eq!(server.audited("LOGIN_FAILURE", "failure"), 4);
    }

    /// Killed at any moment, the server has rotated the token or has not, and never half.
    fn a_crash_in_the_middle_of_a_refresh_costs_nobody_their_session(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let ada = server.person("ada");
        let mut token = ada.tokens.refresh.clone();
        for round in 0..4 {
            let body = json!({"refresh_token": token}).to_string();
            let request = format!(
                "POST {REFRESH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut streams: Vec<_> = (0..8).map(|_| server.connect()).collect();
            streams.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).expect("the server reads"));
            std::thread::sleep(Duration::from_millis(3 * round));
            drop(server);
            server = world.start(&[]);
            let answers = [rotate(&server, &token), rotate(&server, &token)];
            assert_eq!(answers[0].refresh, answers[1].refresh, "round {round}: one successor");
            server.user(&answers[0].access).get(ME).is(200);
            token.clone_from(&answers[0].refresh);
        }
        let sessions = world.sql("SELECT count(*) FROM sessions WHERE revoked_at IS NULL");
        assert_eq!(sessions.trim(), "1");
        assert_eq!(server.audited("SUSPICIOUS_ACTIVITY", "failure"), 0);
    }
}
