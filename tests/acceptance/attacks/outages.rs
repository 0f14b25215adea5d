//! Stores that stop, hang, dawdle, refuse or forget: no control opens, nobody waits long, and nothing revoked revives.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Client, OwnRedis, Pair, Person, Server, StoreProxy, World, eventually, sample};

const ME: &str = "/api/v1/me";
const MODELS: &str = "/api/v1/models";
/// Inferences a minute, and logins; three of these are the scene's own.
const LIMIT: usize = 5;
const LOGINS: usize = 10;

/// Two replicas behind one Redis, and who called them before it failed.
struct Scene {
    replicas: [Server; 2],
    ada: Person,
    thief: Person,
    /// Credentials that were ended before.
    ended: Vec<String>,
}

fn header(credential: &str) -> String {
    format!("Bearer {credential}")
}

impl Scene {
    fn set(redis_url: &str) -> Self {
        let world = World::new(Pair::Shared);
        let settings = [
            ("REDIS_URL", redis_url),
            ("REDIS_TIMEOUT_MS", "200"),
            ("RATE_LIMIT_INFER_PER_MINUTE", "5"),
            ("RATE_LIMIT_LOGIN_PER_MINUTE", "10"),
            ("RATE_LIMIT_REGISTER_PER_MINUTE", "50"),
        ];
        let replicas = [world.start(&settings), world.start(&settings)];
        let [first, _] = &replicas;
        let (ada, thief, gone) = (first.person("ada"), first.person("thief"), first.person("gone"));
        let (id, key) = gone.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        gone.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
        gone.api.act("/api/v1/auth/logout").is(204);
        while ada.api.predict(&sample("1-1")).status == 200 {}
        Self { ended: vec![key, gone.tokens.access], ada, thief, replicas }
    }

    /// The same caller at each replica.
    fn at_both(&self, credential: &str) -> [Client; 2] {
        [0, 1].map(|index| self.replicas[index].anon().with("Authorization", &header(credential)))
    }

    #[track_caller]
    fn nothing_ended_revives(&self) {
        for client in self.ended.iter().flat_map(|credential| self.at_both(credential)) {
            client.get(MODELS).refused(401, "invalid_token");
        }
    }

    #[track_caller]
    fn known_callers_are_served(&self) {
        for client in self.at_both(&self.ada.tokens.access) {
            client.get(ME).is(200);
        }
    }

    /// What is counted in the process meanwhile has the same limit: where the store comes and goes, both count once.
    #[track_caller]
    fn limits_hold(&self) {
        let [first, _] = &self.replicas;
        let statuses: Vec<u16> =
            (0..LIMIT * 3).map(|_| self.ada.api.predict(&sample("1-1")).status).collect();
        let let_in = statuses.iter().filter(|status| **status == 200).count();
        assert!(let_in <= LIMIT * 2 && statuses.contains(&429), "{statuses:?}");
        let guess = |_| first.try_log_in("nobody@example.com", "Wrong-horse-battery-9").status;
        let statuses: Vec<u16> = (0..LOGINS * 3).map(guess).collect();
        let evaluated = statuses.iter().filter(|status| **status == 401).count();
        assert!(evaluated <= LOGINS * 2 && statuses.contains(&429), "{statuses:?}");
    }

    /// Ends a key while the store is out of order; here at once, there within moments.
    #[track_caller]
    fn a_key_can_be_ended(&mut self) {
        let (id, key) = self.ada.make_key_with(json!({"name": "a key", "scopes": ["models:read"]}));
        let [here, there] = self.at_both(&key);
        here.get(MODELS).is(200);
        there.get(MODELS).is(200);
        self.ada.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
        here.get(MODELS).refused(401, "invalid_token");
        eventually("the other replica hears of it", || (there.get(MODELS).status == 401).then_some(()));
        self.ended.push(key);
    }

    /// Refresh tokens live in the database alone.
    #[track_caller]
    fn a_stolen_refresh_token_ends_its_session(&mut self) {
        let [first, second] = &self.replicas;
        let next = second.refresh(&self.thief.tokens.refresh).is(200).member("refresh_token");
        first.refresh(&next).is(200);
        second.refresh(&self.thief.tokens.refresh).refused(401, "invalid_token");
        let events = first.world.audit_events();
        assert!(events.iter().any(|event| event["detail"]["reason"] == "refresh_token_reuse"), "{events:?}");
        let [here, there] = self.at_both(&self.thief.tokens.access);
        eventually("both replicas hear of it", || {
            (here.get(ME).status == 401 && there.get(ME).status == 401).then_some(())
        });
        self.ended.push(self.thief.tokens.access.clone());
    }
}

/// Everything that must hold while Redis is out of order, and once it is back.
fn controls_hold(fail: impl Fn(&mut OwnRedis, &StoreProxy), mend: impl Fn(&mut OwnRedis, &StoreProxy)) {
    let mut redis = OwnRedis::start();
    let (proxy, url) = StoreProxy::in_front_of(&redis.url());
    let mut scene = Scene::set(&url);
    fail(&mut redis, &proxy);
    let begun = Instant::now();
    scene.known_callers_are_served();
    scene.nothing_ended_revives();
    scene.limits_hold();
    scene.a_key_can_be_ended();
    scene.a_stolen_refresh_token_ends_its_session();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    mend(&mut redis, &proxy);
    for server in &scene.replicas {
        eventually("Redis counts again", || {
            server.anon().get("/health").is(200).json()["degraded"].is_null().then_some(())
        });
    }
    scene.known_callers_are_served();
    scene.nothing_ended_revives();
}

#[test]
fn redis_stops() {
    controls_hold(|redis, _| redis.kill(), |redis, _| redis.resume());
}

#[test]
fn redis_hangs() {
    controls_hold(|redis, _| redis.freeze(true), |redis, _| redis.freeze(false));
}

#[test]
fn redis_takes_two_seconds() {
    controls_hold(|_, proxy| proxy.hold(Duration::from_secs(2)), |_, proxy| proxy.open());
}

#[test]
fn redis_can_only_be_read() {
    controls_hold(|redis, _| redis.tell("REPLICAOF 127.0.0.1 1"), |redis, _| redis.tell("REPLICAOF NO ONE"));
}

#[test]
fn redis_has_no_memory_left() {
    controls_hold(
        |redis, _| redis.tell("CONFIG SET maxmemory 1"),
        |redis, _| redis.tell("CONFIG SET maxmemory 0"),
    );
}

#[test]
fn redis_forgets_everything() {
    controls_hold(|redis, _| redis.tell("FLUSHALL"), |_, _| ());
}

/// What a Sentinel does when it promotes a replica that knows nothing yet: connections break, and the next server is
/// empty.
#[test]
fn redis_fails_over_to_an_empty_one() {
    controls_hold(
        |redis, proxy| {
            proxy.shut();
            redis.tell("FLUSHALL");
            proxy.open();
        },
        |_, _| (),
    );
}

#[test]
fn a_slow_database_slows_those_who_need_it_and_nobody_else() {
    let world = World::new(Pair::Shared);
    let (proxy, url) = StoreProxy::in_front_of(world.database_url().expect("Postgres"));
    let server = world.start(&[("DATABASE_URL", &url)]);
    let ada = server.person("ada");
    ada.api.predict(&sample("1-1")).is(200);
    proxy.hold(Duration::from_millis(100));
    std::thread::scope(|scope| {
        let login = scope.spawn(|| server.try_log_in(&ada.email, &ada.password).status);
        for _ in 0..10 {
            let asked = Instant::now();
            ada.api.predict(&sample("1-1")).is(200);
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
        assert!(matches!(login.join().expect("a login"), 200 | 503));
    });
    proxy.open();
    server.log_in(&ada.email, &ada.password);
}

#[test]
fn a_database_that_hangs_is_given_up_and_nothing_is_let_in_meanwhile() {
    let world = World::new(Pair::Shared);
    let (proxy, url) = StoreProxy::in_front_of(world.database_url().expect("Postgres"));
    let server = world.start(&[("DATABASE_URL", &url)]);
    let ada = server.person("ada");
    let unseen = server.try_log_in(&ada.email, &ada.password).is(200).member("access_token");
    ada.api.predict(&sample("1-1")).is(200);
    let before = world.state();
    proxy.hold(Duration::from_secs(3600));
    ada.api.predict(&sample("1-1")).is(200);
    let begun = Instant::now();
    server.try_log_in(&ada.email, &ada.password).refused(503, "unavailable");
    server.user(&unseen).get(ME).refused(503, "unavailable");
    ada.api.act("/api/v1/auth/logout").refused(503, "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    ada.api.predict(&sample("1-1")).is(200);
    world.is_unchanged_since(&before);
    proxy.open();
    eventually("the database answers again", || (server.user(&unseen).get(ME).status == 200).then_some(()));
}
