//! Who makes many requests a second is counted in Redis for several of them at once, and nothing else changes by it: no
//! limit lets through more or less, and what is revoked is refused at the very next request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Pair, Server, World, at_once, sample};

const ME: &str = "/api/v1/me";
/// What the tests allow in a window.
const LIMIT: usize = 600;

fn two(settings: &[(&str, &str)]) -> (Server, Server) {
    let world = World::new(Pair::Shared);
    (world.start(settings), world.start(settings))
}

/// How many of so many requests, made by eight at once, were let through.
fn let_through(clients: [&Client; 2], requests: usize) -> usize {
    let count = |index: usize| {
        let statuses = (0..requests / 8).map(|_| clients[index % 2].get(ME).status);
        let statuses: Vec<u16> = statuses.collect();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    };
    at_once(8, count).iter().sum()
}

/// What a caller is answered whose credential ends, in whatever way, in the middle of a flood.
fn is_over_at_once(client: &Client, path: &str, end: impl FnOnce(), refused: u16) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = || {
            let mut last = false;
            while !last {
                last = ended.load(Ordering::SeqCst);
                let status = client.get(path).status;
                assert!(
                    if last { status == refused } else { [200, refused].contains(&status) },
                    "{status}, {last}"
                );
            }
        };
        let floods = [scope.spawn(flood), scope.spawn(flood)];
        (0..20).for_each(|_| drop(client.get(path).is(200)));
        end();
        ended.store(true, Ordering::SeqCst);
        for flood in floods {
            flood.join().expect("refused as soon as the change was answered");
        }
    });
}

#[test]
fn a_flood_costs_fewer_trips_than_requests() {
    let server = World::new(Pair::Shared).start(&[("RATE_LIMIT_READ_PER_MINUTE", "100000")]);
    let ada = server.person("ada");
    let told = || ada.api.get(ME).is(200).number("x-ratelimit-remaining");
    let at_first = told();
    let trips = || server.metric("ephemeral_round_trips_total");
    let cost_of_a_flood = || {
        let before = trips();
        assert_eq!(let_through([&ada.api; 2], 400), 400);
        trips() - before
    };
    // However slow the machine is at times.
    let costs: Vec<f64> = (0..5).map(|_| cost_of_a_flood()).collect();
    assert!(costs.iter().any(|cost| *cost < 300.0), "{costs:?} trips for 400 requests each");
    assert_eq!(told(), at_first - 2_001, "counted one by one all the same");
}

#[test]
fn a_flood_on_two_replicas_gets_all_of_the_limit_and_no_more() {
    let limit = LIMIT.to_string();
    let (first, second) = two(&[("RATE_LIMIT_READ_PER_MINUTE", &limit)]);
    let ada = first.person("ada");
    let there = second.user(&ada.tokens.access);
    for _ in 0..3 {
        // The next window.
        first.advance(Duration::from_secs(61));
        let mut count = let_through([&ada.api, &there], 2 * LIMIT);
        // A refusal is remembered for a second; what was counted ahead meanwhile is still to be had.
        first.advance(Duration::from_secs(2));
        count += let_through([&ada.api, &there], 160);
        assert_eq!(count, LIMIT);
    }
}

#[test]
fn what_reads_counted_ahead_is_there_for_inferences() {
    let server = World::new(Pair::Shared).start(&[("RATE_LIMIT_PER_HOUR", &LIMIT.to_string())]);
    let ada = server.person("ada");
    let left = ada.api.get(ME).is(200).number("x-ratelimit-remaining") as usize;
    let reads = let_through([&ada.api; 2], 400);
    let inferences = (0..LIMIT).map(|_| ada.api.predict(&sample("1-1")).status);
    let inferences = inferences.take_while(|status| *status == 200).count();
    assert_eq!(reads + inferences, left);
}

#[test]
fn what_one_replica_ends_is_over_on_the_other_in_the_middle_of_a_flood() {
    let (first, second) = two(&[("RATE_LIMIT_READ_PER_MINUTE", "1000000")]);
    let admin = first.admin();
    for name in ["ada", "grace", "edith"] {
        let person = first.person(name);
        let (id, text) = person.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        let account = format!("/api/v1/admin/users/{}", person.id);
        let revoke = || drop(person.api.delete(&format!("/api/v1/api-keys/{id}")).is(204));
        is_over_at_once(&second.key(&text), "/api/v1/models", revoke, 401);
        let log_out = || drop(person.api.act("/api/v1/auth/logout").is(204));
        is_over_at_once(&second.user(&person.tokens.access), ME, log_out, 401);
        let again = first.log_in(&person.email, &person.password);
        let files = "/api/v1/admin/users";
        admin.api.put(&account, &json!({"role": "admin"})).is(200);
        let demote = || drop(admin.api.put(&account, &json!({"role": "readonly"})).is(200));
        is_over_at_once(&second.user(&again.tokens.access), files, demote, 403);
        let disable = || drop(admin.api.put(&account, &json!({"active": false})).is(200));
        is_over_at_once(&second.user(&again.tokens.access), ME, disable, 401);
        again.api.predict(&sample("1-1")).is(401);
    }
}
