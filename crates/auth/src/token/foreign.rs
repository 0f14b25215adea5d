//! Tokens of other issuers: reading their `iss`, and verifying them with one of that issuer's keys.
//!
//! As with our own, the algorithm belongs to the key and not to the token. Unlike ours their headers differ, so what is
//! refused is what would bring a key along, point to one, or change how the rest is read.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::validation;
use crate::{Error, Result};

/// Longest token of another issuer that is looked at, in bytes: they list groups and roles.
const MAX_BYTES: usize = 16 << 10;
/// Longest key id.
const MAX_KID: usize = 256;
/// The algorithms that other issuers may sign with. None is symmetric: its key would have to be shared.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("EdDSA", Algorithm::EdDSA),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
];
/// Shortest and longest RSA modulus, in characters of base64url: 2048 and 8192 bits.
const RSA_CHARACTERS: std::ops::RangeInclusive<usize> = 342..=1366;

const MALFORMED: Error = Error::InvalidCredential("this is not an access token that is accepted here");

/// An algorithm that a key of another issuer may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForeignAlgorithm(Algorithm);

impl ForeignAlgorithm {
    /// The algorithm of a JOSE name; none for a symmetric or unknown one.
    pub fn parse(name: &str) -> Option<Self> {
        ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| Self(*algorithm))
    }

    /// The names of all, for an error message.
    pub fn names() -> String {
        ALGORITHMS.map(|(name, _)| name).join(", ")
    }
}

impl fmt::Debug for ForeignAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A public key of another issuer, with its one algorithm.
pub(crate) struct ForeignKey {
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// The usable keys of a JWKS document (RFC 7517), by `kid`: for signatures, of an algorithm that is allowed. What else
/// stands there is for others, and left out; of two keys with one id, neither can be told from the other, so both are.
pub(crate) fn keys(keys: Vec<Value>, allowed: &[ForeignAlgorithm]) -> HashMap<String, Arc<ForeignKey>> {
    let mut usable: HashMap<String, Option<ForeignKey>> = HashMap::new();
    for (kid, key) in keys.into_iter().filter_map(|value| usable_key(value, allowed)) {
        usable.entry(kid).and_modify(|twice| *twice = None).or_insert(Some(key));
    }
    usable.into_iter().filter_map(|(kid, key)| Some((kid, Arc::new(key?)))).collect()
}

fn usable_key(value: Value, allowed: &[ForeignAlgorithm]) -> Option<(String, ForeignKey)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let kid = common.key_id.clone().filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID)?;
    let algorithm = algorithm_of(&jwk, allowed)?;
    let key = ForeignKey { algorithm, decoding: DecodingKey::from_jwk(&jwk).ok()? };
    (signs && verifies).then_some((kid, key))
}

/// The one algorithm of a key: what it says, or else what its type is for. An RSA key that says nothing is for the
/// first allowed one of RSA.
fn algorithm_of(jwk: &Jwk, allowed: &[ForeignAlgorithm]) -> Option<Algorithm> {
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(key) if RSA_CHARACTERS.contains(&key.n.len()) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => return None,
    };
    let mut usable = allowed.iter().map(|allowed| allowed.0).filter(|algorithm| fitting.contains(algorithm));
    match jwk.common.key_algorithm {
        Some(declared) => {
            let declared = Algorithm::try_from(declared).ok()?;
            usable.find(|algorithm| *algorithm == declared)
        }
        None => usable.next(),
    }
}

/// The unverified issuer of a token: it only selects the keys to verify with.
pub(crate) fn claimed_issuer(token: &str) -> Option<String> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let mut claims = jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(token).ok()?;
    match claims.0.remove("iss") {
        Some(Value::String(issuer)) => Some(issuer),
        _ => None,
    }
}

/// The id of the key that a token names, after a look at the rest of its header; `types` are those that are accepted, a
/// token that says none being a `JWT` (RFC 7519, section 5.1).
pub(crate) fn key_id(token: &str, types: &[String]) -> Result<String> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| MALFORMED)?;
    let typ = header.typ.as_deref().unwrap_or("JWT");
    let typ = typ.strip_prefix("application/").unwrap_or(typ);
    if has_forbidden_members(&header) || !types.iter().any(|accepted| accepted.eq_ignore_ascii_case(typ)) {
        return Err(MALFORMED);
    }
    header.kid.filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID).ok_or(MALFORMED)
}

/// Whether a header has a key, an address of one, an extension to be understood, or content of another form.
fn has_forbidden_members(header: &Header) -> bool {
    let Header { jku, jwk, x5u, x5c, crit, cty, enc, zip, extras, .. } = header;
    let is_other = [jku.is_some(), jwk.is_some(), x5u.is_some(), x5c.is_some()].contains(&true);
    let is_read_otherwise = [crit.is_some(), cty.is_some(), enc.is_some(), zip.is_some()].contains(&true);
    is_other || is_read_otherwise || extras.inner().contains_key("b64")
}

/// The claims of a token that this key signed with its one algorithm.
pub(crate) fn verify(token: &str, key: &ForeignKey) -> Result<Map<String, Value>> {
    let validation = validation(key.algorithm);
    let verified = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation);
    verified.map(|verified| verified.claims.0).map_err(|_| MALFORMED)
}

/// What a token's signature is about: two spellings of one signature are one token.
pub(crate) fn signed_part(token: &str) -> &str {
    token.rsplit_once('.').map_or(token, |(signed, _)| signed)
}

/// Claims, each of which stands once: one that stands twice could be read in two ways.
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Claims;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(de::Error::custom("a claim stands twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
