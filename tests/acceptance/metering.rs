//! Usage is counted once, and its account sees it.

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::onnx_file::{Dimension, FLOAT, identity_of};
use crate::harness::{Person, Repository, Server, World, eventually, promise, read_all, sample};

const USAGE: &str = "/api/v1/me/usage";

/// The sum of a column of someone's usage.
fn total(items: &[Value], column: &str) -> i64 {
    items.iter().map(|item| item[column].as_i64().expect("a number")).sum()
}

/// Someone's usage, once it tells of this many requests.
#[track_caller]
fn usage(person: &Person, requests: i64) -> Vec<Value> {
    eventually("usage is written", || {
        let items = person.api.get(USAGE).is(200).items();
        (total(&items, "requests") == requests).then_some(items)
    })
}

fn tensor(rows: usize) -> Value {
    let data = vec![0.0; rows * 64];
    json!({"inputs": [{"name": "x", "shape": [rows, 64], "datatype": "FP32", "data": data}]})
}

promise! {
    fn usage_is_told_by_day_model_and_credential(pair) {
        let server = Server::start(pair, &[]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        assert!(ada.api.get(USAGE).is(200).items().is_empty());
        let (id, key) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:infer"]}));
        let picture = sample("1-1");
        for _ in 0..3 {
            ada.api.predict(&picture).is(200);
        }
        server.key(&key).post("/v2/models/digits/infer", &tensor(5)).is(200);
        let items = usage(&ada, 4);
        let (by_key, by_token): (Vec<Value>, Vec<Value>) =
            items.into_iter().partition(|item| item["api_key_id"].is_string());
        assert_eq!((by_key.len(), by_token.len()), (1, 1));
        assert_eq!(by_key[0]["api_key_id"], id.as_str());
        assert_eq!(
            (total(&by_token, "requests"), total(&by_token, "inferences"), total(&by_token, "images")),
            (3, 3, 3)
        );
        assert_eq!(total(&by_token, "bytes"), 3 * picture.len() as i64);
        assert_eq!(
            (total(&by_key, "requests"), total(&by_key, "inferences"), total(&by_key, "images")),
            (1, 5, 0)
        );
        assert_eq!((&by_key[0]["model"], &by_key[0]["version"]), (&json!("digits"), &json!("1")));
        assert!(total(&by_token, "compute_microseconds") > 0);
        assert!(grace.api.get(USAGE).is(200).items().is_empty(), "one's own only");
        let used = ada.api.get(&format!("/api/v1/api-keys/{id}")).is(200).json();
        assert!(used["last_used_at"].is_string(), "{used}");
        assert_eq!(used["last_used_address"], "127.0.0.0/24", "{used}");
    }

    fn what_everyone_used_is_listed_and_exported_by_permission(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada, grace) = (server.admin(), server.person("ada"), server.person("grace"));
        let (id, key) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:infer"]}));
        server.key(&key).post("/v2/models/digits/infer", &tensor(5)).is(200);
        for person in [&ada, &ada, &grace] {
            person.api.predict(&sample("1-1")).is(200);
        }
        // What is used before a quota is said is in it, once it is written.
        usage(&ada, 3);
        admin.api.put(&format!("/api/v1/admin/quotas/account/{}/inferences/day", ada.id), &json!({"limit": 100})).is(204);
        ada.api.predict(&sample("1-1")).is(200);
        usage(&ada, 4);
        usage(&grace, 1);
        let all = admin.api.get("/api/v1/admin/usage").is(200).items();
        assert_eq!((all.len(), total(&all, "requests"), total(&all, "inferences")), (3, 5, 9));
        // Enforcement reads the same numbers.
        let path = format!("/api/v1/admin/usage?account_id={}&by=month", ada.id);
        let of_ada = admin.api.get(&path).is(200).json();
        assert_eq!(of_ada["items"].as_array().map(Vec::len), Some(2), "{of_ada}");
        assert_eq!(of_ada["items"][0]["period"].as_str().map(str::len), Some("2026-03".len()), "{of_ada}");
        assert_eq!((&of_ada["quotas"][0]["name"], &of_ada["quotas"][0]["used"]), (&json!("inferences-day"), &json!(8)));
        let of_key = admin.api.get(&format!("/api/v1/admin/usage?api_key_id={id}")).is(200).items();
        assert_eq!((of_key.len(), total(&of_key, "inferences")), (1, 5));
        assert!(admin.api.get("/api/v1/admin/usage?model=other").is(200).items().is_empty());
        let first = admin.api.get("/api/v1/admin/usage?limit=2").is(200);
        assert_eq!(first.items().len(), 2);
        let rest = admin.api.get(&format!("/api/v1/admin/usage?limit=2&cursor={}", first.member("next_cursor"))).is(200);
        assert_eq!((rest.items().len(), &rest.json()["next_cursor"]), (1, &Value::Null));
        admin.api.get("/api/v1/admin/usage?cursor=none").invalid(&["cursor"]);
        admin.api.get("/api/v1/admin/usage?from=2020-01-01").invalid(&["from"]);
        let csv = admin.api.get("/api/v1/admin/usage/export?format=csv").is(200);
        assert!(csv.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")));
        assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"usage.csv\""));
        let lines: Vec<String> = csv.text().lines().map(str::to_owned).collect();
        assert_eq!((lines.len(), lines[0].starts_with("period,account_id,api_key_id,model,")), (4, true), "{lines:?}");
        let exported = admin.api.get("/api/v1/admin/usage/export").is(200).json();
        assert_eq!(exported.as_array(), Some(&all));
        // Everyone has their own and nobody else's.
        let own = ada.api.get("/api/v1/me/usage/export").is(200).json();
        let own = own.as_array().expect("a list");
        assert!(own.len() == 2 && own.iter().all(|entry| entry["account_id"] == ada.id.as_str()), "{own:?}");
        assert_eq!(grace.api.get("/api/v1/me/usage/export?format=csv&by=month").is(200).text().lines().count(), 2);
        for person in [&ada, &grace] {
            person.api.get("/api/v1/admin/usage").is(403);
            person.api.get("/api/v1/admin/usage/export").is(403);
        }
        let moderator = server.person_with_role(&admin, "mod", "moderator");
        moderator.api.get("/api/v1/admin/usage").is(200);

        // More than fits into any buffer on the way: whoever dawdles over it for an hour does not get to its end.
        server.world.sql(
            "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 60000) \
             INSERT INTO usage_daily (account_id, api_key_id, model, version, day, requests, inferences, images, bytes, \
             compute_microseconds, failures) SELECT account_id, api_key_id, 'model-' || number, version, day, 1, 1, 0, 1, 1, 0 \
             FROM (SELECT * FROM usage_daily LIMIT 1) AS one, numbers",
        );
        let mut export = server.connect();
        let head = format!(
            "GET /api/v1/admin/usage/export HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            moderator.tokens.access
        );
        export.write_all(head.as_bytes()).expect("it is sent");
        let mut begun = [0; 12];
        export.read_exact(&mut begun).expect("an answer");
        assert_eq!(&begun, b"HTTP/1.1 200");
        server.advance(Duration::from_secs(3601));
        let (asked, rest) = (Instant::now(), read_all(export));
        assert!(rest.contains("\"model-1") && !rest.ends_with("0\r\n\r\n"), "{}", rest.len());
        assert!(asked.elapsed() < Duration::from_secs(8), "it breaks off: {:?}", asked.elapsed());
    }

    fn what_is_too_long_for_one_answer_is_told_and_not_cut_off(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        ada.api.post("/v2/models/digits/infer", &tensor(1)).is(200);
        usage(&ada, 1);
        server.world.sql(
            "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 10000) \
             INSERT INTO usage_daily (account_id, api_key_id, model, version, day, requests, inferences, images, bytes, \
             compute_microseconds, failures) SELECT account_id, api_key_id, 'model-' || number, version, day, 1, 1, 0, 1, 1, 0 \
             FROM (SELECT * FROM usage_daily LIMIT 1) AS one, numbers",
        );
        ada.api.get("/api/v1/me/usage").invalid(&["from"]);
        assert_eq!(ada.api.get("/api/v1/me/usage/export?format=csv").is(200).text().lines().count(), 10_002);
    }

    fn a_failure_is_counted_and_not_charged(pair) {
        let server = Server::start(pair, &[("USAGE_RETENTION_DAYS", "62")]);
        let ada = server.person("ada");
        ada.api.predict(b"no picture").is(400);
        ada.api.predict(&sample("1-1")[..40]).is(400);
        ada.api.predict(&sample("1-1")).is(200);
        let items = usage(&ada, 3);
        assert_eq!(
            (total(&items, "failures"), total(&items, "inferences"), total(&items, "images")),
            (2, 1, 1)
        );
        ada.api.send("POST", "/api/v1/models/nothing/predict", Some("image/png"), &sample("1-1")).is(404);
        server.anon().predict(&sample("1-1")).is(401);
        ada.api.predict(&sample("1-1")).is(200);
        assert_eq!(total(&usage(&ada, 4), "failures"), 2, "what reached no model is not usage");

        // What was kept long enough goes, but for what is under a legal hold.
        let (admin, grace) = (server.admin(), server.person("grace"));
        grace.api.predict(&sample("1-1")).is(200);
        usage(&grace, 1);
        admin.api.put(&format!("/api/v1/admin/legal-holds/{}", grace.id), &json!({"reason": "case 7"})).is(204);
        let today = server.now().as_secs() / 86_400;
        let first = chrono::DateTime::UNIX_EPOCH + chrono::Duration::days(i64::try_from(today).expect("a day") - 1);
        server.advance(Duration::from_secs(64 * 86_400));
        let admin = server.log_in(&admin.email, &admin.password);
        let grace = server.log_in(&grace.email, &grace.password);
        grace.api.predict(&sample("1-1")).is(200);
        usage(&grace, 1);
        server.advance(Duration::from_secs(3601));
        let admin = server.log_in(&admin.email, &admin.password);
        let left = eventually("usage is pruned", || {
            let left = admin.api.get(&format!("/api/v1/admin/usage?from={}", first.date_naive())).is(200).items();
            (left.len() < 3).then_some(left)
        });
        assert!(left.iter().all(|slice| slice["account_id"] == json!(grace.id)) && left.len() == 2, "{left:?}");
        let pruned = admin.api.get("/api/v1/admin/audit?action=records.pruned").is(200).items();
        assert!(pruned.iter().any(|event| event["detail"] == json!({"records": "usage", "rows": 1})), "{pruned:?}");
    }

    fn a_shape_that_claims_much_and_has_nothing_costs_nothing_and_stops_no_ledger(pair) {
        let repository = Repository::new(pair);
        let folder = repository.folder.join("matrix/1");
        fs::create_dir_all(&folder).expect("a folder");
        let model = identity_of(FLOAT, &[Dimension::Named("rows"), Dimension::Named("columns")]);
        fs::write(folder.join("model.onnx"), model).expect("a model");
        let (server, client) = repository.start(&[]);
        let ask = |shape: [i64; 2], data: &[f32]| {
            let input = json!({"name": "x", "datatype": "FP32", "shape": shape, "data": data});
            client.post("/v2/models/matrix/infer", &json!({"inputs": [input]}))
        };
        for shape in [[i64::MAX, 0], [1 << 31, 0], [0, i64::MAX]] {
            assert!(ask(shape, &[]).is(400).text().contains("is too large"), "{shape:?}");
        }
        let most = i64::from(i32::MAX);
        for _ in 0..3 {
            assert_eq!(ask([most, 0], &[]).is(200).json()["outputs"][0]["shape"], json!([most, 0]));
        }
        ask([2, 1], &[1.0, 2.0]).is(200);
        let items = eventually("usage is written", || {
            let items = client.get(USAGE).is(200).items();
            (total(&items, "requests") == 4).then_some(items)
        });
        assert_eq!(total(&items, "inferences"), 2);
        drop(server);
    }

    fn each_day_is_told_for_itself(pair) {
        let server = Server::start(pair, &[("JWT_ACCESS_TOKEN_EXPIRES", "86400")]);
        let ada = server.person("ada");
        ada.api.predict(&sample("1-1")).is(200);
        usage(&ada, 1);
        server.advance(Duration::from_secs(24 * 3600));
        let ada = server.log_in(&ada.email, &ada.password);
        ada.api.predict(&sample("1-1")).is(200);
        let items = usage(&ada, 2);
        assert_eq!(items.len(), 2, "{items:?}");
        let day = |index: usize| items[index]["day"].as_str().expect("a day").to_owned();
        assert_ne!(day(0), day(1));
        let one = ada.api.get(&format!("{USAGE}?from={0}&to={0}", day(0))).is(200).items();
        assert_eq!((one.len(), &one[0]["day"]), (1, &json!(day(0))));
        ada.api.get(&format!("{USAGE}?from=2026-01-02&to=2026-01-01")).invalid(&["from"]);
        ada.api.get(&format!("{USAGE}?from=2020-01-01&to=2026-01-01")).invalid(&["from"]);
        ada.api.get(&format!("{USAGE}?from=yesterday")).invalid(&["from"]);
    }

    fn a_stop_loses_nothing(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let ada = server.person("ada");
        for _ in 0..7 {
            ada.api.predict(&sample("1-1")).is(200);
        }
        assert_eq!(server.stop(), Some(0));
        let again = world.start(&[]);
        let items = again.user(&ada.tokens.access).get(USAGE).is(200).items();
        assert_eq!(total(&items, "requests"), 7, "{items:?}");
    }
}
