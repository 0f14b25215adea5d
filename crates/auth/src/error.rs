//! The one error of this crate: what a caller may learn, independent of the protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::callers::access::Permission;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Field name → what is wrong with it, each message saying what to do.
pub type Violations = BTreeMap<String, Vec<String>>;

/// A limit or quota that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The name of the window, as the `RateLimit` header shows it.
    pub policy: &'static str,
    /// How long to wait before the next attempt can succeed.
    pub retry_after: Duration,
    /// The state of every window that was looked at.
    pub windows: Vec<crate::AllowanceState>,
}

/// Why something was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown account, wrong password or inactive account: one answer for all three.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// No code, or one that is wrong, was used before or comes too late; or the login that it belongs to is over.
    #[error(
        "the code is missing, wrong, used before or too late; log in again if the next one is refused too"
    )]
    WrongCode,
    /// No credential was sent where one is needed.
    #[error("send a bearer token or an API key")]
    MissingCredential,
    /// A token or key that is not, or no longer, valid.
    #[error("{0}")]
    InvalidCredential(&'static str),
    /// The person must prove again who they are: that was longer ago than this act allows.
    #[error("prove again who you are: POST /api/v1/auth/step-up, or your provider, gives a token for this")]
    StaleAuthentication {
        /// How old the proof may be.
        max_age: chrono::Duration,
    },
    /// The caller is known and lacks this permission.
    #[error("this needs the permission {0}")]
    Forbidden(Permission),
    /// The account needs a second factor before it may do anything but get one.
    #[error("this account needs a second factor first: POST /api/v1/me/mfa/totp")]
    EnrolmentRequired,
    /// The account needs a second factor, and the login at another issuer was without one.
    #[error("this account needs a second factor: log in with one where you got your token")]
    SecondFactorElsewhere,
    /// The keys of a token's issuer cannot be had, so that nothing of it can be verified.
    #[error("the issuer of this token cannot be reached; try again shortly")]
    IssuerUnavailable,
    /// The identity at another issuer belongs to an account.
    #[error("this identity belongs to an account already")]
    IdentityTaken,
    /// The caller is known and may not do this, for the reason given.
    #[error("{0}")]
    Refused(&'static str),
    /// The caller's address is not let in, or not to administration.
    #[error("requests from this address are not answered here")]
    AddressRefused,
    /// There is a rule about this network.
    #[error("there is a rule about this network in this place already; remove it first")]
    IpRuleTaken,
    /// There are as many rules about addresses as may be.
    #[error("there are as many rules as may be (MAX_IP_RULES); remove some first")]
    TooManyIpRules,
    /// The change would refuse the address that it comes from.
    #[error("this would shut out the address that you call from; send force if that is meant")]
    WouldShutOut,
    /// Nothing here, or it belongs to someone else.
    #[error("not found")]
    NotFound,
    /// The e-mail address has an account already.
    #[error("this e-mail address has an account already")]
    EmailTaken,
    /// There is a second factor of this kind.
    #[error("this account has an authenticator already; remove it first")]
    SecondFactorPresent,
    /// A link that is none, has ended, was used, or is void because what it is about has changed: one answer for all.
    #[error(
        "this link is not valid any more; ask for a new one, or an administrator where it was an invitation"
    )]
    InvalidLink,
    /// What needs a mail, where no mail is set up.
    #[error("no mail is set up here, so an address cannot be proved; ask an administrator")]
    MailUnavailable,
    /// There is a role of this name.
    #[error("there is a role of this name already")]
    RoleTaken,
    /// The role cannot go while accounts have it.
    #[error("accounts have this role; give them another one first")]
    RoleInUse,
    /// The account has as many files, or bytes in them, as it may.
    #[error("the account has as many files, or as many bytes in them, as it may; delete some first")]
    TooManyFiles,
    /// The account has as many live keys as it may.
    #[error("the account has as many live keys as it may; revoke one first")]
    TooManyKeys,
    /// The account is under a legal hold.
    #[error("this account is under a legal hold and stays until an administrator releases it")]
    LegalHold,
    /// The act would leave nobody who can administer the installation.
    #[error("this is the last active administrator; make another one first")]
    LastAdministrator,
    /// There is no version of the model to go back to.
    #[error("no version of this model was active before; activate one by its name")]
    NoPreviousVersion,
    /// Somebody else changed the model in the meantime.
    #[error("somebody else changed this model meanwhile; look at it and try again")]
    ModelChanged,
    /// An alert that waits, or was sent, is not sent again.
    #[error("this alert was not given up: it was sent, or waits to be")]
    AlertNotGivenUp,
    /// An answer to an incident that was undone, cannot be, or has been overtaken, as the reason says.
    #[error("{0}")]
    NothingToUndo(&'static str),
    /// Nothing is done about an incident any more.
    #[error("this incident is closed; open another one")]
    IncidentClosed,
    /// What was sent breaks a rule of the product.
    #[error("the request breaks a rule")]
    Invalid(Violations),
    /// A limit was reached.
    #[error("too many requests")]
    Throttled(Throttle),
    /// The service is closed to this caller for now.
    #[error("{}", match (.message, .is_stopped) {
        (Some(message), _) => message.as_str(),
        (None, true) => "the service has been stopped by its operators; try again later",
        (None, false) => "the service is being maintained; try again later",
    })]
    Closed {
        /// Whether it is an emergency stop rather than maintenance.
        is_stopped: bool,
        /// The operators' message.
        message: Option<String>,
        /// How long to wait.
        retry_after: Duration,
    },
    /// A quota is used up.
    #[error("a quota is used up")]
    QuotaExceeded(Throttle),
    /// More work of this kind is waiting than the named bound allows.
    #[error("the server is busy; try again shortly")]
    Overloaded,
    /// A store that this decision needs cannot be reached.
    #[error("a store is unavailable")]
    Unavailable(#[source] storage::Error),
    /// A fault of ours. The text is for the log only.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// One field, one message.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(Violations::from([(field.to_owned(), vec![message.into()])]))
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        if error.is_unavailable() { Self::Unavailable(error) } else { Self::Internal(error.to_string()) }
    }
}
