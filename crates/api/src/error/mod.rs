//! Every error that a client can get: one line per code, one body per surface.
//!
//! Handlers return [`ApiError`]; `middleware::errors` writes the body, for it knows the request: RFC 9457 on
//! `/api/v1`, `{"error": …}` on `/v2`. Details of faults go to the log, never to the client.

mod conversions;

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use auth::{AllowanceState, Violations};
use storage::named_enum;

/// Shorthand for results of handlers.
pub type Result<T> = std::result::Result<T, ApiError>;

/// The result of one turn of a task beside requests; the error is for the log.
pub type TickResult = std::result::Result<(), Box<dyn std::error::Error>>;

macro_rules! codes {
    ($($variant:ident = $status:literal $name:literal $title:literal;)*) => {
        named_enum! {
            /// A kind of error, by the stable name that `code` has.
            pub enum Code { $(#[doc = $title] $variant = $name,)* }
        }

        impl Code {
            /// Its HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Its `title`.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    MalformedRequest = 400 "malformed_request" "The request cannot be read";
    ValidationFailed = 400 "validation_failed" "The request breaks a rule";
    InvalidInput = 400 "invalid_input" "The model cannot take this input";
    InvalidImage = 400 "invalid_image" "Invalid image file";
    InvalidModel = 400 "invalid_model" "The file is no model that can be served";
    AmbiguousCredentials = 400 "ambiguous_credentials" "Send one credential";
    UnknownHost = 400 "unknown_host" "This host name is not served";
    InvalidLink = 400 "invalid_link" "This link is not valid";
    AuthenticationRequired = 401 "authentication_required" "Authentication required";
    InvalidCredentials = 401 "invalid_credentials" "Wrong e-mail address or password";
    WrongSecondFactor = 401 "invalid_code" "Wrong code";
    InvalidToken = 401 "invalid_token" "Invalid or expired credential";
    StepUpRequired = 401 "step_up_required" "Prove again who you are";
    InsufficientPermissions = 403 "insufficient_permissions" "Insufficient permissions";
    Forbidden = 403 "forbidden" "Not allowed";
    EnrolmentRequired = 403 "mfa_enrolment_required" "A second factor is needed first";
    SecondFactorElsewhere = 403 "mfa_required_at_provider" "A second factor is needed at the provider";
    AddressRefused = 403 "address_refused" "This address is not let in";
    ChallengeRequired = 403 "challenge_required" "Solve a challenge first";
    HttpsRequired = 403 "https_required" "HTTPS required";
    RegistrationClosed = 403 "registration_closed" "Registration is closed";
    NotFound = 404 "not_found" "Not found";
    ModelNotFound = 404 "model_not_found" "No such model";
    MethodNotAllowed = 405 "method_not_allowed" "Method not allowed";
    EmailTaken = 409 "email_taken" "This e-mail address has an account";
    IdentityTaken = 409 "identity_taken" "This identity belongs to an account";
    SecondFactorPresent = 409 "mfa_already_enrolled" "There is a second factor";
    MailUnavailable = 409 "mail_unavailable" "No mail is set up";
    RoleTaken = 409 "role_taken" "There is a role of this name";
    RoleInUse = 409 "role_in_use" "Accounts have this role";
    IpRuleTaken = 409 "ip_rule_taken" "There is a rule about this network";
    TooManyIpRules = 409 "too_many_ip_rules" "As many rules as may be";
    WouldShutOut = 409 "would_shut_out" "This would shut you out";
    TooManyFiles = 409 "too_many_files" "As many files as may be";
    TooManyKeys = 409 "too_many_keys" "As many keys as may be";
    LegalHold = 409 "legal_hold" "The account is under a legal hold";
    LastAdministrator = 409 "last_administrator" "The last administrator stays";
    ModelNotLoadable = 409 "model_not_loadable" "The model cannot be loaded";
    NoPreviousVersion = 409 "no_previous_version" "There is nothing to go back to";
    VersionExists = 409 "version_exists" "The version exists already";
    VersionInUse = 409 "version_in_use" "The version is served";
    VersionNotUploaded = 409 "version_not_uploaded" "The version was not uploaded";
    AlertNotGivenUp = 409 "alert_not_given_up" "The alert was not given up";
    NothingToUndo = 409 "nothing_to_undo" "There is nothing to undo";
    IncidentClosed = 409 "incident_closed" "The incident is closed";
    ModelChanged = 409 "model_changed" "The model was changed meanwhile";
    TooLarge = 413 "too_large" "Too large";
    UnsupportedMediaType = 415 "unsupported_media_type" "Unsupported media type";
    RateLimited = 429 "rate_limited" "Too many requests";
    QuotaExceeded = 429 "quota_exceeded" "The quota is used up";
    ClientGone = 499 "client_closed_request" "The client went away";
    Internal = 500 "internal_error" "Internal error";
    Overloaded = 503 "overloaded" "The server is busy";
    Unavailable = 503 "unavailable" "Temporarily unavailable";
    Maintenance = 503 "maintenance" "Closed for maintenance";
    EmergencyStop = 503 "emergency_stop" "Stopped by the operators";
    IssuerUnavailable = 503 "issuer_unavailable" "The token's issuer cannot be reached";
    ModelUnavailable = 503 "model_unavailable" "The model is not ready";
    DeadlineExceeded = 504 "deadline_exceeded" "The deadline has passed";
}

/// Most bytes of a detail: it may tell what a caller wrote, which may be as long as a body.
const MAX_DETAIL: usize = 4 << 10;

/// The default `Retry-After`.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// The detail of every internal error.
const OUR_FAULT: &str = "Something went wrong on our side; the request id finds it in the log.";

/// An error on its way to the client.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// What kind it is.
    pub code: Code,
    /// What happened and what to do, for the client.
    pub detail: String,
    /// What else the client can use; boxed, for most results are not errors.
    pub hints: Box<Hints>,
}

/// What helps a client with an error.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Field → messages.
    pub violations: Option<Violations>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The windows that were counted.
    pub windows: Vec<AllowanceState>,
    /// The quotas that are used up.
    pub violated_policies: Vec<&'static str>,
    /// The scope that would have sufficed.
    pub scope: Option<&'static str>,
    /// How long ago the person may have proved who they are.
    pub max_age: Option<Duration>,
    /// The methods that the path knows.
    pub allow: Option<String>,
    /// The encodings of a body that are taken.
    pub accept_encoding: Option<&'static str>,
    /// What a page shows the challenge with that is due.
    pub site_key: Option<String>,
    /// Whether nobody was known to have called.
    pub is_nobodys: bool,
    /// The cause, logged under the request's id; never for the client.
    pub cause: Option<String>,
}

impl ApiError {
    /// An error with a detail for the client.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = matches!(code.status(), 503 | 504).then_some(DEFAULT_RETRY);
        let detail = shortened(detail.into());
        Self { code, detail, hints: Box::new(Hints { retry_after, ..Hints::default() }) }
    }

    /// The error for a status that the framework set.
    pub fn from_status(status: StatusCode) -> Self {
        let code = Code::ALL.iter().copied().find(|code| code.status() == status.as_u16());
        let fallback = if status.is_server_error() { Code::Internal } else { Code::MalformedRequest };
        match code.unwrap_or(fallback) {
            Code::NotFound => Self::new(
                Code::NotFound,
                "There is nothing at this address; docs/API.md lists what there is.",
            ),
            code => Self::new(code, format!("{}.", code.title())),
        }
    }

    /// A fault of ours: the cause is for the log, the client learns nothing of it.
    pub fn internal(cause: impl fmt::Display) -> Self {
        auth::Error::Internal(cause.to_string()).into()
    }

    /// A body that somebody sends too slowly.
    pub fn slow_body() -> Self {
        Self::new(Code::MalformedRequest, "The body took too long to arrive.")
    }

    /// One field, one message.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        auth::Error::invalid(field, message).into()
    }

    /// Several fields.
    pub fn violations(violations: Violations) -> Self {
        auth::Error::Invalid(violations).into()
    }

    /// Another method than this path's.
    pub fn method_not_allowed(allow: &str) -> Self {
        let mut error = Self::new(Code::MethodNotAllowed, format!("This address accepts {allow}."));
        error.hints.allow = Some(allow.to_owned());
        error
    }

    /// A limit that was reached.
    pub fn rate_limited(detail: impl Into<String>, wait: Duration, windows: Vec<AllowanceState>) -> Self {
        let mut error = Self::new(Code::RateLimited, detail);
        error.hints.retry_after = Some(wait);
        error.hints.windows = windows;
        error
    }

    /// With the windows that were counted, unless the error is about some already.
    pub fn with_windows(mut self, windows: Vec<AllowanceState>) -> Self {
        if self.hints.windows.is_empty() {
            self.hints.windows = windows;
        }
        self
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The beginning of a long text.
fn shortened(mut text: String) -> String {
    if text.len() > MAX_DETAIL {
        text.truncate(text.floor_char_boundary(MAX_DETAIL));
        text.shrink_to_fit();
        text.push('…');
    }
    text
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.name(), self.detail)
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status());
        response.extensions_mut().insert(self.clone());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_no_longer_than_a_page_whatever_it_tells() {
        let detail = |text: String| ApiError::new(Code::InvalidInput, text).detail;
        assert_eq!(detail("ä".to_owned()), "ä");
        let long = detail(format!("x{}", "ä".repeat(1 << 20)));
        assert!(long.len() <= MAX_DETAIL + '…'.len_utf8() && long.ends_with("ä…"), "{} bytes", long.len());
    }
}
