//! Requests that are signed with an API key instead of sending it (RFC 9421, HMAC-SHA-256). A key that is never sent
//! cannot leak on the way, a signed request cannot be changed, and no request is accepted twice.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use storage::{KeyStanding, SealedColumn};
use uuid::Uuid;

use crate::callers::cache::{Fingerprint, PrincipalCache};
use crate::callers::principal::Principal;
use crate::limits::Window;
use crate::{AllowanceState, Auth, Error, Result, Throttle, crypto, keys::key_format};

/// The name of the window that a nonce fits into once.
const NONCE: &str = "nonce";
const WRONG: Error =
    Error::InvalidCredential("the signature is not valid; docs/API.md shows how requests are signed");
const UNSIGNED: Error = Error::InvalidCredential(
    "this API key signs its requests and is never sent itself; docs/API.md shows how",
);
const REPLAYED: Error =
    Error::InvalidCredential("this request was accepted before; sign each one anew, with a nonce of its own");

/// The signature parameters of a request.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// The public part of the key.
    pub key_id: String,
    /// When it was signed, in seconds since 1970.
    pub created: i64,
    /// The nonce: unique among the requests of the key.
    pub nonce: String,
    /// What was signed (RFC 9421, section 2.5).
    pub base: String,
    /// The HMAC of it.
    pub signature: Vec<u8>,
}

/// What a caller proves with who they are.
#[derive(Clone, Debug)]
pub enum PresentedCredential<'a> {
    /// A token or an API key.
    Whole(&'a str),
    /// A signature that only the holder of an API key can make.
    Signed(SignedRequest),
}

/// A secret of a key that signs.
#[derive(Clone, Debug)]
pub(crate) struct SigningSecret {
    text: SecretString,
    /// Its digest, which it is stored under.
    hash: [u8; 32],
}

impl PresentedCredential<'_> {
    /// What its principal is cached under. That of a signed request is of another kind than any digest of a text.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Whole(text) => PrincipalCache::fingerprint(text),
            Self::Signed(request) => request.fingerprint(),
        }
    }

    /// The window that a second request with this nonce does not fit into; `age` as in [`SignedRequest::require_age`].
    pub(crate) fn nonce_window(&self, age: Duration) -> Option<Window> {
        let Self::Signed(request) = self else { return None };
        let key = format!("window:nonce:{}:{}", request.key_id, request.nonce);
        // From the earliest moment at which it could have come to the latest, and one for fractions of seconds.
        Some(Window { name: NONCE, key, limit: 1, period: age * 2 + Duration::from_secs(1) })
    }
}

impl SignedRequest {
    /// Refuses what was signed longer than `age` ago, or so far in the future.
    fn require_age(&self, age: Duration, now: DateTime<Utc>) -> Result<()> {
        if now.timestamp().abs_diff(self.created) <= age.as_secs() {
            return Ok(());
        }
        Err(Error::InvalidCredential("the request was signed too long ago, or too soon: look at the clock"))
    }

    fn fingerprint(&self) -> Fingerprint {
        crypto::authenticate(b"signed requests", self.key_id.as_bytes())
    }

    fn is_by(&self, secret: &SigningSecret) -> bool {
        let expected = crypto::authenticate(secret.text.expose_secret().as_bytes(), self.base.as_bytes());
        crypto::same(&expected, &self.signature)
    }
}

impl Auth {
    /// The caller behind a signed request.
    pub(crate) async fn authenticate_signed(&self, request: &SignedRequest) -> Result<Arc<Principal>> {
        let now = self.now();
        request.require_age(self.signature_max_age, now)?;
        if !key_format::is_public_id(&request.key_id) {
            return Err(WRONG);
        }
        let fingerprint = request.fingerprint();
        let known = self.principals.find(&fingerprint);
        let known = known.filter(|principal| principal.is_current(now, &self.freshness));
        let principal = match known {
            Some(principal) => principal,
            None => {
                let principal = Arc::new(self.read_signing_key(&request.key_id, now).await?);
                self.principals.keep(fingerprint, Arc::clone(&principal));
                principal
            }
        };
        let secret = principal.signing.iter().find(|secret| request.is_by(secret)).ok_or(WRONG)?;
        if principal.secret.is_some_and(|newest| crypto::same(&newest, &secret.hash)) {
            return Ok(principal);
        }
        // One that was replaced and may be used for a while.
        Ok(Arc::new(Principal { secret: Some(secret.hash), ..Principal::clone(&principal) }))
    }

    async fn read_signing_key(&self, public_id: &str, now: DateTime<Utc>) -> Result<Principal> {
        let (tx, seen, standing) = self.find_key(public_id).await?.ok_or(WRONG)?;
        if !standing.key.require_signature {
            return Err(WRONG);
        }
        let live = standing.secrets.iter().filter(|secret| secret.expires_at.is_none_or(|end| now < end));
        let mut secrets = Vec::new();
        for secret in live.clone() {
            let place = SealedColumn::KeySecret.place(HEXLOWER.encode_display(&secret.hash));
            let sealed = secret.sealed.as_deref().ok_or(WRONG)?;
            let text: SecretString = self.encryption.open_text(&place, sealed)?.into();
            let hash = crypto::sha256(text.expose_secret().as_bytes());
            secrets.push(SigningSecret { text, hash });
        }
        let end = live.filter_map(|secret| secret.expires_at).min();
        let newest = secrets.first().map(|secret| secret.hash);
        let principal = self.principal_of_key(tx, seen, standing, end, secrets, now).await?;
        Ok(Principal { secret: newest, ..principal })
    }

    /// The owner and the id of the signing key with this text. The text is no credential, but its holder may revoke the
    /// key.
    pub(crate) async fn signing_key_of(&self, text: &str) -> Result<Option<(Uuid, Uuid)>> {
        let Some(public_id) = key_format::public_id(self.environment, text) else { return Ok(None) };
        let Some((_, _, KeyStanding { key, secrets, .. })) = self.find_key(public_id).await? else {
            return Ok(None);
        };
        let hash = crypto::sha256(text.as_bytes());
        let holds = key.require_signature && secrets.iter().any(|secret| crypto::same(&secret.hash, &hash));
        Ok(holds.then_some((key.account_id, key.id)))
    }

    /// A key's text, sealed to verify signatures with it; nothing for a key that is sent itself.
    pub(crate) fn sealed_key(
        &self,
        signs: bool,
        hash: &[u8],
        text: &SecretString,
    ) -> Result<Option<Vec<u8>>> {
        let place = SealedColumn::KeySecret.place(HEXLOWER.encode_display(hash));
        signs.then(|| self.encryption.seal(&place, text.expose_secret().as_bytes())).transpose()
    }
}

/// Refuses a key that is sent though it signs.
pub(crate) fn refuse_unsigned(standing: &KeyStanding) -> Result<()> {
    if standing.key.require_signature { Err(UNSIGNED) } else { Ok(()) }
}

/// What callers are told of windows: the nonce's is none of them.
pub(crate) fn visible_windows(mut windows: Vec<AllowanceState>) -> Vec<AllowanceState> {
    windows.retain(|window| window.name != NONCE);
    windows
}

/// Why a request was not admitted.
pub(crate) fn refusal(throttle: Throttle) -> Error {
    if throttle.policy == NONCE {
        return REPLAYED;
    }
    Error::Throttled(Throttle { windows: visible_windows(throttle.windows), ..throttle })
}

/// Whether windows may be counted in this process while the store is away: what another replica took would be taken
/// again.
pub(crate) fn can_stand_in(windows: &[Window]) -> bool {
    windows.iter().all(|window| window.name != NONCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(created: i64) -> SignedRequest {
        SignedRequest {
            key_id: "abcdefABCDEF".into(),
            created,
            nonce: "n".repeat(16),
            base: String::new(),
            signature: Vec::new(),
        }
    }

    #[test]
    fn a_signature_has_an_age_both_ways() {
        let now = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::seconds(1000);
        let age = Duration::from_secs(300);
        for (created, fits) in
            [(700, true), (1300, true), (699, false), (1301, false), (i64::MIN, false), (i64::MAX, false)]
        {
            assert_eq!(request(created).require_age(age, now).is_ok(), fits, "{created}");
        }
    }

    #[test]
    fn no_text_is_cached_as_a_signed_request() {
        let signed = PresentedCredential::Signed(request(0));
        for text in ["abcdefABCDEF", "signed requestsabcdefABCDEF", "signed requests"] {
            assert_ne!(signed.fingerprint(), PresentedCredential::Whole(text).fingerprint());
        }
    }

    #[test]
    fn a_signature_is_the_keys_and_of_this_text() {
        let secret = |text: &str| SigningSecret { text: text.to_owned().into(), hash: [0; 32] };
        let signed = SignedRequest {
            base: "what is signed".into(),
            signature: crypto::authenticate(b"mg_test_secret", b"what is signed").to_vec(),
            ..request(0)
        };
        assert!(signed.is_by(&secret("mg_test_secret")));
        assert!(!signed.is_by(&secret("mg_test_another")));
        assert!(
            !SignedRequest { base: "what is signeD".into(), ..signed.clone() }
                .is_by(&secret("mg_test_secret"))
        );
        for length in [0, 16, 31] {
            let short = signed.signature[..length].to_vec();
            assert!(!SignedRequest { signature: short, ..signed.clone() }.is_by(&secret("mg_test_secret")));
        }
    }
}
