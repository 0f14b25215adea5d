//! A forgotten password is replaced by a link that is good once, for an hour, for its owner, and for nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, MailServer, Person, Reply, Server, at_once, promise};

const FORGOT: &str = "/api/v1/auth/password/forgot";
const RESET: &str = "/api/v1/auth/password/reset";
const NEW: &str = "Another-horse-battery-9";
const UNVERIFIED: (&str, &str) = ("EMAIL_VERIFICATION", "off");

#[track_caller]
fn forget(client: &Client, email: &str) -> Reply {
    client.post(FORGOT, &json!({"email": email})).is(202)
}

/// The token of the link that a person gets.
#[track_caller]
fn link(server: &Server, mail: &MailServer, person: &Person) -> String {
    forget(&server.anon(), &person.email);
    mail.take(&person.email, "reset-password#token=").token()
}

#[track_caller]
fn reset(server: &Server, token: &str, password: &str) -> Reply {
    server.anon().post(RESET, &json!({"token": token, "new_password": password}))
}

fn headers(reply: &Reply) -> BTreeSet<String> {
    reply.headers.keys().map(|name| name.as_str().to_owned()).collect()
}

promise! {
    fn a_link_sets_a_new_password_once_and_ends_every_session(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        let laptop = server.log_in(&ada.email, &ada.password);
        let key = server.key(&ada.make_key(&["models:read"]));
        let token = link(&server, &mail, &ada);
        ada.api.get("/api/v1/me").is(200);
        reset(&server, &token, NEW).is(204);
        for session in [&ada, &laptop] {
            session.api.get("/api/v1/me").refused(401, "invalid_token");
            server.refresh(&session.tokens.refresh).refused(401, "invalid_token");
        }
        key.get("/api/v1/models").is(200);
        server.try_log_in(&ada.email, &ada.password).refused(401, "invalid_credentials");
        let again = server.log_in(&ada.email, NEW);
        let notices = again.api.get("/api/v1/me/notices").is(200).items();
        assert_eq!(notices[0]["kind"], "password_reset");
        mail.take(&ada.email, "reset through a link");
        reset(&server, &token, "Third-horse-battery-9").refused(400, "invalid_link");
        server.log_in(&ada.email, NEW);
        assert_eq!(server.audited("password.reset_requested", "success"), 1);
        assert_eq!((server.audited("password.reset", "success"), server.audited("password.reset", "failure")), (1, 1));
    }

    fn a_reset_is_no_second_factor_and_ends_logins_under_way(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        let (authenticator, _) = ada.enrol(&server);
        mail.take(&ada.email, "A second factor was added");
        let under_way = server.try_log_in(&ada.email, &ada.password).is(200).member("mfa_token");
        let token = link(&server, &mail, &ada);
        reset(&server, &token, NEW).is(204);
        let finish = |token: &str, code: &str| {
            server.anon().post("/api/v1/auth/mfa", &json!({"mfa_token": token, "code": code}))
        };
        assert_eq!(finish(&under_way, &authenticator.next_code(&server)).status, 401);
        let asked = server.try_log_in(&ada.email, NEW).is(200);
        assert_eq!(asked.json().get("access_token"), None, "a code is still asked for");
        finish(&asked.member("mfa_token"), &authenticator.next_code(&server)).is(200);
    }

    fn nothing_tells_whether_an_address_has_an_account(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        let admin = server.admin();
        let off = server.person("off");
        admin.api.put(&format!("/api/v1/admin/users/{}", off.id), &json!({"active": false})).is(200);
        let known = forget(&server.anon(), &ada.email);
        for email in ["nobody@example.com", &off.email, "ADA@EXAMPLE.COM "] {
            let reply = server.anon().post(FORGOT, &json!({"email": email.trim()})).is(202);
            assert_eq!(reply.text(), known.text(), "{email}");
            assert_eq!(headers(&reply), headers(&known), "{email}");
        }
        mail.take(&ada.email, "reset-password");
        mail.take(&ada.email, "reset-password");
        std::thread::sleep(Duration::from_millis(1500));
        assert!(mail.mails().is_empty(), "{:?}", mail.mails());
    }

    fn without_mail_the_answer_is_the_same_and_nothing_is_sent(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let known = forget(&server.anon(), &ada.email);
        assert_eq!(forget(&server.anon(), "nobody@example.com").text(), known.text());
        ada.api.get("/api/v1/me").is(200);
    }

    fn asking_is_limited_by_who_asks_and_by_whom_it_is_about(pair) {
        let mail = MailServer::start();
        let settings = [UNVERIFIED, ("RATE_LIMIT_MAIL_PER_HOUR", "3"), ("TRUSTED_PROXIES", "127.0.0.1")];
        let server = mail.server(pair, &settings);
        let ask = |address: &str, email: &str| {
            let client = server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address);
            client.post(FORGOT, &json!({"email": email})).status
        };
        // By address: whatever the name.
        for number in 0..3 {
            assert_eq!(ask("203.0.113.1", &format!("one{number}@example.com")), 202);
        }
        assert_eq!(ask("203.0.113.1", "four@example.com"), 429);
        // By name: from wherever, in whatever spelling, known or not.
        for email in ["ada@example.com", "nobody@example.com"] {
            for (number, spelling) in [email.to_owned(), email.to_uppercase(), email.to_owned()].iter().enumerate() {
                assert_eq!(ask(&format!("198.51.100.{}", email.len() * 4 + number), spelling), 202, "{spelling}");
            }
            assert_eq!(ask(&format!("192.0.2.{}", email.len()), email), 429, "{email}");
        }
        server.advance(Duration::from_secs(3600));
        assert_eq!(ask("203.0.113.1", "ada@example.com"), 202);
    }

    fn of_many_who_use_a_link_at_once_one_succeeds(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED, ("PASSWORD_HASH_QUEUE", "64")]);
        let ada = server.person("ada");
        let token = link(&server, &mail, &ada);
        let password = |number: usize| format!("Horse-{number}-battery-Staple");
        let answers = at_once(5, |number| reset(&server, &token, &password(number)));
        let won: Vec<usize> = (0..5).filter(|number| answers[*number].status == 204).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        // A busy machine may shed one that waits for its hash.
        assert!(answers.iter().all(|reply| [204, 400, 503].contains(&reply.status)), "{answers:?}");
        reset(&server, &token, &password(9)).refused(400, "invalid_link");
        server.log_in(&ada.email, &password(won[0]));
    }

    fn a_link_ends_with_its_hour_the_password_and_the_account(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let admin = server.admin();
        let ada = server.person("ada");
        let late = link(&server, &mail, &ada);
        server.advance(Duration::from_secs(3601));
        reset(&server, &late, NEW).refused(400, "invalid_link");
        // Two links: the second dies with the password that the first replaced.
        let (first, second) = (link(&server, &mail, &ada), link(&server, &mail, &ada));
        reset(&server, &first, NEW).is(204);
        reset(&server, &second, "Third-horse-battery-9").refused(400, "invalid_link");
        let ada = server.log_in(&ada.email, NEW);
        let before = link(&server, &mail, &ada);
        let change = json!({"current_password": NEW, "new_password": "Fourth-horse-battery-9"});
        ada.api.post("/api/v1/auth/password", &change).is(204);
        reset(&server, &before, "Fifth-horse-battery-9").refused(400, "invalid_link");
        // Switched off, then deleted.
        let off = link(&server, &mail, &ada);
        let admin = server.log_in(&admin.email, &admin.password);
        let path = format!("/api/v1/admin/users/{}", ada.id);
        admin.api.put(&path, &json!({"active": false})).is(200);
        reset(&server, &off, "Fifth-horse-battery-9").refused(400, "invalid_link");
        admin.api.delete(&path).is(204);
        reset(&server, &off, "Fifth-horse-battery-9").refused(400, "invalid_link");
    }

    fn a_wish_that_breaks_a_rule_costs_no_link(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        let token = link(&server, &mail, &ada);
        for wish in ["short", "Modelgate-horse-9", &ada.password] {
            reset(&server, &token, wish).invalid(&["new_password"]);
        }
        ada.api.get("/api/v1/me").is(200);
        reset(&server, &token, NEW).is(204);
    }

    fn a_link_is_nothing_elsewhere_and_nothing_else_is_a_link(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let ada = server.person("ada");
        let token = link(&server, &mail, &ada);
        server.user(&token).get("/api/v1/me").refused(401, "invalid_token");
        server.refresh(&token).refused(401, "invalid_token");
        let accept = json!({"token": token, "password": NEW});
        server.anon().post("/api/v1/auth/invitations/accept", &accept).refused(400, "invalid_link");
        server.anon().post("/api/v1/auth/email/confirm", &json!({"token": token})).refused(400, "invalid_link");
        let mut other = token.clone();
        other.replace_range(4..5, if other[4..5] == *"a" { "b" } else { "a" });
        let before = server.world.state();
        for odd in ["", "mgp_", &other, &ada.tokens.access, &ada.tokens.refresh, &token.replacen("mgp_", "mgi_", 1)] {
            reset(&server, odd, NEW).refused(400, "invalid_link");
        }
        server.world.is_unchanged_since(&before);
        server.anon().post(&format!("{RESET}?token={token}"), &json!({"new_password": NEW})).is(400);
        server.anon().post(RESET, &json!({"token": token, "new_password": NEW, "email": "x@example.com"})).is(400);
        reset(&server, &token, NEW).is(204);
    }

    fn links_begin_with_the_public_url_whatever_the_host_header_says(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED, ("TRUSTED_PROXIES", "127.0.0.1")]);
        server.person("ada");
        let poisoned = server
            .anon()
            .with("Host", "evil.example")
            .with("X-Forwarded-Host", "evil.example")
            .with("X-Forwarded-For", "203.0.113.1")
            .with("X-Forwarded-Proto", "https")
            .with("X-Original-URL", "https://evil.example/");
        forget(&poisoned, "ada@example.com");
        let mail = mail.take("ada@example.com", "reset-password");
        assert!(mail.text.contains("https://models.example.com/reset-password#token=mgp_"), "{}", mail.text);
        assert!(!mail.text.contains("evil"), "{}", mail.text);
    }

    fn an_administrator_sends_a_link_and_chooses_no_password(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[UNVERIFIED]);
        let admin = server.admin();
        let ada = server.person("ada");
        let path = format!("/api/v1/admin/users/{}/reset-password", ada.id);
        let answer = admin.api.act(&path).is(200).json();
        assert_eq!((&answer["mailed"], answer.get("token"), answer.get("link")), (&json!(true), None, None));
        let token = mail.take(&ada.email, "reset-password#token=").token();
        mail.take(&ada.email, "An administrator asked for a link");
        admin.api.post(&path, &json!({"new_password": "Chosen-horse-battery-9"})).refused(400, "malformed_request");
        server.try_log_in(&ada.email, "Chosen-horse-battery-9").is(401);
        server.log_in(&ada.email, &ada.password);
        reset(&server, &token, NEW).is(204);
        server.log_in(&ada.email, NEW);
    }

    fn without_mail_the_administrator_passes_the_link_on(pair) {
        let server = Server::start(pair, &[("PUBLIC_URL", "https://models.example.com")]);
        let admin = server.admin();
        let ada = server.person("ada");
        let path = |person: &Person| format!("/api/v1/admin/users/{}/reset-password", person.id);
        let answer = admin.api.act(&path(&ada)).is(200);
        let token = answer.member("token");
        assert_eq!(answer.member("link"), format!("https://models.example.com/reset-password#token={token}"));
        let notices = ada.api.get("/api/v1/me/notices").is(200).items();
        assert_eq!(notices[0]["kind"], "password_reset_requested", "the owner is told");
        reset(&server, &token, NEW).is(204);
        server.log_in(&ada.email, NEW);
        // No way up, no key, no old login.
        let roles = json!({"name": "helpdesk", "permissions": ["users:read", "users:manage", "models:read"]});
        admin.api.post("/api/v1/admin/roles", &roles).is(201);
        let helper = server.person_with_role(&admin, "helper", "helpdesk");
        helper.api.act(&path(&admin)).refused(403, "forbidden");
        helper.api.act(&path(&ada)).refused(403, "forbidden");
        let key = server.key(&admin.make_key(&["users:manage"]));
        key.act(&path(&ada)).refused(403, "forbidden");
        server.advance(Duration::from_secs(901));
        admin.api.act(&path(&ada)).refused(401, "step_up_required");
    }

    fn a_link_is_void_once_its_account_may_do_more_than_when_it_was_made(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let role = |name: &str, permissions: &[&str]| json!({"name": name, "permissions": permissions});
        for role in [role("helpdesk", &["users:read", "users:manage", "models:read"]), role("crew", &["models:read"])] {
            admin.api.post("/api/v1/admin/roles", &role).is(201);
        }
        let helper = server.person_with_role(&admin, "helper", "helpdesk");
        let ada = server.person_with_role(&admin, "ada", "crew");
        let path = format!("/api/v1/admin/users/{}", ada.id);
        let link = || helper.api.act(&format!("{path}/reset-password")).is(200).member("token");
        // By a role of their own, or by more in the one they have; and when it was taken back, too.
        let token = link();
        for role in ["admin", "crew"] {
            admin.api.put(&path, &json!({"role": role})).is(200);
            reset(&server, &token, NEW).refused(400, "invalid_link");
        }
        let token = link();
        for permissions in [json!(["models:read", "system:manage"]), json!(["models:read"])] {
            admin.api.put("/api/v1/admin/roles/crew", &json!({"permissions": permissions})).is(200);
            reset(&server, &token, NEW).refused(400, "invalid_link");
        }
        reset(&server, &link(), NEW).is(204);
    }
}
