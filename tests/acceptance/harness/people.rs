//! People with accounts, and their credentials.

use serde_json::{Value, json};

use super::client::{Client, Reply};
use super::server::Server;

/// Satisfies the policy for everyone.
const PASSWORD: &str = "Correct-horse-battery-9";

/// A pair of tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl Tokens {
    /// Reads an answer of login or refresh.
    #[track_caller]
    pub fn of(reply: &Reply) -> Self {
        Self { access: reply.member("access_token"), refresh: reply.member("refresh_token") }
    }
}

/// Someone who is logged in.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub password: String,
    pub tokens: Tokens,
    /// Sends their access token.
    pub api: Client,
}

impl Server {
    /// An administrator, made on the command line and logged in.
    #[track_caller]
    pub fn admin(&self) -> Person {
        self.admin_called("admin")
    }

    /// An administrator with an address of their own.
    #[track_caller]
    pub fn admin_called(&self, name: &str) -> Person {
        let email = format!("{name}@example.com");
        let made = self.cli(&["admin", "create", "--email", &email, "--generate"], "");
        assert_eq!(made.code, Some(0), "{made:?}");
        self.log_in(&email, made.stdout.trim())
    }

    /// Someone with the role `user`, registered and logged in: `<name>@example.com`.
    #[track_caller]
    pub fn person(&self, name: &str) -> Person {
        let email = format!("{name}@example.com");
        let body = json!({"email": email, "password": PASSWORD, "name": "Someone Else"});
        self.anon().post("/api/v1/auth/register", &body).is(201);
        self.log_in(&email, PASSWORD)
    }

    /// Someone with any role.
    #[track_caller]
    pub fn person_with_role(&self, admin: &Person, name: &str, role: &str) -> Person {
        let person = self.person(name);
        admin.api.put(&format!("/api/v1/admin/users/{}", person.id), &json!({"role": role})).is(200);
        person
    }

    /// Logs in.
    #[track_caller]
    pub fn log_in(&self, email: &str, password: &str) -> Person {
        let tokens = Tokens::of(&self.try_log_in(email, password).is(200));
        let api = self.user(&tokens.access);
        let id = api.get("/api/v1/me").is(200).member("id");
        Person { id, email: email.to_owned(), password: password.to_owned(), tokens, api }
    }

    /// An attempt to log in.
    #[track_caller]
    pub fn try_log_in(&self, email: &str, password: &str) -> Reply {
        self.anon().post("/api/v1/auth/login", &json!({"email": email, "password": password}))
    }

    /// Spends a refresh token.
    #[track_caller]
    pub fn refresh(&self, token: &str) -> Reply {
        self.anon().post("/api/v1/auth/refresh", &json!({"refresh_token": token}))
    }
}

impl Person {
    /// Makes an API key with these scopes; gives its text.
    #[track_caller]
    pub fn make_key(&self, scopes: &[&str]) -> String {
        self.make_key_with(json!({"name": "a key", "scopes": scopes})).1
    }

    /// Makes an API key; gives its id and its text.
    #[track_caller]
    pub fn make_key_with(&self, body: Value) -> (String, String) {
        let reply = self.api.post("/api/v1/api-keys", &body).is(201);
        (reply.member("id"), reply.member("key"))
    }
}
