//! Who is calling, what they may do, and how much.
//!
//! [`Auth`] is the whole of it: one value, shared by every web worker, whose methods are the decisions of the
//! product. It knows no framework: callers bring strings and addresses, and get a [`Principal`] or an [`Error`].

pub mod access;
mod acting;
mod address;
mod admission;
mod api_keys;
mod audit;
mod authentication;
mod cache;
mod crypto;
mod directory;
mod encryption_rotation;
mod error;
mod events;
mod freshness;
mod guessing;
mod holder;
mod in_flight;
mod key_format;
mod limits;
mod login;
mod model_access;
mod one_time;
mod password;
mod people;
mod policy;
mod principal;
mod random;
mod refresh;
mod registration;
mod revocation;
mod roles;
mod sealing;
mod search;
mod service;
mod service_accounts;
mod sessions;
mod signing;
mod token;

pub use access::{Permission, Permissions, Role};
pub use address::is_visible;
pub use admission::{AllowanceState, Entered, Refusal};
pub use api_keys::{IssuedKey, KeyChange, KeyRequest, KeysOf};
pub use crypto::same_secret;
pub use directory::UserChange;
pub use encryption_rotation::Resealed;
pub use error::{Error, Result, Throttle, Violations};
pub use holder::CredentialStatus;
pub use in_flight::InFlight;
pub use key_format::PREFIX as API_KEY_PREFIX;
pub use limits::{LimitClass, Limits, Subject, network_of};
pub use login::{Credentials, TokenPair};
pub use model_access::ModelPolicy;
pub use password::{HashingPool, PasswordHashing};
pub use people::Person;
pub use policy::NewPassword;
pub use principal::{Credential, Principal};
pub use random::password as random_password;
pub use registration::{NewUserRequest, Profile};
pub use sealing::{EncryptionKey, EncryptionKeys};
pub use service::{Auth, AuthSettings, Origin};
pub use signing::{PublicKey, SharedSecret, SigningAlgorithm};
