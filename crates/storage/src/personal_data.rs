//! Everything that is kept about one person, for their personal data export.

use uuid::Uuid;

use crate::api_keys::key_columns;
use crate::audit::event_rows;
use crate::durable::query;
use crate::files::file_columns;
use crate::sessions::session_columns;
use crate::{ApiKey, AuditEvent, Notice, Result, Session, StoredFile, Tx};

/// Queries on everything about one account; each answers the newest, `most` at most.
pub struct PersonalData<'tx> {
    pub(crate) tx: &'tx mut Tx,
    pub(crate) account: Uuid,
    pub(crate) most: i64,
}

impl PersonalData<'_> {
    /// Sessions, ended or not, as long as they are kept.
    pub async fn sessions(&mut self) -> Result<Vec<Session>> {
        query!(
            self.tx,
            all Session,
            concat!(
                "SELECT ", session_columns!(), " FROM sessions WHERE account_id = $1 ORDER BY id DESC LIMIT $2"
            ),
            self.account,
            self.most
        )
    }

    /// Keys, revoked or not.
    pub async fn api_keys(&mut self) -> Result<Vec<ApiKey>> {
        query!(
            self.tx,
            all ApiKey,
            concat!("SELECT ", key_columns!(), " FROM api_keys WHERE account_id = $1 ORDER BY id DESC LIMIT $2"),
            self.account,
            self.most
        )
    }

    /// Files, as they are described.
    pub async fn files(&mut self) -> Result<Vec<StoredFile>> {
        query!(
            self.tx,
            all StoredFile,
            concat!("SELECT ", file_columns!(), " FROM files WHERE account_id = $1 ORDER BY id DESC LIMIT $2"),
            self.account,
            self.most
        )
    }

    /// Their notices.
    pub async fn notices(&mut self) -> Result<Vec<Notice>> {
        query!(
            self.tx,
            all Notice,
            "SELECT id, account_id, kind, created_at, mailed_at FROM notices WHERE account_id = $1 \
             ORDER BY id DESC LIMIT $2",
            self.account,
            self.most
        )
    }

    /// Events of which the account is the actor or which name it as their `target`.
    pub async fn events(&mut self, target: &str) -> Result<Vec<AuditEvent>> {
        query!(
            self.tx,
            all AuditEvent,
            concat!(event_rows!(), "actor = $1 OR target = $2 ORDER BY audit_events.id DESC LIMIT $3"),
            self.account,
            target,
            self.most
        )
    }
}
