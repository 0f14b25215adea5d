//! Quotas of a day or a month: exact, however many requests come at once and whatever breaks.

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::onnx_file::arithmetic;
use crate::harness::{
    Client, OwnRedis, Pair, Person, Reply, Repository, Server, StoreProxy, World, at_once, configure,
    eventually, promise, sample,
};

const USAGE: &str = "/api/v1/me/usage";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn path(scope: &str, subject: &str, what: &str) -> String {
    format!("/api/v1/admin/quotas/{scope}/{subject}/{what}")
}

/// Says a hard quota.
#[track_caller]
fn allow(admin: &Person, scope: &str, subject: &str, what: &str, limit: u64) {
    admin.api.put(&path(scope, subject, what), &json!({"limit": limit})).is(204);
}

fn tensor(rows: usize) -> Value {
    let data = vec![0.0; rows * 64];
    json!({"inputs": [{"name": "x", "shape": [rows, 64], "datatype": "FP32", "data": data}]})
}

fn infer(client: &Client, rows: usize) -> Reply {
    client.post("/v2/models/digits/infer", &tensor(rows))
}

/// What is told of one of the caller's quotas: used and remaining, once so much was used.
#[track_caller]
fn standing(person: &Person, policy: &str, used: i64) -> i64 {
    eventually(&format!("{policy}: {used} used"), || {
        let told = person.api.get(USAGE).is(200).json();
        let quota = told["quotas"].as_array()?.iter().find(|quota| quota["name"] == policy)?.clone();
        (quota["used"] == used).then(|| quota["remaining"].as_i64().expect("a number"))
    })
}

/// How many of two hundred at once, spread over these clients, are served; the others are refused for the quota, or
/// with `outage` because nothing can be decided.
#[track_caller]
fn served(clients: &[Client], outage: bool) -> usize {
    let answers = at_once(200, |index| clients[index % clients.len()].predict(&sample("1-1")).status);
    let expected = |status: &u16| [200, 429].contains(status) || (outage && *status == 503);
    assert!(answers.iter().all(expected), "{answers:?}");
    answers.iter().filter(|status| **status == 200).count()
}

promise! {
    fn of_two_hundred_at_once_ten_are_served(pair) {
        let server = Server::start(pair, &[("MAX_IN_FLIGHT_PER_CALLER", "0"), ("GUARD_PER_SECOND", "0")]);
        let (admin, ada, grace) = (server.admin(), server.person("ada"), server.person("grace"));
        let key = server.key(&ada.make_key(&["models:infer"]));
        ada.api.predict(&sample("1-1")).is(200);
        allow(&admin, "account", &ada.id, "requests/day", 10);
        // What was used before it was said counts, once it is written.
        eventually("usage is written", || (!ada.api.get(USAGE).is(200).items().is_empty()).then_some(()));
        assert_eq!(served(&[ada.api.clone(), key.clone()], false), 9, "with a token and a key");
        let refused = ada.api.predict(&sample("1-1")).refused(429, "quota_exceeded");
        assert_eq!(refused.json()["violated-policies"], json!(["requests-day"]));
        assert_eq!(refused.header("ratelimit-policy"), Some("\"requests-day\";q=10;w=86400"));
        let wait = refused.number("retry-after");
        let midnight = 86_400 - server.now().as_secs() % 86_400;
        assert!(wait.abs_diff(midnight) <= 2, "{wait} s, midnight is in {midnight} s");
        let refused = infer(&key, 1).is(429);
        assert!(refused.json()["error"].as_str().is_some_and(|told| told.contains("requests-day")));
        grace.api.predict(&sample("1-1")).is(200);
        ada.api.get("/api/v1/me").is(200);
        assert_eq!(standing(&ada, "requests-day", 10), 0);
        eventually("it is told of", || (server.audited("quota.exceeded", "success") == 1).then_some(()));
        // A cap is changed in the middle of a period, and a month has one of its own.
        allow(&admin, "account", &ada.id, "requests/day", 1000);
        allow(&admin, "account", &ada.id, "requests/month", 13);
        assert_eq!(served(std::slice::from_ref(&ada.api), false), 3);
        allow(&admin, "account", &ada.id, "requests/day", 12);
        allow(&admin, "account", &ada.id, "requests/month", 1000);
        assert_eq!(served(std::slice::from_ref(&ada.api), false), 0);
        // Another day, another twelve; what was held of the last one is not of this.
        server.advance(DAY);
        let (ada, admin) =
            (server.log_in(&ada.email, &ada.password), server.log_in(&admin.email, &admin.password));
        assert_eq!(served(std::slice::from_ref(&ada.api), false), 12);
        admin.api.delete(&path("account", &ada.id, "requests/day")).is(204);
        assert!(ada.api.predict(&sample("1-1")).is(200).header("ratelimit").is_some(), "the month's is left");
        admin.api.delete(&path("account", &ada.id, "requests/month")).is(204);
        assert_eq!(ada.api.predict(&sample("1-1")).is(200).header("ratelimit"), None);
    }

    fn a_model_with_a_price_takes_that_of_quotas_and_one_without_takes_one(pair) {
        let repository = Repository::new(pair);
        configure(&repository.add("dear"), "price = 5");
        repository.add("plain");
        let pair = repository.folder.join("pair/1");
        fs::create_dir_all(&pair).and_then(|()| fs::write(pair.join("model.onnx"), arithmetic("m"))).expect("a model");
        let (server, _) = repository.start(&[("MAX_IN_FLIGHT_PER_CALLER", "0"), ("GUARD_PER_SECOND", "0")]);
        let ada = server.log_in("ada@example.com", "Correct-horse-battery-9");
        let (admin, picture) = (server.admin(), sample("1-1"));
        let ask = |client: &Client, model: &str| client.send("POST", &format!("/api/v1/models/{model}/predict"), Some("image/png"), &picture);
        let tensors = |model: &str, rows: usize| ada.api.post(&format!("/v2/models/{model}/infer"), &tensor(rows));
        ask(&ada.api, "dear").is(200);
        ask(&ada.api, "plain").is(200);
        // What is sent first is not what counts: five rows cost five, whatever stands before them.
        let one = json!({"name": "b", "datatype": "FP32", "shape": [1], "data": [1.0]});
        let five = json!({"name": "a", "datatype": "FP32", "shape": [5], "data": [1.0, 2.0, 3.0, 4.0, 5.0]});
        ada.api.post("/v2/models/pair/infer", &json!({"inputs": [one, five]})).is(200);
        let prices = ["dear", "plain"].map(|model| ada.api.get(&format!("/api/v1/models/{model}")).is(200).json()["price"].clone());
        assert_eq!(prices, [json!(5), json!(1)]);
        eventually("usage is written", || (ada.api.get(USAGE).is(200).items().len() == 3).then_some(()));
        // Said later, with what was used before; then as many as are left, and not one more.
        allow(&admin, "account", &ada.id, "credits/day", 60);
        let key = server.key(&ada.make_key(&["models:infer"]));
        let answers = at_once(200, |index| ask(if index % 2 == 0 { &ada.api } else { &key }, "dear").status);
        assert!(answers.iter().all(|status| [200, 429].contains(status)), "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 9, "49 credits are left, a picture costs 5");
        let refused = ask(&ada.api, "dear").refused(429, "quota_exceeded").json();
        assert_eq!(refused["violated-policies"], json!(["credits-day"]));
        // Four are left for what costs less; what fails gives back what it took, and nobody pays in pieces.
        tensors("plain", 5).is(429);
        tensors("dear", 1).is(429);
        ada.api.send("POST", "/api/v1/models/plain/predict", Some("image/png"), b"no picture").is(400);
        tensors("plain", 4).is(200);
        ask(&key, "plain").is(429);
        assert_eq!(standing(&ada, "credits-day", 60), 0);
        // The same everywhere: what is metered, what is enforced, what is exported.
        let sum = |items: &[Value]| items.iter().map(|item| item["credits"].as_i64().expect("a number")).sum::<i64>();
        assert_eq!(sum(&ada.api.get(USAGE).is(200).items()), 60);
        let told = admin.api.get(&format!("/api/v1/admin/usage?account_id={}&by=month", ada.id)).is(200);
        assert_eq!((sum(&told.items()), &told.json()["quotas"][0]["used"]), (60, &json!(60)));
        assert_eq!(sum(ada.api.get("/api/v1/me/usage/export").is(200).json().as_array().expect("a list")), 60);
        let csv = admin.api.get("/api/v1/admin/usage/export?format=csv&model=dear").is(200).text();
        let credits: i64 = csv.lines().skip(1).filter_map(|line| line.rsplit(',').next()?.parse::<i64>().ok()).sum();
        assert!(csv.lines().next().is_some_and(|head| head.ends_with(",failures,credits")) && credits == 50, "{csv}");
    }

    fn rows_pictures_and_bytes_are_taken_before_the_work_and_given_back_where_there_is_none(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        allow(&admin, "account", &ada.id, "inferences/day", 10);
        infer(&ada.api, 11).is(429);
        assert_eq!(infer(&ada.api, 6).is(200).number("x-ratelimit-remaining"), 4);
        let told = ada.api.get(USAGE).is(200).json();
        assert_eq!(told["quotas"][0]["remaining"], 4, "what headers say, whatever is held in blocks: {told}");
        infer(&ada.api, 5).is(429);
        // Nothing of what fails is charged, before or in the model.
        ada.api.predict(b"no picture").is(400);
        ada.api.send("POST", "/api/v1/models/nothing/predict", Some("image/png"), &sample("1-1")).is(404);
        ada.api.post("/v2/models/digits/infer", &json!({"inputs": []})).is(400);
        let last = infer(&ada.api, 4).is(200);
        assert_eq!(last.number("x-ratelimit-remaining"), 0, "with what this call took");
        infer(&ada.api, 1).is(429);
        standing(&ada, "inferences-day", 10);
        admin.api.delete(&path("account", &ada.id, "inferences/day")).is(204);
        let picture = sample("1-1");
        allow(&admin, "account", &ada.id, "bytes/day", 10_000_000);
        allow(&admin, "account", &ada.id, "images/day", 2);
        let left = |reply: Reply| reply.header("ratelimit").and_then(|told| told.split("\"images-day\";r=").nth(1)?.chars().next());
        // From the first answer on, also where there is no picture, and with what goes back.
        assert_eq!(left(infer(&ada.api, 1).is(200)), Some('2'));
        assert_eq!(left(ada.api.predict(&picture).is(200)), Some('1'));
        assert_eq!(left(ada.api.predict(b"no picture").is(400)), Some('1'));
        assert_eq!(left(ada.api.predict(&picture).is(200)), Some('0'));
        // What a hard quota refuses passes no soft one.
        let credits = |items: &[Value]| items.iter().filter_map(|item| item["credits"].as_i64()).sum::<i64>();
        eventually("usage is written", || (credits(&ada.api.get(USAGE).is(200).items()) == 13).then_some(()));
        admin.api.put(&path("account", &ada.id, "credits/day"), &json!({"limit": 14, "hard": false})).is(204);
        for _ in 0..2 {
            let refused = ada.api.predict(&picture).refused(429, "quota_exceeded");
            assert_eq!(refused.header("x-quota-exceeded"), None);
        }
        assert_eq!(infer(&ada.api, 1).is(200).header("x-quota-exceeded"), None);
        assert_eq!(infer(&ada.api, 1).is(200).header("x-quota-exceeded"), Some("credits-day"));
        admin.api.delete(&path("account", &ada.id, "credits/day")).is(204);
        admin.api.delete(&path("account", &ada.id, "images/day")).is(204);
        allow(&admin, "account", &ada.id, "bytes/day", 1);
        let told = ada.api.predict(&picture).refused(429, "quota_exceeded");
        assert_eq!(told.header("ratelimit-policy"), Some("\"bytes-day\";q=1;w=86400;qu=\"content-bytes\""));
        allow(&admin, "account", &ada.id, "bytes/day", 10_000_000);
        // Compute time is known only afterwards: what is passed is passed once.
        let grace = server.person("grace");
        allow(&admin, "account", &grace.id, "compute_ms/day", 1);
        let served = (0..200).take_while(|_| infer(&grace.api, 64).status == 200).count();
        assert!((1..200).contains(&served), "{served}");
        // Whoever hangs up before the work gets back what was taken, however often.
        let eve = server.person("eve");
        allow(&admin, "account", &eve.id, "requests/day", 2);
        for _ in 0..5 {
            let mut stream = server.connect();
            let head = format!("Host: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\n{{", eve.tokens.access);
            write!(stream, "POST /v2/models/digits/infer HTTP/1.1\r\n{head}").expect("the server reads");
            std::thread::sleep(Duration::from_millis(50));
        }
        for _ in 0..2 {
            eventually("it is given back", || (infer(&eve.api, 1).status == 200).then_some(()));
        }
        infer(&eve.api, 1).is(429);
    }

    fn quotas_are_said_by_role_account_and_key(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:infer"]}));
        let key = server.key(&text);
        let picture = sample("1-1");
        allow(&admin, "role", "user", "requests/day", 2);
        ada.api.predict(&picture).is(200);
        key.predict(&picture).is(200);
        ada.api.predict(&picture).refused(429, "quota_exceeded");
        server.person("grace").api.predict(&picture).is(200);
        // What is used is in a quota that is said later, once it is written.
        standing(&ada, "requests-day", 2);
        allow(&admin, "account", &ada.id, "requests/day", 100);
        allow(&admin, "key", &id, "requests/month", 2);
        key.predict(&picture).is(200);
        let refused = key.predict(&picture).refused(429, "quota_exceeded");
        assert_eq!(refused.json()["violated-policies"], json!(["key-requests-month"]));
        ada.api.predict(&picture).is(200);
        // A soft one is served, and says so.
        admin.api.put(&path("account", &ada.id, "requests/day"), &json!({"limit": 1, "hard": false})).is(204);
        let told = ada.api.predict(&picture).is(200);
        assert_eq!(told.header("x-quota-exceeded"), Some("requests-day"));
        for wrong in ["account/nobody/requests/day", "role/none/requests/day", "role/user/rows/day", "role/user/requests/week",
            "team/user/requests/day"] {
            admin.api.put(&format!("/api/v1/admin/quotas/{wrong}"), &json!({"limit": 1})).refused(404, "not_found");
        }
        admin.api.put(&path("role", "user", "requests/day"), &json!({"limit": -1})).invalid(&["limit"]);
        admin.api.put(&path("role", "user", "requests/day"), &json!({"limit": 1, "hart": true})).is(400);
        ada.api.put(&path("account", &ada.id, "requests/day"), &json!({"limit": 9})).is(403);
        let listed = admin.api.get("/api/v1/admin/quotas").is(200).items();
        assert_eq!(listed.len(), 3, "{listed:?}");
        let own = admin.api.get(&format!("/api/v1/admin/quotas?subject={}", ada.id)).is(200).items();
        assert_eq!((own.len(), &own[0]["limit"], &own[0]["hard"]), (1, &json!(1), &json!(false)));
        assert_eq!(server.audited("quota.changed", "success"), 4);
    }
}

promise! {
    fn a_month_counts_nothing_of_a_later_one_that_a_wrong_clock_had_begun(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let key = server.key(&ada.make_key(&["models:infer"]));
        server.advance(40 * DAY);
        key.predict(&sample("1-1")).is(200);
        let later = server.log_in(&ada.email, &ada.password);
        eventually("usage is written", || (!later.api.get(USAGE).is(200).items().is_empty()).then_some(()));
        server.world.turn_back(40 * DAY);
        allow(&admin, "account", &ada.id, "requests/month", 1);
        key.predict(&sample("1-1")).is(200);
        key.predict(&sample("1-1")).refused(429, "quota_exceeded");
    }
}

/// Three servers on one Postgres and this Redis, each asked by the same account.
fn three(redis: &OwnRedis) -> (Vec<Server>, Vec<Client>, Person) {
    let world = World::new(Pair::Shared);
    let url = redis.url();
    let settings = [
        ("REDIS_URL", &*url),
        ("REDIS_TIMEOUT_MS", "100"),
        ("MAX_IN_FLIGHT_PER_CALLER", "0"),
        ("GUARD_PER_SECOND", "0"),
        ("RATE_LIMIT_INFER_PER_MINUTE", "100000"),
    ];
    let servers: Vec<Server> = (0..3).map(|_| world.start(&settings)).collect();
    let (admin, ada) = (servers[0].admin(), servers[0].person("ada"));
    allow(&admin, "account", &ada.id, "requests/day", 10);
    let clients: Vec<Client> = servers.iter().map(|server| server.user(&ada.tokens.access)).collect();
    (servers, clients, ada)
}

#[test]
fn of_two_hundred_at_once_on_three_replicas_ten_are_served() {
    let (_servers, clients, ada) = three(&OwnRedis::start());
    assert_eq!(served(&clients, false), 10);
    assert_eq!(standing(&ada, "requests-day", 10), 0);
}

#[test]
fn with_redis_paused_half_way_no_more_than_ten_are_served() {
    let redis = OwnRedis::start();
    let (_servers, clients, ada) = three(&redis);
    for client in &clients {
        client.predict(&sample("1-1")).is(200);
    }
    let answers = at_once(201, |index| {
        if index == 200 {
            redis.freeze(true);
            return 0;
        }
        clients[index % 3].predict(&sample("1-1")).status
    });
    let served = answers.iter().filter(|status| **status == 200).count();
    assert_eq!(served, 7, "what is reserved does not depend on Redis: {answers:?}");
    redis.freeze(false);
    assert_eq!(self::served(&clients, false), 0);
    standing(&ada, "requests-day", 10);
}

#[test]
fn with_redis_stopped_and_a_replica_killed_half_way_no_more_than_the_cap_is_served() {
    let mut redis = OwnRedis::start();
    let (mut servers, clients, ada) = three(&redis);
    let admin = servers[1].admin_called("eve");
    allow(&admin, "account", &ada.id, "requests/day", 100);
    let mut total = (0..20).filter(|_| clients[0].predict(&sample("1-1")).status == 200).count();
    redis.kill();
    // What the killed one held counts as spent: at most a sixteenth of the rest, and what one had just asked for.
    drop(servers.remove(0));
    total += served(&clients[1..], false);
    total += served(&clients[1..], false);
    redis.resume();
    assert!((90..=100).contains(&total), "{total}");
    total += served(&clients[1..], false);
    assert!(total <= 100, "{total}");
}

#[test]
fn without_the_database_nothing_is_promised_that_is_not_held() {
    let world = World::new(Pair::Shared);
    let (proxy, url) = StoreProxy::in_front_of(world.database_url().expect("Postgres"));
    let server = world.start(&[("DATABASE_URL", &url)]);
    let (admin, ada, grace) = (server.admin(), server.person("ada"), server.person("grace"));
    allow(&admin, "account", &ada.id, "requests/day", 10);
    ada.api.predict(&sample("1-1")).is(200);
    grace.api.predict(&sample("1-1")).is(200);
    proxy.shut();
    // Ten are so few that each is reserved for itself: nothing is held.
    ada.api.predict(&sample("1-1")).refused(503, "unavailable");
    grace.api.predict(&sample("1-1")).is(200);
    proxy.open();
    eventually("the database answers", || (ada.api.predict(&sample("1-1")).status == 200).then_some(()));
}
