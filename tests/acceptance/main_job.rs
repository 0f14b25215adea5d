//! The main job: someone signs in and gets a picture classified, a program does the same with a key, and an
//! administrator can switch both off.

use serde_json::json;

use crate::harness::{Reply, Server, promise, sample};

/// The most probable class of the first picture.
fn digit(answer: &Reply) -> String {
    answer.json()["results"][0]["predictions"][0]["label"].as_str().expect("a label").to_owned()
}

promise! {
    fn a_person_and_a_program_classify_pictures_until_an_administrator_switches_them_off(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = json!({"email": "ada@example.com", "password": "Correct-horse-battery-9", "name": "Ada Lovelace"});
        let registered = server.anon().post("/api/v1/auth/register", &ada).is(201).json();
        assert_eq!((&registered["email"], &registered["role"]), (&json!("ada@example.com"), &json!("user")));
        let ada = server.log_in("ada@example.com", "Correct-horse-battery-9");
        let me = ada.api.get("/api/v1/me").is(200).json();
        assert_eq!((&me["name"], &me["active"]), (&json!("Ada Lovelace"), &json!(true)));

        let answer = ada.api.predict(&sample("7-1")).is(200);
        assert_eq!((&answer.json()["model_name"], &answer.json()["model_version"]), (&json!("digits"), &json!("1")));
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
}
