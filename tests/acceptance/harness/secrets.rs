//! What must never stand in a log, a metric, an audit event or an error.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Shorter texts could stand in a log by chance.
const SHORTEST: usize = 12;
/// Members of bodies that are secrets.
const MEMBERS: [&str; 13] = [
    "password",
    "current_password",
    "new_password",
    "access_token",
    "refresh_token",
    "key",
    "mfa_token",
    "recovery_codes",
    "secret",
    "otpauth_uri",
    "qr_code_png_base64",
    "token",
    "link",
];

/// Every secret that a test sent or got.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    /// Keeps one.
    pub fn remember(&self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.to_owned());
        }
    }

    /// Keeps those that stand in a JSON body.
    pub fn remember_members(&self, body: &[u8]) {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return };
        for member in MEMBERS.iter().filter_map(|name| body.get(*name)) {
            let list = member.as_array().map_or(std::slice::from_ref(member), Vec::as_slice);
            list.iter().filter_map(Value::as_str).for_each(|secret| self.remember(secret));
        }
    }

    /// The lines of a text that tell one.
    pub fn told_in(&self, text: &str) -> Vec<String> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tells = |line: &&str| secrets.iter().any(|secret| line.contains(secret.as_str()));
        text.lines().filter(tells).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_told_secret_is_found() {
        let secrets = Secrets::default();
        secrets.remember_members(
            br#"{"password": "Correct-horse-battery-9", "name": "Someone Else", "key": "short"}"#,
        );
        let text = "one\n{\"sent\": \"Correct-horse-battery-9\"}\nSomeone Else\nshort";
        assert_eq!(secrets.told_in(text), ["{\"sent\": \"Correct-horse-battery-9\"}"]);
    }
}
