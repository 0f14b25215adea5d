//! Refresh tokens: each is good once, a lost answer can be had again, a stolen one ends the session.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Person, Reply, Server, Tokens, at_once, promise};

const ME: &str = "/api/v1/me";
/// How long the same answer can be asked for again.
const RETRY_WINDOW: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// Spends a token that is good.
#[track_caller]
fn rotate(server: &Server, token: &str) -> Tokens {
    Tokens::of(&server.refresh(token).is(200))
}

/// Nothing of the session is good any more.
#[track_caller]
fn is_over(server: &Server, person: &Person, others: &[&Tokens]) {
    for tokens in others.iter().copied().chain([&person.tokens]) {
        server.user(&tokens.access).get(ME).refused(401, "invalid_token");
        server.refresh(&tokens.refresh).refused(401, "invalid_token");
    }
}

promise! {
    fn a_refresh_gives_a_new_pair_of_the_same_session(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let mut tokens = ada.tokens.clone();
        for _ in 0..5 {
            let next = rotate(&server, &tokens.refresh);
            assert!(next.refresh != tokens.refresh && next.access != tokens.access);
            server.user(&next.access).get(ME).is(200);
            tokens = next;
        }
        ada.api.get(ME).is(200);
        let sessions = server.user(&tokens.access).get("/api/v1/auth/sessions").is(200).items();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        assert!(sessions[0]["refreshed_at"].is_string(), "{sessions:?}");
    }

    fn a_lost_answer_can_be_asked_for_again_within_ten_seconds(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let first = rotate(&server, &ada.tokens.refresh);
        server.advance(RETRY_WINDOW - 2 * SECOND);
        let again = rotate(&server, &ada.tokens.refresh);
        assert_eq!(again.refresh, first.refresh, "the same successor");
        server.user(&again.access).get(ME).is(200);
        rotate(&server, &first.refresh);
    }

    fn a_token_spent_long_ago_ends_the_session(pair) {
        let server = Server::start(pair, &[]);
        let (ada, other) = (server.person("ada"), server.person("grace"));
        let next = rotate(&server, &ada.tokens.refresh);
        server.user(&next.access).get(ME).is(200);
        server.advance(RETRY_WINDOW + SECOND);
        server.refresh(&ada.tokens.refresh).refused(401, "invalid_token");
        is_over(&server, &ada, &[&next]);
        other.api.get(ME).is(200);
        server.log_in(&ada.email, &ada.password);
    }

    fn a_token_whose_successor_was_spent_ends_the_session_at_once(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let first = rotate(&server, &ada.tokens.refresh);
        let second = rotate(&server, &first.refresh);
        server.refresh(&ada.tokens.refresh).refused(401, "invalid_token");
        is_over(&server, &ada, &[&first, &second]);
    }

    fn only_the_stolen_session_ends(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let laptop = server.log_in(&ada.email, &ada.password);
        let first = rotate(&server, &ada.tokens.refresh);
        rotate(&server, &first.refresh);
        server.refresh(&ada.tokens.refresh).is(401);
        laptop.api.get(ME).is(200);
        rotate(&server, &laptop.tokens.refresh);
    }

    fn fifty_refreshes_at_once_get_one_successor(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let answers = at_once(50, |_| rotate(&server, &ada.tokens.refresh));
        let successors: BTreeSet<&str> = answers.iter().map(|tokens| tokens.refresh.as_str()).collect();
        assert_eq!(successors.len(), 1, "{} successors", successors.len());
        for tokens in &answers {
            server.user(&tokens.access).get(ME).is(200);
        }
        rotate(&server, &answers[0].refresh);
    }

    fn tokens_end_with_time(pair) {
        let settings = [
            ("JWT_ACCESS_TOKEN_EXPIRES", "600"),
            ("SESSION_IDLE_EXPIRES", "900"),
            ("JWT_REFRESH_TOKEN_EXPIRES", "2000"),
        ];
        let server = Server::start(pair, &settings);
        let (ada, idle) = (server.person("ada"), server.person("grace"));
        server.advance(599 * SECOND - 5 * SECOND);
        ada.api.get(ME).is(200);
        server.advance(6 * SECOND);
        ada.api.get(ME).refused(401, "invalid_token");
        let mut tokens = rotate(&server, &ada.tokens.refresh);
        server.user(&tokens.access).get(ME).is(200);
        server.advance(800 * SECOND);
        server.refresh(&idle.tokens.refresh).refused(401, "invalid_token");
        tokens = rotate(&server, &tokens.refresh);
        server.advance(580 * SECOND);
        let last = server.refresh(&tokens.refresh).is(200);
        let left = last.json()["expires_in"].as_i64().expect("a number");
        assert!((1..=25).contains(&left), "no token outlives its session: {left}");
        server.advance(30 * SECOND);
        server.refresh(&Tokens::of(&last).refresh).refused(401, "invalid_token");
        server.user(&Tokens::of(&last).access).get(ME).refused(401, "invalid_token");
    }

    fn an_access_token_ends_with_a_session_that_is_not_refreshed(pair) {
        let server = Server::start(pair, &[("SESSION_IDLE_EXPIRES", "60")]);
        let ada = server.person("ada");
        let left = |reply: &Reply| reply.json()["expires_in"].as_i64().expect("a number");
        server.advance(30 * SECOND);
        let fresh = ada.api.post("/api/v1/auth/step-up", &json!({"password": ada.password})).is(200);
        assert!((1..=30).contains(&left(&fresh)), "{}", fresh.text());
        let next = server.refresh(&ada.tokens.refresh).is(200);
        assert!((31..=60).contains(&left(&next)), "{}", next.text());
        let (fresh, next) = (server.user(&fresh.member("access_token")), server.user(&next.member("access_token")));
        server.advance(31 * SECOND);
        ada.api.get(ME).refused(401, "invalid_token");
        fresh.get(ME).refused(401, "invalid_token");
        assert_eq!(next.get("/api/v1/auth/sessions").is(200).items().len(), 1);
        server.advance(30 * SECOND);
        next.get(ME).refused(401, "invalid_token");
        next.post("/api/v1/api-keys", &json!({"name": "a key", "scopes": ["models:read"]})).refused(401, "invalid_token");
    }

    fn a_made_up_token_is_refused_and_harms_nobody(pair) {
        let server = Server::start(pair, &[]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let good = &ada.tokens.refresh;
        let changed = |index: usize| {
            let mut text = good.clone().into_bytes();
            text[index] = if text[index] == b'A' { b'B' } else { b'A' };
            String::from_utf8(text).expect("ASCII")
        };
        let mut made_up: Vec<String> = (0..good.len()).step_by(5).map(changed).collect();
        made_up.extend([
            "".into(),
            "mgr_".into(),
            good[4..].into(),
            format!("{good}A"),
            format!(" {good}"),
            "mgr_é".into(),
        ]);
        made_up.extend(["x".repeat(100_000), ada.tokens.access.clone()]);
        // One person's session under another's signature.
        made_up.push(format!("{}{}", &good[..36], &grace.tokens.refresh[36..]));
        for token in &made_up {
            server.refresh(token).refused(401, "invalid_token");
        }
        server.user(good).get(ME).refused(401, "invalid_token");
        ada.api.get(ME).is(200);
        rotate(&server, good);
        rotate(&server, &grace.tokens.refresh);
    }

    fn no_refresh_for_those_who_were_switched_off_deleted_or_logged_out(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (off, deleted, gone) = (server.person("ada"), server.person("grace"), server.person("edsger"));
        admin.api.put(&format!("/api/v1/admin/users/{}", off.id), &json!({"active": false})).is(200);
        admin.api.delete(&format!("/api/v1/admin/users/{}", deleted.id)).is(204);
        gone.api.act("/api/v1/auth/logout").is(204);
        for person in [&off, &deleted, &gone] {
            is_over(&server, person, &[]);
        }
        admin.api.put(&format!("/api/v1/admin/users/{}", off.id), &json!({"active": true})).is(200);
        is_over(&server, &off, &[]);
        server.log_in(&off.email, &off.password);
    }
}
