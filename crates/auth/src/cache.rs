//! Principals of verified credentials, found by the digest of the whole credential.

use std::sync::Arc;

use crate::crypto;
use crate::principal::Principal;

/// Most credentials remembered at once, about 400 bytes each.
const CAPACITY: u64 = 50_000;

/// The digest of a credential: a prefix or an id would let one credential stand for another.
pub(crate) type Fingerprint = [u8; 32];

pub(crate) struct PrincipalCache(moka::sync::Cache<Fingerprint, Arc<Principal>>);

impl PrincipalCache {
    pub fn new() -> Self {
        Self(moka::sync::Cache::new(CAPACITY))
    }

    pub fn fingerprint(credential: &str) -> Fingerprint {
        crypto::sha256(credential.as_bytes())
    }

    pub fn find(&self, fingerprint: &Fingerprint) -> Option<Arc<Principal>> {
        self.0.get(fingerprint)
    }

    pub fn keep(&self, fingerprint: Fingerprint, principal: Arc<Principal>) {
        self.0.insert(fingerprint, principal);
    }

    pub fn forget(&self, fingerprint: &Fingerprint) {
        self.0.invalidate(fingerprint);
    }
}
