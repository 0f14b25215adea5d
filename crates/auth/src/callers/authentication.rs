//! Who is calling: from a bearer token, ours or another issuer's, or an API key to a principal.
//!
//! A credential seen before costs one digest and one look-up in memory. A new one is verified (signature or checksum
//! first, so that a forged one costs no query) and its account's present state is read once.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use ipnet::{IpNet, Ipv4Net};
use storage::{AccountStanding, KeyStanding, Scope, Service, Tx};
use uuid::Uuid;

use crate::callers::access::Permissions;
use crate::callers::cache::PrincipalCache;
use crate::callers::freshness::CACHED_FOR;
use crate::callers::principal::{Credential, Principal};
use crate::keys::signed_requests::{self, SigningSecret};
use crate::quotas::Quota;
use crate::{Auth, Error, Result, crypto, keys::key_format, token};

pub(crate) const REVOKED: Error = Error::InvalidCredential("this token has been revoked; log in again");
const WRONG_KEY: Error = Error::InvalidCredential("this API key is not valid");

impl Auth {
    /// The caller behind `credential`, an access token or an API key.
    pub async fn authenticate(&self, credential: &str) -> Result<Arc<Principal>> {
        self.authenticate_from(credential, None, self.now()).await
    }

    /// The same, where it is known from where the credential came.
    pub(crate) async fn authenticate_from(
        &self,
        credential: &str,
        address: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Principal>> {
        let fingerprint = PrincipalCache::fingerprint(credential);
        if let Some(principal) = self.principals.find(&fingerprint) {
            if principal.is_current(now, &self.freshness) {
                return Ok(principal);
            }
            self.principals.forget(&fingerprint);
        }
        // Boxed: most requests never come here and need not carry the room for it.
        let principal = Arc::new(Box::pin(self.read(credential, address, now)).await?);
        self.principals.keep(fingerprint, Arc::clone(&principal));
        Ok(principal)
    }

    async fn read(&self, credential: &str, address: Option<IpAddr>, now: DateTime<Utc>) -> Result<Principal> {
        if credential.starts_with(key_format::PREFIX) {
            self.read_key(credential, now).await
        } else if let Some(issuer) = self.external.issuer_of(credential) {
            self.read_external(credential, issuer, address, now).await
        } else {
            self.read_token(credential, now).await
        }
    }

    async fn read_token(&self, text: &str, now: DateTime<Utc>) -> Result<Principal> {
        let claims = token::verify(text, &self.keyring.signers(), &self.issuer, now)?;
        let mut tx = self.store.read(Scope::Service(Service::Token)).await?;
        // Before the rest, so that a change in between makes this stale rather than unseen.
        let seen = tx.changes().head().await?;
        let standing = tx.sessions().standing(claims.sid).await?.ok_or(REVOKED)?;
        let (session, account) = (standing.session, standing.account);
        if !session.is_live(now)
            || account.account_id != claims.sub
            || !account.active
            || account.security_version != claims.ver
        {
            return Err(REVOKED);
        }
        let expires = DateTime::from_timestamp(claims.exp, 0).ok_or(REVOKED)?;
        let authenticated_at = DateTime::from_timestamp(claims.auth_time, 0).ok_or(REVOKED)?;
        let policy = self.read_policy(&mut tx, seen, &account, None).await?;
        let (permissions, must_enrol) = (self.granted(&account), self.must_enrol(&account));
        let credential = Credential::Session { id: claims.sid, authenticated_at };
        let good_until = expires.min(now + CACHED_FOR);
        Ok(Principal::of(account, permissions, must_enrol, credential, policy, seen, good_until))
    }

    async fn read_key(&self, text: &str, now: DateTime<Utc>) -> Result<Principal> {
        let public_id = key_format::public_id(self.environment, text).ok_or(WRONG_KEY)?;
        let hash = crypto::sha256(text.as_bytes());
        let (tx, seen, standing) = self.find_key(public_id).await?.ok_or(WRONG_KEY)?;
        let secret = standing
            .secrets
            .iter()
            .find(|secret| crypto::same(&secret.hash, &hash) && secret.expires_at.is_none_or(|end| now < end))
            .ok_or(WRONG_KEY)?;
        let end = secret.expires_at;
        signed_requests::refuse_unsigned(&standing)?;
        let principal = self.principal_of_key(tx, seen, standing, end, Vec::new(), now).await?;
        Ok(Principal { secret: Some(hash), ..principal })
    }

    /// How a key stands, and the number in the change feed that this is as of.
    pub(crate) async fn find_key(&self, public_id: &str) -> Result<Option<(Tx, i64, KeyStanding)>> {
        let mut tx = self.store.read(Scope::Service(Service::ApiKey)).await?;
        let seen = tx.changes().head().await?;
        let standing = tx.api_keys().standing(public_id).await?;
        Ok(standing.map(|standing| (tx, seen, standing)))
    }

    /// The principal of a verified key, whose secret is good until `end`.
    pub(crate) async fn principal_of_key(
        &self,
        mut tx: Tx,
        seen: i64,
        standing: KeyStanding,
        end: Option<DateTime<Utc>>,
        signing: Vec<SigningSecret>,
        now: DateTime<Utc>,
    ) -> Result<Principal> {
        let key = standing.key;
        if key.revoked_at.is_some() || !standing.account.active {
            return Err(Error::InvalidCredential("this API key has been revoked"));
        }
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::InvalidCredential("this API key has expired; create a new one"));
        }
        let account = standing.account;
        let policy = self.read_policy(&mut tx, seen, &account, Some(key.id)).await?;
        // Its scopes and its owner's permissions together, both as they are now.
        let permissions = self.granted(&account).intersection(Permissions::from_names(&key.scopes));
        let (must_enrol, credential) = (self.must_enrol(&account), Credential::ApiKey { id: key.id });
        let ends = [key.expires_at, end, Some(now + CACHED_FOR)];
        let good_until = ends.into_iter().flatten().min().unwrap_or(now);
        Ok(Principal {
            models: key.models,
            networks: key
                .allowed_ips
                .map(|networks| networks.iter().filter_map(|text| network(text)).collect()),
            limits: key.limits,
            signing,
            ..Principal::of(account, permissions, must_enrol, credential, policy, seen, good_until)
        })
    }
}

/// The grants and quotas of a caller.
pub(crate) struct Policy {
    /// Models granted to the account or its role.
    pub grants: Vec<String>,
    /// Quotas that hold.
    pub quotas: Vec<Quota>,
}

impl Auth {
    /// Reads the grants and quotas of the account and the key; and, at the same time, which models need a grant.
    pub(crate) async fn read_policy(
        &self,
        tx: &mut Tx,
        seen: i64,
        account: &AccountStanding,
        key: Option<Uuid>,
    ) -> Result<Policy> {
        self.model_access.remember(seen, tx.models().list().await?);
        let grants = tx.models().granted_to(account.account_id, &account.role).await?;
        let quotas = tx.quotas().of_caller(account.account_id, &account.role, key).await?;
        Ok(Policy { grants, quotas: Quota::applying(account.account_id, key, &quotas) })
    }
}

/// Reads an address or a CIDR block. One of IPv4 that is written as IPv6 (RFC 4291, section 2.5.5.2) is the one of
/// IPv4, as clients' addresses are.
pub fn network(text: &str) -> Option<IpNet> {
    let read = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let mapped = match read {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    Some(mapped.map_or(read, |(address, length)| Ipv4Net::new_assert(address, length).into()))
}
