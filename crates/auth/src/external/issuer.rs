//! An issuer whose access tokens are accepted, as the operator describes it.

use std::collections::BTreeMap;

use chrono::Duration;
use serde::Deserialize;
use url::Url;

use crate::token::foreign::ForeignAlgorithm;

/// Where an issuer says what it is (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// One issuer. A member that is not listed here is refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// `iss` of its tokens, to the letter.
    pub issuer: String,
    /// Our name there: what `aud` of a token must be or contain.
    pub audience: String,
    /// JOSE names of the algorithms that its keys may have; none is symmetric.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<String>,
    /// `typ` of its access tokens; a token without one counts as `JWT`.
    #[serde(default = "token_types")]
    pub token_types: Vec<String>,
    /// Scopes that a token must have, in `scope` or `scp`.
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// Claims that a token must have, with this value or with it in their list.
    #[serde(default)]
    pub required_claims: BTreeMap<String, String>,
    /// Whether a token may do no more than those of its scopes that are permissions here.
    #[serde(default)]
    pub scopes_limit: bool,
    /// The claim with a person's roles: its name, or a path with points.
    pub roles_claim: Option<String>,
    /// Which of their roles is which of ours. The first that fits decides.
    #[serde(default, rename = "role")]
    pub roles: Vec<RoleRule>,
    /// The role of those whom no rule fits; none: they are refused.
    pub default_role: Option<String>,
    /// The claim with a person's address.
    #[serde(default = "email_claim")]
    pub email_claim: String,
    /// Whether an address counts that the token does not call verified (`email_verified`).
    #[serde(default)]
    pub trust_email: bool,
    /// The claim with a person's name.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// Whether a good token makes an account; otherwise an administrator has to link the person first.
    #[serde(default)]
    pub provision: bool,
    /// Values of `amr` that mean a second factor (RFC 8176).
    #[serde(default)]
    pub second_factor_amr: Vec<String>,
    /// Values of `acr` that mean a second factor.
    #[serde(default)]
    pub second_factor_acr: Vec<String>,
    /// Where its keys are; none: discovery tells, and they are at the same host.
    pub jwks_uri: Option<String>,
    /// Seconds after which its keys are fetched anew.
    #[serde(default = "keys_refresh_seconds")]
    pub keys_refresh_seconds: u32,
    /// Seconds that keys are used after they were fetched, while they cannot be fetched anew.
    #[serde(default = "keys_stale_seconds")]
    pub keys_stale_seconds: u32,
    /// Longest life of a token in seconds: one that is issued for longer is refused.
    #[serde(default = "max_token_seconds")]
    pub max_token_seconds: u32,
}

/// One of their roles and ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleRule {
    /// What stands in the claim.
    pub value: String,
    /// The name of a role here.
    pub role: String,
}

fn algorithms() -> Vec<String> {
    ["EdDSA", "ES256", "PS256", "RS256"].map(str::to_owned).into()
}

fn token_types() -> Vec<String> {
    vec!["at+jwt".into()]
}

fn email_claim() -> String {
    "email".into()
}

fn name_claim() -> String {
    "name".into()
}

fn keys_refresh_seconds() -> u32 {
    600
}

fn keys_stale_seconds() -> u32 {
    3600
}

fn max_token_seconds() -> u32 {
    86_400
}

impl TrustedIssuer {
    /// Checks it; the error is for the operator. `development`: plain HTTP to this machine is allowed.
    pub fn check(&self, development: bool) -> Result<(), String> {
        check_address("issuer", &self.issuer, development)?;
        if let Some(address) = &self.jwks_uri {
            check_address("jwks_uri", address, development)?;
        }
        if self.audience.trim().is_empty() {
            return Err("audience must name this service as the issuer knows it".into());
        }
        if let Some(name) = self.algorithms.iter().find(|name| ForeignAlgorithm::parse(name).is_none()) {
            return Err(format!("algorithms: {name:?} is none of {}", ForeignAlgorithm::names()));
        }
        if self.algorithms.is_empty() || self.token_types.is_empty() {
            return Err("algorithms and token_types must not be empty".into());
        }
        if self.roles.is_empty() != self.roles_claim.is_none() {
            return Err("roles_claim and [[issuer.role]] go together: write both or neither".into());
        }
        if self.roles.is_empty() && self.default_role.is_none() {
            return Err(
                "write default_role, or roles_claim and [[issuer.role]]: what its people may do".into()
            );
        }
        let ranges = [
            ("keys_refresh_seconds", self.keys_refresh_seconds, 60, 86_400),
            ("keys_stale_seconds", self.keys_stale_seconds, self.keys_refresh_seconds, 604_800),
            ("max_token_seconds", self.max_token_seconds, 60, 604_800),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} must be from {least} to {most}"));
            }
        }
        Ok(())
    }

    /// Whether its tokens decide what its people may do, whatever they could before.
    pub fn gives_roles(&self) -> bool {
        !self.roles.is_empty()
    }

    /// The roles here that it can give.
    pub fn local_roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|rule| &*rule.role).chain(self.default_role.as_deref())
    }

    pub(crate) fn allowed_algorithms(&self) -> Vec<ForeignAlgorithm> {
        self.algorithms.iter().filter_map(|name| ForeignAlgorithm::parse(name)).collect()
    }

    /// Where it says what it is. A slash at its end does not count twice.
    pub(crate) fn discovery_address(&self) -> String {
        format!("{}{DISCOVERY}", self.issuer.trim_end_matches('/'))
    }

    /// Whether keys at this address are this issuer's: the same scheme, host and port. Another host has to be named by
    /// the operator, or a changed document could send us anywhere.
    pub(crate) fn has_same_origin(&self, address: &str) -> bool {
        match (Url::parse(&self.issuer), Url::parse(address)) {
            (Ok(issuer), Ok(address)) => issuer.origin() == address.origin() && is_plain(&address),
            _ => false,
        }
    }

    pub(crate) fn longest_token(&self) -> Duration {
        Duration::seconds(i64::from(self.max_token_seconds))
    }
}

fn check_address(name: &str, address: &str, development: bool) -> Result<(), String> {
    let wrong = || Err(format!("{name} must be an https:// address without user, query and fragment"));
    let Ok(url) = Url::parse(address) else { return wrong() };
    let is_own = url.host_str().is_some_and(storage::is_loopback);
    let protected = url.scheme() == "https" || (development && url.scheme() == "http" && is_own);
    if protected && url.has_host() && is_plain(&url) { Ok(()) } else { wrong() }
}

fn is_plain(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn issuer(changes: Value) -> TrustedIssuer {
        let mut all =
            json!({"issuer": "https://id.example.com/", "audience": "modelgate", "default_role": "user"});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn what_would_open_a_hole_is_refused() {
        assert_eq!(issuer(json!({})).check(false), Ok(()));
        for wrong in [
            json!({"issuer": "http://id.example.com"}),
            json!({"issuer": "http://127.0.0.1:8080"}),
            json!({"issuer": "https://ada@id.example.com"}),
            json!({"issuer": "https://id.example.com?x"}),
            json!({"issuer": "https://id.example.com#x"}),
            json!({"issuer": "file:///etc/passwd"}),
            json!({"issuer": "id.example.com"}),
            json!({"jwks_uri": "http://id.example.com/keys"}),
            json!({"audience": " "}),
            json!({"algorithms": []}),
            json!({"algorithms": ["HS256"]}),
            json!({"algorithms": ["none"]}),
            json!({"token_types": []}),
            json!({"roles_claim": "roles"}),
            json!({"role": [{"value": "a", "role": "admin"}]}),
            json!({"default_role": null}),
            json!({"keys_refresh_seconds": 1}),
            json!({"keys_stale_seconds": 60}),
            json!({"max_token_seconds": 0}),
        ] {
            assert!(issuer(wrong.clone()).check(false).is_err(), "{wrong}");
        }
        assert_eq!(issuer(json!({"issuer": "http://127.0.0.1:8080"})).check(true), Ok(()));
        assert_eq!(issuer(json!({"issuer": "http://[::1]:8080"})).check(true), Ok(()));
        assert!(issuer(json!({"issuer": "http://id.example.com"})).check(true).is_err());
    }

    #[test]
    fn keys_are_at_home_or_nowhere() {
        let issuer = issuer(json!({}));
        assert_eq!(issuer.discovery_address(), "https://id.example.com/.well-known/openid-configuration");
        assert!(issuer.has_same_origin("https://id.example.com/keys"));
        assert!(issuer.has_same_origin("https://id.example.com:443/a/b"));
        for elsewhere in [
            "http://id.example.com/keys",
            "https://id.example.com:8443/keys",
            "https://id.example.com.evil.example/keys",
            "https://evil.example/id.example.com",
            "https://id.example.com@evil.example/keys",
            "https://u@id.example.com/keys",
            "https://169.254.169.254/keys",
            "file:///keys",
            "/keys",
            "",
        ] {
            assert!(!issuer.has_same_origin(elsewhere), "{elsewhere}");
        }
    }
}
