//! Row-level security: what a query without any condition reaches. Postgres only, where another wall stands behind the
//! conditions of this crate.

use sqlx::{AssertSqlSafe, PgConnection, Row};
use storage::{Durable, GrantSubject, Scope, Service, Store};
use uuid::Uuid;

use crate::tables::{NOBODYS, OWNED, Owned, PROGRAMS, SERVICES, TELLING};
use crate::world::{World, next_id};

/// Every table under policies.
fn guarded() -> impl Iterator<Item = &'static Owned> {
    OWNED.iter().chain(&PROGRAMS)
}

/// Two people with one row in each table, and a connection that has the program's role and no scope.
struct Scene {
    world: World,
    ada: Uuid,
    eve: Uuid,
    /// For each table, the id of Eve's row in the table before.
    parents_of_eve: Vec<Uuid>,
    connection: PgConnection,
}

impl Scene {
    async fn new() -> Self {
        let world = World::postgres().await;
        let mut connection = world.postgres_connection().await;
        run(&mut connection, "INSERT INTO models VALUES ('digits', 'granted', 1, now(), now())")
            .await
            .unwrap();
        let (ada, eve) = (next_id(), next_id());
        let mut parents = Vec::new();
        for account in [ada, eve] {
            parents = vec![account];
            for (owned, number) in guarded().zip(0..) {
                let id = next_id();
                run(&mut connection, &owned.insert(account, id, parents[number])).await.unwrap();
                parents.push(id);
            }
        }
        run(&mut connection, "SET ROLE modelgate_app").await.unwrap();
        Self { world, ada, eve, parents_of_eve: parents, connection }
    }

    async fn scope(&mut self, account: &str, service: &str) {
        let scope = format!(
            "SELECT set_config('modelgate.account_id', '{account}', false), set_config('modelgate.service', '{service}', false)"
        );
        run(&mut self.connection, &scope).await.unwrap();
    }

    async fn count(&mut self, table: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(sql).fetch_one(&mut self.connection).await.unwrap()
    }

    /// How many rows a change without a condition reaches, which is then undone; none where it is not permitted.
    async fn reached(&mut self, change: &str) -> Option<u64> {
        run(&mut self.connection, "BEGIN").await.unwrap();
        let reached = run(&mut self.connection, change).await;
        run(&mut self.connection, "ROLLBACK").await.unwrap();
        match reached {
            Ok(rows) => Some(rows),
            Err(code) => {
                assert_eq!(code, "42501", "{change}");
                None
            }
        }
    }
}

/// How many rows were touched, or the error's code.
async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.map(|done| done.rows_affected()).map_err(|error| {
        let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
        code.unwrap_or_else(|| error.to_string())
    })
}

#[tokio::test]
async fn every_table_that_tells_of_people_is_under_forced_row_level_security() {
    let mut scene = Scene::new().await;
    let sql = "SELECT relname::text, relrowsecurity AND relforcerowsecurity \
               AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid), \
               array(SELECT attname::text FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0) FROM pg_class \
               WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname";
    let tables: Vec<(String, bool, Vec<String>)> =
        sqlx::query_as(sql).fetch_all(&mut scene.connection).await.unwrap();
    for (table, forced, columns) in &tables {
        let listed = guarded().any(|guarded| guarded.table == table);
        assert_eq!(
            *forced, listed,
            "{table}: policies in its migration and a line in OWNED or PROGRAMS, or neither"
        );
        assert!(listed || NOBODYS.contains(&table.as_str()), "{table} is in no list of tables.rs");
        let tells = columns.iter().find(|column| TELLING.contains(&column.as_str()));
        assert!(listed || tells.is_none(), "{table} has no policies and a column {tells:?}");
    }
    assert_eq!(tables.len(), OWNED.len() + PROGRAMS.len() + NOBODYS.len());
    scene.world.end().await;
}

#[tokio::test]
async fn without_a_scope_there_is_nothing_and_no_error() {
    let mut scene = Scene::new().await;
    for owned in guarded() {
        assert_eq!(scene.count(owned.table).await, 0, "{}: nothing was ever set", owned.table);
    }
    scene.scope("", "").await;
    for owned in guarded() {
        assert_eq!(scene.count(owned.table).await, 0, "{}", owned.table);
        let delete = format!("DELETE FROM {}", owned.table);
        assert!(scene.reached(&delete).await.is_none_or(|rows| rows == 0), "{delete}");
    }
    scene.scope("", "nobody").await;
    assert_eq!(scene.count("accounts").await, 0);
    scene.world.end().await;
}

#[tokio::test]
async fn a_forgotten_condition_stays_with_the_account() {
    let mut scene = Scene::new().await;
    let (ada, eve) = (scene.ada, scene.eve);
    scene.scope(&ada.to_string(), "").await;
    for (owned, parent) in OWNED.iter().zip(scene.parents_of_eve.clone()) {
        let table = owned.table;
        assert_eq!(scene.count(table).await, 1, "{table}");
        let delete = format!("DELETE FROM {table}");
        assert!(scene.reached(&delete).await.is_none_or(|rows| rows <= 1), "{delete}");
        let foreign = owned.insert(eve, next_id(), parent);
        assert_eq!(scene.reached(&foreign).await, None, "{foreign}");
    }
    for table in PROGRAMS.map(|programs| programs.table) {
        assert_eq!(scene.count(table).await, 0, "{table}");
        assert_eq!(scene.reached(&format!("DELETE FROM {table}")).await, Some(0), "{table}");
    }
    for (change, rows) in [
        ("UPDATE accounts SET active = false", Some(1)),
        ("UPDATE people SET name = ''", Some(1)),
        ("UPDATE credentials SET secret = ''", Some(1)),
        ("UPDATE sessions SET revoked_at = now()", Some(1)),
        ("UPDATE api_keys SET name = ''", Some(1)),
        ("UPDATE api_key_secrets SET hash = ''", Some(1)),
        ("UPDATE model_grants SET model = 'digits'", Some(0)),
        ("INSERT INTO model_grants VALUES ('digits', 'role', 'user', now())", None),
        ("UPDATE usage_daily SET requests = 0", Some(0)),
        ("UPDATE audit_events SET actor = NULL", None),
        ("UPDATE audit_subjects SET address = ''", None),
    ] {
        assert_eq!(scene.reached(change).await, rows, "{change}");
    }
    for table in ["people", "credentials", "sessions", "api_keys", "external_identities"] {
        let give = format!("UPDATE {table} SET account_id = '{eve}'");
        assert_eq!(scene.reached(&give).await, None, "{give}");
    }
    scene.world.end().await;
}

#[tokio::test]
async fn an_account_sees_the_grants_of_its_role_and_of_no_other() {
    let mut scene = Scene::new().await;
    run(&mut scene.connection, "RESET ROLE").await.unwrap();
    for role in ["user", "admin"] {
        let grant = format!("INSERT INTO model_grants VALUES ('digits', 'role', '{role}', now())");
        run(&mut scene.connection, &grant).await.unwrap();
    }
    let mut tx = scene.world.store.read(Scope::Account(scene.ada)).await.unwrap();
    let subjects = tx.models().grants("digits").await.unwrap();
    assert_eq!(subjects, [GrantSubject::Account(scene.ada), GrantSubject::Role("user".into())]);
    drop(tx);
    scene.world.end().await;
}

#[tokio::test]
async fn each_part_of_the_program_sees_what_it_needs() {
    let mut scene = Scene::new().await;
    for service in SERVICES {
        scene.scope("", service).await;
        for owned in guarded() {
            let rows = |services: &[&str]| if services.contains(&service) { 2 } else { 0 };
            assert_eq!(
                scene.count(owned.table).await,
                rows(owned.read_by),
                "{service} reads {}",
                owned.table
            );
            let deleted = scene.reached(&format!("DELETE FROM {}", owned.table)).await.unwrap_or(0);
            assert_eq!(deleted, rows(owned.deleted_by) as u64, "{service} deletes from {}", owned.table);
        }
    }
    scene.world.end().await;
}

/// What removes usage runs as the owner, whom no policy holds where the owner is a superuser.
#[tokio::test]
async fn nobody_but_retention_removes_usage() {
    let mut scene = Scene::new().await;
    run(&mut scene.connection, "RESET ROLE").await.unwrap();
    // Ada and Eve are under a legal hold.
    let (account, key) = (next_id(), next_id());
    let old = format!(
        "INSERT INTO usage_daily VALUES ('{account}', '{key}', '', '', '2000-01-01', 0, 0, 0, 0, 0, 0)"
    );
    run(&mut scene.connection, &old).await.unwrap();
    run(&mut scene.connection, "SET ROLE modelgate_app").await.unwrap();
    let order = format!("INSERT INTO usage_prunings VALUES ('{key}', '2000-01-01', now())");
    for service in SERVICES.into_iter().chain([""]).filter(|service| *service != "retention") {
        scene.scope("", service).await;
        assert_eq!(scene.reached(&order).await, None, "{service}");
    }
    scene.scope("", "retention").await;
    assert_eq!(scene.count("usage_daily").await, 3);
    run(&mut scene.connection, &order).await.unwrap();
    assert_eq!(scene.count("usage_daily").await, 2, "what is held stays");
    let young = format!("INSERT INTO usage_prunings VALUES ('{}', current_date, now())", next_id());
    assert_eq!(run(&mut scene.connection, &young).await, Err("23514".into()));
    scene.world.end().await;
}

/// Nor does any other part of the program order the trail to be pruned, whoever owns the tables.
#[tokio::test]
async fn nobody_but_retention_prunes_the_audit_trail() {
    let mut scene = Scene::new().await;
    run(&mut scene.connection, "RESET ROLE").await.unwrap();
    let sealed = "INSERT INTO audit_links SELECT row_number() OVER (), id, '', 'key' FROM audit_events; \
                  DELETE FROM audit_pending; INSERT INTO audit_seals VALUES (1, '', '', 'key', now())";
    run(&mut scene.connection, sealed).await.unwrap();
    run(&mut scene.connection, "SET ROLE modelgate_app").await.unwrap();
    let order = "INSERT INTO audit_prunings VALUES (1, now())";
    for service in SERVICES.into_iter().chain([""]).filter(|service| *service != "retention") {
        for account in [String::new(), scene.ada.to_string()] {
            scene.scope(&account, service).await;
            assert_eq!(scene.reached(order).await, None, "{service}");
        }
    }
    scene.scope("", "retention").await;
    assert_eq!((scene.count("audit_events").await, scene.count("audit_subjects").await), (2, 2));
    run(&mut scene.connection, order).await.unwrap();
    assert_eq!((scene.count("audit_events").await, scene.count("audit_subjects").await), (1, 1));
    assert_eq!((scene.count("audit_links").await, scene.count("audit_seals").await), (1, 1));
    scene.world.end().await;
}

/// What is hidden looks like what is not there: nobody who decides by how an account stands may miss a part of it.
#[tokio::test]
async fn an_account_stands_the_same_for_whoever_checks_it() {
    let Scene { world, ada, .. } = Scene::new().await;
    let mut seen = Vec::new();
    for scope in [
        Scope::Account(ada),
        Scope::Service(Service::Login),
        Scope::Service(Service::Token),
        Scope::Service(Service::ApiKey),
        Scope::Service(Service::Administration),
    ] {
        let mut tx = world.store.read(scope).await.unwrap();
        seen.push(tx.accounts().standing(ada).await.unwrap().unwrap());
        drop(tx);
    }
    assert!(seen[0].has_second_factor && seen.iter().all(|standing| *standing == seen[0]), "{seen:?}");
    world.end().await;
}

#[tokio::test]
async fn a_connection_that_is_used_again_keeps_nothing_of_the_scope_before() {
    let Scene { world, ada, eve, .. } = Scene::new().await;
    let Durable::Postgres { url, .. } = world.durable() else { unreachable!() };
    let one = Durable::Postgres { url, max_connections: 1 };
    let store = Store::connect(one, world.clock.clone()).await.unwrap();
    for (scope, people) in [
        (Scope::Account(ada), 1),
        (Scope::Service(Service::Metering), 0),
        (Scope::Service(Service::Administration), 2),
        (Scope::Account(next_id()), 0),
        (Scope::Account(eve), 1),
    ] {
        let mut kept = store.begin(scope).await.unwrap();
        assert_eq!(kept.users().count().await.unwrap(), people, "{scope:?}");
        kept.commit().await.unwrap();
        let mut dropped = store.read(scope).await.unwrap();
        assert!(dropped.users().lock_administrators().await.is_err(), "it only reads");
        drop(dropped);
    }
    let mut own = store.begin(Scope::Account(ada)).await.unwrap();
    assert!(own.users().find(eve).await.unwrap().is_none());
    assert!(own.users().find(ada).await.unwrap().is_some());
    drop(own);
    store.close().await;
    world.end().await;
}

#[tokio::test]
async fn indexes_serve_as_before() {
    let mut scene = Scene::new().await;
    scene.scope(&scene.ada.to_string(), "").await;
    // The tables are tiny: what is asked is whether the index can be used, not whether it pays.
    run(&mut scene.connection, "SET enable_seqscan = off; SET enable_bitmapscan = off").await.unwrap();
    let owner = scene.ada;
    for (query, index) in [
        (format!("SELECT * FROM sessions WHERE account_id = '{owner}' AND id < '{owner}'"), "sessions_of_"),
        (format!("SELECT * FROM accounts WHERE id = '{owner}'"), "accounts_pkey"),
        ("SELECT * FROM people WHERE email_lookup = 'ada'".to_owned(), "people_email_lookup_key"),
        ("SELECT * FROM api_keys WHERE public_id = 'ada'".to_owned(), "api_keys_public_id_key"),
        ("SELECT * FROM one_time_tokens WHERE hash = 'ada'".to_owned(), "one_time_tokens_pkey"),
        (format!("SELECT * FROM api_key_secrets WHERE key_id = '{owner}'"), "api_key_secrets_pkey"),
        (
            format!("SELECT * FROM usage_daily WHERE account_id = '{owner}' AND day > now()"),
            "usage_daily_by_day",
        ),
    ] {
        let explain = AssertSqlSafe(format!("EXPLAIN {query}"));
        let lines = sqlx::query(explain).fetch_all(&mut scene.connection).await.unwrap();
        let plan: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Cond") && plan.contains(index), "{query}:\n{plan}");
    }
    scene.world.end().await;
}
