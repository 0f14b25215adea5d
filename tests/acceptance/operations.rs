//! The operations of the OpenAPI document, and how to call each.

use serde_json::Value;

use crate::harness::{Client, Reply, Server};

/// A well-formed id of nothing.
pub const NOBODY: &str = "01890000-0000-7000-8000-000000000000";
/// A stream that would end with its listener's right.
const STREAM: (&str, &str) = ("/audit/stream", "/audit/stream?seconds=0");

/// An operation of the document.
pub struct Operation {
    pub method: String,
    pub path: String,
    /// What a bearer token must have; none for a public route.
    pub scopes: Option<Vec<String>>,
    /// Whether an API key will do.
    pub takes_keys: bool,
    pub body: Value,
}

impl Operation {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The requirement as `routes_matrix` writes it.
    pub fn requirement(&self) -> String {
        match (&self.scopes, self.takes_keys) {
            (None, _) => String::new(),
            (Some(scopes), _) if !scopes.is_empty() => scopes.join(","),
            (Some(_), true) => "own".to_owned(),
            (Some(_), false) => "person".to_owned(),
        }
    }

    /// Sends what is well-formed as far as the path goes, and never good enough to change anything.
    #[track_caller]
    pub fn ask(&self, client: &Client) -> Reply {
        let named =
            [("{id}", NOBODY), ("{key_id}", NOBODY), ("{name}", "digits"), ("{version}", "1"), STREAM];
        let limited =
            [("{scope}", "account"), ("{subject}", NOBODY), ("{unit}", "requests"), ("{period}", "day")];
        let said = named.into_iter().chain(limited);
        let path = said.fold(self.path.clone(), |path, (name, value)| path.replace(name, value));
        match self.body.as_object().and_then(|kinds| kinds.keys().next()) {
            Some(kind) => client.send(&self.method, &path, Some(kind), b"{}"),
            None => client.send(&self.method, &path, None, b""),
        }
    }

    /// Whether it is the end of the session that asks, or of its account.
    pub fn is_an_end(&self) -> bool {
        self.path.contains("/logout") || self.name() == "DELETE /api/v1/me"
    }

    /// Whether its answer has no end.
    pub fn is_endless(&self) -> bool {
        self.path.ends_with("/stream")
    }
}

/// The document that the server serves.
pub fn document(server: &Server) -> Value {
    server.anon().get("/openapi.json").is(200).json()
}

/// Every operation of the document that the server serves.
pub fn operations(server: &Server) -> Vec<Operation> {
    let document = document(server);
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, described) in item.as_object().expect("an item") {
            let alternatives = described["security"].as_array().expect("security is always told");
            let scopes = |name: &str| {
                let scopes = alternatives.iter().find_map(|alternative| alternative.get(name)).cloned();
                scopes.map(|scopes| serde_json::from_value::<Vec<String>>(scopes).expect("scopes"))
            };
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                scopes: scopes("bearer"),
                takes_keys: scopes("api_key").is_some(),
                body: described["requestBody"]["content"].clone(),
            });
        }
    }
    operations
}
