//! What Modelgate remembers: durable state on Postgres or SQLite ([`Store`]), ephemeral state in Redis or
//! memory ([`Ephemeral`]). Each query is written once and runs on both durable engines; each ephemeral
//! operation behaves the same on both. Nothing outside this crate knows which engine it works on, and
//! nothing inside it decides a policy.

mod accounts;
mod alerts;
mod api_keys;
mod audit;
mod audit_chain;
mod blobs;
mod changes;
mod clock;
mod ephemeral;
mod error;
mod guessing;
mod identities;
mod incidents;
mod ip_rules;
mod key_secrets;
mod model_sources;
mod models;
mod notices;
mod one_time;
mod outbox;
mod page;
mod personal_data;
mod postgres;
mod query;
mod quotas;
mod rate_limits;
mod replicas;
mod roles;
mod sealed;
mod second_factors;
mod secrets;
mod service_accounts;
mod sessions;
mod settings;
mod signing_keys;
mod sqlite;
mod store;
mod text;
mod tx;
mod usage;
mod users;

pub use accounts::{AccountStanding, Accounts};
pub use alerts::{Alert, AlertBounds, Alerts, NewAlert};
pub use api_keys::{ApiKey, ApiKeyUpdate, ApiKeys, KeyLimits, NewApiKey};
pub use audit::{Audit, AuditEvent, AuditFilter, NewAuditEvent};
pub use audit_chain::{
    AuditChain, AuditLink, AuditRecord, AuditSeal, LinkedEvent, SealedLink, UnlinkedEvent,
};
pub use blobs::{Blob, BlobError, BlobSettings, Blobs, S3Settings};
pub use changes::{Change, Changes};
pub use clock::Clock;
pub use ephemeral::{Check, Ephemeral, EphemeralConfig, Outcome, WindowState};
pub use error::{Error, Result, told};
pub use guessing::{GuessStanding, Guessing};
pub use identities::{Identities, Identity, IdentityStanding, IdentityState, NewIdentity};
pub use incidents::{Incident, IncidentEntry, IncidentUpdate, Incidents, NewIncident};
pub use ip_rules::{IpEffect, IpPlace, IpRule, IpRules};
pub use key_secrets::{KeySecret, KeyStanding, KeyUse};
pub use model_sources::{ModelSource, ModelSources};
pub use models::{DesiredModel, GrantSubject, Model, ModelAccess, ModelFile, Models};
pub use notices::{Notice, Notices};
pub use one_time::{OneTimeToken, OneTimeTokens};
pub use outbox::{Outbox, OutboxItem};
pub use page::{Cursor, Page, PageRequest};
pub use personal_data::PersonalData;
pub use postgres::Excess;
pub use quotas::{Quota, QuotaPeriod, QuotaStanding, Quotas};
pub use rate_limits::{RateLimit, RateLimits};
pub use replicas::Replicas;
pub use roles::{Role, Roles};
pub use sealed::{RowKey, Sealed, SealedColumn, SealedValue};
pub use second_factors::{SecondFactors, TotpFactor};
pub use secrecy::SecretString;
pub use secrets::Secrets;
pub use service_accounts::{NewServiceAccount, ServiceAccount, ServiceAccountUpdate, ServiceAccounts};
pub use sessions::{NewSession, Session, SessionStanding, SessionState, Sessions};
pub use settings::Settings;
pub use signing_keys::{NewSigningKey, SigningKey, SigningKeyState, SigningKeys};
pub use store::{Durable, QueryCounts, Scope, Service, Store};
pub use tx::Tx;
pub use usage::{Usage, UsageCursor, UsageEntry, UsageFilter, UsageRow, UsageSlice};
pub use users::{NewUser, User, UserCredentials, UserUpdate, Users};
