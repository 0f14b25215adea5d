//! E-mail verification: an address counts once it is confirmed, and nothing reveals whether it has an account already.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{MailServer, Person, Reply, Server, World, at_once, eventually, promise};

const REGISTER: &str = "/api/v1/auth/register";
const CHANGE: &str = "/api/v1/auth/email/change";
const CONFIRM: &str = "/api/v1/auth/email/confirm";
const PASSWORD: &str = "Correct-horse-battery-9";
const UNVERIFIED: (&str, &str) = ("EMAIL_VERIFICATION", "off");
const NEW: &str = "countess@example.com";

fn account(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "name": "Someone Else"})
}

#[track_caller]
fn confirm(server: &Server, token: &str) -> Reply {
    server.anon().post(CONFIRM, &json!({"token": token}))
}

/// Asks for another address; gives the link's token.
#[track_caller]
fn ask(mail: &MailServer, person: &Person, email: &str) -> String {
    person.api.post(CHANGE, &json!({"email": email})).is(202);
    mail.take(email, "confirm-email#token=").token()
}

promise! {
    fn a_registration_counts_once_its_address_is_proved(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[]);
        let admin = server.admin();
        let free = server.anon().post(REGISTER, &account("ada@example.com")).is(202);
        let token = mail.take("ada@example.com", "https://models.example.com/confirm-email#token=").token();
        server.try_log_in("ada@example.com", PASSWORD).refused(401, "invalid_credentials");
        assert_eq!(admin.api.get("/api/v1/admin/users").items().len(), 1, "there is no account yet");
        confirm(&server, &token).is(204);
        let ada = server.log_in("ada@example.com", PASSWORD);
        assert_eq!(ada.api.get("/api/v1/me").json()["role"], "user");
        confirm(&server, &token).refused(400, "invalid_link");
        // Taken and free look the same, and the owner learns of it.
        let taken = server.anon().post(REGISTER, &account("Ada@Example.com")).is(202);
        assert_eq!(taken.text(), free.text());
        let word = mail.take("Ada@Example.com", "you have an account already");
        assert!(!word.text.contains("token="), "{}", word.text);
        server.log_in("ada@example.com", PASSWORD);
    }

    fn of_two_who_register_one_address_the_first_to_prove_it_has_it(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[]);
        let tokens = [0, 1].map(|_| {
            server.anon().post(REGISTER, &account("ada@example.com")).is(202);
            mail.take("ada@example.com", "confirm-email").token()
        });
        let mut answers = at_once(2, |number| confirm(&server, &tokens[number]).status);
        answers.sort_unstable();
        assert_eq!(answers, [204, 400]);
        server.log_in("ada@example.com", PASSWORD);
    }

    fn a_registration_says_what_it_may_and_its_link_ends(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[]);
        for member in ["role", "active", "email_verified", "permissions", "id"] {
            let mut body = account("ada@example.com");
            body[member] = json!("admin");
            server.anon().post(REGISTER, &body).refused(400, "malformed_request");
        }
        let mut weak = account("ada@example.com");
        weak["password"] = json!("short");
        server.anon().post(REGISTER, &weak).invalid(&["password"]);
        server.anon().post(REGISTER, &account("ada@example.com")).is(202);
        let token = mail.take("ada@example.com", "confirm-email").token();
        server.advance(Duration::from_secs(86_401));
        confirm(&server, &token).refused(400, "invalid_link");
        assert!(mail.mails().is_empty());
    }

    fn an_address_changes_once_the_new_one_is_proved_and_the_old_one_is_told(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        server.anon().post("/api/v1/auth/password/forgot", &json!({"email": ada.email})).is(202);
        let reset = mail.take(&ada.email, "reset-password").token();
        let token = ask(&mail, &ada, NEW);
        mail.take("ada@example.com", "Another e-mail address was asked for");
        assert_eq!(ada.api.get("/api/v1/me").member("email"), "ada@example.com", "not yet");
        server.try_log_in(NEW, PASSWORD).refused(401, "invalid_credentials");
        confirm(&server, &token).is(204);
        mail.take("ada@example.com", "The e-mail address was changed");
        assert_eq!(ada.api.get("/api/v1/me").member("email"), NEW);
        server.log_in(NEW, PASSWORD);
        server.try_log_in("ada@example.com", PASSWORD).refused(401, "invalid_credentials");
        confirm(&server, &token).refused(400, "invalid_link");
        assert_eq!(server.audited("email.change_requested", "success"), 1);
        for outcome in ["success", "failure"] {
            assert_eq!(server.audited("email.confirmed", outcome), 1, "{outcome}");
        }
        // A link to a new password that went to the old address is void.
        let body = json!({"token": reset, "new_password": "Another-horse-battery-9"});
        server.anon().post("/api/v1/auth/password/reset", &body).refused(400, "invalid_link");
        let kinds: Vec<Value> =
            ada.api.get("/api/v1/me/notices").items().iter().map(|notice| notice["kind"].clone()).collect();
        assert_eq!(kinds, ["email_changed", "email_change_requested"]);
    }

    fn a_taken_address_is_not_told_and_not_given(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let free = ada.api.post(CHANGE, &json!({"email": NEW})).is(202);
        let taken = ada.api.post(CHANGE, &json!({"email": grace.email})).is(202);
        assert_eq!(free.text(), taken.text());
        let token = mail.take(NEW, "confirm-email").token();
        // Meanwhile somebody else registers it.
        server.anon().post(REGISTER, &account(NEW)).is(201);
        confirm(&server, &token).refused(409, "email_taken");
        assert_eq!(ada.api.get("/api/v1/me").member("email"), ada.email);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!mail.mails().iter().any(|mail| mail.to == grace.email), "{:?}", mail.mails());
        ada.api.post(CHANGE, &json!({"email": ada.email})).invalid(&["email"]);
    }

    fn of_two_who_want_one_address_one_gets_it(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let people = [server.person("ada"), server.person("grace")];
        let tokens = [0, 1].map(|number| ask(&mail, &people[number], NEW));
        let mut answers = at_once(2, |number| confirm(&server, &tokens[number]).status);
        answers.sort_unstable();
        assert_eq!(answers, [204, 409]);
    }

    fn a_change_of_address_dies_with_the_password_and_needs_a_recent_proof(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        let token = ask(&mail, &ada, NEW);
        let change = json!({"current_password": PASSWORD, "new_password": "Another-horse-battery-9"});
        ada.api.post("/api/v1/auth/password", &change).is(204);
        confirm(&server, &token).refused(400, "invalid_link");
        let key = server.key(&ada.make_key(&["models:read"]));
        key.post(CHANGE, &json!({"email": NEW})).refused(403, "forbidden");
        server.advance(Duration::from_secs(901));
        ada.api.post(CHANGE, &json!({"email": NEW})).refused(401, "step_up_required");
        assert_eq!(ada.api.get("/api/v1/me").member("email"), ada.email);
    }

    fn nobody_mails_the_world_with_changes_of_address(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED, ("RATE_LIMIT_MAIL_PER_HOUR", "2")]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let ask = |person: &Person, email: &str| person.api.post(CHANGE, &json!({"email": email})).status;
        assert_eq!([1, 2, 3].map(|number| ask(&ada, &format!("one{number}@example.com"))), [202, 202, 429]);
        // By whom it goes to, whoever asks.
        assert_eq!([ask(&grace, NEW), ask(&grace, NEW)], [202, 202]);
        server.advance(Duration::from_secs(600));
        let laptop = server.log_in(&ada.email, &ada.password);
        assert_eq!(ask(&laptop, "four@example.com"), 429, "with another session, too");
    }

    fn what_strangers_ask_for_uses_up_no_link_to_a_password(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[("RATE_LIMIT_MAIL_PER_HOUR", "2")]);
        let register = |email: &str| server.anon().post(REGISTER, &account(email)).status;
        let [ada, eve] = ["ada@example.com", "eve@example.com"].map(|email| {
            assert_eq!(register(email), 202);
            confirm(&server, &mail.take(email, "confirm-email#token=").token()).is(204);
            server.log_in(email, PASSWORD)
        });
        assert_eq!([register(&ada.email), register(&ada.email)], [202, 429], "the first one made her account");
        let change = || eve.api.post(CHANGE, &json!({"email": ada.email})).status;
        assert_eq!([change(), change(), change()], [202, 202, 429]);
        let forget = || server.anon().post("/api/v1/auth/password/forgot", &json!({"email": ada.email})).status;
        for _ in 0..2 {
            assert_eq!(forget(), 202);
            mail.take(&ada.email, "reset-password#token=");
        }
        assert_eq!(forget(), 429, "each of these was a link");
    }

    fn without_mail_no_address_can_be_proved(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        ada.api.post(CHANGE, &json!({"email": NEW})).refused(409, "mail_unavailable");
        assert_eq!(ada.api.get("/api/v1/me/notices").items().len(), 0);
    }

    fn what_a_move_made_void_stays_void_when_the_address_comes_back(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        let stolen = ask(&mail, &ada, "eve@example.com");
        server.anon().post("/api/v1/auth/password/forgot", &json!({"email": ada.email})).is(202);
        let reset = mail.take(&ada.email, "reset-password").token();
        for email in [NEW, &ada.email] {
            confirm(&server, &ask(&mail, &ada, email)).is(204);
        }
        assert_eq!(ada.api.get("/api/v1/me").member("email"), ada.email);
        confirm(&server, &stolen).refused(400, "invalid_link");
        let body = json!({"token": reset, "new_password": "Another-horse-battery-9"});
        server.anon().post("/api/v1/auth/password/reset", &body).refused(400, "invalid_link");
    }

    fn a_change_of_address_does_not_outlive_the_account_being_off(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let token = ask(&mail, &ada, NEW);
        for active in [false, true] {
            admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"active": active})).is(200);
            confirm(&server, &token).refused(400, "invalid_link");
        }
    }

    fn no_registration_makes_an_account_anew_that_was_erased_or_removed(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[]);
        let admin = server.admin();
        let register = || {
            server.anon().post(REGISTER, &account("ada@example.com")).is(202);
            mail.take("ada@example.com", "confirm-email").token()
        };
        let (first, second) = (register(), register());
        confirm(&server, &first).is(204);
        server.log_in("ada@example.com", PASSWORD).api.delete("/api/v1/me").is(204);
        confirm(&server, &second).refused(400, "invalid_link");
        // Nor where the account came to be in another way.
        let waiting = register();
        let invited = json!({"email": "ada@example.com", "role": "user"});
        let id = admin.api.post("/api/v1/admin/users", &invited).is(201).member("id");
        admin.api.delete(&format!("/api/v1/admin/users/{id}")).is(204);
        confirm(&server, &waiting).refused(400, "invalid_link");
        confirm(&server, &register()).is(204);
    }

    fn a_mail_that_waits_for_its_server_makes_no_erased_account_anew(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[]);
        let register = || server.anon().post(REGISTER, &account("ada@example.com")).is(202);
        register();
        let first = mail.take("ada@example.com", "confirm-email").token();
        mail.refuse(451);
        register();
        server.anon().post("/api/v1/auth/password/forgot", &json!({"email": "ada@example.com"})).is(202);
        confirm(&server, &first).is(204);
        server.log_in("ada@example.com", PASSWORD).api.delete("/api/v1/me").is(204);
        let waits = || server.world.sql("SELECT count(*) FROM outbox").trim() != "0";
        eventually("that nothing waits any more", || (!waits()).then_some(()));
    }

    fn a_registration_is_not_confirmed_once_registration_is_closed(pair) {
        let (mail, world) = (MailServer::start(), World::new(pair));
        let mut server = mail.join(&world, &[]);
        server.anon().post(REGISTER, &account("ada@example.com")).is(202);
        let token = mail.take("ada@example.com", "confirm-email").token();
        assert_eq!(server.stop(), Some(0));
        let mut server = mail.join(&world, &[("REGISTRATION", "closed")]);
        confirm(&server, &token).refused(403, "registration_closed");
        assert_eq!(server.stop(), Some(0));
        confirm(&mail.join(&world, &[]), &token).is(204);
    }
}
