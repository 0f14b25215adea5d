//! From the errors of the other crates to the errors that a client gets.

use auth::Violations;
use inference::IncomingError;

use super::{ApiError, Code};

impl From<auth::Error> for ApiError {
    fn from(error: auth::Error) -> Self {
        use auth::Error as E;
        let mut answer = Self::new(code_of(&error), detail_of(&error));
        let hints = &mut *answer.hints;
        match error {
            E::StaleAuthentication { max_age } => hints.max_age = max_age.to_std().ok(),
            E::Forbidden(permission) => hints.scope = Some(permission.name()),
            E::Invalid(violations) => hints.violations = Some(violations),
            E::Closed { retry_after, .. } => hints.retry_after = Some(retry_after),
            E::Throttled(throttle) => {
                (hints.retry_after, hints.windows) = (Some(throttle.retry_after), throttle.windows);
            }
            E::QuotaExceeded(throttle) => {
                (hints.retry_after, hints.windows) = (Some(throttle.retry_after), throttle.windows);
                hints.violated_policies.push(throttle.policy);
            }
            E::Unavailable(source) => hints.cause = Some(source.to_string()),
            E::Internal(cause) => hints.cause = Some(cause),
            _ => {}
        }
        answer
    }
}

const fn code_of(error: &auth::Error) -> Code {
    use auth::Error as E;
    match error {
        E::WrongCredentials => Code::InvalidCredentials,
        E::WrongCode => Code::WrongSecondFactor,
        E::MissingCredential => Code::AuthenticationRequired,
        E::InvalidCredential(_) => Code::InvalidToken,
        E::StaleAuthentication { .. } => Code::StepUpRequired,
        E::Forbidden(_) => Code::InsufficientPermissions,
        E::EnrolmentRequired => Code::EnrolmentRequired,
        E::SecondFactorElsewhere => Code::SecondFactorElsewhere,
        E::IssuerUnavailable => Code::IssuerUnavailable,
        E::IdentityTaken => Code::IdentityTaken,
        E::Refused(_) => Code::Forbidden,
        E::AddressRefused => Code::AddressRefused,
        E::IpRuleTaken => Code::IpRuleTaken,
        E::TooManyIpRules => Code::TooManyIpRules,
        E::WouldShutOut => Code::WouldShutOut,
        E::NotFound => Code::NotFound,
        E::EmailTaken => Code::EmailTaken,
        E::SecondFactorPresent => Code::SecondFactorPresent,
        E::InvalidLink => Code::InvalidLink,
        E::MailUnavailable => Code::MailUnavailable,
        E::RoleTaken => Code::RoleTaken,
        E::RoleInUse => Code::RoleInUse,
        E::TooManyFiles => Code::TooManyFiles,
        E::TooManyKeys => Code::TooManyKeys,
        E::LegalHold => Code::LegalHold,
        E::LastAdministrator => Code::LastAdministrator,
        E::NoPreviousVersion => Code::NoPreviousVersion,
        E::AlertNotGivenUp => Code::AlertNotGivenUp,
        E::NothingToUndo(_) => Code::NothingToUndo,
        E::IncidentClosed => Code::IncidentClosed,
        E::ModelChanged => Code::ModelChanged,
        E::Invalid(_) => Code::ValidationFailed,
        E::Throttled(_) => Code::RateLimited,
        E::QuotaExceeded(_) => Code::QuotaExceeded,
        E::Closed { is_stopped: true, .. } => Code::EmergencyStop,
        E::Closed { is_stopped: false, .. } => Code::Maintenance,
        E::Overloaded => Code::Overloaded,
        E::Unavailable(_) => Code::Unavailable,
        E::Internal(_) => Code::Internal,
    }
}

fn detail_of(error: &auth::Error) -> String {
    use auth::Error as E;
    match error {
        E::MissingCredential => {
            "API key required: send Authorization: Bearer <token> or X-API-Key: <key>.".into()
        }
        E::NotFound => "There is no such thing, or it is not yours.".into(),
        E::Invalid(_) => "Some fields are not valid; see errors.".into(),
        E::Throttled(throttle) => {
            format!("The limit {:?} is reached; wait as long as Retry-After says.", throttle.policy)
        }
        E::QuotaExceeded(throttle) => format!(
            "There is not enough left of the quota {:?}; it begins anew when Retry-After says.",
            throttle.policy
        ),
        E::Unavailable(_) => "A store is unavailable; try again shortly.".into(),
        E::Internal(_) => super::OUR_FAULT.into(),
        error => capitalised(&error.to_string()),
    }
}

impl From<auth::Refusal> for ApiError {
    fn from(refusal: auth::Refusal) -> Self {
        Self::from(refusal.error).with_windows(refusal.windows)
    }
}

impl From<storage::Error> for ApiError {
    fn from(error: storage::Error) -> Self {
        auth::Error::from(error).into()
    }
}

impl From<inference::Error> for ApiError {
    fn from(error: inference::Error) -> Self {
        use inference::Error as E;
        let detail = capitalised(&error.to_string());
        match error {
            E::NotFound(_) => Self::new(Code::ModelNotFound, detail),
            E::Unavailable(_) => Self::new(Code::ModelUnavailable, detail),
            E::Overloaded => Self::new(Code::Overloaded, detail),
            E::Deadline => Self::new(Code::DeadlineExceeded, detail),
            E::CallerLeft => Self::new(Code::ClientGone, detail),
            E::Invalid(problems) => {
                let mut violations = Violations::new();
                for problem in problems {
                    violations.entry(problem.place).or_default().push(problem.message);
                }
                Self::violations(violations)
            }
            E::InvalidInput(_) | E::WrongInput(_) => Self::new(Code::InvalidInput, detail),
            E::InvalidImage(_) => Self::new(Code::InvalidImage, detail),
            E::ImageTooLarge(_) | E::TooLarge(_) => Self::new(Code::TooLarge, detail),
            E::Runtime => Self::internal(detail),
        }
    }
}

impl From<IncomingError> for ApiError {
    fn from(error: IncomingError) -> Self {
        let detail = error.to_string();
        let code = match error {
            IncomingError::Name | IncomingError::Reserved => return Self::field("version", detail),
            IncomingError::Exists => Code::VersionExists,
            IncomingError::Missing => Code::ModelNotFound,
            IncomingError::InUse => Code::VersionInUse,
            IncomingError::NotReceived => Code::VersionNotUploaded,
            IncomingError::Refused(_) | IncomingError::Unwanted => Code::InvalidModel,
            IncomingError::Failed => Code::Unavailable,
        };
        Self::new(code, capitalised(&detail))
    }
}

/// As a sentence. The name of a file at its beginning stays as it is.
fn capitalised(text: &str) -> String {
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    if text.split(' ').next().is_some_and(|word| word.trim_end_matches('.').contains('.')) {
        return format!("{text}{end}");
    }
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}{end}", characters.as_str())
}
