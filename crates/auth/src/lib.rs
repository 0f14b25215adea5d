//! Who is calling, what they may do, and how much.
//!
//! [`Auth`] is the whole of it: one value, shared by every web worker, whose methods are the decisions of the
//! product. It knows no framework: callers bring strings and addresses, and get a [`Principal`] or an [`Error`].

mod accounts;
mod alerts;
mod audit;
mod callers;
mod change_feed;
mod crypto;
mod detection;
mod error;
mod events;
mod external;
mod files;
mod ids;
mod incidents;
mod ip_rules;
mod keys;
mod limits;
mod login;
mod mail;
mod models;
mod operation;
mod outage;
mod password;
mod quotas;
mod retention;
mod second_factors;
mod service;
mod signing;
mod token;
mod usage;

pub use accounts::address::is_visible;
pub use accounts::confirmation::is_registration_link;
pub use accounts::directory::UserChange;
pub use accounts::export::Export;
pub use accounts::import::ImportedPerson;
pub use accounts::invitations::Invitation;
pub use accounts::people::{MAX_EMAIL, NAME_LENGTH, Person, is_name_character};
pub use accounts::registration::{NewUserRequest, Profile};
pub use alerts::log::AlertState;
pub use alerts::{Alert, AlertChannel, AlertSettings, Severity, sign_webhook};
pub use audit::{
    AuditFinding, AuditKey, AuditKeys, AuditReading, AuditSettings, AuditStanding, AuditTrail, Verification,
    read_seal_lines, seal_line,
};
pub use callers::access::{Permission, Permissions, Role};
pub use callers::admission::{Admission, AllowanceState, Refusal, RequestSource};
pub use callers::authentication::network;
pub use callers::holder::CredentialStatus;
pub use callers::principal::{Credential, ExternalToken, Principal};
pub use callers::step_up::FreshToken;
pub use crypto::random::{bytes as random_bytes, password as random_password};
pub use crypto::rotation::Resealed;
pub use crypto::sealing::{EncryptionKey, EncryptionKeys};
pub use crypto::{BodyDigest, same_secret};
pub use detection::{Activity, AttackPattern, DetectionSettings, Threshold, in_header, in_target, in_text};
pub use error::{Error, Result, Throttle, Violations};
pub use external::{DocumentSource, ExternalIdentity, Fetched, NoDocuments, RoleRule, TrustedIssuer};
pub use files::{FileSettings, Received, Upload};
pub use ids::parse_id;
pub use incidents::{
    Answer, AnswerRequest, EntryKind, IncidentChange, IncidentKind, IncidentRequest, IncidentSettings,
    IncidentStatus,
};
pub use ip_rules::IpRuleRequest;
pub use keys::api_keys::{IssuedKey, KeyChange, KeyOwner, KeyRequest, MAX_OVERLAP_SECONDS};
pub use keys::key_format::PREFIX as API_KEY_PREFIX;
pub use keys::signed_requests::{PresentedCredential, SignedRequest};
pub use limits::in_flight::InFlight;
pub use limits::rules::{Allowance, LimitSubject};
pub use limits::{LimitClass, Limits, network_of};
pub use login::links::{LinkDelivery, PasswordLink};
pub use login::{Credentials, Lifetimes, LoginStep, TokenPair};
pub use mail::notices::NoticeKind;
pub use mail::outbox::OutgoingMail;
pub use mail::tasks::MailContent;
pub use models::access::ModelPolicy;
pub use models::lifecycle::{ModelChange, PlannedChange};
pub use models::versions::AddedVersion;
pub use operation::{OperatingMode, Operation, OperationChange};
pub use outage::OutagePolicy;
pub use password::policy::{NewPassword, PasswordPolicy, PasswordRules};
pub use password::{Blocklist, HashParameters, HashingPool, PasswordHashing};
pub use quotas::{
    Charges, Demand, Quota, QuotaLease, QuotaPeriod, QuotaRequest, QuotaSubject, QuotaUnit, QuotaView,
};
pub use second_factors::second_step::Challenge;
pub use second_factors::{SecondFactorState, TotpEnrolment};
pub use service::{Auth, AuthSettings, Origin};
pub use signing::{PublicKey, SharedSecret, SigningAlgorithm};
pub use usage::UsageScope;
