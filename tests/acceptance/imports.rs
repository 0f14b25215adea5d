//! Import: people from another system come with their password hashes, and keep their passwords.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, promise};

const PASSWORD: &str = "Correct-horse-battery-9";
/// Of that password, made by argon2-cffi, bcrypt and passlib.
const HASHES: [&str; 5] = [
    "$argon2id$v=19$m=8192,t=3,p=2$RMDU92ANYR3Ss/uFSD6a1A$gPlh3jckS+xlyQxk8HckgNdlxPTKLy9Z8zTYZxo6SRU",
    "$2b$04$91YXJR5bB1EyenTHykdUOOlRzHwKBGaknKaoqGF3EjDIyVHAcHOZy",
    "$2a$04$9uaLjOCrXl6rOrA65Ceieeqa1SNLgeFinilk6TXvOqeKL/E3UFVRa",
    "$2y$04$JrohceTOMAGD64tXgNVzq.dLQPQ3K9eBibM7Dg4.8afmU2ZjUXVji",
    "$pbkdf2-sha256$1000$.z.nVIqRcq6Vck4JobQW4g$C/4Obpsytef0zL5ORxdWxJwP52x1Zhiafnw.ecUapc0",
];
/// Of 72 bytes, which are all that bcrypt reads.
const LONG: &str = "$2b$04$7pU7.eV5B5Dp0eVN7Q7Yo.7zAtUD0oVCeDxJkyqfCsknPc098ibVi";

fn person(name: &str, hash: &str) -> Value {
    json!({"email": format!("{name}@example.com"), "name": "Someone Else", "password_hash": hash})
}

fn lines(people: &[Value]) -> String {
    people.iter().map(|person| format!("{person}\n")).collect()
}

/// Imports what must be refused, naming a line and telling no hash.
#[track_caller]
fn refused(server: &Server, text: &str, line: usize) {
    let imported = server.cli(&["admin", "import", "-"], text);
    assert_eq!(imported.code, Some(1), "{text}: {imported:?}");
    assert!(imported.stderr.contains(&format!("line {line}: ")), "{text}: {imported:?}");
    for hash in HASHES {
        assert!(!imported.stderr.contains(hash) && !imported.stdout.contains(hash), "{imported:?}");
    }
}

promise! {
    fn imported_people_keep_their_passwords_and_get_better_hashes(pair) {
        let server = Server::start(pair, &[]);
        HASHES.iter().for_each(|hash| server.world.remember(hash));
        let names = ["ada", "grace", "emmy", "lise", "mary"];
        let people: Vec<Value> = names.iter().zip(HASHES).map(|(name, hash)| person(name, hash)).collect();
        let path = server.world.folder().join("people.jsonl");
        std::fs::write(&path, lines(&people)).expect("a file");
        let imported = server.cli(&["admin", "import", &path.display().to_string()], "");
        assert!(imported.code == Some(0) && imported.stdout.contains("5 accounts"), "{imported:?}");
        for (name, hash) in names.iter().zip(HASHES) {
            let email = format!("{name}@example.com");
            assert!(server.world.has_stored(hash), "{hash}");
            // Attack case 47: what the database holds opens nothing.
            for wrong in [hash, "Correct-horse-battery-8", ""] {
                server.try_log_in(&email, wrong).refused(401, "invalid_credentials");
            }
            let person = server.log_in(&email, PASSWORD);
            assert_eq!(person.api.get("/api/v1/me").member("role"), "user");
            server.log_in(&email, PASSWORD);
            server.try_log_in(&email, hash).refused(401, "invalid_credentials");
        }
        assert!(server.world.has_stored("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(server.audited("account.created", "success"), 5);
        server.world.audit_events().iter().filter(|event| event["action"] == "account.created").for_each(|event| {
            assert_eq!(event["detail"], json!({"imported": true, "role": "user"}));
        });
    }

    /// What bcrypt never read is not held against anyone, once; from then on every character counts.
    fn a_long_password_from_bcrypt_counts_in_full_after_the_first_login(pair) {
        let server = Server::start(pair, &[]);
        let imported = server.cli(&["admin", "import", "-"], &lines(&[person("ada", LONG)]));
        assert_eq!(imported.code, Some(0), "{imported:?}");
        let full = format!("{}and more", &"Correct-horse-battery-9-".repeat(3)[..72]);
        server.try_log_in("ada@example.com", &full[..71]).is(401);
        server.log_in("ada@example.com", &full);
        server.try_log_in("ada@example.com", &full[..72]).is(401);
        server.try_log_in("ada@example.com", &format!("{full}!")).is(401);
        server.log_in("ada@example.com", &full);
    }

    /// Attack case 46 again, where someone has written to the database: it is not computed, and nothing tells it apart.
    fn a_planted_hash_that_costs_too_much_is_never_computed(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for planted in [
            HASHES[0].replace("m=8192,t=3", "m=4194304,t=1000000"),
            HASHES[1].replace("$04$", "$31$"),
            HASHES[4].replace("$1000$", "$4000000000$"),
        ] {
            server.world.sql(&format!("UPDATE credentials SET secret = '{planted}' WHERE kind = 'password'"));
            let started = Instant::now();
            server.try_log_in(&ada.email, &ada.password).refused(401, "invalid_credentials");
            server.try_log_in(&ada.email, &planted).refused(401, "invalid_credentials");
            assert!(started.elapsed() < Duration::from_secs(10), "{planted}: {:?}", started.elapsed());
        }
        ada.api.get("/api/v1/me").is(200);
    }

    fn a_role_comes_along_and_a_password_need_not(pair) {
        let server = Server::start(pair, &[]);
        let mut admin = person("root", HASHES[1]);
        admin["role"] = json!("admin");
        let without = json!({"email": "ada@example.com", "name": "Ada"});
        assert_eq!(server.cli(&["admin", "import", "-"], &lines(&[admin, without])).code, Some(0));
        let root = server.log_in("root@example.com", PASSWORD);
        root.api.get("/api/v1/admin/users").is(200);
        for guess in ["", PASSWORD, "null"] {
            server.try_log_in("ada@example.com", guess).refused(401, "invalid_credentials");
        }
    }

    /// Attack case 46, and everything else that a file can have wrong: then nobody is imported.
    fn one_bad_line_imports_nobody_and_is_named(pair) {
        let server = Server::start(pair, &[]);
        let taken = server.person("taken");
        let good = person("ada", HASHES[1]);
        let accounts = || {
            let stored = "SELECT id FROM accounts UNION SELECT account_id FROM people \
                          UNION SELECT account_id FROM credentials ORDER BY 1";
            (server.world.sql(stored), server.audited("account.created", "success"))
        };
        let before = accounts();
        let argon2 = |costs: &str| HASHES[0].replace("m=8192,t=3,p=2", costs);
        for hash in [
            argon2("m=4194304,t=3,p=1"),
            argon2("m=8192,t=1000000,p=1"),
            argon2("m=8192,t=3,p=255"),
            HASHES[1].replace("$04$", "$31$"),
            HASHES[4].replace("$1000$", "$4000000000$"),
            "5f4dcc3b5aa765d61d8327deb882cf99".into(),
            PASSWORD.into(),
            String::new(),
        ] {
            refused(&server, &lines(&[good.clone(), person("bomb", &hash)]), 2);
        }
        let with = |name: &str, value: Value| {
            let mut person = person("odd", HASHES[1]);
            person[name] = value;
            person
        };
        for odd in [
            with("email", json!("no address")),
            with("email", json!("ADA@example.com")),
            with("email", json!("Taken@Example.com")),
            with("email", Value::Null),
            with("name", json!("<b>")),
            with("role", json!("emperor")),
            with("id", json!("00000000-0000-7000-8000-000000000000")),
            with("is_admin", json!(true)),
            json!([]),
            json!("ada"),
        ] {
            refused(&server, &lines(&[good.clone(), odd]), 2);
        }
        refused(&server, "not JSON\n", 1);
        refused(&server, &format!("{good}\n\n{good}\n"), 2);
        assert_eq!(accounts(), before);
        server.try_log_in("ada@example.com", PASSWORD).refused(401, "invalid_credentials");
        taken.api.get("/api/v1/me").is(200);
        let nowhere = server.cli(&["admin", "import", "/nowhere/people.jsonl"], "");
        assert!(nowhere.code == Some(1) && nowhere.stderr.contains("/nowhere/people.jsonl"), "{nowhere:?}");
        assert_eq!(server.cli(&["admin", "import", "-"], &lines(&[good])).code, Some(0));
        server.log_in("ada@example.com", PASSWORD);
    }
}
