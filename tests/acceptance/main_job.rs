//! The main job: someone signs in and gets a picture classified, a program does the same with a key, and an
//! administrator can switch both off.

use serde_json::json;

use crate::harness::{Pair, Reply, Server, World, promise, sample};

/// The most probable class of the first picture.
fn digit(answer: &Reply) -> String {
    answer.json()["results"][0]["predictions"][0]["label"].as_str().expect("a label").to_owned()
}

promise! {
    fn a_person_and_a_program_classify_pictures_until_an_administrator_switches_them_off(pair) {
        let server = World::empty(pair).start(&[]);
        let admin = server.admin();
        let (email, password) = ("ada@example.com", "Correct-horse-battery-9");
        let ada = json!({"email": email, "password": password, "name": "Ada Lovelace"});
        let registered = server.anon().post("/api/v1/auth/register", &ada).is(201).json();
        assert_eq!((&registered["email"], &registered["role"]), (&json!("ada@example.com"), &json!("user")));
        let ada = server.log_in(email, password);
        let me = ada.api.get("/api/v1/me").is(200).json();
        assert_eq!((&me["name"], &me["active"]), (&json!("Ada Lovelace"), &json!(true)));

        let answer = ada.api.predict(&sample("7-1")).is(200);
        assert_eq!(
            (&answer.json()["model_name"], &answer.json()["model_version"]),
            (&json!("digits"), &json!("1"))
        );
        assert_eq!(digit(&answer), "7");
        let program = server.key(&ada.make_key(&["models:infer"]));
        assert_eq!(digit(&program.predict(&sample("3-1")).is(200)), "3");

        ada.api.act("/api/v1/auth/logout").is(204);
        ada.api.get("/api/v1/me").refused(401, "invalid_token");
        ada.api.predict(&sample("7-1")).refused(401, "invalid_token");
        program.predict(&sample("3-2")).is(200);

        admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"active": false})).is(200);
        program.predict(&sample("3-1")).refused(401, "invalid_token");
        server.try_log_in(&ada.email, &ada.password).refused(401, "invalid_credentials");
        assert_eq!(digit(&admin.api.predict(&sample("0-1")).is(200)), "0");
    }

    /// The harness looks for every secret in every server's log; here the log is as talkative as it can be.
    fn no_secret_is_told_at_any_level(pair) {
        let server = Server::start(pair, &[("LOG_LEVEL", "trace")]);
        let ada = server.person("ada");
        let key = server.key(&ada.make_key(&["models:infer"]));
        key.predict(&sample("1-1")).is(200);
        server.refresh(&ada.tokens.refresh).is(200);
        server.try_log_in(&ada.email, "Wrong-horse-battery-9").is(401);
        server.user("a.token.that.is.none.of.ours").get("/api/v1/me").is(401);
        server.anon().get("/api/v1/me?access_token=a-secret-in-a-query").is(401);
        server.world.remember("a-secret-in-a-query");
        ada.api.act("/api/v1/auth/logout").is(204);
    }
}

/// The net under every other test holds.
#[test]
#[should_panic(expected = "the log tells secrets")]
fn a_secret_in_a_log_fails_the_test() {
    let server = Server::start(Pair::Embedded, &[]);
    server.wait_for_log("model", |line| line["message"] == "a model is ready");
    server.world.remember("a model is ready");
}
