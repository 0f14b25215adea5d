//! Guessing passwords: few attempts are evaluated, and the account's owner gets in meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, OwnRedis, Pair, Person, Reply, Server, World, at_once, promise};

const LOGIN: &str = "/api/v1/auth/login";
const ME: &str = "/api/v1/me";
const PASSWORD: &str = "Correct-horse-battery-9";
const WRONG: &str = "Wrong-horse-battery-9";
const MINUTE: Duration = Duration::from_secs(60);
/// Lets a test choose where its requests come from.
const PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");
/// The limits of login attempts as they are unless changed.
const DEFAULT: (&str, &str) = ("RATE_LIMIT_LOGIN_PER_MINUTE", "");
const HOME: &str = "203.0.113.7";

fn from(client: &Client, address: &str) -> Client {
    client.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
}

/// An address that is nobody else's.
fn elsewhere(number: usize) -> String {
    format!("198.51.{}.{}", 100 + number / 250, 1 + number % 250)
}

fn log_in(server: &Server, address: &str, email: &str, password: &str) -> Reply {
    from(&server.anon(), address).post(LOGIN, &json!({"email": email, "password": password}))
}

/// Someone who has logged in from one address only, a while ago.
fn resident(server: &Server, name: &str) -> Person {
    let email = format!("{name}@example.com");
    let body = json!({"email": email, "password": PASSWORD, "name": "Someone Else"});
    server.anon().post("/api/v1/auth/register", &body).is(201);
    let tokens = crate::harness::Tokens::of(&log_in(server, HOME, &email, PASSWORD).is(200));
    let api = server.user(&tokens.access);
    let id = api.get(ME).is(200).member("id");
    // Right logins count as well.
    server.advance(MINUTE);
    Person { id, email, password: PASSWORD.to_owned(), tokens, api }
}

fn events(server: &Server, kind: &str) -> f64 {
    server.metric(&format!("security_events_total{{event_type=\"{kind}\"}}"))
}

/// An answer without what differs between any two.
fn shape(reply: &Reply) -> (u16, Value, BTreeMap<String, String>) {
    let mut body = reply.json();
    body["request_id"] = Value::Null;
    let headers = reply.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    // Whether the connection goes on depends on whether the body had arrived when the answer was made.
    let varies = ["x-request-id", "date", "content-length", "connection"];
    (reply.status, body, headers.filter(|(name, _)| !varies.contains(&name.as_str())).collect())
}

/// The same without how many seconds are left of a window.
fn shape_at_any_time(reply: &Reply) -> (u16, Value, BTreeMap<String, String>) {
    let (status, body, mut headers) = shape(reply);
    for seconds in ["ratelimit", "x-ratelimit-reset", "retry-after"] {
        headers.entry(seconds.into()).and_modify(String::clear);
    }
    (status, body, headers)
}

promise! {
    fn a_wrong_password_tells_nobody_which_networks_an_account_uses(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let (ada, grace) = (resident(&server, "ada"), server.person("grace"));
        let answers = |email: &str, home_first: usize| -> Vec<_> {
            // A new minute for each, and the same age of every window.
            server.advance(MINUTE);
            let home = std::iter::repeat_n(HOME.to_owned(), 5);
            let mut places: Vec<String> = (0..5).map(elsewhere).collect();
            places.splice(home_first..home_first, home);
            places.iter().map(|place| shape_at_any_time(&log_in(&server, place, email, WRONG))).collect()
        };
        for home_first in [0, 2, 5] {
            let known = answers(&ada.email, home_first);
            let statuses: Vec<u16> = known.iter().map(|answer| answer.0).collect();
            assert_eq!(statuses, [[401; 5], [429; 5]].concat(), "one place or many, known or not");
            assert_eq!(known, answers(&grace.email, home_first), "an account that was never in this network");
            assert_eq!(known, answers("nobody@example.com", home_first), "no account");
        }
        server.advance(MINUTE);
        for number in 0..9 {
            drop(log_in(&server, &elsewhere(number), &ada.email, WRONG));
        }
        log_in(&server, HOME, &ada.email, PASSWORD).is(200);
        log_in(&server, &elsewhere(9), &ada.email, PASSWORD).is(429);
    }

    fn guesses_that_are_not_looked_at_shut_nobody_out(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let ada = resident(&server, "ada");
        for number in 0..120 {
            assert!([401, 429].contains(&log_in(&server, &elsewhere(number), &ada.email, WRONG).status));
        }
        server.advance(MINUTE);
        log_in(&server, "198.51.99.1", &ada.email, PASSWORD).is(200);
    }

    fn many_accounts_from_one_address_are_a_few_attempts(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let answers: Vec<u16> = (0..25)
            .map(|user| log_in(&server, HOME, &format!("user{user}@example.com"), PASSWORD).status)
            .collect();
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
        assert!(answers[5..].iter().all(|status| *status == 429), "{answers:?}");
        // Another address of the same IPv6 network is the same customer.
        for host in 0..5 {
            let there = format!("2001:db8::{:x}", host + 1);
            log_in(&server, &there, &format!("six{host}@example.com"), PASSWORD).is(401);
        }
        log_in(&server, "2001:db8::ffff:9", "six9@example.com", PASSWORD).refused(429, "rate_limited");
        log_in(&server, "2001:db8:0:1::1", "six9@example.com", PASSWORD).is(401);
    }

    fn a_victim_gets_in_while_others_guess(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let ada = resident(&server, "ada");
        let attack = || {
            let answers = at_once(30, |number| log_in(&server, &elsewhere(number), &ada.email, WRONG).status);
            assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
        };
        attack();
        log_in(&server, "198.51.99.1", &ada.email, PASSWORD).refused(429, "rate_limited");
        log_in(&server, HOME, &ada.email, PASSWORD).is(200);
        // From a network that she was never in, her session speaks for her.
        let body = json!({"email": ada.email, "password": PASSWORD});
        from(&ada.api, "198.51.99.1").post(LOGIN, &body).is(200);
        server.advance(MINUTE);
        attack();
        let travelling = from(&ada.api, "198.51.99.2");
        for _ in 0..5 {
            travelling.post(LOGIN, &json!({"email": ada.email, "password": WRONG})).is(401);
        }
        travelling.post(LOGIN, &body).refused(429, "rate_limited");
    }

    fn a_token_of_another_account_is_no_way_around(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let ada = resident(&server, "ada");
        let eve = server.person("eve");
        let key = eve.make_key(&["models:read"]);
        let stale = server.log_in(&eve.email, &eve.password);
        stale.api.act("/api/v1/auth/logout").is(204);
        server.advance(MINUTE);
        let guess = |client: &Client, number: usize| {
            from(client, &elsewhere(number)).post(LOGIN, &json!({"email": ada.email, "password": WRONG})).status
        };
        let helpers = [&eve.api, &server.key(&key), &stale.api, &server.user("no.token.atall")];
        let answers: Vec<u16> = (0..20).map(|number| guess(helpers[number % 4], number)).collect();
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
        assert!(answers[5..].iter().all(|status| *status == 429), "{answers:?}");
        log_in(&server, HOME, &ada.email, PASSWORD).is(200);
    }

    fn of_a_hundred_guesses_at_once_from_a_known_network_five_are_evaluated(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY, ("PASSWORD_HASH_QUEUE", "200")]);
        let ada = resident(&server, "ada");
        server.advance(MINUTE);
        let answers = at_once(100, |_| log_in(&server, HOME, &ada.email, WRONG).status);
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
        assert_eq!(events(&server, "LOGIN_FAILURE"), 5.0);
    }

    fn after_a_hundred_failures_in_a_row_only_known_places_are_let_try(pair) {
        let server = Server::start(pair, &[PROXY]);
        let (ada, grace) = (resident(&server, "ada"), resident(&server, "grace"));
        let admin = server.admin();
        let fail = |times: usize| {
            for number in 0..times {
                log_in(&server, &elsewhere(number), &ada.email, WRONG).is(401);
            }
        };
        fail(99);
        server.refresh(&ada.tokens.refresh).is(200);
        log_in(&server, &elsewhere(1), &ada.email, PASSWORD).is(200);
        // That success made its network known, and counting began anew.
        fail(100);
        let locked = log_in(&server, "198.51.99.1", &ada.email, PASSWORD).refused(401, "invalid_credentials");
        assert_eq!(shape(&locked), shape(&log_in(&server, "198.51.99.1", "nobody@example.com", PASSWORD)));
        server.advance(Duration::from_secs(86_400));
        server.refresh(&grace.tokens.refresh).is(200);
        log_in(&server, "198.51.99.1", &ada.email, PASSWORD).is(401);
        log_in(&server, "198.51.99.1", &grace.email, PASSWORD).is(200);
        let unlock = format!("/api/v1/admin/users/{}/unlock", ada.id);
        grace.api.act(&unlock).is(401);
        let admin = server.log_in(&admin.email, &admin.password);
        admin.api.act(&unlock).is(204);
        assert_eq!(events(&server, "account.unlocked"), 1.0);
        log_in(&server, "198.51.99.1", &ada.email, PASSWORD).is(200);
        fail(100);
        log_in(&server, "198.51.99.3", &ada.email, PASSWORD).is(401);
        log_in(&server, HOME, &ada.email, PASSWORD).is(200);
        log_in(&server, "198.51.99.3", &ada.email, PASSWORD).is(200);
    }

    fn an_administrator_ends_the_wait_of_an_account(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let admin = server.admin();
        let ada = resident(&server, "ada");
        for number in 0..5 {
            log_in(&server, &elsewhere(number), &ada.email, WRONG).is(401);
        }
        log_in(&server, &elsewhere(9), &ada.email, PASSWORD).refused(429, "rate_limited");
        let unlock = |id: &str| format!("/api/v1/admin/users/{id}/unlock");
        ada.api.act(&unlock(&ada.id)).refused(403, "insufficient_permissions");
        admin.api.act(&unlock("01890000-0000-7000-8000-000000000000")).refused(404, "not_found");
        admin.api.act(&unlock(&ada.id)).is(204);
        log_in(&server, &elsewhere(9), &ada.email, PASSWORD).is(200);
    }

    fn an_administrator_ends_the_wait_for_codes_as_well(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let admin = server.admin();
        let ada = resident(&server, "ada");
        let (authenticator, _) = ada.enrol(&server);
        let challenge = || log_in(&server, HOME, &ada.email, PASSWORD).is(200).member("mfa_token");
        let answer = |number: usize, token: &str, code: &str| {
            from(&server.anon(), &elsewhere(number)).post("/api/v1/auth/mfa", &json!({"mfa_token": token, "code": code}))
        };
        let token = challenge();
        let right = authenticator.next_code(&server);
        let wrong = if right == "000000" { "000001" } else { "000000" };
        for number in 0..5 {
            answer(number, &token, wrong).refused(401, "invalid_code");
        }
        let token = challenge();
        answer(9, &token, &right).refused(429, "rate_limited");
        admin.api.act(&format!("/api/v1/admin/users/{}/unlock", ada.id)).is(204);
        answer(9, &token, &right).is(200);
    }

    fn known_and_unknown_accounts_wait_alike(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let ada = resident(&server, "ada");
        let answers = |email: &str, start: usize| -> Vec<_> {
            // A new minute for each, and the same age of every window.
            server.advance(MINUTE);
            let mut answers: Vec<_> =
                (0..7).map(|number| shape(&log_in(&server, &elsewhere(start + number), email, WRONG))).collect();
            for _ in 0..6 {
                answers.push(shape(&log_in(&server, &elsewhere(start + 50), email, WRONG)));
            }
            answers
        };
        let (known, unknown) = (answers(&ada.email, 0), answers("nobody@example.com", 100));
        assert_eq!(known.iter().map(|answer| answer.0).collect::<Vec<_>>(), {
            unknown.iter().map(|answer| answer.0).collect::<Vec<_>>()
        });
        for (known, unknown) in known.iter().zip(&unknown) {
            assert_eq!(known.1["code"], unknown.1["code"]);
            assert_eq!(known.2.keys().collect::<Vec<_>>(), unknown.2.keys().collect::<Vec<_>>());
            for header in ["ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining"] {
                assert_eq!(known.2.get(header), unknown.2.get(header), "{header}");
            }
        }
    }

    fn many_failures_raise_one_event(pair) {
        let server = Server::start(pair, &[PROXY]);
        let ada = resident(&server, "ada");
        let before = events(&server, "SUSPICIOUS_ACTIVITY");
        for number in 0..4 {
            log_in(&server, &elsewhere(number), &ada.email, WRONG).is(401);
        }
        assert_eq!(events(&server, "SUSPICIOUS_ACTIVITY"), before);
        for number in 4..12 {
            log_in(&server, &elsewhere(number), &ada.email, WRONG).is(401);
        }
        assert_eq!(events(&server, "SUSPICIOUS_ACTIVITY"), before + 1.0, "by account");
        for number in 0..12 {
            log_in(&server, "198.51.99.1", &format!("user{number}@example.com"), WRONG).is(401);
        }
        assert_eq!(events(&server, "SUSPICIOUS_ACTIVITY"), before + 2.0, "by address");
        server.advance(Duration::from_secs(301));
        for number in 0..5 {
            log_in(&server, "198.51.99.1", &format!("user{number}@example.com"), WRONG).is(401);
        }
        assert_eq!(events(&server, "SUSPICIOUS_ACTIVITY"), before + 3.0, "a new window");
        assert_eq!(server.metric("login_attempts_total{status=\"failure\"}"), 29.0);
    }

    fn one_request_is_one_guess(pair) {
        let server = Server::start(pair, &[PROXY]);
        let ada = resident(&server, "ada");
        let before = server.world.state();
        let raw = |body: &str| {
            from(&server.anon(), HOME).send("POST", LOGIN, Some("application/json"), body.as_bytes())
        };
        let one = json!({"email": ada.email, "password": PASSWORD});
        raw(&json!([one, one]).to_string()).refused(400, "malformed_request");
        raw(&json!({"email": [ada.email], "password": PASSWORD}).to_string()).refused(400, "malformed_request");
        let passwords = json!({"email": ada.email, "password": [WRONG, PASSWORD]});
        raw(&passwords.to_string()).refused(400, "malformed_request");
        let twice = format!("{{\"email\":\"{}\",\"password\":\"{WRONG}\",\"password\":\"{PASSWORD}\"}}", ada.email);
        raw(&twice).refused(400, "malformed_request");
        raw(&format!("{one}{one}")).refused(400, "malformed_request");
        assert_eq!(server.audited("LOGIN_FAILURE", "failure"), 0, "none of them was evaluated");
        server.world.is_unchanged_since(&before);
    }

    fn spellings_of_a_name_are_one_name(pair) {
        let server = Server::start(pair, &[DEFAULT, PROXY]);
        let ada = resident(&server, "ada");
        let spellings = [
            "ada@example.com",
            "ADA@example.com",
            " ada@example.com",
            "ada@EXAMPLE.com\t",
            "\u{ff41}\u{ff24}\u{ff41}@example.com",
        ];
        for (number, spelling) in spellings.iter().enumerate() {
            log_in(&server, &elsewhere(number), spelling, WRONG).is(401);
        }
        log_in(&server, &elsewhere(9), &ada.email, WRONG).refused(429, "rate_limited");
        // What merely looks alike is another name, and no way to her account.
        let lookalikes = ["a\u{200b}da@example.com", "ad\u{430}@example.com", "ada.@example.com", "ada+x@example.com"];
        for (number, lookalike) in lookalikes.iter().enumerate() {
            log_in(&server, &elsewhere(20 + number), lookalike, PASSWORD).is(401);
        }
    }

    fn an_account_has_so_many_sessions_and_the_oldest_makes_room(pair) {
        let server = Server::start(pair, &[("MAX_SESSIONS_PER_ACCOUNT", "3")]);
        let (ada, eve) = (server.person("ada"), server.person("eve"));
        let later: Vec<Person> = (0..2).map(|_| server.log_in(&ada.email, &ada.password)).collect();
        ada.api.get(ME).is(200);
        let newest = server.log_in(&ada.email, &ada.password);
        ada.api.get(ME).refused(401, "invalid_token");
        server.refresh(&ada.tokens.refresh).refused(401, "invalid_token");
        for person in later.iter().chain([&newest, &eve]) {
            person.api.get(ME).is(200);
        }
        assert_eq!(newest.api.get("/api/v1/auth/sessions").is(200).items().len(), 3);
        assert_eq!(events(&server, "session.ended"), 1.0);
    }
}

#[test]
fn without_redis_guesses_are_counted_in_the_process() {
    let mut redis = OwnRedis::start();
    let settings = [("REDIS_URL", &*redis.url()), DEFAULT, PROXY, ("PASSWORD_HASH_QUEUE", "200")];
    let server = World::new(Pair::Shared).start(&settings);
    let ada = resident(&server, "ada");
    redis.kill();
    let answers = at_once(20, |number| log_in(&server, &elsewhere(number), &ada.email, WRONG).status);
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
    log_in(&server, HOME, &ada.email, PASSWORD).is(200);
}
