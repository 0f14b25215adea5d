//! The two logins of an installation on Postgres: one owns the tables and migrates, the other owns nothing and works.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::harness::{Pair, World, psql, psql_file, sample, workspace};
use crate::openapi::{KEYS, PRODUCTION};

/// Their names in `migrations/database-roles.sql`.
const OWNER: &str = "modelgate_owner";
const SERVER: &str = "modelgate_server";

static SCRIPT: Mutex<()> = Mutex::new(());

/// A database with both logins, and the addresses of both.
struct TwoLogins {
    world: Arc<World>,
    owner: String,
    server: String,
}

impl TwoLogins {
    fn new() -> Self {
        let world = World::empty(Pair::Shared);
        let url = world.database_url().expect("Postgres").to_owned();
        let passwords = [("OWNER_PASSWORD", "of-the-owner"), ("SERVER_PASSWORD", "of-the-server")];
        let script = workspace().join("migrations/database-roles.sql");
        {
            // The roles are one for the whole server, and Postgres refuses two changes of one at a time.
            let _alone = SCRIPT.lock().unwrap_or_else(PoisonError::into_inner);
            psql_file(&url, &script, &passwords);
            psql_file(&url, &script, &passwords);
        }
        let address = |login: &str| url.replacen("//postgres@", &format!("//{login}@"), 1);
        let (owner, server) = (address(OWNER), address(SERVER));
        Self { world, owner, server }
    }

    fn settings(&self) -> [(&str, &str); 2] {
        [("DATABASE_URL", &self.server), ("DATABASE_MIGRATION_URL", &self.owner)]
    }

    fn ask(&self, sql: &str) -> String {
        psql(self.world.database_url().expect("Postgres"), sql).trim().to_owned()
    }
}

#[test]
fn a_server_works_as_a_login_that_owns_nothing() {
    let two = TwoLogins::new();
    let server = two.world.start(&two.settings());
    let made = two.world.run(
        &["admin", "create", "--email", "admin@example.com", "--generate"],
        &two.settings(),
        "",
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    let admin = server.log_in("admin@example.com", made.stdout.trim());
    let ada = server.person("ada");
    ada.api.put("/api/v1/me", &json!({"name": "Ada Lovelace"})).is(200);
    let key = server.key(&ada.make_key(&["models:infer"]));
    key.predict(&sample("7-1")).is(200);
    server.refresh(&ada.tokens.refresh).is(200);
    ada.api.get("/api/v1/me/usage").is(200);
    admin.api.get("/api/v1/admin/users").is(200);
    admin.api.delete(&format!("/api/v1/admin/users/{}", ada.id)).is(204);
    key.predict(&sample("7-1")).refused(401, "invalid_token");

    let logins = "SELECT DISTINCT usename FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'modelgate'";
    assert_eq!(two.ask(logins), SERVER);
    let owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(two.ask(owners), OWNER);
}

#[test]
fn a_server_need_not_know_the_owner() {
    let two = TwoLogins::new();
    let alone = [("DATABASE_URL", two.server.as_str())];
    let early = two.world.run(&["serve"], &alone, "");
    assert!(early.code == Some(1) && early.stderr.contains("permission denied"), "{early:?}");
    assert_eq!(two.world.run(&["migrate"], &two.settings(), "").code, Some(0));
    let server = two.world.start(&[alone.as_slice(), &KEYS].concat());
    server.person("ada").api.get("/api/v1/me").is(200);
    let limited = [("RATE_LIMIT_LOGIN_PER_MINUTE", "5")];
    let checked = two.world.run(&["check"], &[PRODUCTION.as_slice(), &alone, &limited].concat(), "");
    let mut notes = checked.stdout.lines().filter(|line| line.starts_with("note: "));
    assert!(checked.code == Some(0) && notes.all(|note| note.contains("ALERT_")), "{checked:?}");
}

#[test]
fn production_refuses_a_login_that_is_more_than_it_should_be() {
    let two = TwoLogins::new();
    let superuser = two.world.database_url().expect("Postgres");
    psql(superuser, &format!("GRANT modelgate_app TO {OWNER}"));
    for (login, what) in [(superuser, "is a superuser"), (&two.owner, "owns tables")] {
        let settings = [("DATABASE_URL", login), ("DATABASE_MIGRATION_URL", &two.owner)];
        for command in ["serve", "check"] {
            let refused = two.world.run(&[command], &[PRODUCTION.as_slice(), &settings].concat(), "");
            let told = refused.stderr.contains("DATABASE_URL") && refused.stderr.contains(what);
            assert!(refused.code == Some(1) && told, "{command}: {refused:?}");
        }
        let server = two.world.start(&[settings.as_slice(), &KEYS].concat());
        let is_warning = |entry: &serde_json::Value| {
            entry["level"] == "WARN" && entry["message"].as_str().is_some_and(|text| text.contains(what))
        };
        server.wait_for_log("a warning", is_warning);
    }
    let one_address = [PRODUCTION.as_slice(), &[("DATABASE_URL", superuser)]].concat();
    let checked = two.world.run(&["check"], &one_address, "");
    assert!(checked.code == Some(0) && checked.stdout.contains("DATABASE_MIGRATION_URL"), "{checked:?}");
}
