//! Settings at the edge of their types: refused by name or borne, and never a way around a limit.

use serde_json::json;

use crate::harness::{Pair, Server, World, promise, sample, workspace};

const EDGES: [&str; 7] = [
    "18446744073709551615",
    "9223372036854775807",
    "4294967295",
    "2147483647",
    "-1",
    "1e3",
    "340282366920938463463374607431768211456",
];

/// The settings whose default is a number.
fn numbers() -> Vec<String> {
    let example = std::fs::read_to_string(workspace().join(".env.example")).expect(".env.example");
    let name = |line: &str| {
        let (name, value) = line.strip_prefix('#')?.split_once('=')?;
        (!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.to_owned())
    };
    // Compose's own, and a version's name.
    let other = |name: &String| name.starts_with("PUBLISHED_") || name == "MODEL_URL_VERSION";
    let names: Vec<String> = example.lines().filter_map(name).filter(|name| !other(name)).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

fn is_taken(world: &World, name: &str, value: &str) -> bool {
    let shown = world.run(&["config"], &[(name, value)], "");
    let refused = shown.code == Some(1) && shown.stderr.contains(name);
    assert!(shown.code == Some(0) || refused, "{name}={value}: {shown:?}");
    shown.code == Some(0)
}

#[test]
fn a_number_that_fits_no_setting_is_refused_by_name() {
    let world = World::new(Pair::Embedded);
    for name in numbers() {
        for value in EDGES {
            let taken = is_taken(&world, &name, value);
            assert!(
                !(taken && (value.starts_with('-') || value.contains('e') || value.len() > 20)),
                "{name}={value}"
            );
        }
    }
}

promise! {
    fn the_largest_limits_and_lifetimes_are_borne(pair) {
        let world = World::new(pair);
        let taken = |name: &str| EDGES.into_iter().find(|value| is_taken(&world, name, value));
        let wanted = |name: &String| {
            ["RATE_LIMIT", "EXPIRES", "TIMEOUT", "STEP_UP", "PER_CALLER", "PER_ACCOUNT"].iter().any(|part| name.contains(part))
        };
        let names: Vec<String> = numbers().into_iter().filter(wanted).collect();
        let settings: Vec<(&str, &str)> = names.iter().filter_map(|name| Some((&**name, taken(name)?))).collect();
        let server = world.start(&settings);
        let ada = server.person("ada");
        ada.api.predict(&sample("1-1")).is(200);
        server.key(&ada.make_key(&["models:read"])).get("/api/v1/models").is(200);
        server.refresh(&ada.tokens.refresh).is(200);
        server.try_log_in(&ada.email, "Wrong-horse-battery-9").refused(401, "invalid_credentials");
        assert!(settings.len() > 5, "{settings:?}");
    }

    fn the_smallest_limit_lets_one_through_and_no_more(pair) {
        let server = Server::start(pair, &[("RATE_LIMIT_LOGIN_PER_MINUTE", "1"), ("RATE_LIMIT_REGISTER_PER_MINUTE", "1")]);
        let account = |email: &str| json!({"email": email, "password": "Correct-horse-battery-9", "name": "Someone Else"});
        server.anon().post("/api/v1/auth/register", &account("ada@example.com")).is(201);
        server.anon().post("/api/v1/auth/register", &account("grace@example.com")).refused(429, "rate_limited");
        server.try_log_in("ada@example.com", "Wrong-horse-battery-9").refused(401, "invalid_credentials");
        server.try_log_in("ada@example.com", "Correct-horse-battery-9").refused(429, "rate_limited");
    }
}
