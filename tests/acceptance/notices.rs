//! Notices: owners can read what happens to their accounts, and get it by mail where mail is set up.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Client, MailServer, Pair, Person, Server, Tokens, World, eventually, promise, tls_file,
};

const NOTICES: &str = "/api/v1/me/notices";
const PASSWORD: &str = "/api/v1/auth/password";
const UNVERIFIED: (&str, &str) = ("EMAIL_VERIFICATION", "off");

fn kinds(client: &Client) -> Vec<String> {
    let items = client.get(NOTICES).is(200).items();
    items.iter().map(|notice| notice["kind"].as_str().expect("a kind").to_owned()).collect()
}

#[track_caller]
fn change_password(person: &Person) {
    let body = json!({"current_password": person.password, "new_password": "Another-horse-battery-9"});
    person.api.post(PASSWORD, &body).is(204);
}

/// Uses a refresh token that was spent long ago.
#[track_caller]
fn replay(server: &Server, person: &Person) {
    let next = Tokens::of(&server.refresh(&person.tokens.refresh).is(200));
    server.refresh(&next.refresh).is(200);
    server.refresh(&person.tokens.refresh).refused(401, "invalid_token");
}

/// What is mailed goes encrypted, to whom the certificate says, or not at all.
#[test]
fn mail_is_encrypted_or_stays_here() {
    let mail = MailServer::start();
    let world = World::new(Pair::Embedded);
    let (secret, authority, stranger) =
        ("Never-to-be-read-smtp-4713", tls_file("authority.crt"), tls_file("stranger.crt"));
    world.remember(secret);
    let url = mail.url("postman", secret);
    let start = |authority: &str| mail.join(&world, &[("SMTP_URL", &url), ("SSL_CERT_FILE", authority)]);
    let refused = |server: &Server, times: usize| {
        eventually("it is told", || {
            (server.log().matches("a mail could not be sent").count() == times).then_some(())
        });
        assert!(mail.mails().is_empty());
    };
    let mut server = start(&stranger);
    let admin = server.admin();
    let invite = |client: &Client, email: &str| {
        client.post("/api/v1/admin/users", &json!({"email": email, "role": "user"})).is(201);
    };
    // Somebody on the way takes the offer out, or encrypts as somebody else: no sender, no password, no mail in the
    // clear.
    invite(&admin.api, "ada@example.com");
    refused(&server, 1);
    mail.offer_tls(true);
    server.advance(Duration::from_secs(3600));
    refused(&server, 2);
    assert_eq!(server.stop(), Some(0));
    let server = start(&authority);
    server.advance(Duration::from_secs(6 * 3600));
    mail.take("ada@example.com", "#token=");
    let told: Vec<String> = mail.in_the_clear();
    assert!(told.iter().all(|command| ["EHLO", "STARTTLS", "QUIT"].contains(&&**command)), "{told:?}");
}

promise! {
    fn a_stolen_refresh_token_is_told_to_its_owner(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let elsewhere = server.log_in(&ada.email, &ada.password);
        replay(&server, &ada);
        assert_eq!(kinds(&elsewhere.api), ["session_replayed"]);
        assert_eq!(kinds(&grace.api), [] as [&str; 0], "nobody else's");
        mail.take(&ada.email, "refresh token was used a second time");
        let mailed = || elsewhere.api.get(NOTICES).is(200).items()[0]["mailed_at"].is_string().then_some(());
        eventually("a date of mailing", mailed);
    }

    fn without_mail_owners_read_it_here(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let key = server.key(&ada.make_key(&["models:read"]));
        change_password(&ada);
        let notice = ada.api.get(NOTICES).is(200).items().remove(0);
        assert_eq!((&notice["kind"], &notice["mailed_at"]), (&json!("password_changed"), &Value::Null));
        assert!(notice["text"].as_str().is_some_and(|text| text.contains("password")), "{notice}");
        key.get(NOTICES).refused(403, "forbidden");
    }

    fn changes_of_second_factors_are_told(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let ada = server.person("ada");
        let (authenticator, _) = ada.enrol(&server);
        let code = || json!({"code": authenticator.next_code(&server)});
        ada.api.post("/api/v1/me/mfa/recovery-codes", &code()).is(200);
        assert_eq!(kinds(&ada.api), ["recovery_codes_renewed", "second_factor_added"]);
        let body = code().to_string();
        ada.api.send("DELETE", "/api/v1/me/mfa/totp", Some("application/json"), body.as_bytes()).is(204);
        assert_eq!(kinds(&ada.api)[0], "second_factor_removed");
        admin.api.delete(&format!("/api/v1/admin/users/{}/mfa", ada.id)).is(204);
        let ada = server.log_in(&ada.email, &ada.password);
        assert_eq!(kinds(&ada.api)[0], "second_factor_reset");
    }

    fn a_login_from_a_new_network_is_told_once(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED, ("TRUSTED_PROXIES", "127.0.0.1")]);
        let from = |address: &str| {
            server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address)
        };
        let account = json!({"email": "ada@example.com", "password": "Correct-horse-battery-9", "name": "Ada King"});
        from("203.0.113.7").post("/api/v1/auth/register", &account).is(201);
        let log_in = |address: &str| {
            let body = json!({"email": account["email"], "password": account["password"]});
            let tokens = Tokens::of(&from(address).post("/api/v1/auth/login", &body).is(200));
            kinds(&server.user(&tokens.access))
        };
        assert_eq!(log_in("203.0.113.7"), [] as [&str; 0], "the first login is no news");
        assert_eq!(log_in("203.0.113.7"), [] as [&str; 0]);
        assert_eq!(log_in("2001:db8::1"), ["new_network"]);
        assert_eq!(log_in("2001:db8::2"), ["new_network"], "of the same network");
        assert_eq!(log_in("198.51.100.9"), ["new_network", "new_network"]);
        for _ in 0..2 {
            let mail = mail.take("ada@example.com", "from a network");
            assert!(!mail.text.contains("198.51") && !mail.text.contains("2001:db8"), "{}", mail.text);
        }
    }

    fn a_mail_outlives_a_restart_and_a_mail_server_that_says_not_now(pair) {
        let mail = MailServer::start();
        let world = World::new(pair);
        mail.refuse(451);
        let mut server = mail.join(&world, &[UNVERIFIED]);
        let ada = server.person("ada");
        change_password(&ada);
        let told = server.wait_for_log("a mail that was not sent", |entry| entry["then"] == "it will be tried again");
        assert_eq!(told["reason"], "the mail server answered 451");
        assert_eq!(server.stop(), Some(0));
        assert!(!server.log().contains("ada@example.com"), "addresses stay out of logs");
        mail.refuse(0);
        let server = mail.join(&world, &[UNVERIFIED]);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(mail.mails().is_empty(), "not before its time");
        server.advance(Duration::from_secs(31));
        mail.take(&ada.email, "The password was changed");
    }

    fn a_mail_that_nobody_takes_is_given_up(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        mail.refuse(550);
        change_password(&ada);
        server.wait_for_log("a mail that is given up", |entry| entry["then"] == "it is given up");
        mail.refuse(451);
        replay(&server, &server.log_in(&ada.email, "Another-horse-battery-9"));
        for tried in 1..=8 {
            let count = || {
                let tries = server.log().matches("the mail server answered 451").count();
                (tries >= tried).then_some(())
            };
            eventually("one more try", count);
            server.advance(Duration::from_secs(3600));
        }
        let given_up = || (server.log().matches("it is given up").count() == 2).then_some(());
        eventually("the end of it", given_up);
        mail.refuse(0);
        server.advance(Duration::from_secs(86_400));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(mail.mails().is_empty());
        let ada = server.log_in(&ada.email, "Another-horse-battery-9");
        assert_eq!(kinds(&ada.api), ["session_replayed", "password_changed"], "they are there to read");
    }
}

#[test]
fn mail_is_not_sent_in_the_clear_where_encryption_is_insisted_on() {
    let mail = MailServer::start();
    let insisting = format!("{}?tls=required", mail.settings()[0].1);
    let server = mail.server(Pair::Embedded, &[UNVERIFIED, ("SMTP_URL", &insisting)]);
    change_password(&server.person("ada"));
    server.wait_for_log("a mail that was not sent", |entry| entry["message"] == "a mail could not be sent");
    assert!(mail.mails().is_empty());
}

#[test]
fn settings_that_make_no_mail_possible_stop_the_start() {
    let world = World::new(Pair::Embedded);
    let url = ("SMTP_URL", "smtps://robot:hush-hush-hush@mail.example.com");
    let from = ("SMTP_FROM", "Modelgate <no-reply@example.com>");
    let base = ("PUBLIC_URL", "https://models.example.com");
    for (settings, named) in [
        (vec![url, base], "SMTP_FROM is required"),
        (vec![url, from], "PUBLIC_URL is required"),
        (vec![("EMAIL_VERIFICATION", "on")], "EMAIL_VERIFICATION=on needs SMTP_URL"),
        (vec![("SMTP_URL", "mail.example.com:25"), from, base], "SMTP_URL must be"),
        (vec![url, from, ("PUBLIC_URL", "models.example.com")], "PUBLIC_URL"),
        (vec![url, from, ("PUBLIC_URL", "https://models.example.com/?a=b")], "PUBLIC_URL"),
        (vec![url, from, ("PUBLIC_URL", "javascript://models.example.com")], "PUBLIC_URL"),
        (vec![url, ("SMTP_FROM", "nobody"), base], "SMTP_FROM"),
        (
            vec![("APP_ENV", "production"), url, from, ("PUBLIC_URL", "http://models.example.com")],
            "PUBLIC_URL must begin with https://",
        ),
    ] {
        let refused = world.run(&["serve"], &settings, "");
        assert_ne!(refused.code, Some(0), "{settings:?}");
        assert!(refused.stderr.contains(named), "{settings:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
    }
    let checked = world.run(&["check"], &[("SMTP_URL", "smtp://mail.example.com?tls=none"), from, base], "");
    assert!(checked.stdout.contains("in the clear"), "{}", checked.stdout);
}
