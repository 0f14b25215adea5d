//! TLS to Postgres: who the server is must be verified, and a client shows who it is where the server asks.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crate::harness::{Finished, Pair, World, psql};
use crate::openapi::{KEYS, PRODUCTION};

/// The login that `scripts/services` lets in with a certificate only.
const CERTIFIED: &str = "DO $$ BEGIN CREATE ROLE certified LOGIN IN ROLE modelgate_app; EXCEPTION WHEN duplicate_object THEN NULL; END $$";

fn certificate(name: &str) -> String {
    let folder = std::env::var_os("TEST_TLS_DIR").map(PathBuf::from);
    let folder = folder.expect("TEST_TLS_DIR is not set: run ./scripts/test, which makes certificates");
    folder.join(name).display().to_string()
}

/// The address of a world's database at another host, with other parameters.
fn address(world: &World, login: &str, host: &str, parameters: &str) -> String {
    let url = world.database_url().expect("Postgres").replacen(
        "//postgres@127.0.0.1",
        &format!("//{login}@{host}"),
        1,
    );
    let (base, _) = url.split_once('?').expect("parameters");
    format!("{base}?{parameters}")
}

/// `sslmode=verify-full` with the authority that signed the server's certificate.
fn verified() -> String {
    format!("sslmode=verify-full&sslrootcert={}", certificate("authority.crt"))
}

/// `modelgate check` as production would run it.
fn check(world: &World, url: &str) -> Finished {
    world.run(
        &["check"],
        &[PRODUCTION.as_slice(), &[("DATABASE_TLS", "verify"), ("DATABASE_URL", url)]].concat(),
        "",
    )
}

#[track_caller]
fn refused(world: &World, url: &str, reason: &str) {
    let checked = check(world, url);
    assert_eq!(checked.code, Some(1), "{url}: {checked:?}");
    let told = checked.stdout.contains(reason) || checked.stderr.contains(reason);
    assert!(told, "{url}: {reason:?} is not told: {checked:?}");
}

/// Somebody on the way who says that the server speaks no TLS, and otherwise passes on everything.
fn stripping(target: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let target = target.to_owned();
    thread::spawn(move || {
        for visitor in listener.incoming().map_while(Result::ok) {
            let target = target.clone();
            thread::spawn(move || strip(visitor, &target));
        }
    });
    port
}

fn strip(mut visitor: TcpStream, target: &str) -> std::io::Result<()> {
    // SSLRequest: eight bytes, answered by one (Postgres manual, section 55.2.12).
    visitor.read_exact(&mut [0; 8])?;
    visitor.write_all(b"N")?;
    let mut server = TcpStream::connect(target)?;
    let (mut back, mut forth) = (server.try_clone()?, visitor.try_clone()?);
    thread::spawn(move || std::io::copy(&mut back, &mut forth));
    std::io::copy(&mut visitor, &mut server).map(drop)
}

#[test]
fn a_verified_server_is_worked_with() {
    let world = World::new(Pair::Shared);
    let url = address(&world, "postgres", "localhost", &verified());
    let checked = check(&world, &url);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let server = world.start(&[[("DATABASE_URL", url.as_str())].as_slice(), &KEYS].concat());
    server.person("ada").api.get("/api/v1/me").is(200);
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE datname = current_database() AND application_name = 'modelgate'";
    assert_eq!(psql(world.database_url().expect("Postgres"), encrypted).trim(), "t");
}

#[test]
fn a_server_that_is_not_who_it_should_be_is_refused() {
    let world = World::new(Pair::Shared);
    let at = |host: &str, parameters: &str| address(&world, "postgres", host, parameters);
    refused(&world, &at("127.0.0.1", &verified()), "not valid for name");
    let strange = format!("sslmode=verify-full&sslrootcert={}", certificate("stranger.crt"));
    refused(&world, &at("localhost", &strange), "UnknownIssuer");
    // Without a word of its authority only those of the public web are believed.
    refused(&world, &at("localhost", "sslmode=verify-full"), "UnknownIssuer");
    let missing = "sslmode=verify-full&sslrootcert=/nowhere/authority.crt";
    refused(&world, &at("localhost", missing), "database");
}

#[test]
fn a_connection_stripped_of_its_tls_is_refused() {
    let world = World::new(Pair::Shared);
    let real = world.database_url().expect("Postgres");
    let target =
        real.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).expect("a host with a port");
    let port = stripping(target);
    let through = |url: String| url.replacen(target.trim_start_matches("127.0.0.1"), &format!(":{port}"), 1);
    refused(&world, &through(address(&world, "postgres", "localhost", &verified())), "TLS");
    let careless = through(address(&world, "postgres", "localhost", "sslmode=prefer"));
    let checked = world.run(&["check"], &[("DATABASE_URL", &careless)], "");
    assert_eq!(checked.code, Some(0), "this is why production takes nothing less: {checked:?}");
}

#[test]
fn production_takes_nothing_less_than_a_verified_server() {
    let world = World::new(Pair::Shared);
    for parameters in [
        "",
        "sslmode=disable",
        "sslmode=allow",
        "sslmode=prefer",
        "sslmode=require",
        "sslmode=verify-ca",
        "sslmode=verify-full&sslmode=disable",
        "application_name=sslmode=verify-full",
        "sslmode=disable&application_name=host=/run",
    ] {
        let url = address(&world, "postgres", "localhost", parameters);
        refused(&world, &url, "sslmode=verify-full");
        let good = address(&world, "postgres", "localhost", &verified());
        let settings =
            [("DATABASE_TLS", "verify"), ("DATABASE_URL", &good), ("DATABASE_MIGRATION_URL", &url)];
        let owner = world.run(&["serve"], &[PRODUCTION.as_slice(), &settings].concat(), "");
        assert!(owner.code == Some(1) && owner.stderr.contains("DATABASE_MIGRATION_URL"), "{url}: {owner:?}");
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_one() {
    let world: Arc<World> = World::new(Pair::Shared);
    let database = world.database_url().expect("Postgres").to_owned();
    assert_eq!(world.run(&["migrate"], &[], "").code, Some(0));
    psql(&database, CERTIFIED);
    let with = |name: &str| {
        let shown = format!(
            "sslcert={}&sslkey={}",
            certificate(&format!("{name}.crt")),
            certificate(&format!("{name}.key"))
        );
        address(&world, "certified", "localhost", &format!("{}&{shown}", verified()))
    };
    refused(&world, &address(&world, "certified", "localhost", &verified()), "certificate");
    refused(&world, &address(&world, "certified", "127.0.0.1", "sslmode=disable"), "sslmode=verify-full");
    let checked = check(&world, &with("impostor"));
    assert_eq!(checked.code, Some(1), "signed by nobody whom the server knows: {checked:?}");
    let checked = check(&world, &with("client"));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!checked.stdout.contains("the login of DATABASE_URL"), "it owns nothing: {checked:?}");
    let server = world.start(&[[("DATABASE_URL", with("client").as_str())].as_slice(), &KEYS].concat());
    server.person("ada").api.get("/api/v1/me").is(200);
}
