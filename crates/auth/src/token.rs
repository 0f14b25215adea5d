//! Access tokens: the only file that names `jsonwebtoken`.
//!
//! Tokens follow RFC 9068 (`typ: at+jwt`) and RFC 8725: the algorithm is fixed by the key that `kid` names, never by
//! the token; keys are found in a map, never fetched; times are checked against the injected clock.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result};

/// `typ` of an access token (RFC 9068, section 2.1).
const ACCESS_TYPE: &str = "at+jwt";
/// Longest token that is looked at, in bytes.
const MAX_BYTES: usize = 4096;
/// How far a signer's clock may be ahead.
const LEEWAY: Duration = Duration::seconds(5);

const MALFORMED: Error = Error::InvalidCredential("this is not an access token of this service");
const EXPIRED: Error = Error::InvalidCredential("the access token has expired; refresh it or log in again");

/// What an access token says. Every claim is required and typed: a mistyped time is an error, never absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub iss: String,
    pub aud: String,
    /// The account.
    pub sub: Uuid,
    pub exp: i64,
    pub iat: i64,
    pub nbf: i64,
    pub jti: Uuid,
    /// The session that the token belongs to.
    pub sid: Uuid,
    /// The account's security version when the token was made.
    pub ver: i64,
    /// When the person last proved who they are, in seconds since the epoch.
    pub auth_time: i64,
}

/// An Ed25519 key pair as the JWT library wants it.
pub(crate) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Signer {
    /// From PKCS #8 and the raw public key.
    pub fn ed25519(pkcs8: &[u8], public: &[u8]) -> Self {
        Self { encoding: EncodingKey::from_ed_der(pkcs8), decoding: DecodingKey::from_ed_der(public) }
    }
}

/// The keys in use, by `kid`.
#[derive(Default)]
pub(crate) struct Signers {
    by_kid: HashMap<String, Signer>,
    active: Option<String>,
}

impl Signers {
    /// Adds a key; the active one signs, all verify.
    pub fn add(&mut self, kid: &str, signer: Signer, active: bool) {
        self.by_kid.insert(kid.to_owned(), signer);
        if active {
            self.active = Some(kid.to_owned());
        }
    }

    fn active(&self) -> Option<(&str, &Signer)> {
        let kid = self.active.as_deref()?;
        Some((kid, self.by_kid.get(kid)?))
    }
}

/// Who issues tokens and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub name: String,
    pub audience: String,
}

/// Signs `claims` with the active key.
pub(crate) fn sign(claims: &Claims, signers: &Signers) -> Result<String> {
    let (kid, signer) = signers.active().ok_or_else(|| Error::Internal("no active signing key".into()))?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(ACCESS_TYPE.into());
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, claims, &signer.encoding)
        .map_err(|error| Error::Internal(error.to_string()))
}

/// Checks form, type, key, signature, issuer, audience and times, in this order.
pub(crate) fn verify(token: &str, signers: &Signers, issuer: &Issuer, now: DateTime<Utc>) -> Result<Claims> {
    if token.len() > MAX_BYTES {
        return Err(MALFORMED);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| MALFORMED)?;
    let typed = header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(ACCESS_TYPE));
    // RFC 7515, section 4.1.11: an extension that must be understood and is not, is a refusal.
    if !typed || header.alg != Algorithm::EdDSA || header.crit.is_some() {
        return Err(MALFORMED);
    }
    let signer = header.kid.as_deref().and_then(|kid| signers.by_kid.get(kid)).ok_or(MALFORMED)?;
    let claims =
        jsonwebtoken::decode::<Claims>(token, &signer.decoding, &validation()).map_err(|_| MALFORMED)?.claims;
    if claims.iss != issuer.name || claims.aud != issuer.audience {
        return Err(MALFORMED);
    }
    if claims.exp <= now.timestamp() {
        return Err(EXPIRED);
    }
    let latest_start = (now + LEEWAY).timestamp();
    if claims.nbf > latest_start || claims.iat > latest_start {
        return Err(Error::InvalidCredential("the access token is not valid yet"));
    }
    Ok(claims)
}

/// Signature and algorithm only: the library would read the system's clock, the product has one of its own.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use data_encoding::BASE64URL_NOPAD;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// One key, and what signs with it whatever it is given.
    fn world() -> (Signers, impl Fn(&Value, &Value) -> String) {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let mut signers = Signers::default();
        signers.add("k", Signer::ed25519(document.as_ref(), pair.public_key().as_ref()), true);
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let sign = move |header: &Value, claims: &Value| {
            let signed = format!("{}.{}", part(header), part(claims));
            let signature = BASE64URL_NOPAD.encode(pair.sign(signed.as_bytes()).as_ref());
            format!("{signed}.{signature}")
        };
        (signers, sign)
    }

    fn header() -> Value {
        json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "k"})
    }

    fn claims() -> Value {
        let id = Uuid::from_u128(7);
        json!({"iss": "us", "aud": "us", "sub": id, "exp": NOW + 60, "iat": NOW, "nbf": NOW, "jti": id, "sid": id,
               "ver": 1, "auth_time": NOW})
    }

    fn good(signers: &Signers, token: &str) -> bool {
        let issuer = Issuer { name: "us".into(), audience: "us".into() };
        verify(token, signers, &issuer, DateTime::from_timestamp(NOW, 0).unwrap()).is_ok()
    }

    #[test]
    fn a_right_signature_does_not_excuse_a_wrong_header() {
        let (signers, sign) = world();
        assert!(good(&signers, &sign(&header(), &claims())));
        let wrong = [
            ("typ", json!("JWT")),
            ("typ", Value::Null),
            ("typ", json!(7)),
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("ES256")),
            ("kid", json!("other")),
            ("kid", Value::Null),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
        ];
        for (name, value) in wrong {
            let mut header = header();
            header[name] = value;
            assert!(!good(&signers, &sign(&header, &claims())), "{header}");
        }
    }

    #[test]
    fn every_claim_is_required_and_typed() {
        let (signers, sign) = world();
        let names: Vec<String> = claims().as_object().unwrap().keys().cloned().collect();
        for name in &names {
            let mut missing = claims();
            missing.as_object_mut().unwrap().remove(name);
            assert!(!good(&signers, &sign(&header(), &missing)), "without {name}");
            for odd in [Value::Null, json!(""), json!(["us"]), json!({}), json!(true), json!(1.5)] {
                let mut claims = claims();
                claims[name] = odd;
                assert!(!good(&signers, &sign(&header(), &claims)), "{claims}");
            }
        }
    }

    #[test]
    fn times_and_names_must_fit() {
        let (signers, sign) = world();
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            good(&signers, &sign(&header(), &claims))
        };
        assert!(!with("exp", json!(NOW)) && with("exp", json!(NOW + 1)));
        assert!(!with("exp", json!((NOW + 60).to_string())) && !with("exp", json!(-1)));
        for start in ["nbf", "iat"] {
            assert!(with(start, json!(NOW + 5)) && !with(start, json!(NOW + 6)), "{start}");
        }
        assert!(!with("iss", json!("them")) && !with("aud", json!("them")));
        assert!(!with("exp", json!(u64::MAX)) && !with("ver", json!("1")));
    }
}
