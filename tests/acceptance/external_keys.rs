//! The keys of other issuers: found when they change, fetched seldom, used for a stated time and from nowhere else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Pair, Realm, Server, World, at_once, described, eventually, promise};
use crate::tokens::{ME, encode, is_refused, part};

const DAY: u64 = 86_400;
/// The least time between two questions to an issuer.
const PAUSE: Duration = Duration::from_secs(10);

fn trusting(world: &Arc<World>, tables: &[String]) -> Server {
    world.start(&[("OIDC_ISSUERS_FILE", &world.issuers(tables))])
}

fn scene(pair: Pair, algorithms: &[&str]) -> (Realm, Server) {
    let realm = Realm::with(algorithms, DAY);
    let server = trusting(&World::new(pair), &[realm.trusted("")]);
    (realm, server)
}

fn staff() -> Value {
    json!({"roles": ["staff"]})
}

/// The status that a token gets.
fn status(server: &Server, token: &str) -> u16 {
    server.anon().with("Authorization", &format!("Bearer {token}")).get(ME).status
}

/// An issuer's host that nobody would run: it answers the discovery document and, for its keys, whatever it is told.
struct Hostile {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Hostile {
    fn answering(keys: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::with_discovery(|issuer| json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}), keys)
    }

    fn with_discovery(
        discovery: impl Fn(&str) -> Value + Send + Sync + 'static,
        keys: impl Fn(&mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let (issuer, counted, keys) = (format!("http://{address}"), Arc::clone(&asked), Arc::new(keys));
        let document = discovery(&issuer).to_string();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (document, counted, keys) = (document.clone(), Arc::clone(&counted), Arc::clone(&keys));
                thread::spawn(move || {
                    let mut head = [0; 4096];
                    let length = stream.read(&mut head).unwrap_or(0);
                    if head[..length].starts_with(b"GET /.well-known") {
                        answer(&mut stream, "200 OK", "", document.as_bytes());
                    } else {
                        counted.fetch_add(1, Ordering::SeqCst);
                        keys(&mut stream);
                    }
                });
            }
        });
        Self { address, asked }
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A token that a realm's key signed in this issuer's name.
    fn token(&self, realm: &Realm, server: &Server) -> String {
        realm.token_as(&self.issuer(), server.now())
    }
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// A server that trusts this host, and the token of it that is refused for want of keys.
#[track_caller]
fn is_no_use(host: &Hostile, realm: &Realm, why: &str) -> Server {
    let server = trusting(
        &World::new(Pair::Embedded),
        &[described(&host.issuer(), "provision = true\ndefault_role = \"user\"")],
    );
    let token = host.token(realm, &server);
    let started = Instant::now();
    let reply = server.user(&token).get(ME);
    assert_eq!((reply.status, reply.json()["code"].as_str()), (503, Some("issuer_unavailable")), "{why}");
    assert!(started.elapsed() < Duration::from_secs(20), "{why}: {:?}", started.elapsed());
    assert_eq!(server.anon().get("/health").status, 200);
    server
}

promise! {
    fn each_algorithm_is_verified(pair) {
        for algorithm in ["EdDSA", "ES256", "RS256", "PS256"] {
            let (realm, server) = scene(pair, &[algorithm]);
            let login = realm.log_in("ada", staff());
            assert_eq!(part(&login.access, 0)["alg"], algorithm);
            server.user(&login.access).get(ME).is(200);
        }
    }

    /// Attack case 104, of other issuers.
    fn a_new_key_is_found_with_its_first_token(pair) {
        let started = Instant::now();
        let (realm, server) = scene(pair, &["ES256"]);
        let old = realm.log_in("ada", staff());
        server.user(&old.access).get(ME).is(200);
        realm.rotate(&["EdDSA"], DAY);
        let new = realm.log_in_after(&old.access, "ada", staff());
        // Lately asked, the issuer is not asked again; on a machine so slow that the pause is over, it is.
        if started.elapsed() < PAUSE {
            is_refused(&server, &new.access, "within the pause");
        }
        server.advance(PAUSE);
        let statuses = at_once(8, |_| status(&server, &new.access));
        assert_eq!(statuses, [200; 8], "all that came with it at once");
        // The key from before is gone there, and so it is here.
        eventually("the old key is forgotten", || (status(&server, &old.access) == 401).then_some(()));
        server.user(&new.access).get(ME).is(200);
    }

    /// Attack case 5.
    fn a_flood_of_unknown_keys_asks_the_issuer_once(pair) {
        let (realm, server) = scene(pair, &["ES256"]);
        let login = realm.log_in("ada", staff());
        server.user(&login.access).get(ME).is(200);
        server.advance(PAUSE);
        let (header, claims) = (part(&login.access, 0), part(&login.access, 1).to_string());
        let (before, started) = (realm.asked(), Instant::now());
        let statuses = at_once(100, |number| {
            let mut header = header.clone();
            header["kid"] = json!(format!("unknown-{number}"));
            let text = format!("{}.{}", encode(&header), encode(&serde_json::from_str(&claims).expect("claims")));
            status(&server, &format!("{text}.{}", "A".repeat(86)))
        });
        assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
        let (asked, pauses) = (realm.asked() - before, started.elapsed().as_secs() / PAUSE.as_secs());
        assert!(asked <= 2 * (1 + pauses), "asked {asked} times: once in a pause for each of two documents");
        server.user(&login.access).get(ME).is(200);
    }

    fn keys_outlive_their_issuer_for_a_stated_time_and_no_longer(pair) {
        let realm = Realm::with(&["ES256"], DAY);
        realm.is_down(true);
        // An issuer that is down stops no start, and nobody else.
        let server = trusting(&World::new(pair), &[realm.trusted("")]);
        let zoe = server.person("zoe");
        let login = realm.log_in("ada", staff());
        let ada = server.user(&login.access);
        let reply = ada.get(ME).refused(503, "issuer_unavailable");
        assert!(reply.number("retry-after") >= 1);
        realm.is_down(false);
        server.advance(PAUSE);
        eventually("the keys are fetched", || (status(&server, &login.access) == 200).then_some(()));
        realm.is_down(true);
        for _ in 0..5 {
            server.advance(Duration::from_secs(700));
            ada.get(ME).is(200);
        }
        server.advance(Duration::from_secs(200));
        ada.get(ME).refused(503, "issuer_unavailable");
        zoe.api.get("/health").is(200);
        realm.is_down(false);
        server.advance(PAUSE);
        eventually("the keys are fetched again", || (status(&server, &login.access) == 200).then_some(()));
    }
}

/// Row 94.
#[test]
fn no_redirect_is_followed() {
    let realm = Realm::new();
    let elsewhere = format!("Location: {}/jwks\r\n", realm.issuer);
    let before = realm.asked();
    let host = Hostile::answering(move |stream| answer(stream, "302 Found", &elsewhere, b""));
    let server = is_no_use(&host, &realm, "a redirect to keys that would do");
    assert_eq!(realm.asked(), before, "it was not asked");
    server.wait_for_log("the redirect", |entry| {
        entry["error"].as_str().is_some_and(|error| error.contains("302"))
    });
}

/// Row 2: the documents say where keys are, and are not believed.
#[test]
fn keys_at_another_host_are_fetched_only_where_the_operator_named_it() {
    let realm = Realm::new();
    let keys = format!("{}/jwks", realm.issuer);
    let theirs = keys.clone();
    let before = realm.asked();
    let host = Hostile::with_discovery(move |issuer| json!({"issuer": issuer, "jwks_uri": theirs}), |_| ());
    let server = is_no_use(&host, &realm, "keys of another host");
    assert_eq!(realm.asked(), before);
    let token = host.token(&realm, &server);
    drop(server);
    let named = format!("provision = true\ndefault_role = \"user\"\njwks_uri = {keys:?}");
    let server = trusting(&World::new(Pair::Embedded), &[described(&host.issuer(), &named)]);
    server.user(&token).get(ME).is(200);
}

/// Row 49: a document that speaks of another issuer is another issuer's.
#[test]
fn a_mixed_up_discovery_document_is_refused() {
    let realm = Realm::new();
    let own = realm.issuer.clone();
    let host = Hostile::with_discovery(
        move |issuer| json!({"issuer": own, "jwks_uri": format!("{issuer}/keys")}),
        |_| (),
    );
    is_no_use(&host, &realm, "another issuer's document");
    assert_eq!(host.asked.load(Ordering::SeqCst), 0, "its keys are not even asked for");
    let nearly = Hostile::with_discovery(
        |issuer| json!({"issuer": format!("{issuer}/"), "jwks_uri": format!("{issuer}/keys")}),
        |_| (),
    );
    is_no_use(&nearly, &realm, "one slash more");
}

#[test]
fn an_issuers_certificate_and_name_are_verified() {
    let folder = std::env::var("TEST_TLS_DIR").expect("run ./scripts/test, which makes certificates");
    let file = |name: &str| format!("{folder}/{name}");
    let realm = Realm::new();
    let issuer = realm.over_tls(&file("server.crt"), &file("server.key"));
    let by_number = issuer.replace("localhost", "127.0.0.1");
    for (issuer, authority, status) in
        [(&issuer, "authority.crt", 200), (&issuer, "stranger.crt", 503), (&by_number, "authority.crt", 503)]
    {
        let world = World::new(Pair::Embedded);
        // Discovery would be about the other name: what is tried is who serves the keys.
        let keys = format!("provision = true\ndefault_role = \"user\"\njwks_uri = \"{issuer}/keys\"");
        let path = world.issuers(&[described(issuer, &keys)]);
        let server = world.start(&[("OIDC_ISSUERS_FILE", &path), ("SSL_CERT_FILE", &file(authority))]);
        let reply = server.user(&realm.token_as(issuer, server.now())).get(ME);
        assert_eq!(reply.status, status, "{issuer}, {authority}: {}", reply.text());
    }
    let world = World::new(Pair::Embedded);
    let path = world.issuers(&[described(&issuer, "provision = true\ndefault_role = \"user\"")]);
    let server = world.start(&[("OIDC_ISSUERS_FILE", &path), ("SSL_CERT_FILE", &file("authority.crt"))]);
    server.user(&realm.token_as(&issuer, server.now())).get(ME).is(200);
}

#[test]
fn documents_that_never_end_come_to_an_end_here() {
    let realm = Realm::new();
    let endless = Hostile::answering(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"keys\":[");
        while stream.write_all(&[b' '; 64 << 10]).is_ok() {}
    });
    is_no_use(&endless, &realm, "endless");
    let slow = Hostile::answering(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(200));
        }
    });
    is_no_use(&slow, &realm, "a byte at a time");
    let silent = Hostile::answering(|stream| {
        let _ = stream.read(&mut [0; 1]);
    });
    is_no_use(&silent, &realm, "silent");
    let broken = Hostile::answering(|stream| answer(stream, "200 OK", "", b"{\"keys\": [{]}"));
    is_no_use(&broken, &realm, "broken");
}

#[test]
fn those_who_wait_for_a_slow_issuer_hold_up_nobody_else() {
    let realm = Realm::new();
    let slow = Hostile::answering(|stream| {
        let _ = stream.read(&mut [0; 1]);
    });
    let server = trusting(
        &World::new(Pair::Embedded),
        &[realm.trusted(""), described(&slow.issuer(), "default_role = \"user\"")],
    );
    let token = slow.token(&realm, &server);
    let good = realm.log_in("ada", staff()).access;
    server.user(&good).get(ME).is(200);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..100).map(|_| scope.spawn(|| status(&server, &token))).collect();
        let started = Instant::now();
        for _ in 0..10 {
            server.user(&good).get(ME).is(200);
        }
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        let statuses: Vec<u16> =
            waiting.into_iter().map(|thread| thread.join().expect("an answer")).collect();
        assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    });
    assert!(slow.asked.load(Ordering::SeqCst) <= 2, "asked {} times", slow.asked.load(Ordering::SeqCst));
}
