//! An authenticator app of a person's own: another implementation than the server's.

use std::time::Duration;

use serde_json::json;
use totp_rs::{Builder, Secret, Totp};

use super::client::Reply;
use super::people::Person;
use super::server::Server;

/// Seconds that a code is shown.
const STEP: u64 = 30;

/// Holds a person's second factor.
pub struct Authenticator(Totp);

impl Authenticator {
    /// Reads what the server told of the secret.
    #[track_caller]
    pub fn of(enrolment: &Reply) -> Self {
        let secret = Secret::try_from_base32(enrolment.member("secret")).expect("a secret in base32");
        Self(Builder::new().with_secret(secret).build_noncompliant())
    }

    /// A code that was not shown before: at the beginning of the next step, so that it stays good for a while.
    pub fn next_code(&self, server: &Server) -> String {
        let passed = server.now().as_secs() % STEP;
        server.advance(Duration::from_secs(STEP - passed));
        self.code(server, 0)
    }

    /// The code of the present step, or of one so many steps away.
    pub fn code(&self, server: &Server, steps: i64) -> String {
        let time = server.now().as_secs().saturating_add_signed(steps * STEP as i64);
        self.0.generate(time).to_string()
    }
}

impl Person {
    /// Gets a second factor; gives it and the recovery codes.
    #[track_caller]
    pub fn enrol(&self, server: &Server) -> (Authenticator, Vec<String>) {
        let authenticator = Authenticator::of(&self.api.act("/api/v1/me/mfa/totp").is(200));
        let code = json!({"code": authenticator.next_code(server)});
        let confirmed = self.api.post("/api/v1/me/mfa/totp/confirm", &code).is(200).json();
        let codes = serde_json::from_value(confirmed["recovery_codes"].clone()).expect("recovery codes");
        (authenticator, codes)
    }
}

impl Server {
    /// Logs in as far as a password leads; gives the token that waits for a code.
    #[track_caller]
    pub fn challenge(&self, person: &Person) -> String {
        let answer = self.try_log_in(&person.email, &person.password).is(200);
        assert_eq!(answer.json()["mfa_required"], true, "{}", answer.text());
        answer.member("mfa_token")
    }

    /// The second step of a login.
    #[track_caller]
    pub fn second_step(&self, token: &str, code: &str) -> Reply {
        self.anon().post("/api/v1/auth/mfa", &json!({"mfa_token": token, "code": code}))
    }
}
