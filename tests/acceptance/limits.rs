//! Rate limits: counted before the work, reported in headers, and over when the headers say.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Reply, Server, at_once, eventually, promise, sample};

const ME: &str = "/api/v1/me";
const PASSWORD: &str = "Correct-horse-battery-9";
const MINUTE: Duration = Duration::from_secs(60);
/// Lets a test choose where its requests come from.
const PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

fn from(client: &Client, address: &str) -> Client {
    client.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
}

fn log_in(client: &Client, email: &str, password: &str) -> Reply {
    client.post("/api/v1/auth/login", &json!({"email": email, "password": password}))
}

fn register(client: &Client, email: &str) -> Reply {
    client
        .post("/api/v1/auth/register", &json!({"email": email, "password": PASSWORD, "name": "Someone Else"}))
}

/// The numbers of the header `RateLimit` for one window: remaining, and seconds to its end.
#[track_caller]
fn window(reply: &Reply, name: &str) -> (u64, u64) {
    let header = reply.header("ratelimit").unwrap_or_else(|| panic!("{}: no RateLimit", reply.request));
    let item = header.split(", ").find(|item| item.starts_with(&format!("\"{name}\";")));
    let item = item.unwrap_or_else(|| panic!("{}: {header}", reply.request));
    let number = |key: &str| item.split(';').find_map(|part| part.strip_prefix(key)?.parse().ok());
    number("r=").zip(number("t=")).unwrap_or_else(|| panic!("{}: {header}", reply.request))
}

promise! {
    fn five_logins_a_minute_from_one_address(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_LOGIN_PER_MINUTE", ""), PROXY]);
        server.person("ada");
        let here = from(&server.anon(), "192.0.2.1");
        for name in ["a", "b", "c", "d", "e"] {
            log_in(&here, &format!("{name}@example.com"), PASSWORD).refused(401, "invalid_credentials");
        }
        log_in(&here, "ada@example.com", PASSWORD).refused(429, "rate_limited");
        log_in(&from(&server.anon(), "192.0.2.2"), "ada@example.com", PASSWORD).is(200);
        log_in(&from(&server.anon(), "203.0.113.9, 192.0.2.1"), "ada@example.com", PASSWORD).is(429);
        server.advance(MINUTE);
        log_in(&here, "ada@example.com", PASSWORD).is(200);
    }

    fn five_logins_a_minute_for_one_account_from_wherever(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_LOGIN_PER_MINUTE", ""), PROXY]);
        register(&server.anon(), "ada@example.com").is(201);
        for name in ["ada@example.com", "nobody@example.com"] {
            for attempt in 0..5 {
                let spelling = match attempt % 3 {
                    0 => name.to_owned(),
                    1 => format!(" {}", name.to_uppercase()),
                    _ => name.replace('a', "ａ").replace('.', "．"),
                };
                let there = from(&server.anon(), &format!("192.0.2.{attempt}"));
                log_in(&there, &spelling, "Wrong-horse-battery-9").refused(401, "invalid_credentials");
            }
            let refused =
                log_in(&from(&server.anon(), "192.0.2.99"), name, PASSWORD).refused(429, "rate_limited");
            assert!(refused.number("retry-after") <= 60);
            server.advance(MINUTE);
        }
        log_in(&server.anon(), "ada@example.com", PASSWORD).is(200);
    }

    fn a_hundred_guesses_at_once_are_no_more_than_five(pair) {
        let server = Server::start(
            pair,
            &[("RATE_LIMIT_LOGIN_PER_MINUTE", ""), ("PASSWORD_HASH_QUEUE", "200"), PROXY],
        );
        let ada = register(&server.anon(), "ada@example.com").is(201).member("email");
        // Right ones tell how many were looked at. A busy machine gives up on those that wait for their hash for long.
        let answers = at_once(100, |index| {
            let there = from(&server.anon(), &format!("192.0.2.{index}"));
            log_in(&there, &ada, PASSWORD).status
        });
        let let_in = answers.iter().filter(|status| **status == 200).count();
        assert!((1..=5).contains(&let_in), "{answers:?}");
        assert!(answers.iter().all(|status| [200, 429, 503].contains(status)), "{answers:?}");
        assert_eq!(server.metric("login_attempts_total{status=\"success\"}"), let_in as f64);
    }

    fn a_stolen_token_guesses_no_password(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_LOGIN_PER_MINUTE", "")]);
        let ada = server.person("ada");
        let guess = |password: &str| {
            let body = json!({"current_password": password, "new_password": "Another-horse-battery-9"});
            ada.api.post("/api/v1/auth/password", &body)
        };
        for _ in 0..5 {
            guess("Wrong-horse-battery-9").is(400);
        }
        guess(PASSWORD).refused(429, "rate_limited");
        // Nor does it lock anyone out: another session, and a login, have windows of their own.
        let laptop = server.log_in(&ada.email, &ada.password);
        let body = json!({"current_password": PASSWORD, "new_password": "Another-horse-battery-9"});
        laptop.api.post("/api/v1/auth/password", &body).is(204);
    }

    fn three_registrations_a_minute_from_one_address(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_REGISTER_PER_MINUTE", ""), PROXY]);
        for name in ["a", "b"] {
            register(&server.anon(), &format!("{name}@example.com")).is(201);
        }
        register(&server.anon(), "a@example.com").is(409);
        register(&server.anon(), "c@example.com").refused(429, "rate_limited");
        register(&from(&server.anon(), "192.0.2.1"), "c@example.com").is(201);
        // A customer's IPv6 network counts as one.
        for address in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"] {
            register(
                &from(&server.anon(), address),
                &format!("v{}@example.com", &address[10..].replace(':', "")),
            )
            .is(201);
        }
        register(&from(&server.anon(), "2001:db8::4"), "w@example.com").is(429);
        register(&from(&server.anon(), "2001:db8:0:1::1"), "w@example.com").is(201);
    }

    fn sixty_inferences_and_a_hundred_other_calls_a_minute_for_an_account(pair) {
        let settings = [
            ("RATE_LIMIT_INFER_PER_MINUTE", ""),
            ("RATE_LIMIT_READ_PER_MINUTE", ""),
            ("RATE_LIMIT_PER_HOUR", ""),
        ];
        let server = Server::start(pair, &settings);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let key = server.key(&ada.make_key(&["models:infer", "models:read"]));
        let picture = sample("1-1");
        for count in 0..60 {
            let reply =
                if count % 2 == 0 { ada.api.predict(&picture) } else { key.predict(&picture) }.is(200);
            assert_eq!(window(&reply, "infer").0, 59 - count, "token and key are one account");
            assert_eq!(reply.number("x-ratelimit-remaining"), 59 - count);
        }
        let refused = ada.api.predict(&picture).refused(429, "rate_limited");
        assert_eq!(window(&refused, "infer").0, 0);
        key.predict(&picture).is(429);
        grace.api.predict(&picture).is(200);
        // Two calls were made by logging in and making the key.
        for count in 0..98 {
            assert_eq!(window(&key.get("/api/v1/models").is(200), "read").0, 97 - count);
        }
        ada.api.get(ME).refused(429, "rate_limited");
        server.advance(MINUTE);
        ada.api.get(ME).is(200);
        key.predict(&picture).is(200);
    }

    fn everything_counts_for_the_hour(pair) {
        let server =
            Server::start(pair, &[("RATE_LIMIT_PER_HOUR", "10"), ("RATE_LIMIT_READ_PER_MINUTE", "5")]);
        let ada = server.person("ada");
        for _ in 0..4 {
            ada.api.get(ME).is(200);
        }
        let refused = ada.api.get(ME).refused(429, "rate_limited");
        assert_eq!(
            (window(&refused, "read").0, window(&refused, "hour").0),
            (0, 5),
            "what is refused is not counted"
        );
        server.advance(MINUTE);
        for _ in 0..5 {
            ada.api.predict(&sample("1-1")).is(200);
        }
        let refused = ada.api.get(ME).refused(429, "rate_limited");
        let wait = refused.number("retry-after");
        assert!((3500..=3540).contains(&wait), "{wait}");
        server.advance(MINUTE);
        ada.api.get(ME).is(429);
        server.advance(Duration::from_secs(3600));
        server.log_in(&ada.email, &ada.password);
    }

    fn the_headers_say_what_is_left_and_when_to_come_back(pair) {
        let settings = [("RATE_LIMIT_READ_PER_MINUTE", "3"), ("RATE_LIMIT_PER_HOUR", "1000")];
        let server = Server::start(pair, &settings);
        let ada = server.person("ada");
        let first = ada.api.get(ME).is(200);
        assert_eq!(first.header("ratelimit-policy"), Some("\"read\";q=3;w=60, \"hour\";q=1000;w=3600"));
        assert_eq!((first.number("x-ratelimit-limit"), first.number("x-ratelimit-remaining")), (3, 1));
        let (remaining, reset) = window(&first, "read");
        assert_eq!((remaining, reset), (1, first.number("x-ratelimit-reset")));
        assert!((1..=60).contains(&reset), "{reset}");
        server.advance(Duration::from_secs(20));
        ada.api.get(ME).is(200);
        let refused = ada.api.get(ME).refused(429, "rate_limited");
        let wait = refused.number("retry-after");
        assert!((30..=40).contains(&wait), "{wait}");
        assert_eq!((wait, 0), (refused.number("x-ratelimit-reset"), refused.number("x-ratelimit-remaining")));
        server.advance(Duration::from_secs(wait - 3));
        ada.api.get(ME).is(429);
        server.advance(Duration::from_secs(3));
        assert_eq!(window(&ada.api.get(ME).is(200), "read").0, 2, "a new window");
    }

    fn nobodys_requests_and_refused_credentials_are_counted_by_address(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_PER_MINUTE", ""), PROXY]);
        let ada = server.person("ada");
        let here = from(&server.anon(), "192.0.2.1");
        for count in 0..30 {
            match count % 3 {
                0 => here.get(ME).refused(401, "authentication_required"),
                1 => here.with("X-API-Key", "mg_test_guess").get(ME).refused(401, "invalid_token"),
                _ => here.post("/api/v1/auth/refresh", &json!({"refresh_token": "guess"})).is(401),
            };
        }
        here.get(ME).refused(429, "rate_limited");
        here.with("Authorization", "Bearer guess").get(ME).refused(429, "rate_limited");
        here.post("/api/v1/auth/refresh", &json!({"refresh_token": "guess"})).is(429);
        from(&ada.api, "192.0.2.1").get(ME).is(200);
        from(&server.anon(), "192.0.2.2").get(ME).is(401);
        for exempt in [
            "/health",
            "/health/live",
            "/health/ready",
            "/v2/health/live",
            "/v2/health/ready",
            "/.well-known/jwks.json",
        ] {
            for _ in 0..35 {
                let reply = here.get(exempt).is(200);
                assert_eq!(reply.header("ratelimit"), None);
            }
        }
    }

    fn zero_switches_a_limit_off(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for _ in 0..120 {
            assert_eq!(ada.api.get(ME).is(200).header("ratelimit"), None);
        }
        for _ in 0..7 {
            server.try_log_in(&ada.email, "Wrong-horse-battery-9").refused(401, "invalid_credentials");
        }
        for _ in 0..35 {
            server.anon().get(ME).is(401);
        }
    }

    fn guesses_at_the_metrics_token_are_counted(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_PER_MINUTE", "3"), PROXY]);
        let guesser = from(&server.anon(), "192.0.2.1");
        guesser.get("/metrics").refused(401, "authentication_required");
        guesser.with("Authorization", "Bearer a-wrong-metrics-token-0123456789").get("/metrics").is(401);
        guesser.with("X-API-Key", "a-wrong-metrics-token-0123456789").get("/metrics").is(401);
        guesser.with("Authorization", "Bearer another-wrong-token-0123456789").get("/metrics").refused(429, "rate_limited");
        from(&server.anon(), "192.0.2.2").get("/metrics").is(401);
        for _ in 0..5 {
            server.metric("login_attempts_total");
        }
    }

    fn the_guard_stands_before_everything(pair) {
        let server = Server::start(
            pair,
            &[("GUARD_PER_SECOND", "5"), ("ALLOWED_ORIGINS", "https://app.example.com"), PROXY],
        );
        let statuses = at_once(30, |_| server.anon().get(ME).status);
        assert!(statuses.contains(&429) && statuses.contains(&401), "{statuses:?}");
        let flood = at_once(10, |_| server.anon().get("/v2/models/digits"));
        let refused = flood.iter().find(|reply| reply.status == 429).expect("too many");
        assert_eq!(refused.header("ratelimit-policy"), Some("\"guard\";q=5;w=1"));
        assert_eq!((refused.number("x-ratelimit-remaining"), refused.number("retry-after")), (0, 1));
        from(&server.anon(), "192.0.2.1").get(ME).is(401);
        for exempt in ["/health", "/health/ready", "/.well-known/jwks.json"] {
            server.anon().get(exempt).is(200);
        }
        let preflight = server
            .anon()
            .with("Origin", "https://app.example.com")
            .with("Access-Control-Request-Method", "GET");
        preflight.send("OPTIONS", ME, None, b"").is(200);
        eventually("the guard lets through again", || (server.anon().get(ME).status == 401).then_some(()));
    }

    fn one_caller_has_so_many_requests_running_at_a_time(pair) {
        let server = Server::start(pair, &[("MAX_IN_FLIGHT_PER_CALLER", "2")]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let head = format!(
            "POST /api/v1/models/digits/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n\
             Content-Length: 9999\r\nAuthorization: Bearer {}\r\n\r\n",
            ada.tokens.access
        );
        let open = |_| {
            let mut stream = server.connect();
            stream.write_all(head.as_bytes()).expect("the server reads");
            stream
        };
        // Asked too early, the question itself takes the second place.
        let (held, refused) = eventually("two are running", || {
            let held: Vec<_> = (0..2).map(open).collect();
            std::thread::sleep(Duration::from_millis(100));
            Some((held, ada.api.get(ME))).filter(|(_, reply)| reply.status == 429)
        });
        refused.refused(429, "rate_limited");
        grace.api.get(ME).is(200);
        drop(held);
        eventually("none is running", || (ada.api.get(ME).status == 200).then_some(()));
    }
}
