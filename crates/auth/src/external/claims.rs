//! The claims of a verified token of another issuer, read by that issuer's rules.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::issuer::TrustedIssuer;
use crate::callers::access::Permissions;
use crate::token::LEEWAY;
use crate::{Error, Result};

/// Longest subject, in bytes (OpenID Connect Core 1.0, section 2).
const MAX_SUBJECT: usize = 255;
/// Claims that ID tokens have and access tokens have not: an ID token is for the client alone.
const OF_ID_TOKENS: [&str; 3] = ["nonce", "at_hash", "c_hash"];

const NOT_FOR_US: Error = Error::InvalidCredential("this is not an access token for this service");
const MALFORMED: Error =
    Error::InvalidCredential("a claim of this token is missing or cannot be read: ask its issuer");
const EXPIRED: Error =
    Error::InvalidCredential("the access token has expired; get a new one where you got it");
const TOO_EARLY: Error = Error::InvalidCredential("the access token is not valid yet");
const TOO_LONG: Error = Error::InvalidCredential("this token is issued for longer than is accepted here");

/// A token's claims, in the terms of this program.
#[derive(Debug)]
pub(super) struct Assertion {
    /// Who it is there.
    pub subject: String,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// When they last proved to the issuer who they are, where it says so.
    pub authenticated_at: Option<DateTime<Utc>>,
    /// Whether they did so with a second factor.
    pub second_factor: bool,
    /// The role that they have here by the issuer's rules; for an issuer that gives none, the one to begin with.
    /// None: no rule fits.
    pub role: Option<String>,
    /// What the token is limited to.
    pub limit: Option<Permissions>,
    /// An address that the issuer vouches for.
    pub email: Option<String>,
    pub name: Option<String>,
}

impl Assertion {
    /// Reads the claims of a token whose signature was verified: whose it is, for whom, what kind, and when.
    pub fn read(issuer: &TrustedIssuer, claims: &Map<String, Value>, now: DateTime<Utc>) -> Result<Self> {
        let is_ours =
            text(claims, "iss") == Some(&issuer.issuer) && is_or_has(claims.get("aud"), &issuer.audience);
        if !is_ours || is_another_kind(claims) {
            return Err(NOT_FOR_US);
        }
        let issued_at = time(claims, "iat")?.ok_or(MALFORMED)?;
        let expires_at = time(claims, "exp")?.ok_or(MALFORMED)?;
        let (starts_at, authenticated_at) = (time(claims, "nbf")?, time(claims, "auth_time")?);
        if expires_at <= now {
            return Err(EXPIRED);
        }
        if [Some(issued_at), starts_at, authenticated_at].into_iter().flatten().any(|at| at > now + LEEWAY) {
            return Err(TOO_EARLY);
        }
        if expires_at - issued_at > issuer.longest_token() {
            return Err(TOO_LONG);
        }
        let scopes = scopes(claims);
        let has_scopes = issuer.required_scopes.iter().all(|scope| scopes.contains(&&**scope));
        let has_claim = |(name, value): (&String, &String)| is_or_has(find(claims, name), value);
        if !has_scopes || !issuer.required_claims.iter().all(has_claim) {
            return Err(NOT_FOR_US);
        }
        Ok(Self {
            subject: subject(claims)?,
            issued_at,
            expires_at,
            authenticated_at,
            second_factor: has_second_factor(issuer, claims),
            role: role(issuer, claims),
            limit: issuer.scopes_limit.then(|| Permissions::from_names(scopes)),
            email: email(issuer, claims),
            name: find(claims, &issuer.name_claim).and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// Whether it is an ID token, a refresh token or whatever else an issuer signs: some say so in the type, some in
/// claims.
fn is_another_kind(claims: &Map<String, Value>) -> bool {
    let says_another = |name: &str, access: &str| {
        claims
            .get(name)
            .is_some_and(|kind| !kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(access)))
    };
    OF_ID_TOKENS.iter().any(|name| claims.contains_key(*name))
        || says_another("typ", "Bearer")
        || says_another("token_use", "access")
        || claims.contains_key("events")
}

/// The claim of a name, or else at the end of a path with points.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
    })
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// Whether a claim is this text, or a list of texts with it.
fn is_or_has(claim: Option<&Value>, expected: &str) -> bool {
    texts(claim).any(|text| text == expected)
}

/// A claim that is one text or a list of them.
fn texts(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let one = claim.and_then(Value::as_str);
    let list = claim.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(list)
}

/// Seconds since the epoch, as a whole number; one that is anything else is an error, never absent.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<DateTime<Utc>>> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().filter(|seconds| *seconds >= 0).ok_or(MALFORMED)?;
    DateTime::from_timestamp(seconds, 0).map(Some).ok_or(MALFORMED)
}

fn subject(claims: &Map<String, Value>) -> Result<String> {
    let fits = |subject: &&str| {
        !subject.is_empty() && subject.len() <= MAX_SUBJECT && !subject.chars().any(char::is_control)
    };
    text(claims, "sub").filter(fits).map(str::to_owned).ok_or(MALFORMED)
}

/// `scope` of RFC 9068, words in one text; `scp` of others, such a text or a list.
fn scopes(claims: &Map<String, Value>) -> Vec<&str> {
    ["scope", "scp"]
        .into_iter()
        .flat_map(|name| texts(claims.get(name)))
        .flat_map(str::split_whitespace)
        .collect()
}

/// Only what the operator took for one counts as a second factor.
fn has_second_factor(issuer: &TrustedIssuer, claims: &Map<String, Value>) -> bool {
    let matches = |name: &str, accepted: &[String]| {
        texts(claims.get(name)).any(|value| accepted.iter().any(|one| one == value))
    };
    matches("amr", &issuer.second_factor_amr) || matches("acr", &issuer.second_factor_acr)
}

/// The role of the first rule that fits, in the order in which the operator wrote them.
fn role(issuer: &TrustedIssuer, claims: &Map<String, Value>) -> Option<String> {
    let claim = issuer.roles_claim.as_deref().and_then(|path| find(claims, path));
    let fitting = issuer.roles.iter().find(|rule| is_or_has(claim, &rule.value)).map(|rule| &rule.role);
    fitting.or(issuer.default_role.as_ref()).cloned()
}

/// An address that anybody could have written into their profile there is no address. Trusted is only silence: whatever
/// is said and is no yes, which some write as a text, is a no.
fn email(issuer: &TrustedIssuer, claims: &Map<String, Value>) -> Option<String> {
    let verified = match claims.get("email_verified") {
        None => issuer.trust_email,
        Some(Value::String(text)) => text == "true",
        Some(said) => *said == Value::Bool(true),
    };
    let email = find(claims, &issuer.email_claim).and_then(Value::as_str)?.trim();
    (verified && !email.is_empty()).then(|| email.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn issuer() -> TrustedIssuer {
        serde_json::from_value(json!({
            "issuer": "https://id.example.com", "audience": "modelgate", "provision": true,
            "roles_claim": "realm_access.roles", "required_scopes": ["gate"], "required_claims": {"azp": "app"},
            "role": [{"value": "boss", "role": "admin"}, {"value": "staff", "role": "user"}],
            "second_factor_amr": ["otp"], "second_factor_acr": ["gold"], "scopes_limit": true,
        }))
        .unwrap()
    }

    fn claims() -> Value {
        json!({"iss": "https://id.example.com", "aud": "modelgate", "sub": "ada", "iat": NOW - 10, "exp": NOW + 300,
               "scope": "gate models:read", "azp": "app", "realm_access": {"roles": ["other", "staff"]},
               "email": "ada@example.com", "email_verified": true, "name": "Ada"})
    }

    fn read(claims: &Value) -> Result<Assertion> {
        Assertion::read(&issuer(), claims.as_object().unwrap(), DateTime::from_timestamp(NOW, 0).unwrap())
    }

    fn with(name: &str, value: Value) -> Result<Assertion> {
        let mut changed = claims();
        changed[name] = value;
        read(&changed)
    }

    #[test]
    fn a_good_token_is_read() {
        let good = read(&claims()).unwrap();
        assert_eq!((&*good.subject, good.role.as_deref(), good.second_factor), ("ada", Some("user"), false));
        assert_eq!((good.email.as_deref(), good.name.as_deref()), (Some("ada@example.com"), Some("Ada")));
        assert_eq!(good.limit, Some(Permissions::from_names(["models:read"])));
        assert_eq!(with("aud", json!(["other", "modelgate"])).unwrap().subject, "ada");
        assert_eq!(with("scope", json!(["gate"])).unwrap().subject, "ada");
        let both = with("realm_access", json!({"roles": ["staff", "boss"]})).unwrap();
        assert_eq!(both.role.as_deref(), Some("admin"), "the rule that stands first");
        for none in
            [json!({"roles": ["other"]}), json!({"roles": {"staff": true}}), json!(["staff"]), json!("staff")]
        {
            assert_eq!(with("realm_access", none).unwrap().role, None);
        }
    }

    #[test]
    fn what_is_not_for_us_or_no_access_token_is_refused() {
        for (name, wrong) in [
            ("iss", json!("https://id.example.com/")),
            ("iss", json!(["https://id.example.com"])),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", json!("modelgate ")),
            ("aud", json!([])),
            ("aud", json!({"modelgate": 1})),
            ("aud", Value::Null),
            ("nonce", json!("n")),
            ("at_hash", json!("h")),
            ("c_hash", Value::Null),
            ("typ", json!("ID")),
            ("typ", json!("Refresh")),
            ("typ", json!(7)),
            ("token_use", json!("id")),
            ("events", json!({})),
            ("scope", json!("other")),
            ("scope", json!("gates")),
            ("azp", json!("another")),
            ("azp", Value::Null),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("sub", json!("a\u{0}")),
            ("sub", json!("a".repeat(256))),
        ] {
            assert!(with(name, wrong.clone()).is_err(), "{name}: {wrong}");
        }
        assert!(with("typ", json!("Bearer")).is_ok() && with("token_use", json!("access")).is_ok());
    }

    #[test]
    fn times_are_whole_numbers_and_fit() {
        for odd in [json!("1"), json!(1.5), json!(-1), json!(true), json!([]), Value::Null, json!(u64::MAX)] {
            for name in ["exp", "iat", "nbf", "auth_time"] {
                assert!(with(name, odd.clone()).is_err(), "{name}: {odd}");
            }
        }
        for name in ["exp", "iat", "sub"] {
            let mut missing = claims();
            missing.as_object_mut().unwrap().remove(name);
            assert!(read(&missing).is_err(), "without {name}");
        }
        for name in ["iat", "nbf", "auth_time"] {
            assert!(with(name, json!(NOW + 5)).is_ok() && with(name, json!(NOW + 6)).is_err(), "{name}");
        }
        assert!(with("exp", json!(NOW)).is_err() && with("exp", json!(NOW + 1)).is_ok());
        assert!(with("iat", json!(NOW - 86_100)).is_ok() && with("iat", json!(NOW - 86_101)).is_err());
        assert_eq!(with("auth_time", json!(NOW - 5)).unwrap().authenticated_at.unwrap().timestamp(), NOW - 5);
    }

    #[test]
    fn a_second_factor_and_an_address_count_only_where_the_issuer_says_so() {
        for (name, value, counts) in [
            ("amr", json!(["pwd"]), false),
            ("amr", json!(["pwd", "otp"]), true),
            ("amr", json!("otp"), true),
            ("amr", json!({"otp": 1}), false),
            ("acr", json!("gold"), true),
            ("acr", json!("otp"), false),
            ("amr", json!(["gold"]), false),
        ] {
            assert_eq!(with(name, value.clone()).unwrap().second_factor, counts, "{name}: {value}");
        }
        let address = |trust_email: bool, said: Option<Value>| {
            let (mut claims, trusted) = (claims(), TrustedIssuer { trust_email, ..issuer() });
            let claims = claims.as_object_mut().unwrap();
            claims.remove("email_verified");
            claims.extend(said.map(|said| ("email_verified".to_owned(), said)));
            email(&trusted, claims).is_some()
        };
        for trusted in [false, true] {
            assert_eq!(address(trusted, None), trusted, "silence");
            for yes in [json!(true), json!("true")] {
                assert!(address(trusted, Some(yes)));
            }
            for no in [
                json!(false),
                json!("false"),
                json!("TRUE "),
                json!(""),
                json!(1),
                json!([true]),
                Value::Null,
            ] {
                assert!(!address(trusted, Some(no.clone())), "{no}");
            }
        }
        assert_eq!(with("email", json!(7)).unwrap().email, None);
    }

    #[test]
    fn a_name_with_points_is_a_name_before_it_is_a_path() {
        let claims = json!({"https://example.com/roles": ["a"], "a": {"b": {"c": 1}}, "a.b": 2});
        let claims = claims.as_object().unwrap();
        assert_eq!(find(claims, "https://example.com/roles"), Some(&json!(["a"])));
        assert_eq!(find(claims, "a.b"), Some(&json!(2)));
        assert_eq!(find(claims, "a.b.c"), Some(&json!(1)));
        assert_eq!(find(claims, "a.x.c"), None);
        assert_eq!(find(claims, "x"), None);
    }
}
