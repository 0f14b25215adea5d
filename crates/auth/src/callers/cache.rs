//! Principals of verified credentials, found by the digest of the whole credential.

use std::mem;
use std::sync::Arc;

use ipnet::IpNet;

use crate::callers::freshness::CACHED_FOR;
use crate::callers::principal::Principal;
use crate::crypto;
use crate::quotas::Quota;

/// Most memory for principals, in bytes: a plain one takes about 400, so some 80,000 fit; a key that is narrowed to
/// many models and networks may take a hundred times as much.
const CAPACITY: u64 = 32 << 20;
/// What the cache itself keeps for each, in bytes, about.
const OVERHEAD: usize = 200;

/// The digest of a credential: a prefix or an id would let one credential stand for another.
pub(crate) type Fingerprint = [u8; 32];

pub(crate) struct PrincipalCache(moka::sync::Cache<Fingerprint, Arc<Principal>>);

impl PrincipalCache {
    pub fn new() -> Self {
        // `good_until` decides whether one is used, by the injected clock; this ends its stay in memory.
        let lifetime = CACHED_FOR.to_std().unwrap_or_default();
        let weigh = |_: &Fingerprint, principal: &Arc<Principal>| weight(principal);
        Self(
            moka::sync::Cache::builder().max_capacity(CAPACITY).weigher(weigh).time_to_live(lifetime).build(),
        )
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

    pub fn forget_all(&self) {
        self.0.invalidate_all();
    }
}

/// The bytes that an entry takes, about.
fn weight(principal: &Principal) -> u32 {
    let models = principal.models.iter().flatten().chain(&principal.grants);
    let models = models.map(|model| mem::size_of::<String>() + model.len());
    let networks = principal.networks.iter().flatten().count() * mem::size_of::<IpNet>();
    let quotas = principal.quotas.len() * mem::size_of::<Quota>();
    let owned = principal.role.len() + models.sum::<usize>() + networks + quotas;
    let fixed = OVERHEAD + mem::size_of::<Fingerprint>() + mem::size_of::<Principal>();
    u32::try_from(fixed + owned).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::callers::access::Permissions;
    use crate::callers::principal::Credential;

    fn principal(models: usize) -> Arc<Principal> {
        Arc::new(Principal {
            account: Uuid::nil(),
            role: "user".to_owned(),
            permissions: Permissions::from_names(["models:read"]),
            must_enrol: false,
            credential: Credential::ApiKey { id: Uuid::nil() },
            models: Some((0..models).map(|number| format!("a-model-{number}")).collect()),
            security_version: 0,
            grants: Vec::new(),
            networks: None,
            limits: None,
            secret: None,
            signing: Vec::new(),
            quotas: Vec::new(),
            seen: 0,
            good_until: DateTime::UNIX_EPOCH,
            confirmation: Arc::default(),
        })
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_time() {
        let cache = PrincipalCache::new();
        assert_eq!(cache.0.policy().time_to_live(), CACHED_FOR.to_std().ok());
        let large = principal(1000);
        assert!(weight(&large) > 30_000, "{}", weight(&large));
        for number in 0..3000_u32 {
            cache.keep(PrincipalCache::fingerprint(&number.to_string()), Arc::clone(&large));
        }
        cache.0.run_pending_tasks();
        assert!(cache.0.weighted_size() <= CAPACITY, "{}", cache.0.weighted_size());
        assert!(cache.0.entry_count() < 1100, "{}", cache.0.entry_count());
    }

    #[test]
    fn everything_can_be_forgotten_at_once() {
        let cache = PrincipalCache::new();
        let fingerprint = PrincipalCache::fingerprint("one");
        cache.keep(fingerprint, principal(0));
        assert!(cache.find(&fingerprint).is_some());
        cache.forget_all();
        assert!(cache.find(&fingerprint).is_none());
    }
}
