//! Access tokens: the only folder that names `jsonwebtoken`.
//!
//! Tokens follow RFC 9068 (`typ: at+jwt`) and RFC 8725: the algorithm is fixed by the key that `kid` names, never by
//! the token; keys are found in a map, never fetched; a header says what this program would have written and nothing
//! else; times are checked against the injected clock.

pub(crate) mod foreign;

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::signing::SigningAlgorithm;
use crate::{Error, Result};

/// `typ` of an access token (RFC 9068, section 2.1).
const ACCESS_TYPE: &str = "at+jwt";
/// Longest token that is looked at, in bytes.
const MAX_BYTES: usize = 4096;
/// How far a signer's clock may be ahead.
pub(crate) const LEEWAY: Duration = Duration::seconds(5);

const MALFORMED: Error = Error::InvalidCredential("this is not an access token of this service");
const EXPIRED: Error = Error::InvalidCredential("the access token has expired; refresh it or log in again");

/// The claims of an access token. Each is required and typed: a mistyped time is an error, never absent.
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

/// A key as the JWT library wants it, with the one header that its tokens have.
pub(crate) struct Signer {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    verifies_from: Option<DateTime<Utc>>,
}

impl Signer {
    /// From the halves as they are stored. What it signed is refused before `verifies_from`, less the leeway.
    pub fn new(
        kid: &str,
        algorithm: SigningAlgorithm,
        private: &[u8],
        public: &[u8],
        verifies_from: Option<DateTime<Utc>>,
    ) -> Self {
        let (algorithm, encoding, decoding) = match algorithm {
            SigningAlgorithm::EdDsa => {
                (Algorithm::EdDSA, EncodingKey::from_ed_der(private), DecodingKey::from_ed_der(public))
            }
            SigningAlgorithm::Es256 => {
                (Algorithm::ES256, EncodingKey::from_ec_der(private), DecodingKey::from_ec_der(public))
            }
            SigningAlgorithm::Rs256 => {
                (Algorithm::RS256, EncodingKey::from_rsa_der(private), DecodingKey::from_rsa_der(public))
            }
            SigningAlgorithm::Hs256 => {
                (Algorithm::HS256, EncodingKey::from_secret(private), DecodingKey::from_secret(private))
            }
        };
        let mut header = Header::new(algorithm);
        header.typ = Some(ACCESS_TYPE.into());
        header.kid = Some(kid.to_owned());
        Self { header, encoding, decoding, validation: validation(algorithm), verifies_from }
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

    fn active(&self) -> Option<&Signer> {
        self.by_kid.get(self.active.as_deref()?)
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
    let signer = signers.active().ok_or_else(|| Error::Internal("no active signing key".into()))?;
    jsonwebtoken::encode(&signer.header, claims, &signer.encoding)
        .map_err(|error| Error::Internal(error.to_string()))
}

/// Checks form, header, key, signature, issuer, audience and times, in this order.
pub(crate) fn verify(token: &str, signers: &Signers, issuer: &Issuer, now: DateTime<Utc>) -> Result<Claims> {
    if token.len() > MAX_BYTES {
        return Err(MALFORMED);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| MALFORMED)?;
    let signer = header.kid.as_deref().and_then(|kid| signers.by_kid.get(kid)).ok_or(MALFORMED)?;
    // One member more, `crit`, `jku` or `b64`, or another algorithm: then the header is not this key's.
    if header != signer.header {
        return Err(MALFORMED);
    }
    let claims = jsonwebtoken::decode::<Claims>(token, &signer.decoding, &signer.validation)
        .map_err(|_| MALFORMED)?
        .claims;
    if claims.iss != issuer.name || claims.aud != issuer.audience {
        return Err(MALFORMED);
    }
    if claims.exp <= now.timestamp() {
        return Err(EXPIRED);
    }
    let latest_start = (now + LEEWAY).timestamp();
    let too_early = signer.verifies_from.is_some_and(|from| from.timestamp() > latest_start);
    if too_early || claims.nbf > latest_start || claims.iat > latest_start {
        return Err(Error::InvalidCredential("the access token is not valid yet"));
    }
    Ok(claims)
}

/// Signs and verifies once: a key that cannot do both must not be found out by the first login.
pub(crate) fn prove(signers: &Signers, issuer: &Issuer, now: DateTime<Utc>) -> Result<()> {
    let (at, nobody) = (now.timestamp(), Uuid::nil());
    let claims = Claims {
        iss: issuer.name.clone(),
        aud: issuer.audience.clone(),
        sub: nobody,
        exp: at + 1,
        iat: at,
        nbf: at,
        jti: nobody,
        sid: nobody,
        ver: 0,
        auth_time: at,
    };
    let verified = verify(&sign(&claims, signers)?, signers, issuer, now);
    verified.map(drop).map_err(|error| Error::Internal(format!("the signing key does not work: {error}")))
}

/// Signature and algorithm only: the library would read the system's clock, the product has one of its own.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
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
        signers.add(
            "k",
            Signer::new("k", SigningAlgorithm::EdDsa, document.as_ref(), pair.public_key().as_ref(), None),
            true,
        );
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
            ("b64", json!(false)),
            ("jku", json!("https://example.com/keys")),
            ("x5u", json!("https://example.com/keys")),
            ("x5c", json!(["AAAA"])),
            ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
            ("cty", json!("JWT")),
            ("zip", json!("DEF")),
            ("another", json!(1)),
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
