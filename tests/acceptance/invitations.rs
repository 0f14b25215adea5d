//! An administrator makes an account, its owner chooses the password.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{MailServer, Person, Reply, Server, at_once, promise};

const USERS: &str = "/api/v1/admin/users";
const ACCEPT: &str = "/api/v1/auth/invitations/accept";
const PASSWORD: &str = "Correct-horse-battery-9";
const ADA: &str = "ada@example.com";

#[track_caller]
fn invite(admin: &Person, body: &Value) -> String {
    let answer = admin.api.post(USERS, body).is(201).json();
    assert_eq!(answer["invitation"]["mailed"], false, "{answer}");
    answer["invitation"]["token"].as_str().expect("a token").to_owned()
}

/// Somebody who manages users and may do what a user may, and no more.
fn helper(server: &Server, admin: &Person) -> Person {
    let permissions = ["users:read", "users:manage", "models:read", "models:infer", "files:write"];
    let role = json!({"name": "helpdesk", "permissions": permissions});
    admin.api.post("/api/v1/admin/roles", &role).is(201);
    server.person_with_role(admin, "helper", "helpdesk")
}

#[track_caller]
fn accept(server: &Server, token: &str, name: Option<&str>) -> Reply {
    let mut body = json!({"token": token, "password": PASSWORD});
    if let Some(name) = name {
        body["name"] = json!(name);
    }
    server.anon().post(ACCEPT, &body)
}

promise! {
    fn an_invitation_is_mailed_and_accepted(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[]);
        let admin = server.admin();
        let answer = admin.api.post(USERS, &json!({"email": ADA, "role": "moderator"})).is(201).json();
        assert_eq!((&answer["email"], &answer["role"], &answer["name"]), (&json!(ADA), &json!("moderator"), &json!("")));
        let invitation = &answer["invitation"];
        assert_eq!((&invitation["mailed"], invitation.get("token")), (&json!(true), None), "{answer}");
        let token = mail.take(ADA, "https://models.example.com/accept-invitation#token=").token();
        server.try_log_in(ADA, PASSWORD).refused(401, "invalid_credentials");
        accept(&server, &token, None).invalid(&["name"]);
        let accepted = accept(&server, &token, Some("Ada King")).is(201).json();
        assert_eq!((&accepted["id"], &accepted["name"]), (&answer["id"], &json!("Ada King")));
        let ada = server.log_in(ADA, PASSWORD);
        assert_eq!(ada.api.get("/api/v1/me").json()["role"], "moderator");
        accept(&server, &token, Some("Eve")).refused(400, "invalid_link");
        for outcome in ["success", "failure"] {
            assert_eq!(server.audited("account.invitation_accepted", outcome), 1, "{outcome}");
        }
    }

    fn without_mail_the_administrator_passes_the_invitation_on(pair) {
        let server = Server::start(pair, &[("REGISTRATION", "closed")]);
        let admin = server.admin();
        let token = invite(&admin, &json!({"email": ADA, "name": "Ada King", "role": "user"}));
        accept(&server, &token, None).is(201);
        assert_eq!(server.log_in(ADA, PASSWORD).api.get("/api/v1/me").json()["name"], "Ada King");
    }

    fn an_invitation_needs_a_recent_proof_and_no_key_makes_one(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let body = json!({"email": ADA, "role": "user"});
        server.key(&admin.make_key(&["users:manage", "models:read", "models:infer", "files:write"])).post(USERS, &body).refused(403, "forbidden");
        server.advance(Duration::from_secs(901));
        admin.api.post(USERS, &body).refused(401, "step_up_required");
        assert_eq!(admin.api.get(USERS).is(200).items().len(), 1, "nothing was made");
    }

    fn of_many_who_accept_at_once_one_chooses_the_password(pair) {
        let server = Server::start(pair, &[("PASSWORD_HASH_QUEUE", "64")]);
        let token = invite(&server.admin(), &json!({"email": ADA, "role": "user"}));
        let answers = at_once(5, |_| accept(&server, &token, Some("Ada King")).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [201, 400, 503].contains(status)), "{answers:?}");
    }

    fn an_invitation_ends_and_can_be_sent_anew(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let late = invite(&admin, &json!({"email": ADA, "role": "user"}));
        server.advance(Duration::from_secs(7 * 86_400 + 1));
        accept(&server, &late, Some("Ada King")).refused(400, "invalid_link");
        let admin = server.log_in(&admin.email, &admin.password);
        let id = admin.api.get(&format!("{USERS}?search=ada")).is(200).items()[0]["id"].clone();
        let again = format!("{USERS}/{}/reset-password", id.as_str().expect("an id"));
        let (first, second) = (admin.api.act(&again).is(200).member("token"), admin.api.act(&again).is(200).member("token"));
        assert!(first.starts_with("mgi_"), "an invitation, for there is no password to reset");
        accept(&server, &first, Some("Ada King")).is(201);
        // With the account's first password the other invitation is void.
        accept(&server, &second, Some("Eve")).refused(400, "invalid_link");
        server.log_in(ADA, PASSWORD);
    }

    fn nobody_forgets_a_password_that_they_never_had(pair) {
        let mail = MailServer::start();
        let server = mail.server(pair, &[]);
        server.admin().api.post(USERS, &json!({"email": ADA, "role": "user"})).is(201);
        mail.take(ADA, "accept-invitation");
        server.anon().post("/api/v1/auth/password/forgot", &json!({"email": ADA})).is(202);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(mail.mails().is_empty(), "{:?}", mail.mails());
    }

    fn an_invitation_is_no_way_up_and_says_nothing_it_may_not(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let helper = helper(&server, &admin);
        helper.api.post(USERS, &json!({"email": ADA, "role": "admin"})).refused(403, "forbidden");
        helper.api.post(USERS, &json!({"email": ADA, "role": "wizard"})).invalid(&["role"]);
        helper.api.post(USERS, &json!({"email": helper.email, "role": "user"})).refused(409, "email_taken");
        helper.api.post(USERS, &json!({"email": "HELPER@example.com", "role": "user"})).refused(409, "email_taken");
        for member in ["password", "id", "active", "created_at", "permissions", "email_verified"] {
            let body = json!({"email": ADA, "role": "user", member: "x"});
            helper.api.post(USERS, &body).refused(400, "malformed_request");
        }
        for email in ["ada", "ada@", "a\u{200b}da@example.com", "ada@example.com\r\nBcc: eve@example.com"] {
            helper.api.post(USERS, &json!({"email": email, "role": "user"})).invalid(&["email"]);
        }
        assert_eq!(admin.api.get(USERS).is(200).items().len(), 2, "nothing was made");
        let token = invite(&helper, &json!({"email": ADA, "role": "user"}));
        for member in ["role", "email", "active"] {
            let body = json!({"token": token, "name": "Ada King", "password": PASSWORD, member: "admin"});
            server.anon().post(ACCEPT, &body).refused(400, "malformed_request");
        }
        for weak in ["short", "Ada-King-battery-9"] {
            let body = json!({"token": token, "name": "Ada King", "password": weak});
            server.anon().post(ACCEPT, &body).invalid(&["password"]);
        }
        accept(&server, &token, Some("Ada King")).is(201);
    }

    fn whoever_may_do_more_by_now_needs_a_new_invitation(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let helper = helper(&server, &admin);
        let token = invite(&helper, &json!({"email": ADA, "name": "Ada King", "role": "user"}));
        let id = admin.api.get(&format!("{USERS}?search=ada")).is(200).items()[0]["id"].clone();
        let path = format!("{USERS}/{}", id.as_str().expect("an id"));
        // Also when they may do again what they could.
        for role in ["admin", "user"] {
            admin.api.put(&path, &json!({"role": role})).is(200);
            let refused = accept(&server, &token, None).refused(400, "invalid_link").member("detail");
            assert!(refused.contains("an invitation") && refused.contains("administrator"), "{refused}");
        }
        let again = admin.api.act(&format!("{path}/reset-password")).is(200).member("token");
        accept(&server, &again, None).is(201);
    }
}
