//! [`Auth`], the value that every decision is a method of, and its settings.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use storage::{Clock, Ephemeral, EphemeralConfig, Scope, Service, Store};

use crate::Result;
use crate::accounts::address::EmailIndex;
use crate::alerts::AlertSettings;
use crate::audit::{AuditSettings, AuditTrail};
use crate::callers::access::Role;
use crate::callers::cache::PrincipalCache;
use crate::callers::freshness::Freshness;
use crate::change_feed::Outdated;
use crate::crypto::sealing::EncryptionKeys;
use crate::detection::{DetectionSettings, Detector};
use crate::events::EventCounts;
use crate::external::{DocumentSource, External, TrustedIssuer};
use crate::files::FileSettings;
use crate::incidents::IncidentSettings;
use crate::ip_rules::AddressRules;
use crate::keys::key_format::Environment;
use crate::limits::ahead::CountedAhead;
use crate::limits::in_flight::InFlightCounter;
use crate::limits::over_limit::OverLimit;
use crate::limits::{LimitBook, Limits};
use crate::login::Lifetimes;
use crate::models::access::ModelAccessCache;
use crate::operation::OperationSwitch;
use crate::outage::OutagePolicy;
use crate::password::{HashingPool, PasswordHashing};
use crate::quotas::QuotaBook;
use crate::signing::{Keyring, PublicKey, SharedSecret, SigningAlgorithm};
use crate::token::Issuer;

/// Windows kept by the in-process stand-in while the ephemeral store is unreachable.
const STAND_IN_ENTRIES: usize = 100_000;

/// What the decisions depend on.
pub struct AuthSettings {
    /// Seal what is secret or personal at rest.
    pub encryption: EncryptionKeys,
    /// How the audit trail is kept.
    pub audit: AuditSettings,
    /// Whether API keys are `mg_live_…` rather than `mg_test_…`.
    pub production: bool,
    /// How access tokens are signed.
    pub algorithm: SigningAlgorithm,
    /// What the first HS256 key is made of; none: it is drawn.
    pub shared_secret: Option<SharedSecret>,
    /// `iss` of access tokens.
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    /// How long tokens and sessions are good.
    pub lifetimes: Lifetimes,
    /// What authenticator apps show beside a person's address.
    pub mfa_issuer: String,
    /// The names of the roles whose people need a second factor.
    pub mfa_required_roles: Vec<String>,
    /// Other issuers whose access tokens are accepted.
    pub trusted_issuers: Vec<TrustedIssuer>,
    /// Fetches what they publish.
    pub documents: Arc<dyn DocumentSource>,
    /// Whether mail is set up.
    pub sends_mail: bool,
    /// Where alerts go, and how often.
    pub alerts: AlertSettings,
    /// The automatic answers to incidents.
    pub incidents: IncidentSettings,
    /// The thresholds of detectors.
    pub detection: DetectionSettings,
    /// Requests a window.
    pub limits: Limits,
    /// What holds while a store is out of reach.
    pub outage: OutagePolicy,
    /// Bounds of password hashing.
    pub hashing: PasswordHashing,
    /// Requests of one account at a time, in this process; 0: no limit.
    pub max_in_flight: u32,
    /// Live sessions of one account; one more ends the oldest.
    pub max_sessions: u32,
    /// Live API keys of one account; one more is refused.
    pub max_keys: u32,
    /// What is kept of files.
    pub files: FileSettings,
    /// How old a signed request may be, and how far in the future.
    pub signature_max_age: std::time::Duration,
    /// The only networks for administration; empty: any.
    pub admin_networks: Vec<IpNet>,
    /// Rules about addresses, and as many blocks that detectors made.
    pub max_ip_rules: u32,
}

/// Where a request comes from, for the audit trail and the limits.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address, proxies taken into account; none on the command line.
    pub address: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

/// Identity, access and limits.
pub struct Auth {
    pub(crate) store: Store,
    pub(crate) ephemeral: Ephemeral,
    /// Counts in this process while the ephemeral store is unreachable: degraded, never open.
    pub(crate) stand_in: Ephemeral,
    pub(crate) clock: Clock,
    pub(crate) encryption: EncryptionKeys,
    pub(crate) trail: AuditTrail,
    pub(crate) email_index: EmailIndex,
    pub(crate) environment: Environment,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) shared_secret: Option<SharedSecret>,
    pub(crate) issuer: Issuer,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) mfa_issuer: String,
    pub(crate) mfa_required_roles: Vec<String>,
    pub(crate) external: External,
    pub(crate) sends_mail: bool,
    pub(crate) alerts: AlertSettings,
    pub(crate) incidents: IncidentSettings,
    pub(crate) detector: Detector,
    pub(crate) limits: LimitBook,
    pub(crate) over_limit: OverLimit,
    pub(crate) counted_ahead: CountedAhead,
    pub(crate) hashing: HashingPool,
    pub(crate) keyring: Keyring,
    pub(crate) principals: PrincipalCache,
    pub(crate) freshness: Freshness,
    pub(crate) outdated: tokio::sync::Mutex<Outdated>,
    pub(crate) feed_restarts: AtomicU64,
    pub(crate) outage: OutagePolicy,
    pub(crate) in_flight: InFlightCounter,
    pub(crate) max_sessions: u32,
    pub(crate) max_keys: u32,
    pub(crate) addresses: AddressRules,
    pub(crate) files: FileSettings,
    pub(crate) signature_max_age: std::time::Duration,
    pub(crate) model_access: ModelAccessCache,
    /// The number of the last change to a model's desired state, as far as the feed was read.
    pub(crate) model_changes: AtomicI64,
    pub(crate) operation: OperationSwitch,
    pub(crate) events: EventCounts,
    pub(crate) quota_book: Arc<QuotaBook>,
}

impl Auth {
    /// Brings the built-in roles up to date, reads the signing keys and finds the end of the change feed.
    pub async fn start(store: Store, ephemeral: Ephemeral, settings: AuthSettings) -> Result<Arc<Self>> {
        let position = prepare(&store).await?;
        let auth = Self::new(store, ephemeral, settings, position).await?;
        auth.load().await?;
        Ok(Arc::new(auth))
    }

    /// Nothing of what the store keeps is read yet, except for the key of the email index.
    async fn new(store: Store, ephemeral: Ephemeral, settings: AuthSettings, position: i64) -> Result<Self> {
        let clock = store.clock().clone();
        Ok(Self {
            stand_in: Ephemeral::connect(
                EphemeralConfig::Memory { max_entries: STAND_IN_ENTRIES },
                clock.clone(),
            )?,
            freshness: Freshness::new(position, settings.outage.isolation),
            outdated: tokio::sync::Mutex::default(),
            feed_restarts: AtomicU64::default(),
            outage: settings.outage,
            environment: if settings.production { Environment::Live } else { Environment::Test },
            algorithm: settings.algorithm,
            shared_secret: settings.shared_secret,
            issuer: Issuer { name: settings.issuer, audience: settings.audience },
            email_index: EmailIndex::load(&store, &settings.encryption).await?,
            encryption: settings.encryption,
            trail: AuditTrail::new(store.clone(), settings.audit),
            lifetimes: settings.lifetimes,
            mfa_issuer: settings.mfa_issuer,
            mfa_required_roles: settings.mfa_required_roles,
            external: External::new(settings.trusted_issuers, settings.documents),
            sends_mail: settings.sends_mail,
            alerts: settings.alerts,
            incidents: settings.incidents,
            detector: Detector::new(settings.detection),
            limits: LimitBook::new(settings.limits),
            over_limit: OverLimit::new(),
            counted_ahead: CountedAhead::default(),
            hashing: HashingPool::start(&settings.hashing)?,
            keyring: Keyring::default(),
            principals: PrincipalCache::new(),
            in_flight: InFlightCounter::new(settings.max_in_flight),
            max_sessions: settings.max_sessions,
            max_keys: settings.max_keys,
            files: settings.files,
            signature_max_age: settings.signature_max_age,
            addresses: AddressRules::new(settings.admin_networks, settings.max_ip_rules),
            operation: OperationSwitch::default(),
            quota_book: Arc::new(QuotaBook::new(store.clone())),
            events: EventCounts::new(),
            model_access: ModelAccessCache::default(),
            model_changes: AtomicI64::new(position),
            store,
            ephemeral,
            clock,
        })
    }

    /// Reads what is kept in memory, and checks the settings that name roles.
    async fn load(&self) -> Result<()> {
        self.keyring.load(&self.store, &self.encryption).await?;
        self.follow_operation().await?;
        self.load_ip_rules().await?;
        self.read_limits().await?;
        self.check_required_roles().await?;
        self.check_given_roles().await
    }

    /// The injected time.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The keys that access tokens verify with.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.keyring.public()
    }

    /// The audit trail.
    pub fn trail(&self) -> &AuditTrail {
        &self.trail
    }

    /// The counts of security events in this process, by name.
    pub fn security_events(&self) -> Vec<(&'static str, u64)> {
        self.events.read()
    }

    /// Whether neither store was reached for too long (`ISOLATION_SECONDS`): this replica cannot learn of revocations.
    pub fn is_isolated(&self) -> bool {
        self.freshness.is_isolated()
    }
}

async fn prepare(store: &Store) -> Result<i64> {
    let mut tx = store.begin(Scope::Service(Service::Setup)).await?;
    let roles: Vec<(&str, Vec<&str>)> = Role::ALL
        .iter()
        .map(|role| (role.name(), role.permissions().iter().map(|permission| permission.name()).collect()))
        .collect();
    let roles: Vec<(&str, &[&str])> =
        roles.iter().map(|(name, permissions)| (*name, &permissions[..])).collect();
    tx.roles().sync_built_in(&roles).await?;
    let position = tx.changes().head().await?;
    tx.commit().await?;
    Ok(position)
}
