//! The one error of this crate.

use sqlx::error::ErrorKind;

/// What any operation of this crate answers.
pub type Result<T> = std::result::Result<T, Error>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation was not done. Nothing was changed, except where an [`Error::Unavailable`] commit leaves it unknown.
/// The texts are for the log and contain every cause, so that one line has all that is known. None contains an address,
/// which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that must be unique exists already; the operation documents what.
    #[error("already taken")]
    Conflict,
    /// The store cannot be reached, is overloaded or gave up in time; trying again later may help.
    #[error("a store is not available: {}", with_causes(&**.0))]
    Unavailable(Cause),
    /// What is stored, or what the store answered, is not what this program writes.
    #[error("a store answered something unexpected: {detail}")]
    Inconsistent {
        /// What was expected and what came, for the log.
        detail: String,
    },
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date: {}", with_causes(&**.0))]
    Migration(Cause),
    /// The arguments, or the configuration, ask for something that cannot be.
    #[error("refused: {0}")]
    Refused(&'static str),
}

impl Error {
    /// Whether the cause may pass by itself.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    pub(crate) fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }

    pub(crate) fn inconsistent(detail: impl ToString) -> Self {
        Self::Inconsistent { detail: detail.to_string() }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.kind() {
                ErrorKind::UniqueViolation => Self::Conflict,
                ErrorKind::ForeignKeyViolation => Self::Refused("what this refers to does not exist"),
                ErrorKind::NotNullViolation | ErrorKind::CheckViolation => {
                    Self::Refused("a value is not allowed")
                }
                _ if database.code().is_some_and(|code| is_transient(&code)) => Self::unavailable(error),
                _ => Self::inconsistent(error),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::unavailable(error),
            sqlx::Error::Configuration(_) => Self::Refused("the database address cannot be used"),
            _ => Self::inconsistent(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migration(Box::new(error))
    }
}

/// An error with its causes, for the operator who has to mend them; many repeat the text of their cause.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

/// Whether a database's error code speaks of its condition rather than of the statement.
///
/// Postgres (appendix A of its manual): class 08 connection, 25P03 idle too long, 28 and 3D authorisation and
/// unknown database, 40 rollback, 53 resources, 55P03 lock timeout, 57 operator intervention, 58 system.
/// SQLite (its result codes; the low byte is the primary one): 5 busy, 6 locked, 10 I/O, 13 full, 14 cannot
/// open.
fn is_transient(code: &str) -> bool {
    match code.len() {
        5 => ["08", "25P03", "28", "3D", "40", "53", "55P03", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class)),
        _ => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13 | 14)),
    }
}

#[cfg(test)]
mod tests {
    use super::is_transient;

    #[test]
    fn codes_of_condition_are_told_from_codes_of_statement() {
        for code in ["08006", "57014", "53300", "40P01", "55P03", "5", "517", "6", "13"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["42601", "25006", "22P02", "1", "8", "1811"] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
