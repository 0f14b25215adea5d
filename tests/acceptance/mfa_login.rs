//! Logging in with a second factor: the password alone opens nothing, and a code is good once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Authenticator, Pair, Person, Reply, Server, Tokens, at_once, promise};

const ME: &str = "/api/v1/me";
const SESSIONS: &str = "/api/v1/auth/sessions";
const STEP_UP: &str = "/api/v1/auth/step-up";

fn enrolled(pair: Pair) -> (Server, Person, Authenticator, Vec<String>) {
    let server = Server::start(pair, &[]);
    let ada = server.person("ada");
    let (authenticator, codes) = ada.enrol(&server);
    (server, ada, authenticator, codes)
}

/// An answer without what differs between any two.
fn told(reply: &Reply) -> (u16, Value) {
    let mut body = reply.json();
    body["request_id"] = Value::Null;
    (reply.status, body)
}

promise! {
    fn a_password_alone_opens_nothing(pair) {
        let (server, ada, authenticator, _) = enrolled(pair);
        let before = (ada.api.get(ME).json(), ada.api.get(SESSIONS).items().len(), server.audited("LOGIN_SUCCESS", "success"));
        let answer = server.try_log_in(&ada.email, &ada.password).is(200);
        let members: Vec<String> = answer.json().as_object().expect("an object").keys().cloned().collect();
        assert_eq!(members, ["expires_in", "mfa_required", "mfa_token"]);
        assert_eq!((&answer.json()["mfa_required"], &answer.json()["expires_in"]), (&json!(true), &json!(300)));
        let token = answer.member("mfa_token");
        let after = (ada.api.get(ME).json(), ada.api.get(SESSIONS).items().len(), server.audited("LOGIN_SUCCESS", "success"));
        assert_eq!(before, after);
        assert_eq!(server.audited("mfa.asked", "success"), 1);
        // The token in between is nothing anywhere else, nor is anything else one.
        let stored = server.world.state();
        for path in [ME, "/api/v1/models", "/v2", "/api/v1/api-keys"] {
            assert_eq!(server.user(&token).get(path).status, 401, "{path}");
        }
        server.refresh(&token).refused(401, "invalid_token");
        let asked = ada.api.post("/api/v1/auth/introspect", &json!({"token": token})).is(200);
        assert_eq!(asked.json(), json!({"active": false}));
        server.world.is_unchanged_since(&stored);
        let code = authenticator.next_code(&server);
        for other in [&ada.tokens.access, &ada.tokens.refresh, "", "mgm_", &token[..token.len() - 1]] {
            server.second_step(other, &code).refused(401, "invalid_code");
        }
        for half in [json!({"code": code}), json!({"mfa_token": token}), json!({"mfa_token": token, "code": code, "time": 0})] {
            server.anon().post("/api/v1/auth/mfa", &half).refused(400, "malformed_request");
        }

        let tokens = Tokens::of(&server.second_step(&token, &code).is(200));
        let session = server.user(&tokens.access).get(SESSIONS).is(200).items()[0].clone();
        assert_eq!(session["authenticated_with"], json!(["password", "totp"]));
        assert_eq!(server.audited("LOGIN_SUCCESS", "success") - before.2, 1);
        // What the second step opened stays open without another code.
        server.advance(Duration::from_secs(7200));
        let refreshed = Tokens::of(&server.refresh(&tokens.refresh).is(200));
        server.user(&refreshed.access).get(ME).is(200);
    }

    fn of_twenty_who_use_one_code_at_once_one_gets_in(pair) {
        let (server, ada, authenticator, _) = enrolled(pair);
        let challenges: Vec<String> = (0..20).map(|_| server.challenge(&ada)).collect();
        let code = authenticator.next_code(&server);
        let answers = at_once(20, |number| server.second_step(&challenges[number], &code).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [200, 401].contains(status)), "{answers:?}");
        assert_eq!(ada.api.get(SESSIONS).items().len(), 2);
        // Nor is it good in another place, nor one from before it.
        let proof = |code: &str| ada.api.post(STEP_UP, &json!({"password": ada.password, "code": code}));
        proof(&code).refused(401, "invalid_code");
        server.second_step(&server.challenge(&ada), &code).refused(401, "invalid_code");
        let next = authenticator.next_code(&server);
        proof(&next).is(200);
        server.second_step(&server.challenge(&ada), &next).refused(401, "invalid_code");
        server.second_step(&server.challenge(&ada), &code).refused(401, "invalid_code");
    }

    fn a_challenge_opens_one_session(pair) {
        let (server, ada, authenticator, codes) = enrolled(pair);
        let token = server.challenge(&ada);
        let answers = at_once(8, |number| server.second_step(&token, &codes[number]).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        server.second_step(&token, &authenticator.next_code(&server)).refused(401, "invalid_code");
        assert_eq!(ada.api.get(SESSIONS).items().len(), 2);
        assert_eq!(ada.api.get("/api/v1/me/mfa").json()["recovery_codes_left"], 9, "the others were not used");
    }

    fn codes_of_other_times_are_refused(pair) {
        let (server, ada, authenticator, _) = enrolled(pair);
        authenticator.next_code(&server);
        server.advance(Duration::from_secs(300));
        authenticator.next_code(&server);
        for steps in [-10, -3, -2, 2, 3, 10, 1000] {
            let code = authenticator.code(&server, steps);
            server.second_step(&server.challenge(&ada), &code).refused(401, "invalid_code");
        }
        for steps in [-1, 0, 1] {
            server.second_step(&server.challenge(&ada), &authenticator.code(&server, steps)).is(200);
        }
        server.second_step(&server.challenge(&ada), &authenticator.code(&server, 0)).refused(401, "invalid_code");
    }

    fn five_wrong_codes_end_a_challenge(pair) {
        let (server, ada, authenticator, _) = enrolled(pair);
        let token = server.challenge(&ada);
        let before = server.audited("LOGIN_FAILURE", "failure");
        let answers = at_once(40, |_| server.second_step(&token, "000000").status);
        assert!(answers.iter().all(|status| *status == 401), "{answers:?}");
        let code = authenticator.next_code(&server);
        server.second_step(&token, &code).refused(401, "invalid_code");
        assert_eq!(server.audited("LOGIN_FAILURE", "failure") - before, 41);
        assert!(server.audited("SUSPICIOUS_ACTIVITY", "failure") >= 1);
        server.second_step(&server.challenge(&ada), &code).is(200);
    }

    fn codes_are_counted_for_the_account_whatever_the_challenge_and_the_address(pair) {
        let limits = [("RATE_LIMIT_LOGIN_PER_MINUTE", "5"), ("TRUSTED_PROXIES", "127.0.0.1")];
        let server = Server::start(pair, &limits);
        let ada = server.person("ada");
        let (authenticator, _) = ada.enrol(&server);
        let challenges: Vec<String> = (0..3).map(|_| server.challenge(&ada)).collect();
        let guess = |number: usize| {
            let client = server.anon().with("X-Forwarded-Proto", "https");
            let client = client.with("X-Forwarded-For", &format!("198.51.100.{}", number + 1));
            let body = json!({"mfa_token": challenges[number % 3], "code": "000000"});
            client.post("/api/v1/auth/mfa", &body).status
        };
        let answers = at_once(30, guess);
        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
        assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
        server.advance(Duration::from_secs(60));
        let code = authenticator.next_code(&server);
        server.second_step(&server.challenge(&ada), &code).is(200);
    }

    fn a_hundred_wrong_codes_leave_only_known_places(pair) {
        let server = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1")]);
        let ada = server.person("ada");
        let (authenticator, _) = ada.enrol(&server);
        let attacker = server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", "198.51.100.7");
        let password = || attacker.post("/api/v1/auth/login", &json!({"email": ada.email, "password": ada.password}));
        for _ in 0..20 {
            let token = password().is(200).member("mfa_token");
            let guess = json!({"mfa_token": token, "code": "000000"});
            at_once(5, |_| attacker.post("/api/v1/auth/mfa", &guess).is(401));
        }
        // The right passwords in between made none of it good.
        password().refused(401, "invalid_credentials");
        let code = authenticator.next_code(&server);
        server.second_step(&server.challenge(&ada), &code).is(200);
        password().is(200);
    }

    fn whatever_is_wrong_with_a_second_step_the_answer_is_the_same(pair) {
        let (server, ada, authenticator, codes) = enrolled(pair);
        let (late, used, changed) = (server.challenge(&ada), server.challenge(&ada), server.challenge(&ada));
        server.second_step(&used, &codes[0]).is(200);
        let wrong = told(&server.second_step(&server.challenge(&ada), "000000"));
        assert_eq!(wrong.0, 401);
        assert_eq!(wrong, told(&server.second_step(&used, &codes[1])));
        assert_eq!(wrong, told(&server.second_step("mgm_nobody-has-made-this", "000000")));
        let change = json!({"current_password": ada.password, "new_password": "Another-horse-battery-9"});
        ada.api.post("/api/v1/auth/password", &change).is(204);
        assert_eq!(wrong, told(&server.second_step(&changed, &codes[2])), "the password is another one");
        server.advance(Duration::from_secs(300));
        assert_eq!(wrong, told(&server.second_step(&late, &authenticator.next_code(&server))));
        assert_eq!(ada.api.get("/api/v1/me/mfa").json()["recovery_codes_left"], 9, "nothing else was used");
        // A new password does not do without a code either.
        let answer = server.try_log_in(&ada.email, "Another-horse-battery-9").is(200).json();
        assert_eq!(answer["mfa_required"], true);
    }

    fn an_account_that_is_switched_off_gets_no_further(pair) {
        let (server, ada, _, codes) = enrolled(pair);
        let admin = server.admin();
        let token = server.challenge(&ada);
        let switch = |on: bool| {
            admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"active": on})).is(200)
        };
        switch(false);
        server.second_step(&token, &codes[0]).refused(401, "invalid_code");
        server.try_log_in(&ada.email, &ada.password).refused(401, "invalid_credentials");
        switch(true);
        server.second_step(&server.challenge(&ada), &codes[0]).is(200);
    }

    fn a_login_under_way_does_not_outlive_the_account_being_off(pair) {
        let (server, ada, authenticator, _) = enrolled(pair);
        let admin = server.admin();
        let token = server.try_log_in(&ada.email, &ada.password).is(200).member("mfa_token");
        for active in [false, true] {
            admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"active": active})).is(200);
        }
        let body = json!({"mfa_token": token, "code": authenticator.next_code(&server)});
        server.anon().post("/api/v1/auth/mfa", &body).refused(401, "invalid_code");
    }
}
