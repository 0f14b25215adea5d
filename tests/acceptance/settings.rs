//! Settings: layered, documented, checked; a start that would be unsafe is refused and says which setting to change.

use std::fs;
use std::sync::Arc;

use crate::harness::{Finished, Pair, World, promise, workspace};
use crate::openapi::PRODUCTION;

const STRONG: &str = "hG7p-2kLw9sXqVt5YbN8rEzD3mCuJ6aF";

/// Runs `serve`, which must be refused; gives what it says.
#[track_caller]
fn refused(world: &World, settings: &[(&str, &str)]) -> String {
    let finished = world.run(&["serve"], settings, "");
    assert_eq!(finished.code, Some(1), "{settings:?}: {finished:?}");
    assert!(finished.stderr.starts_with("modelgate: "), "{finished:?}");
    finished.stderr
}

/// The same on top of what production wants, with one word that must be named.
#[track_caller]
fn refused_in_production(world: &World, settings: &[(&str, &str)], name: &str) {
    let told = refused(world, &[PRODUCTION.as_slice(), settings].concat());
    assert!(told.contains(name), "{name} is not named: {told}");
}

fn config(world: &World, arguments: &[&str], settings: &[(&str, &str)]) -> Finished {
    world.run(&[&["config"], arguments].concat(), settings, "")
}

/// A line of `modelgate config`.
#[track_caller]
fn shown(finished: &Finished, line: &str) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let mut lines = finished.stdout.lines().map(str::trim);
    assert!(lines.any(|shown| shown == line), "{line:?} is not shown:\n{}", finished.stdout);
}

fn file(world: &Arc<World>, name: &str, text: &str) -> String {
    let path = world.folder().join(name);
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

#[test]
fn the_documentation_is_what_the_program_prints() {
    let printed = World::new(Pair::Embedded).run(&["config", "--reference"], &[], "");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let written = fs::read_to_string(workspace().join("docs/CONFIG.md")).expect("docs/CONFIG.md");
    assert_eq!(written, printed.stdout, "run: modelgate config --reference > docs/CONFIG.md");
    for line in written.lines().filter(|line| line.starts_with("| `")) {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 4, "{line}");
        assert!(line.trim_end_matches(['|', ' ']).ends_with('.'), "not documented: {line}");
    }
}

#[test]
fn layers_win_in_the_documented_order() {
    let world = World::new(Pair::Embedded);
    let toml = file(
        &world,
        "modelgate.toml",
        "port = 1001\nHOST = \"::1\"\nworkers = 3\nTRUSTED_PROXIES = [\"10.0.0.0/8\", \"192.0.2.1\"]\n",
    );
    let unset = [("PORT", ""), ("WORKERS", "")];
    let from_file = config(&world, &["--config", &toml], &unset);
    for line in ["PORT=1001", "HOST=::1", "SHUTDOWN_TIMEOUT_SECONDS=30"] {
        shown(&from_file, line);
    }
    shown(&from_file, "TRUSTED_PROXIES=10.0.0.0/8,192.0.2.1");
    file(&world, ".env", "PORT=1002\nSHUTDOWN_TIMEOUT_SECONDS=7\nWORKERS=\n");
    let with_env_file = config(&world, &["--config", &toml], &unset);
    for line in ["PORT=1002", "HOST=::1", "SHUTDOWN_TIMEOUT_SECONDS=7"] {
        shown(&with_env_file, line);
    }
    let with_environment =
        config(&world, &[], &[("MODELGATE_CONFIG", &toml), ("PORT", "1003"), ("WORKERS", "")]);
    for line in ["PORT=1003", "HOST=::1", "SHUTDOWN_TIMEOUT_SECONDS=7"] {
        shown(&with_environment, line);
    }
}

#[test]
fn an_unknown_key_in_a_file_is_named() {
    let world = World::new(Pair::Embedded);
    for (text, name) in [
        ("prot = 8080\n", "prot"),
        ("[server]\nport = 8080\n", "server"),
        ("port = [[1]]\n[a]\n", ""),
        ("port = \n", "modelgate.toml"),
        ("port = { a = 1 }\n", "port"),
    ] {
        let path = file(&world, "modelgate.toml", text);
        let finished = config(&world, &["--config", &path], &[]);
        assert_eq!(finished.code, Some(1), "{text}: {finished:?}");
        assert!(finished.stderr.contains(name), "{text}: {finished:?}");
    }
    let missing = config(&world, &["--config", "/nowhere/modelgate.toml"], &[]);
    assert!(missing.code == Some(1) && missing.stderr.contains("/nowhere/modelgate.toml"), "{missing:?}");
}

#[test]
fn a_file_that_cannot_be_read_shows_nothing_of_what_is_in_it() {
    let world = World::new(Pair::Embedded);
    let toml = file(&world, "modelgate.toml", "port = 1\nencryption_key = \"the secret\nhost = 1\n");
    let refused = config(&world, &["--config", &toml], &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("modelgate.toml, line 2"), "{refused:?}");
    assert!(!refused.stderr.contains("secret"), "{refused:?}");
    file(&world, ".env", "PORT=1002\nMETRICS_TOKEN=the secret\n");
    let refused = config(&world, &[], &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("after PORT"), "{refused:?}");
    assert!(!refused.stderr.contains("secret"), "{refused:?}");
}

#[test]
fn what_nothing_would_work_with_is_refused() {
    let world = World::new(Pair::Embedded);
    for name in ["MODEL_QUEUE_CAPACITY", "MAX_JSON_LENGTH", "MAX_CONTENT_LENGTH", "MAX_ROWS_PER_REQUEST"] {
        let refused = config(&world, &[], &[(name, "0")]);
        assert!(refused.code == Some(1) && refused.stderr.contains(name), "{name}: {refused:?}");
    }
}

#[test]
fn a_secret_may_lie_in_a_file_and_empty_is_unset() {
    let world = World::new(Pair::Embedded);
    let secret = file(&world, "token", &format!("{STRONG}\n"));
    let indirect = config(&world, &[], &[("METRICS_TOKEN", ""), ("METRICS_TOKEN_FILE", &secret)]);
    shown(&indirect, "METRICS_TOKEN=(hidden)");
    let none = config(&world, &[], &[("METRICS_TOKEN", ""), ("METRICS_TOKEN_FILE", "")]);
    shown(&none, "METRICS_TOKEN=");
    let both = config(&world, &[], &[("METRICS_TOKEN", "x"), ("METRICS_TOKEN_FILE", &secret)]);
    assert!(both.code == Some(1) && both.stderr.contains("METRICS_TOKEN_FILE"), "{both:?}");
    let missing = config(&world, &[], &[("METRICS_TOKEN", ""), ("METRICS_TOKEN_FILE", "/nowhere/token")]);
    assert!(missing.code == Some(1) && missing.stderr.contains("METRICS_TOKEN_FILE"), "{missing:?}");
}

#[test]
fn a_bad_value_names_its_setting() {
    let world = World::new(Pair::Embedded);
    for (name, value) in [
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("HOST", "localhost"),
        ("APP_ENV", "staging"),
        ("WORKERS", "0"),
        ("RATE_LIMIT_PER_HOUR", "-1"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "https://*.example.com"),
        ("ALLOWED_ORIGINS", "app.example.com"),
        ("ALLOWED_ORIGINS", "https://app.example.com/"),
        ("API_DOCS_ENABLED", "perhaps"),
        ("JWT_ALGORITHM", "none"),
        ("JWT_ACCESS_TOKEN_EXPIRES", "0"),
        ("MAX_FILE_SIZE_MB", "0"),
        ("DATABASE_TLS", "off"),
        ("REGISTRATION", "sometimes"),
        ("METRICS_TOKEN", "$(openssl rand -base64 32)"),
    ] {
        let finished = config(&world, &[], &[(name, value)]);
        assert_eq!(finished.code, Some(1), "{name}={value}: {finished:?}");
        assert!(finished.stderr.contains(name), "{name}={value}: {finished:?}");
    }
    let told = refused(&world, &[("LOG_LEVEL", "=loud=")]);
    assert!(told.contains("LOG_LEVEL"), "{told}");
}

#[test]
fn the_settings_are_shown_without_secrets() {
    let world = World::new(Pair::Embedded);
    let settings = [
        ("ENCRYPTION_KEY", PRODUCTION[2].1),
        ("ENCRYPTION_KEYS_PREVIOUS", PRODUCTION[2].1),
        ("METRICS_TOKEN", STRONG),
        ("DATABASE_URL", "postgres://modelgate:a-secret-of-postgres@127.0.0.1/modelgate"),
        ("DATABASE_MIGRATION_URL", "postgres://owner:a-secret-of-the-owner@127.0.0.1/modelgate"),
        ("REDIS_URL", "redis://:a-secret-of-redis@127.0.0.1/0"),
    ];
    for arguments in [["config"].as_slice(), &["check"]] {
        let finished = world.run(arguments, &settings, "");
        for secret in [PRODUCTION[2].1, STRONG, "a-secret-of"] {
            assert!(!finished.stdout.contains(secret) && !finished.stderr.contains(secret), "{finished:?}");
        }
    }
}

#[test]
fn production_wants_real_secrets() {
    let world = World::new(Pair::Embedded);
    for key in ["", "short", "change-me", "change-me-change-me-change-me-change-me-1234", "AAAA"] {
        refused_in_production(&world, &[("ENCRYPTION_KEY", key)], "ENCRYPTION_KEY");
    }
    let list = format!("{},short", PRODUCTION[2].1);
    for keys in ["short", &list, ","] {
        refused_in_production(&world, &[("ENCRYPTION_KEYS_PREVIOUS", keys)], "ENCRYPTION_KEYS_PREVIOUS");
    }
    for token in ["short", "change-me-change-me-change-me-change-me", "this-is-an-example-of-a-metrics-token"]
    {
        refused_in_production(&world, &[("METRICS_TOKEN", token)], "METRICS_TOKEN");
    }
    for key in ["", "short", "change-me", "AAAA", PRODUCTION[2].1] {
        refused_in_production(&world, &[("AUDIT_KEY", key)], "AUDIT_KEY");
    }
    refused_in_production(&world, &[("AUDIT_KEYS_PREVIOUS", "short")], "AUDIT_KEYS_PREVIOUS");
    assert!(!world.folder().join("data/audit.key").exists(), "production makes no secrets up");
    assert!(!world.folder().join("data/encryption.key").exists(), "production makes no secrets up");
}

#[test]
fn production_wants_settings_that_are_safe_together() {
    let world = World::new(Pair::Embedded);
    refused_in_production(&world, &[("TEST_CLOCK", "/nowhere/clock")], "TEST_CLOCK");
    refused_in_production(&world, &[("ALLOWED_ORIGINS", "*")], "ALLOWED_ORIGINS");
    refused_in_production(&world, &[("REDIS_URL", "redis://127.0.0.1:1/0")], "REDIS_URL");
    let owner = [("DATABASE_MIGRATION_URL", "postgres://owner@127.0.0.1:1/modelgate")];
    refused_in_production(&world, &owner, "DATABASE_MIGRATION_URL without DATABASE_URL");
    let database = |url| [("DATABASE_TLS", "verify"), ("DATABASE_URL", url)];
    for url in [
        "postgres://modelgate@db.example.com/modelgate",
        "postgres://modelgate@db.example.com/modelgate?sslmode=disable",
        "postgres://modelgate@db.example.com/modelgate?sslmode=require",
        "postgres://modelgate@db.example.com/modelgate?sslmode=prefer",
        "mysql://modelgate@db.example.com/modelgate",
        "db.example.com",
    ] {
        refused_in_production(&world, &database(url), "DATABASE_URL");
    }
    let told = refused(&world, &[("HOST", "0.0.0.0")]);
    assert!(told.contains("TEST_CLOCK"), "a clock that can be moved is for loopback: {told}");
}

#[test]
fn what_is_wrong_is_all_told_at_once() {
    let world = World::new(Pair::Embedded);
    let settings = [("ENCRYPTION_KEY", ""), ("METRICS_TOKEN", "short"), ("REDIS_URL", "redis://127.0.0.1:1")];
    let settings = [PRODUCTION.as_slice(), &settings].concat();
    let told = refused(&world, &settings);
    for name in ["ENCRYPTION_KEY", "METRICS_TOKEN", "REDIS_URL"] {
        assert!(told.contains(name), "{name} is not named: {told}");
    }
    let checked = world.run(&["check"], &settings, "");
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert_eq!(checked.stdout.lines().filter(|line| line.starts_with("wrong: ")).count(), 3, "{checked:?}");
}

#[test]
fn development_makes_its_key_once_and_keeps_it_to_itself() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new(Pair::Embedded);
    let mut server = world.start(&[]);
    let ada = server.person("ada");
    let path = world.folder().join("data/encryption.key");
    let key = fs::read_to_string(&path).expect("the key");
    assert_eq!(fs::metadata(&path).expect("the key").permissions().mode() & 0o777, 0o600);
    assert_eq!(server.stop(), Some(0));
    let server = world.start(&[]);
    assert_eq!(fs::read_to_string(&path).expect("the key"), key);
    server.user(&ada.tokens.access).get("/api/v1/me").is(200);
    drop(server);
    let told = refused(&world, &[("ENCRYPTION_KEY", PRODUCTION[2].1)]);
    assert!(told.contains("ENCRYPTION_KEY"), "another key cannot open what is sealed: {told}");
    for (setting, wrong) in [("ENCRYPTION_KEY", PRODUCTION[2].1), ("PASSWORD_BLOCKLIST_FILE", "/nowhere")] {
        let checked = world.run(&["check"], &[(setting, wrong)], "");
        assert!(checked.code == Some(1) && checked.stderr.contains(setting), "{checked:?}");
    }
}

/// A database that is made by asking for its trail holds nothing, and all would be well.
#[test]
fn a_trail_that_is_not_there_is_not_verified() {
    let world = World::empty(Pair::Embedded);
    for command in ["verify", "head"] {
        let refused = world.run(&["audit", command], &[], "");
        assert!(refused.code == Some(1) && refused.stderr.contains("no database in DATA_DIR"), "{refused:?}");
    }
}

promise! {
    fn good_settings_are_confirmed(pair) {
        let world = World::empty(pair);
        let open = [("RATE_LIMIT_LOGIN_PER_MINUTE", "0"), ("TRUSTED_PROXIES", "10.0.0.1,::/0")];
        let lonely = world.run(&["check"], &[PRODUCTION.as_slice(), &open].concat(), "");
        assert_eq!(lonely.code, Some(0), "{lonely:?}");
        for noted in ["no channel for alerts", "note: RATE_LIMIT_LOGIN_PER_MINUTE=0", "note: TRUSTED_PROXIES trusts everybody"] {
            assert!(lonely.stdout.contains(noted), "{noted}: {lonely:?}");
        }
        let limited = [("ALERT_SLACK_URL", "https://hooks.example.com/"), ("RATE_LIMIT_LOGIN_PER_MINUTE", "5")];
        let told = [PRODUCTION.as_slice(), &limited].concat();
        let checked = world.run(&["check"], &told, "");
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(checked.stdout.contains("the stores answer"), "{checked:?}");
        // The tests' login is a superuser.
        let note = if pair == Pair::Embedded { "note: SQLite" } else { "note: the login of DATABASE_URL" };
        assert!(checked.stdout.matches("note: ").count() == 1 && checked.stdout.contains(note), "{checked:?}");
        let migrated = world.run(&["migrate"], &PRODUCTION, "");
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        assert_eq!(world.run(&["migrate"], &PRODUCTION, "").code, Some(0), "twice is no harm");
    }

    fn a_running_server_can_be_probed(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let probe = |url: &str| world.run(&["check", "--url", url], &[("APP_ENV", "")], "");
        let url = format!("http://{}/health/live", server.address());
        assert_eq!(probe(&url).code, Some(0));
        let wrong = probe(&url.replace("live", "nothing"));
        assert!(wrong.code == Some(1) && wrong.stderr.contains("404"), "{wrong:?}");
        assert_eq!(server.stop(), Some(0));
        assert_eq!(probe(&url).code, Some(1));
        assert_eq!(probe("https://127.0.0.1/health").code, Some(1));
        assert_eq!(probe("http://").code, Some(1));
    }
}

#[test]
fn stores_that_do_not_answer_are_named_without_their_secrets() {
    let world = World::new(Pair::Embedded);
    let url = "postgres://modelgate:a-secret-of-postgres@127.0.0.1:1/modelgate?sslmode=disable";
    let checked = world.run(&["check"], &[("DATABASE_URL", url)], "");
    assert!(checked.code == Some(1) && checked.stderr.contains("database"), "{checked:?}");
    let checked_redis =
        world.run(&["check"], &[("REDIS_URL", "redis://:a-secret-of-redis@127.0.0.1:1/0")], "");
    assert!(checked_redis.code == Some(1) && checked_redis.stderr.contains("redis"), "{checked_redis:?}");
    for finished in [checked, checked_redis] {
        assert!(!format!("{finished:?}").contains("a-secret-of"), "{finished:?}");
    }
}

#[test]
fn the_command_line_explains_itself() {
    let world = World::new(Pair::Embedded);
    for arguments in [
        ["--help"].as_slice(),
        &["serve", "--help"],
        &["migrate", "--help"],
        &["admin", "create", "--help"],
        &["check", "--help"],
        &["config", "--help"],
        &["openapi", "--help"],
        &["model", "--help"],
        &["keys", "--help"],
        &["keys", "rotate-encryption", "--help"],
    ] {
        let finished = world.run(arguments, &[], "");
        assert!(
            finished.code == Some(0) && finished.stdout.contains("Usage:"),
            "{arguments:?}: {finished:?}"
        );
    }
    let version = world.run(&["--version"], &[], "");
    assert!(version.stdout.starts_with("modelgate ") && version.code == Some(0), "{version:?}");
    for arguments in
        [["nothing"].as_slice(), &[], &["admin", "create"], &["admin", "create", "--email", "a@example.com"]]
    {
        let finished = world.run(arguments, &[], "");
        assert!(finished.code.is_some_and(|code| code != 0) && !finished.stderr.is_empty(), "{finished:?}");
        assert!(finished.stdout.is_empty(), "errors go to standard error: {finished:?}");
    }
    let keys = world.run(&["keys", "generate"], &[], "");
    let generated: Vec<(&str, &str)> = keys.stdout.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(
        generated.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["ENCRYPTION_KEY", "AUDIT_KEY", "METRICS_TOKEN"]
    );
    let settings = [PRODUCTION.as_slice(), &generated].concat();
    assert_eq!(world.run(&["check"], &settings, "").code, Some(0), "generated secrets are good enough");
}
