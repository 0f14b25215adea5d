//! Detection: attacks and floods are noticed, reported once, and blocked where the settings say so; honest requests are
//! not.

use std::time::Duration;

use serde_json::{Value, json};

use tonic::Code;

use crate::harness::grpc::{digits, refused};
use crate::harness::{Client, Server, eventually, promise};

const INCIDENTS: &str = "/api/v1/admin/incidents";

/// The incidents of a kind, once there are some.
#[track_caller]
fn opened(admin: &Client, kind: &str) -> Value {
    let ask = || admin.get(&format!("{INCIDENTS}?kind={kind}")).is(200).items().into_iter().next();
    eventually(&format!("an incident of the kind {kind}"), ask)
}

promise! {
    fn attacks_and_floods_are_noticed_and_their_address_is_blocked_for_a_while(pair) {
        let server = Server::start(pair, &[
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("GRPC_PORT", "0"),
            ("AUTO_BLOCK", "on"),
            ("DETECT_ATTACKS", "5/300"),
            ("DETECT_REQUESTS", "300/60"),
            ("SLOW_REQUEST_MS", "1"),
        ]);
        let from = |address: &str| {
            server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
        };
        let admin = server.admin();
        let grpc = server.grpc_user(&admin.tokens.access).with("x-forwarded-proto", "https");
        let grpc = grpc.with("x-forwarded-for", "203.0.113.66");
        let admin = admin.api.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", "192.0.2.10");
        // People have such names, and passwords that look like anything.
        let honest = from("203.0.113.7");
        let conan = json!({"email": "conan@example.com", "password": "' OR 1=1-- Correct9", "name": "Conan O'Brien"});
        honest.post("/api/v1/auth/register", &conan).is(201);
        admin.get("/api/v1/admin/users?search=O%27Brien%20or%20select%20a%20model").is(200);
        assert_eq!(server.metric("attack_patterns_total"), 0.0);

        let attacker = from("203.0.113.66");
        attacker.get("/wp-login.php").is(404);
        attacker.get("/api/v1/models?limit=%27%20OR%201=1--").is(401);
        drop(attacker.get("/api/v1/models/..%2f..%2fetc%2fpasswd"));
        attacker.with("User-Agent", "sqlmap/1.7").get("/health").is(200);
        let script = json!({"email": "x@example.com", "password": "Correct-horse-9", "name": "<script>alert(1)</script>"});
        attacker.post("/api/v1/auth/register", &script).is(400);
        assert_eq!(server.metric("attack_patterns_total"), 5.0);
        let incident = opened(&admin, "attack_pattern");
        assert_eq!(incident["subject"], "address:203.0.113.66");
        eventually("the block", || (attacker.get("/api/v1/models").status == 403).then_some(()));
        from("203.0.113.67").get("/api/v1/models").is(401);
        refused(grpc.infer(digits(&[0.0; 64])), Code::PermissionDenied, "address_refused");
        assert_eq!(server.audited("address.blocked", "success"), 1);

        // An administrator takes it back; what is done anew is blocked anew.
        let timeline = format!("{INCIDENTS}/{}/timeline", incident["id"].as_str().expect("an id"));
        let entries = admin.get(&timeline).is(200).items();
        let block = entries.iter().find(|entry| entry["kind"] == "answer").expect("an answer");
        assert_eq!(block["detail"]["network"], "203.0.113.66/32");
        let answers = timeline.replace("timeline", "answers");
        admin.delete(&format!("{answers}/{}", block["id"].as_str().expect("an id"))).is(200);
        attacker.get("/api/v1/models").is(401);
        let answered = grpc.infer(digits(&[0.0; 64]));
        assert!(answered.is_ok(), "{answered:?}");
        admin.post(&answers, &json!({"answer": "block_address", "address": "203.0.113.66"})).is(201);
        attacker.get("/api/v1/models").refused(403, "address_refused");

        let flood = from("198.51.100.5");
        for _ in 0..300 {
            flood.get("/.well-known/jwks.json").is(200);
        }
        assert_eq!(opened(&admin, "request_flood")["subject"], "address:198.51.100.5");
        eventually("the block", || (flood.get("/api/v1/models").status == 403).then_some(()));
        server.advance(Duration::from_secs(3601));
        attacker.get("/api/v1/models").is(401);
        flood.get("/api/v1/models").is(401);
        // The block is over, the incident is not: what is done anew is blocked anew.
        for _ in 0..5 {
            attacker.get("/wp-login.php").is(404);
        }
        eventually("another block", || (attacker.get("/api/v1/models").status == 403).then_some(()));
        assert!(server.metric("slow_requests_total") > 0.0);
        server.wait_for_log("a slow request", |entry| entry["message"] == "slow_request");
    }

    fn a_page_cannot_have_the_address_of_whoever_reads_it_blocked(pair) {
        let server = Server::start(pair, &[
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("AUTO_BLOCK", "on"),
            ("DETECT_ATTACKS", "3/300"),
        ]);
        let admin = server.admin().api.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", "192.0.2.10");
        let from = |address: &str| {
            server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
        };
        let attack = |client: &Client| drop(client.get("/?q=%3Cscript%3Ealert(1)%3C/script%3E"));
        let browser = from("203.0.113.7").with("Sec-Fetch-Site", "cross-site");
        let (picture, frame) = (browser.with("Sec-Fetch-Dest", "image"), browser.with("Sec-Fetch-Dest", "iframe"));
        let script = browser.with("Sec-Fetch-Dest", "empty");
        let asks = script.with("Origin", "https://elsewhere.example").with("Access-Control-Request-Method", "GET");
        for _ in 0..3 {
            attack(&picture);
            attack(&frame);
            drop(asks.send("OPTIONS", "/.env", None, b""));
            script.with("Accept", "../../x").get("/api/v1/models").is(401);
            let body = br#"{"email": "<script>alert(1)</script>"}"#;
            script.send("POST", "/api/v1/auth/login", Some("text/plain"), body).is(415);
        }
        assert_eq!(server.metric("attack_patterns_total"), 12.0, "operators are told");
        let led = from("198.51.100.7").with("Sec-Fetch-Site", "cross-site").with("Sec-Fetch-Dest", "document");
        for _ in 0..3 {
            attack(&led);
        }
        // Whoever opens such addresses themselves is counted; by then the page's would have been, too.
        assert_eq!(opened(&admin, "attack_pattern")["subject"], "address:198.51.100.7");
        assert_eq!(admin.get(INCIDENTS).is(200).items().len(), 1);
        from("203.0.113.7").get("/api/v1/models").is(401);
    }

    fn a_credential_in_several_hands_is_noticed_and_a_person_on_the_move_is_not(pair) {
        let server = Server::start(pair, &[
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("DETECT_KEY_NETWORKS", "3/60"),
            ("DETECT_SESSION_MOVES", "3/60"),
        ]);
        let (admin, ada, grace) = (server.admin(), server.person("ada"), server.person("grace"));
        let at = |client: &Client, address: &str| {
            let client = client.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address);
            client.get("/api/v1/models").is(200);
        };
        for address in ["203.0.113.1", "203.0.113.1", "198.51.100.1", "198.51.100.1"] {
            at(&grace.api, address);
        }
        server.advance(Duration::from_secs(61));
        for address in ["203.0.113.1", "198.51.100.1", "203.0.113.1", "198.51.100.1"] {
            at(&ada.api, address);
        }
        let incident = opened(&admin.api, "impossible_sequence");
        assert_eq!(incident["subject"], json!(format!("account:{}", ada.id)));
        let key = server.key(&grace.make_key(&["models:read"]));
        for address in ["203.0.113.1", "198.51.100.1", "192.0.2.1"] {
            at(&key, address);
        }
        eventually("both", || {
            let found = admin.api.get(&format!("{INCIDENTS}?kind=impossible_sequence")).is(200).items();
            (found.len() == 2).then_some(())
        });
    }
}
