//! Failed logins of an account in a row, and the networks that it is known to use.

use sqlx::FromRow;
use uuid::Uuid;

use crate::durable::query;
use crate::{Result, Tx};

/// The state of an account that decides about one more attempt to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct GuessStanding {
    /// Wrong passwords in a row.
    pub failures: i64,
    /// Whether a session of the account was opened from the network.
    pub familiar: bool,
}

/// Queries on failed logins. An account that does not exist costs the same statements as one that does.
pub struct Guessing<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Guessing<'_> {
    /// The state of an account for an attempt from `network`. A session that was revoked makes its network familiar
    /// only if the reason was `harmless`.
    pub async fn standing(
        &mut self,
        account: Uuid,
        network: Option<&str>,
        harmless: &str,
    ) -> Result<GuessStanding> {
        let standing = query!(
            self.tx,
            optional GuessStanding,
            "SELECT COALESCE((SELECT failures FROM credentials WHERE account_id = $1 AND kind = 'password'), 0) \
             AS failures, EXISTS (SELECT 1 FROM sessions WHERE account_id = $1 AND network = $2 \
             AND (revoked_at IS NULL OR revoked_reason = $3)) AS familiar",
            account,
            network,
            harmless
        )?;
        standing.ok_or_else(|| crate::Error::inconsistent("a query without a table gave no row"))
    }

    /// Counts a wrong password, up to `most`, where it `counts`: what does not takes the same statement.
    pub async fn count_failure(&mut self, account: Uuid, counts: bool, most: i64) -> Result<()> {
        query!(
            self.tx,
            execute,
            "UPDATE credentials SET failures = CASE WHEN $2 AND failures < $3 THEN failures + 1 ELSE failures END \
             WHERE account_id = $1 AND kind = 'password'",
            account,
            counts,
            most
        )?;
        Ok(())
    }

    /// Resets the count: the password was right, or an administrator unlocked the account.
    pub async fn forget_failures(&mut self, account: Uuid) -> Result<()> {
        query!(
            self.tx,
            execute,
            "UPDATE credentials SET failures = 0 WHERE account_id = $1 AND kind = 'password' AND failures > 0",
            account
        )?;
        Ok(())
    }
}
