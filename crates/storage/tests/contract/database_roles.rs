//! Who may do what on Postgres: the owner migrates, a login that owns nothing works, and neither is more than that.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use storage::{Durable, Error, ExcessPrivileges, PageRequest, Store};

use crate::world::{SERVICE, World, next_id, unique};

/// What the program's role may do with a table, where it is not select, insert, update and delete.
const PRIVILEGES: [(&str, &str); 12] = [
    ("_sqlx_migrations", "r"),
    ("audit_events", "ar"),
    ("audit_links", "ar"),
    ("audit_prunings", "ar"),
    ("audit_seals", "ar"),
    ("audit_subjects", "ard"),
    ("change_head", "rw"),
    ("changes", "ard"),
    ("locks", "arw"),
    ("usage_batches", "ard"),
    ("usage_daily", "arw"),
    ("usage_prunings", "ar"),
];
/// In the letters of `\dp`: insert, select, update, delete.
const ALL: &str = "arwd";

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

/// A login of the server, which is one for all tests.
async fn login(world: &World, rights: &str) -> String {
    let name = format!("login_{}", unique());
    let mut connection = world.postgres_connection().await;
    run(&mut connection, &format!("CREATE ROLE {name} LOGIN {rights}")).await.unwrap();
    name
}

fn as_login(world: &World, login: &str) -> Durable {
    Durable::Postgres { url: world.url_as(login).into(), max_connections: 2 }
}

/// A database without a schema that this login owns.
async fn empty_database(world: &World, owner: &str) {
    let mut connection = world.postgres_connection().await;
    run(&mut connection, "DROP SCHEMA public CASCADE").await.unwrap();
    run(&mut connection, &format!("CREATE SCHEMA public AUTHORIZATION {owner}")).await.unwrap();
}

#[tokio::test]
async fn the_role_may_do_with_each_table_what_the_program_does() {
    let world = World::postgres().await;
    let mut connection = world.postgres_connection().await;
    let sql = "SELECT relname::text, string_agg(letter, '' ORDER BY place) FROM pg_class \
        CROSS JOIN (VALUES ('a', 'INSERT', 1), ('r', 'SELECT', 2), ('w', 'UPDATE', 3), ('d', 'DELETE', 4), \
        ('D', 'TRUNCATE', 5), ('x', 'REFERENCES', 6), ('t', 'TRIGGER', 7)) AS privileges (letter, privilege, place) \
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') \
        AND has_table_privilege('modelgate_app', pg_class.oid, privilege) GROUP BY relname ORDER BY relname";
    let granted: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
    for (table, letters) in &granted {
        let expected = PRIVILEGES.iter().find(|known| known.0 == table).map_or(ALL, |known| known.1);
        assert_eq!(letters, expected, "{table}");
    }
    assert!(PRIVILEGES.iter().all(|known| granted.iter().any(|(table, _)| table == known.0)));

    let others = "SELECT count(*) FROM pg_class, aclexplode(relacl) AS given \
        WHERE relnamespace = 'public'::regnamespace AND grantee NOT IN (relowner, 'modelgate_app'::regrole)";
    assert_eq!(sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await.unwrap(), 0);
    let role = "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication \
        FROM pg_roles WHERE rolname = 'modelgate_app'";
    assert!(!sqlx::query_scalar::<_, bool>(role).fetch_one(&mut connection).await.unwrap());
    world.end().await;
}

#[tokio::test]
async fn the_role_changes_no_schema_and_no_history() {
    let world = World::postgres().await;
    let mut connection = world.postgres_connection().await;
    run(&mut connection, "SET ROLE modelgate_app; SET modelgate.service = 'administration'").await.unwrap();
    for statement in [
        "CREATE TABLE mine (id integer)",
        "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 1",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "DROP TABLE people",
        "DROP FUNCTION modelgate_serves",
        "CREATE OR REPLACE FUNCTION modelgate_account() RETURNS uuid LANGUAGE sql RETURN NULL",
        "ALTER TABLE people DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE people NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY own ON people",
        "CREATE POLICY mine ON people USING (true)",
        "ALTER ROLE modelgate_app BYPASSRLS",
        "TRUNCATE sessions",
        "TRUNCATE audit_events CASCADE",
        "UPDATE audit_events SET action = ''",
        "DELETE FROM audit_events",
        "UPDATE audit_subjects SET address = ''",
        "DELETE FROM audit_links",
        "UPDATE audit_seals SET seq = 1",
        "DELETE FROM audit_seals",
        "UPDATE audit_prunings SET through = 1",
        "DELETE FROM audit_prunings",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "DELETE FROM change_head",
        "DELETE FROM usage_daily",
        "DELETE FROM usage_prunings",
        "UPDATE _sqlx_migrations SET success = false",
        "COPY people TO PROGRAM 'cat'",
        "COPY people TO '/tmp/people'",
        "SELECT pg_read_file('/etc/passwd')",
    ] {
        let refused = run(&mut connection, statement).await.unwrap_err();
        let code =
            refused.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        assert_eq!(code, "42501", "{statement}: {refused}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_owner_migrates_and_a_login_that_owns_nothing_works() {
    let world = World::postgres().await;
    let owner = login(&world, "CREATEROLE").await;
    empty_database(&world, &owner).await;
    let worker = login(&world, "IN ROLE modelgate_app").await;

    let early = Store::migrate(&as_login(&world, &worker)).await.unwrap_err();
    assert!(
        matches!(early, Error::Migration(_)),
        "there is nothing yet, and it is not the one to make it: {early}"
    );
    Store::migrate(&as_login(&world, &owner)).await.unwrap();
    Store::migrate(&as_login(&world, &worker)).await.unwrap();

    let working = Store::connect(as_login(&world, &worker), world.clock.clone()).await.unwrap();
    let mut tx = working.begin(SERVICE).await.unwrap();
    tx.roles().sync_built_in(&[("user", &["models:read"])]).await.unwrap();
    let ada = tx.users().create(&crate::world::new_user("ada", "user")).await.unwrap().id;
    assert!(tx.users().delete(ada).await.unwrap());
    tx.users().create(&crate::world::new_user("eve", "user")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(working.excess().await.unwrap(), ExcessPrivileges::default());
    working.close().await;

    // The owner works behind the same wall, by the role, and without it sees nothing either.
    let owning = Store::connect(as_login(&world, &owner), world.clock.clone()).await.unwrap();
    let mut tx = owning.read(SERVICE).await.unwrap();
    assert_eq!(tx.users().list(&PageRequest::default()).await.unwrap().items.len(), 1);
    drop(tx);
    assert_eq!(owning.excess().await.unwrap().login.as_deref(), Some("owns tables"));
    owning.close().await;
    let mut bare = PgConnection::connect(&world.url_as(&owner)).await.unwrap();
    for (before, rows) in [("SELECT 1", 0), ("SET modelgate.service = 'migration'", 1)] {
        run(&mut bare, before).await.unwrap();
        let changed = sqlx::query("UPDATE people SET name = name").execute(&mut bare).await.unwrap();
        assert_eq!(changed.rows_affected(), rows, "{before}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_login_that_cannot_take_the_role_is_told_what_is_missing() {
    let world = World::postgres().await;
    let stranger = login(&world, "").await;
    let refused = Store::connect(as_login(&world, &stranger), world.clock.clone()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
    assert!(refused.to_string().contains("GRANT modelgate_app"), "{refused}");

    // An owner who may make no roles migrates where the role is there already, and works once it may take it.
    let owner = login(&world, "").await;
    empty_database(&world, &owner).await;
    Store::migrate(&as_login(&world, &owner)).await.unwrap();
    assert!(Store::connect(as_login(&world, &owner), world.clock.clone()).await.is_err());
    let mut administrator = world.postgres_connection().await;
    run(&mut administrator, &format!("GRANT modelgate_app TO {owner}")).await.unwrap();
    let store = Store::connect(as_login(&world, &owner), world.clock.clone()).await.unwrap();
    let mut tx = store.begin(SERVICE).await.unwrap();
    assert_eq!(tx.accounts().standing(next_id()).await.unwrap(), None);
    drop(tx);
    store.close().await;
    world.end().await;
}

#[tokio::test]
async fn a_login_that_is_more_than_it_should_be_is_seen() {
    let world = World::postgres().await;
    assert_eq!(world.store.excess().await.unwrap().login.as_deref(), Some("is a superuser"));
    let sly = login(&world, "BYPASSRLS IN ROLE modelgate_app").await;
    let store = Store::connect(as_login(&world, &sly), world.clock.clone()).await.unwrap();
    let excess = store.excess().await.unwrap();
    assert_eq!((excess.role, excess.login.as_deref()), (None, Some("bypasses row-level security")));
    let mut tx = store.read(storage::Scope::Account(next_id())).await.unwrap();
    assert_eq!(tx.users().count().await.unwrap(), 0, "in the program's hands it is held back all the same");
    drop(tx);
    store.close().await;

    let heir = login(&world, "IN ROLE modelgate_app").await;
    let mut administrator = world.postgres_connection().await;
    run(&mut administrator, &format!("ALTER TABLE settings OWNER TO {heir}")).await.unwrap();
    let store = Store::connect(as_login(&world, &heir), world.clock.clone()).await.unwrap();
    assert_eq!(store.excess().await.unwrap().login.as_deref(), Some("owns tables"));
    store.close().await;
    world.end().await;
}
