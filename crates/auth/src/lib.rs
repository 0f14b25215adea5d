//! Who is calling, what they may do, and how much.
//!
//! [`Auth`] is the whole of it: one value, shared by every web worker, whose methods are the decisions of the
//! product. It knows no framework: callers bring strings and addresses, and get a [`Principal`] or an [`Error`].

pub mod access;
mod acting;
mod address;
mod admission;
mod alert_log;
mod alerts;
mod api_keys;
mod audit;
mod authentication;
mod cache;
mod challenges;
mod confirmation;
mod crypto;
mod detection;
mod directory;
mod encryption_rotation;
mod enrolment;
mod errands;
mod error;
mod events;
mod export;
mod external;
mod files;
mod freshness;
mod guessing;
mod holder;
mod import;
mod in_flight;
mod incidents;
mod invitations;
mod ip_rules;
mod ip_table;
mod key_format;
mod legal_holds;
mod limit_rules;
mod limits;
mod links;
mod login;
mod model_access;
mod model_lifecycle;
mod notices;
mod one_time;
mod operation;
mod outage;
mod outbox;
mod over_limit;
mod password;
mod people;
mod policy;
mod principal;
mod priority;
mod quotas;
mod random;
mod recovery;
mod refresh;
mod registration;
mod revocation;
mod roles;
mod sealed_stream;
mod sealing;
mod search;
mod second_factors;
mod second_step;
mod service;
mod service_accounts;
mod sessions;
mod signed_requests;
mod signing;
mod step_up;
mod token;
mod totp;

pub use access::{Permission, Permissions, Role};
pub use address::is_visible;
pub use admission::{AllowanceState, Entered, Refusal, Whence};
pub use alert_log::AlertState;
pub use alerts::{Alert, AlertChannel, AlertSettings, Severity, sign_webhook};
pub use api_keys::{IssuedKey, KeyChange, KeyRequest, KeysOf};
pub use audit::{
    AuditFinding, AuditKey, AuditKeys, AuditReading, AuditSettings, AuditStanding, AuditTrail, Verification,
    read_seal_lines, seal_line,
};
pub use authentication::network;
pub use crypto::{BodyDigest, same_secret};
pub use detection::{AttackPattern, Deed, DetectionSettings, Threshold, in_header, in_target, in_text};
pub use directory::UserChange;
pub use encryption_rotation::Resealed;
pub use errands::LetterContent;
pub use error::{Error, Result, Throttle, Violations};
pub use export::Export;
pub use external::{DocumentSource, ExternalIdentity, Fetched, NoDocuments, RoleRule, TrustedIssuer};
pub use files::{FileSettings, Received, Upload};
pub use holder::CredentialStatus;
pub use import::ImportedPerson;
pub use in_flight::InFlight;
pub use incidents::{
    Answer, AnswerRequest, IncidentChange, IncidentKind, IncidentRequest, IncidentSettings, IncidentStatus,
};
pub use invitations::Invitation;
pub use ip_rules::IpRuleRequest;
pub use key_format::PREFIX as API_KEY_PREFIX;
pub use limit_rules::{Allowance, LimitSubject};
pub use limits::{LimitClass, Limits, network_of};
pub use links::{Handover, Help};
pub use login::{Credentials, LoginStep, TokenPair};
pub use model_access::ModelPolicy;
pub use model_lifecycle::{AddedVersion, ModelChange};
pub use notices::NoticeKind;
pub use operation::{OperatingMode, Operation, OperationChange};
pub use outage::OutagePolicy;
pub use outbox::Letter;
pub use password::{Blocklist, HashParameters, HashingPool, PasswordHashing};
pub use people::{MAX_EMAIL, NAME_LENGTH, Person, is_name_character};
pub use policy::{NewPassword, PasswordPolicy, PasswordRules};
pub use principal::{Credential, ExternalToken, Principal};
pub use quotas::{
    Charges, Demand, Quota, QuotaLease, QuotaPeriod, QuotaRequest, QuotaSubject, QuotaUnit, QuotaView,
};
pub use random::{bytes as random_bytes, password as random_password};
pub use registration::{NewUserRequest, Profile};
pub use sealing::{EncryptionKey, EncryptionKeys};
pub use second_factors::{SecondFactorState, TotpEnrolment};
pub use second_step::Challenge;
pub use service::{Auth, AuthSettings, Origin};
pub use signed_requests::{Presented, SignedRequest};
pub use signing::{PublicKey, SharedSecret, SigningAlgorithm};
pub use step_up::FreshToken;
