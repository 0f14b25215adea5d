//! A caller whose credential was verified, and what they may do.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use ipnet::IpNet;
use storage::{AccountStanding, KeyLimits};
use uuid::Uuid;

use crate::callers::access::{Permission, Permissions};
use crate::callers::authentication::Policy;
use crate::callers::confirmation::Confirmation;
use crate::callers::freshness::{ChangeSubject, Freshness};
use crate::keys::signed_requests::SigningSecret;
use crate::quotas::Quota;
use crate::{Error, Result};

/// A verified access token of another issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalToken {
    /// The identity here.
    pub identity: Uuid,
    /// The digest of what was signed.
    pub(crate) digest: [u8; 32],
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// When the person last proved to the issuer who they are, where it says so.
    pub authenticated_at: Option<DateTime<Utc>>,
    /// Whether they did so with a second factor.
    pub second_factor: bool,
    /// What the token is limited to.
    pub(crate) limit: Option<Permissions>,
    /// Whether that is less than its account may do.
    pub(crate) is_narrowed: bool,
}

/// What the caller proved themselves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An access token of this session.
    Session {
        /// The session.
        id: Uuid,
        /// When the person last proved who they are.
        authenticated_at: DateTime<Utc>,
    },
    /// An access token of another issuer.
    External(ExternalToken),
    /// This API key.
    ApiKey {
        /// The key.
        id: Uuid,
    },
}

impl Credential {
    pub(crate) const fn is_key(&self) -> bool {
        matches!(self, Self::ApiKey { .. })
    }

    /// The session, identity or key.
    pub(crate) const fn id(&self) -> Uuid {
        match self {
            Self::Session { id, .. } | Self::ApiKey { id } => *id,
            Self::External(token) => token.identity,
        }
    }
}

/// A caller whose credential was verified.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The account that acts and pays.
    pub account: Uuid,
    /// Its role.
    pub role: String,
    /// What this credential may do now: the role's permissions, for a key cut down to its scopes.
    pub permissions: Permissions,
    /// Whether they may do nothing but get a second factor until they have one.
    pub(crate) must_enrol: bool,
    /// How the caller proved who they are.
    pub credential: Credential,
    /// The models a key is narrowed to.
    pub(crate) models: Option<Vec<String>>,
    /// The models granted to the account or its role.
    pub(crate) grants: Vec<String>,
    /// The networks a key may be used from.
    pub(crate) networks: Option<Vec<IpNet>>,
    /// What a key is held to besides its account's limits.
    pub(crate) limits: Option<KeyLimits>,
    /// What may be used in a day or a month.
    pub(crate) quotas: Vec<Quota>,
    /// The digest of the secret of a key: the one that was sent, or that the request was signed with.
    pub(crate) secret: Option<[u8; 32]>,
    /// What requests of a key that signs are verified with.
    pub(crate) signing: Vec<SigningSecret>,
    /// The account's security version when this was read.
    pub(crate) security_version: i64,
    /// The change feed's number when this was read.
    pub(crate) seen: i64,
    /// When the credential or this knowledge of it ends.
    pub(crate) good_until: DateTime<Utc>,
    /// When the ephemeral store last knew of no change after that.
    pub(crate) confirmation: Arc<Confirmation>,
}

impl Principal {
    /// The principal of an account's credential, without restrictions.
    pub(crate) fn of(
        account: AccountStanding,
        permissions: Permissions,
        must_enrol: bool,
        credential: Credential,
        policy: Policy,
        seen: i64,
        good_until: DateTime<Utc>,
    ) -> Self {
        Self {
            account: account.account_id,
            role: account.role,
            permissions,
            must_enrol,
            credential,
            models: None,
            grants: policy.grants,
            networks: None,
            limits: None,
            quotas: policy.quotas,
            secret: None,
            signing: Vec::new(),
            security_version: account.security_version,
            seen,
            good_until,
            confirmation: Arc::default(),
        }
    }

    /// Refuses a caller who lacks `permission`.
    pub fn require(&self, permission: Permission) -> Result<()> {
        self.require_enrolled()?;
        if self.permissions.contains(permission) { Ok(()) } else { Err(Error::Forbidden(permission)) }
    }

    /// Refuses a caller who needs a second factor first.
    pub(crate) fn require_enrolled(&self) -> Result<()> {
        match self.credential {
            _ if !self.must_enrol => Ok(()),
            Credential::External(_) => Err(Error::SecondFactorElsewhere),
            Credential::Session { .. } | Credential::ApiKey { .. } => Err(Error::EnrolmentRequired),
        }
    }

    /// Refuses API keys: what concerns the person needs the person. Answers the session, or the identity at another
    /// issuer, in which they are here.
    pub fn require_person(&self) -> Result<Uuid> {
        match self.credential {
            Credential::Session { id, .. } => Ok(id),
            Credential::External(token) => Ok(token.identity),
            Credential::ApiKey { .. } => {
                Err(Error::Refused("an API key cannot do this; use an access token"))
            }
        }
    }

    /// Refuses API keys, and tokens that are held to fewer scopes than their account may do: no scope stands for what
    /// concerns the person, so only a token with all of them speaks for the whole person.
    pub(crate) fn require_whole_person(&self) -> Result<Uuid> {
        match self.credential {
            Credential::External(token) if token.is_narrowed => Err(Error::Refused(
                "this token may do less than you may; get one with all scopes of your role for this",
            )),
            _ => self.require_person(),
        }
    }

    /// Refuses callers without a session of ours: what concerns a password needs a login with it.
    pub(crate) fn require_session(&self) -> Result<Uuid> {
        match self.credential {
            Credential::External(_) => {
                Err(Error::Refused("this is about the password of this service; do it where you log in"))
            }
            Credential::Session { .. } | Credential::ApiKey { .. } => self.require_person(),
        }
    }

    /// Refuses a caller whose last proof of identity is older than `max_age`: sensitive acts need a recent one (RFC
    /// 9470).
    pub(crate) fn require_recent(&self, max_age: Duration, now: DateTime<Utc>) -> Result<()> {
        self.require_person()?;
        let authenticated_at = match self.credential {
            Credential::Session { authenticated_at, .. } => Some(authenticated_at),
            Credential::External(token) => token.authenticated_at,
            Credential::ApiKey { .. } => None,
        };
        if authenticated_at.is_some_and(|at| (now - at).abs() <= max_age) {
            Ok(())
        } else {
            Err(Error::StaleAuthentication { max_age })
        }
    }

    /// Whether a model that is only for those to whom it was granted is for this caller.
    pub(crate) fn is_granted(&self, model: &str) -> bool {
        self.permissions.contains(Permission::ModelsManage)
            || self.grants.iter().any(|granted| granted == model)
    }

    /// Whether a key is not narrowed to other models.
    pub fn reaches(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|name| name == model))
    }

    /// Whether this may still be relied on.
    pub(crate) fn is_current(&self, now: DateTime<Utc>, freshness: &Freshness) -> bool {
        now < self.good_until && self.is_unchanged(freshness)
    }

    /// Whether nothing about the caller changed since this was read, as far as this replica knows.
    pub(crate) fn is_unchanged(&self, freshness: &Freshness) -> bool {
        freshness.is_current(&self.watched(), self.seen)
    }

    pub(crate) fn watched(&self) -> [ChangeSubject; 3] {
        let credential = match self.credential {
            Credential::Session { id, .. } => ChangeSubject::Session(id),
            Credential::External(token) => ChangeSubject::Identity(token.identity),
            Credential::ApiKey { id } => ChangeSubject::ApiKey(id),
        };
        [ChangeSubject::Account(self.account), credential, ChangeSubject::Policy]
    }

    pub(crate) fn admits(&self, address: IpAddr) -> Result<()> {
        let address = address.to_canonical();
        match &self.networks {
            Some(networks) if !networks.iter().any(|network| network.contains(&address)) => {
                Err(Error::Refused("this API key may not be used from this address"))
            }
            _ => Ok(()),
        }
    }
}
