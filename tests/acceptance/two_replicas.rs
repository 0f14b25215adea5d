//! Two servers on the same Postgres and Redis are one service.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Pair, Server, Tokens, World, at_once, eventually, promise, sample};

const ME: &str = "/api/v1/me";
const MODELS: &str = "/api/v1/models";

fn two() -> (Server, Server) {
    let world = World::new(Pair::Shared);
    (world.start(&[]), world.start(&[]))
}

#[test]
fn what_one_ends_the_other_refuses_at_the_very_next_request() {
    let (first, second) = two();
    let admin = first.admin();
    for round in 0..5 {
        let ada = first.person(&format!("ada{}", ["a", "b", "c", "d", "e"][round]));
        let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        let (there, key) = (second.user(&ada.tokens.access), second.key(&text));
        there.get(ME).is(200);
        key.get(MODELS).is(200);

        ada.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
        key.get(MODELS).refused(401, "invalid_token");
        there.get(ME).is(200);
        ada.api.act("/api/v1/auth/logout").is(204);
        there.get(ME).refused(401, "invalid_token");
        second.refresh(&ada.tokens.refresh).refused(401, "invalid_token");

        let again = second.log_in(&ada.email, &ada.password);
        let here = first.user(&again.tokens.access);
        here.get(ME).is(200);
        let path = format!("/api/v1/admin/users/{}", ada.id);
        admin.api.put(&path, &json!({"role": "readonly"})).is(200);
        again.api.predict(&sample("1-1")).refused(403, "insufficient_permissions");
        admin.api.put(&path, &json!({"active": false})).is(200);
        again.api.get(ME).refused(401, "invalid_token");
        here.get(ME).refused(401, "invalid_token");
    }
}

#[test]
fn a_replay_on_one_ends_the_session_on_both() {
    let (first, second) = two();
    let ada = first.person("ada");
    let next = Tokens::of(&second.refresh(&ada.tokens.refresh).is(200));
    let last = Tokens::of(&first.refresh(&next.refresh).is(200));
    second.user(&last.access).get(ME).is(200);
    first.refresh(&ada.tokens.refresh).is(401);
    second.user(&last.access).get(ME).refused(401, "invalid_token");
    second.refresh(&last.refresh).refused(401, "invalid_token");
}

#[test]
fn refreshes_on_both_at_once_get_one_successor() {
    let (first, second) = two();
    let ada = first.person("ada");
    let answers = at_once(50, |index| {
        let server = if index % 2 == 0 { &first } else { &second };
        server.refresh(&ada.tokens.refresh).is(200).member("refresh_token")
    });
    assert_eq!(answers.iter().collect::<BTreeSet<_>>().len(), 1);
    second.refresh(&answers[0]).is(200);
}

#[test]
fn limits_count_on_both_together() {
    let world = World::new(Pair::Shared);
    let settings = [("RATE_LIMIT_INFER_PER_MINUTE", "6"), ("RATE_LIMIT_LOGIN_PER_MINUTE", "5")];
    let (first, second) = (world.start(&settings), world.start(&settings));
    let ada = first.person("ada");
    let there = second.user(&ada.tokens.access);
    for _ in 0..3 {
        ada.api.predict(&sample("1-1")).is(200);
        there.predict(&sample("1-1")).is(200);
    }
    ada.api.predict(&sample("1-1")).refused(429, "rate_limited");
    there.predict(&sample("1-1")).refused(429, "rate_limited");
    let logins = at_once(20, |index| {
        let server = if index % 2 == 0 { &first } else { &second };
        server.try_log_in("nobody@example.com", "Wrong-horse-battery-9").status
    });
    let evaluated = logins.iter().filter(|status| **status == 401).count();
    assert_eq!(evaluated, 4, "one was Ada's: {logins:?}");
}

#[test]
fn without_redis_a_second_replica_is_refused_and_a_successor_is_not() {
    let world = World::new(Pair::Shared);
    let alone = [("REDIS_URL", "")];
    let mut first = world.start(&alone);
    let refused = world.run(&["serve"], &alone, "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("REDIS_URL"), "{refused:?}");
    first.anon().get("/health/ready").is(200);
    assert_eq!(first.stop(), Some(0));
    let mut successor = world.start(&alone);
    let ada = successor.person("ada");
    ada.api.get(ME).is(200);
    successor.advance(Duration::from_secs(3600));
    successor.anon().get("/health/ready").is(200);
    assert_eq!(successor.stop(), Some(0));
}

#[test]
fn a_replica_that_was_killed_is_missed_after_fifteen_seconds() {
    let world = World::new(Pair::Shared);
    let alone = [("REDIS_URL", "")];
    drop(world.start(&alone));
    assert_eq!(world.run(&["serve"], &alone, "").code, Some(1));
    world.advance(Duration::from_secs(16));
    world.start(&alone).anon().get("/health/ready").is(200);
}

promise! {
    fn what_the_command_line_makes_is_there_for_the_running_server(pair) {
        let server = Server::start(pair, &[]);
        server.try_log_in("late@example.com", "Correct-horse-battery-9").is(401);
        let admin = server.admin_called("late");
        admin.api.get("/api/v1/admin/users").is(200);
        let migrated = server.cli(&["migrate"], "");
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        let checked = server.cli(&["check"], "");
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let url = format!("http://{}/health/ready", server.address());
        assert_eq!(server.cli(&["check", "--url", &url], "").code, Some(0));
        assert_eq!(server.cli(&["check", "--url", &url.replace("ready", "nowhere")], "").code, Some(1));
        eventually("the server is still ready", || {
            (server.anon().get("/health/ready").status == 200).then_some(())
        });
    }
}
