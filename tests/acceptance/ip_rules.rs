//! Rules about addresses: refused before anything is looked up, on both doors and every replica, and never by
//! accident for good.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tonic::Code;

use crate::harness::grpc::{digits, refused, wait};
use crate::harness::{Client, Pair, Server, World, eventually, promise};

const RULES: &str = "/api/v1/admin/ip-rules";
const ME: &str = "/api/v1/me";
const PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");
const WHILE: Duration = Duration::from_secs(1800);

fn from(client: &Client, address: &str) -> Client {
    client.with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
}

/// Says something of a network; gives the rule's id.
#[track_caller]
fn say(admin: &Client, rule: Value) -> String {
    admin.post(RULES, &rule).is(201).member("id")
}

/// A time as the server writes it.
fn in_a_while(server: &Server) -> String {
    server.advance(WHILE);
    let end = server.anon().get("/health").member("timestamp");
    server.world.turn_back(WHILE);
    end
}

promise! {
    fn a_refused_address_gets_nothing_but_health_until_the_rule_ends(pair) {
        let server = Server::start(pair, &[PROXY, ("GRPC_PORT", "0")]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let grpc = |address: &str| {
            let client = server.grpc_user(&ada.tokens.access).with("x-forwarded-proto", "https");
            client.with("x-forwarded-for", address)
        };
        let (send, calls) = tokio::sync::mpsc::channel(1);
        let mut stream = wait(grpc("203.0.113.9").talk(calls)).expect("a stream").into_inner();
        let one = || digits(&[0.0; 64]);
        wait(send.send(one())).expect("a listener");
        wait(stream.message()).expect("an answer").expect("an answer");

        let rule = say(&admin.api, json!({
            "cidr": "203.0.113.0/24", "effect": "deny", "reason": "a test", "expires_at": in_a_while(&server)
        }));
        say(&admin.api, json!({"cidr": "203.0.113.7", "effect": "allow"}));
        for address in ["203.0.113.9", "::ffff:203.0.113.9", "203.0.113.255:4711"] {
            let there = from(&server.anon(), address);
            let known = from(&ada.api, address);
            known.get(ME).refused(403, "address_refused");
            known.get("/v2").is(403);
            there.post("/api/v1/auth/login", &json!({})).refused(403, "address_refused");
            for path in ["/nowhere", "/openapi.json", "/metrics", "/.well-known/jwks.json"] {
                there.get(path).refused(403, "address_refused");
            }
            for path in ["/health", "/health/live", "/v2/health/live"] {
                there.get(path).is(200);
            }
        }
        refused(grpc("203.0.113.9").infer(one()), Code::PermissionDenied, "address_refused");
        wait(send.send(one())).expect("a listener");
        assert_eq!(wait(stream.message()).expect_err("a refusal").code(), Code::PermissionDenied, "it was open before");
        for address in ["203.0.113.7", "203.0.114.1", "2001:db8::cb00:7109"] {
            from(&ada.api, address).get(ME).is(200);
        }
        // A claim of the client's own is no way around, nor into it.
        from(&ada.api, "203.0.113.7, 203.0.113.9").get(ME).is(403);
        assert!(server.metric("security_events_total{event_type=\"address.refused\"}") >= 10.0);

        let listed = admin.api.get(RULES).is(200).items();
        assert_eq!((listed.len(), &listed[0]["cidr"], &listed[1]["id"]), (2, &json!("203.0.113.7/32"), &json!(rule)));
        server.advance(WHILE);
        from(&ada.api, "203.0.113.9").get(ME).is(200);
        assert_eq!(admin.api.get(RULES).is(200).items().len(), 1);
        say(&admin.api, json!({"cidr": "203.0.113.0/24", "effect": "deny"}));
        from(&ada.api, "203.0.113.9").get(ME).is(403);
    }

    fn administration_has_a_list_of_its_own(pair) {
        let server = Server::start(pair, &[PROXY, ("ADMIN_ALLOWED_IPS", "127.0.0.1,198.51.100.0/24")]);
        let admin = server.admin();
        let key = json!({"name": "a key", "scopes": ["models:manage", "models:read"]});
        let key = server.key(&admin.make_key_with(key).1);
        let (office, home) = (from(&admin.api, "198.51.100.4"), from(&admin.api, "192.0.2.1"));
        let load = "/v2/repository/models/digits/load";
        office.get(RULES).is(200);
        from(&key, "198.51.100.4").act(load).is(200);
        // A rule cannot widen what the setting says, only narrow it.
        say(&office, json!({"cidr": "192.0.2.0/24", "effect": "allow", "applies_to": "admin"}));
        home.get(ME).is(200);
        home.get("/api/v1/models").is(200);
        for path in [RULES, "/api/v1/admin/users", "/metrics"] {
            home.get(path).refused(403, "address_refused");
        }
        from(&key, "192.0.2.1").act(load).is(403);
        from(&server.anon(), "192.0.2.1").get(RULES).refused(403, "address_refused");
        say(&office, json!({"cidr": "198.51.100.9", "effect": "deny", "applies_to": "admin"}));
        from(&admin.api, "198.51.100.9").get(RULES).refused(403, "address_refused");
        from(&admin.api, "198.51.100.9").get(ME).is(200);
        office.get(RULES).is(200);
    }

    fn a_rule_holds_after_the_database_went_back_under_the_server(pair) {
        let server = Server::start(pair, &[PROXY]);
        let ada = server.person("ada");
        let here = from(&ada.api, "192.0.2.1");
        let deny = || {
            let added = ["ip-rules", "add", "192.0.2.0/24", "deny", "--reason", "a visit"];
            assert_eq!(server.cli(&added, "").code, Some(0));
            eventually("the rule holds", || (here.get(ME).status == 403).then_some(()));
        };
        deny();
        // What a standby has that lacks the last change.
        for lost in [
            "DELETE FROM ip_rules",
            "DELETE FROM changes WHERE seq = (SELECT seq FROM change_head)",
            "UPDATE change_head SET seq = seq - 1",
        ] {
            server.world.sql(lost);
        }
        eventually("as it was before", || (here.get(ME).status == 200).then_some(()));
        deny();
    }

    fn nobody_shuts_themselves_out_by_accident_and_the_command_line_opens(pair) {
        let server = Server::start(pair, &[PROXY, ("MAX_IP_RULES", "4")]);
        let admin = server.admin();
        let here = from(&admin.api, "192.0.2.1");
        for cidr in ["nonsense", "192.0.2.1/24", "192.0.2.0/33", "", "192.0.2.0/24 OR 1=1"] {
            here.post(RULES, &json!({"cidr": cidr, "effect": "deny"})).invalid(&["cidr"]);
        }
        let past = json!({"cidr": "10.0.0.0/8", "effect": "deny", "expires_at": "2020-01-01T00:00:00Z"});
        here.post(RULES, &past).invalid(&["expires_at"]);
        let far = json!({"cidr": "10.0.0.0/8", "effect": "deny", "expires_at": "+10000-01-01T00:00:00Z"});
        here.post(RULES, &far).invalid(&["expires_at"]);
        here.post(RULES, &json!({"cidr": "10.0.0.0/8", "effect": "deny", "reason": "a\nb"})).invalid(&["reason"]);
        here.post(RULES, &json!({"cidr": "10.0.0.0/8", "effect": "refuse"})).is(400);

        for applies_to in ["all", "admin"] {
            let mine = json!({"cidr": "192.0.0.0/16", "effect": "deny", "applies_to": applies_to});
            here.post(RULES, &mine).refused(409, "would_shut_out");
        }
        let kept = say(&here, json!({"cidr": "192.0.2.1", "effect": "allow"}));
        say(&here, json!({"cidr": "192.0.0.0/16", "effect": "deny"}));
        here.post(RULES, &json!({"cidr": "192.0.0.0/16", "effect": "allow"})).refused(409, "ip_rule_taken");
        here.delete(&format!("{RULES}/{kept}")).refused(409, "would_shut_out");
        here.delete(&format!("{RULES}/{kept}?force=perhaps")).is(400);
        here.delete(&format!("{RULES}/{kept}?force=true")).is(204);
        here.get(ME).refused(403, "address_refused");
        admin.api.delete(&format!("{RULES}/{kept}")).refused(404, "not_found");
        say(&admin.api, json!({"cidr": "127.0.0.1", "effect": "deny", "applies_to": "admin", "force": true}));
        admin.api.get(RULES).refused(403, "address_refused");

        let shown = server.cli(&["ip-rules", "list"], "");
        assert!(shown.stdout.contains("192.0.0.0/16\tdeny\tall\tfor ever"), "{shown:?}");
        assert_eq!(server.cli(&["ip-rules", "remove", "127.0.0.1"], "").code, Some(0));
        eventually("administration is open again", || (admin.api.get(RULES).status == 200).then_some(()));
        assert_eq!(server.cli(&["ip-rules", "remove", "127.0.0.1/32"], "").code, Some(1));
        let added = ["ip-rules", "add", "192.0.2.0/24", "allow", "--minutes", "5", "--reason", "a visit"];
        assert_eq!(server.cli(&added, "").code, Some(0));
        eventually("the network is open again", || (here.get(ME).status == 200).then_some(()));
        for number in 0..2 {
            say(&here, json!({"cidr": format!("198.51.100.{number}"), "effect": "deny"}));
        }
        let many = json!({"cidr": "198.51.100.9", "effect": "deny"});
        here.post(RULES, &many).refused(409, "too_many_ip_rules");
        let told: Vec<Value> = server.world.audit_events();
        let of = |action: &str| told.iter().filter(|event| event["action"] == action).count();
        assert_eq!((of("ip_rule.added"), of("ip_rule.removed")), (6, 2));
    }
}

#[test]
fn a_rule_holds_on_another_replica_within_two_seconds() {
    let world = World::new(Pair::Shared);
    let (first, second) = (world.start(&[PROXY]), world.start(&[PROXY]));
    let (admin, ada) = (first.admin(), first.person("ada"));
    let there = from(&second.user(&ada.tokens.access), "203.0.113.9");
    there.get(ME).is(200);
    let rule = say(&admin.api, json!({"cidr": "203.0.113.9", "effect": "deny"}));
    let begun = Instant::now();
    eventually("the other replica follows", || (there.get(ME).status == 403).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    admin.api.delete(&format!("{RULES}/{rule}")).is(204);
    eventually("the other replica follows", || (there.get(ME).status == 200).then_some(()));
}
