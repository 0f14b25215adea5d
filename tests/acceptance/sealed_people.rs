//! Personal data is sealed in the database, and each value opens in its own row only.

use serde_json::json;

use crate::harness::{Person, Server, World, promise};

const USERS: &str = "/api/v1/admin/users";
const REGISTER: &str = "/api/v1/auth/register";
const PASSWORD: &str = "Correct-horse-battery-9";

/// The raw answer to a reading, for where it may be an internal error.
fn read(server: &Server, person: &Person, path: &str) -> String {
    let token = &person.tokens.access;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}");
    server.raw(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())
}

fn account(email: &str) -> serde_json::Value {
    json!({"email": email, "password": PASSWORD, "name": "Ada Lovelace"})
}

promise! {
    fn nobody_is_named_in_the_database(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let (email, name) = ("rosalind@genetics.example", "Rosalind Franklin");
        let body = json!({"email": email, "password": PASSWORD, "name": name});
        server.anon().post(REGISTER, &body).is(201);
        let rosalind = server.log_in(email, PASSWORD);
        server.try_log_in(email, "Wrong-horse-battery-9").is(401);
        server.try_log_in("stranger@genetics.example", PASSWORD).is(401);
        let found = admin.api.get(&format!("{USERS}?search=rosalind")).is(200).items();
        assert_eq!((&found[0]["email"], &found[0]["name"]), (&json!(email), &json!(name)));
        rosalind.api.put("/api/v1/me", &json!({"name": "Rosalind Elsie"})).is(200);
        let path = format!("{USERS}/{}", rosalind.id);
        admin.api.put(&path, &json!({"name": "Elsie Franklin"})).is(200);
        assert!(server.world.has_stored("LOGIN_FAILURE") && server.world.has_stored("email_index"));
        for personal in ["rosalind", "elsie", "franklin", "genetics", "stranger", "someone else"] {
            assert!(!server.world.has_stored(personal), "{personal}");
        }
    }

    fn a_value_moved_to_another_row_is_an_error_and_nobody_elses_data(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let admin = server.admin();
        let (ada, eve) = (server.person("ada"), server.person("eve"));
        assert_eq!(server.stop(), Some(0));
        world.swap_addresses(&ada, &eve);
        let mut server = world.start(&[]);
        server.expect_faults();
        for (reader, path) in [
            (&ada, "/api/v1/me".to_owned()),
            (&admin, format!("{USERS}/{}", ada.id)),
            (&admin, format!("{USERS}/{}", eve.id)),
            (&admin, USERS.to_owned()),
            (&admin, format!("{USERS}?search=example")),
            (&admin, format!("{USERS}?search={}", eve.email)),
        ] {
            let answer = read(&server, reader, &path);
            assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("internal_error"), "{path}: {answer}");
            for told in ["ada@", "eve@", "people", "seal", "ENCRYPTION"] {
                assert!(!answer.contains(told), "{path}: {answer}");
            }
        }
        assert!(server.log().contains(&format!("people.email:{} does not open", ada.id)));
        assert!(read(&server, &admin, &format!("{USERS}/{}", admin.id)).starts_with("HTTP/1.1 200 "));
        server.try_log_in(&ada.email, &ada.password).is(200);
        assert_eq!(server.stop(), Some(0));
        world.swap_addresses(&ada, &eve);
        let server = world.start(&[]);
        assert_eq!(server.user(&ada.tokens.access).get("/api/v1/me").is(200).member("email"), ada.email);
    }

    fn an_address_is_one_in_every_script_and_width(pair) {
        let server = Server::start(pair, &[]);
        let register = |email: &str| server.anon().post(REGISTER, &account(email));
        assert_eq!(register("ada@Bücher.example").is(201).member("email"), "ada@Bücher.example");
        for taken in ["ADA@BÜCHER.example", "ada@bu\u{308}cher.example", "Ada@xn--bcher-kva.example"] {
            register(taken).refused(409, "email_taken");
            server.try_log_in(taken, PASSWORD).is(200);
        }
        server.try_log_in(" ａｄａ@bücher．example\u{3000}", PASSWORD).is(200);
        for other in ["аda@bücher.example", "a.da@bücher.example", "ada@bücher.example.", "ada@bucher.example"] {
            server.try_log_in(other, PASSWORD).refused(401, "invalid_credentials");
        }
    }

    fn an_address_with_what_nobody_sees_is_refused(pair) {
        let server = Server::start(pair, &[]);
        for invisible in ["\u{200b}", "\u{200d}", "\u{ad}", "\u{2060}", "\u{feff}", "\u{202e}", "\u{3164}", "\u{0}", "\n"] {
            for email in [format!("ada@exam{invisible}ple.com"), format!("a{invisible}da@example.com")] {
                server.anon().post(REGISTER, &account(&email)).is(400);
            }
        }
        let made = server.cli(&["admin", "create", "--email", "ada@exam\u{200b}ple.com", "--generate"], "");
        assert!(made.code == Some(1) && made.stderr.contains("--email"), "{made:?}");
        server.anon().post(REGISTER, &account("ada@example.com")).is(201);
    }
}
