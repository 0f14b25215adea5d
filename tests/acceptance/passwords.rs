//! Passwords: which are accepted, what their hashes cost, and that hashes follow the settings without anyone noticing.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Pair, Server, World, at_once, promise};

const REGISTER: &str = "/api/v1/auth/register";
const CHANGE: &str = "/api/v1/auth/password";
const GOOD: &str = "Correct-horse-battery-9";

fn register(server: &Server, email: &str, password: &str) -> crate::harness::Reply {
    server.anon().post(REGISTER, &json!({"email": email, "password": password, "name": "Rosalind Franklin"}))
}

promise! {
    /// ASVS 6.2.4 and 6.2.11: in both policies.
    fn common_passwords_and_words_about_the_person_are_refused(pair) {
        for policy in ["strict", "nist"] {
            let server = Server::start(pair, &[("PASSWORD_POLICY", policy)]);
            for common in [
                "Password123!",
                "Welcome2024!!",
                "Qwerty123456!",
                "P@ssw0rd!2024",
                "Letmein123456!",
                "!!Iloveyou1234",
                "Modelgate-2024-xyz",
                "MODELgate_9_is_on_it",
                "Franklin-is-my-name-9",
                "Rosalind_7_tea_kettle",
                "Laboratory-is-where-9",
            ] {
                let refused = register(&server, "ada@laboratory.example", common).invalid(&["password"]);
                assert!(!refused.text().contains(common), "the answer repeats the password");
            }
            server.try_log_in("ada@laboratory.example", "Password123!").is(401);
            register(&server, "ada@laboratory.example", GOOD).is(201);
            let made = server.cli(
                &["admin", "create", "--email", "root@example.com", "--password-stdin"],
                "Password123!",
            );
            assert!(made.code == Some(1) && made.stderr.contains("password"), "{made:?}");
        }
    }

    /// ASVS 6.2.5 and 6.2.9.
    fn nist_asks_for_strength_and_for_no_kind_of_character(pair) {
        let server = Server::start(pair, &[("PASSWORD_POLICY", "nist")]);
        for (number, good) in [
            "jkdfhgkjweoiurtyvbnm",
            "correct horse battery",
            "äöüßéèçñøåœþðł",
            "八月のさくらはもう散ってしまった",
            &format!("{}äöü", "jkdfhgkjweoiurtyvbnm ".repeat(5)),
        ]
        .into_iter()
        .enumerate()
        {
            let email = format!("person{number}@example.com");
            register(&server, &email, good).is(201);
            server.log_in(&email, good);
        }
        for weak in [
            "short",
            "elevenchars",
            "aaaaaaaaaaaaaaaaaaaa",
            "abcdefghijklmnop",
            "qwertyuiopasdfgh",
            "passwordpassword",
            "123456789012345",
            &"x9!Z".repeat(33),
        ] {
            register(&server, "weak@example.com", weak).invalid(&["password"]);
        }
        // What the other policy asks for is not enough here.
        register(&server, "weak@example.com", "Aa1!Aa1!Aa1!").invalid(&["password"]);
    }

    /// ASVS 6.2.12.
    fn what_stands_in_the_list_is_refused_as_a_whole_and_in_any_case(pair) {
        let world = World::new(pair);
        let path = world.folder().join("breached.txt");
        std::fs::write(&path, "Zebra-Quartz-77!\r\n\nein LANGER satz\nxyz\n").expect("a file");
        let list = path.display().to_string();
        let server = world.start(&[("PASSWORD_BLOCKLIST_FILE", &list)]);
        for listed in ["Zebra-Quartz-77!", "zebra-QUARTZ-77!A"] {
            let listed = listed.trim_end_matches('A');
            register(&server, "ada@example.com", listed).invalid(&["password"]);
        }
        register(&server, "ada@example.com", "Zebra-Quartz-77!!").is(201);
        let ada = server.log_in("ada@example.com", "Zebra-Quartz-77!!");
        let change = |new: &str| json!({"current_password": "Zebra-Quartz-77!!", "new_password": new});
        ada.api.post(CHANGE, &change("ZEBRA-quartz-77!")).invalid(&["new_password"]);
        drop(server);
        let refused = world.run(&["serve"], &[("PASSWORD_BLOCKLIST_FILE", "/nowhere/list")], "");
        assert!(refused.code == Some(1) && refused.stderr.contains("PASSWORD_BLOCKLIST_FILE"), "{refused:?}");
    }

    /// ASVS 6.2.8, attack case 45.
    fn a_password_is_taken_exactly_as_it_was_sent(pair) {
        let server = Server::start(pair, &[]);
        let long = format!("{}-Correct-9", "jkdfhgkjweoiurtyvbnm ".repeat(5));
        assert!(long.len() > 100);
        register(&server, "ada@example.com", &long).is(201);
        let mut other = long.clone();
        other.replace_range(90..91, "#");
        for wrong in
            [&other, &long[..72], &long.to_uppercase(), &format!("{long} "), &format!(" {long}"), &long[1..]]
        {
            server.try_log_in("ada@example.com", wrong).refused(401, "invalid_credentials");
        }
        server.log_in("ada@example.com", &long);
        for odd in ["Correct-horse\u{0}-9-battery", &"A9-a".repeat(256 << 10)] {
            let status = register(&server, "odd@example.com", odd).status;
            assert!([400, 413].contains(&status), "{status}");
            let status = server.try_log_in("ada@example.com", odd).status;
            assert!([400, 401, 413].contains(&status), "{status}");
        }
    }

    /// ASVS 6.2.2, 6.2.3 and 6.2.10, attack case 48.
    fn a_change_needs_the_present_password_and_another_one(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let other = server.log_in(&ada.email, &ada.password);
        ada.api.post(CHANGE, &json!({"new_password": "Zebra-Quartz-77!"})).refused(400, "malformed_request");
        ada.api.post(CHANGE, &json!({"current_password": ada.password})).refused(400, "malformed_request");
        let change = |current: &str, new: &str| {
            ada.api.post(CHANGE, &json!({"current_password": current, "new_password": new}))
        };
        change("Wrong-horse-battery-9", "Zebra-Quartz-77!").invalid(&["current_password"]);
        for new in [&*ada.password, "Password123!", "Ada-Someone-Else-9", "short"] {
            change(&ada.password, new).invalid(&["new_password"]);
        }
        other.api.get("/api/v1/me").is(200);
        assert_eq!(server.audited("PASSWORD_CHANGE", "success"), 0);
        change(&ada.password, "Zebra-Quartz-77!").is(204);
        assert_eq!(server.audited("PASSWORD_CHANGE", "success"), 1);
        other.api.get("/api/v1/me").is(401);
        server.try_log_in(&ada.email, &ada.password).is(401);
        server.advance(Duration::from_secs(2 * 365 * 86_400));
        server.log_in(&ada.email, "Zebra-Quartz-77!");
    }

    /// ASVS 11.2.1 and 11.4.2: old hashes give way to those that the settings ask for, at the next login.
    fn hashes_follow_the_settings_at_login(pair) {
        let world = World::new(pair);
        let mut server = world.start(&[]);
        let ada = server.person("ada");
        assert!(world.has_stored("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(server.stop(), Some(0));
        let costlier = [("ARGON2_MEMORY_KIB", "32768"), ("ARGON2_ITERATIONS", "3")];
        let server = world.start(&costlier);
        server.try_log_in(&ada.email, "Wrong-horse-battery-9").is(401);
        assert!(!world.has_stored("$argon2id$v=19$m=32768,t=3,p=1$"), "nobody has proved anything");
        let logins = at_once(6, |_| server.try_log_in(&ada.email, &ada.password).status);
        let is_fair = |status: &u16| [200, 503].contains(status);
        assert!(logins.iter().all(is_fair) && logins.contains(&200), "a renewal costs no login: {logins:?}");
        assert!(world.has_stored("$argon2id$v=19$m=32768,t=3,p=1$"));
        server.log_in(&ada.email, &ada.password);
        server.try_log_in(&ada.email, "Wrong-horse-battery-9").is(401);
        server.user(&ada.tokens.access).get("/api/v1/me").is(200);
    }
}

#[test]
fn a_hash_below_the_floor_or_above_all_reason_stops_the_start() {
    let world = World::new(Pair::Embedded);
    for (settings, name) in [
        (vec![("ARGON2_MEMORY_KIB", "12287")], "ARGON2_MEMORY_KIB"),
        (vec![("ARGON2_MEMORY_KIB", "19455")], "ARGON2_MEMORY_KIB"),
        (vec![("ARGON2_ITERATIONS", "1")], "ARGON2_MEMORY_KIB"),
        (vec![("ARGON2_ITERATIONS", "1"), ("ARGON2_MEMORY_KIB", "47103")], "ARGON2_MEMORY_KIB"),
        (vec![("ARGON2_ITERATIONS", "0")], "ARGON2_ITERATIONS"),
        (vec![("ARGON2_MEMORY_KIB", "4194304")], "ARGON2_MEMORY_KIB"),
        (vec![("ARGON2_ITERATIONS", "1000000")], "ARGON2_ITERATIONS"),
        (vec![("ARGON2_PARALLELISM", "255")], "ARGON2_PARALLELISM"),
        (vec![("PASSWORD_POLICY", "none")], "PASSWORD_POLICY"),
    ] {
        let refused = world.run(&["serve"], &settings, "");
        assert_eq!(refused.code, Some(1), "{settings:?}: {refused:?}");
        assert!(refused.stderr.contains(name), "{settings:?}: {refused:?}");
    }
    for (memory, iterations) in [("47104", "1"), ("19456", "2"), ("12288", "3")] {
        let settings = [("ARGON2_MEMORY_KIB", memory), ("ARGON2_ITERATIONS", iterations)];
        assert_eq!(world.run(&["check"], &settings, "").code, Some(0), "{settings:?}");
    }
}

#[test]
fn calibration_prints_settings_that_are_good_enough() {
    let world = World::new(Pair::Embedded);
    for target in ["10", "120"] {
        let calibrated = world.run(&["admin", "calibrate", "--target-ms", target], &[], "");
        assert_eq!(calibrated.code, Some(0), "{calibrated:?}");
        let lines = calibrated.stdout.lines().filter(|line| !line.starts_with('#'));
        let settings: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
        let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["ARGON2_MEMORY_KIB", "ARGON2_ITERATIONS", "ARGON2_PARALLELISM"]);
        assert_eq!(world.run(&["check"], &settings, "").code, Some(0), "{settings:?}");
    }
}
