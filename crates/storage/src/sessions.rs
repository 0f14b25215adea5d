//! Sessions: one row for each family of refresh tokens. No token is stored; the token of step `seq` is
//! derived from the family's key.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::accounts::standing_columns;
use crate::debug::debug_only;
use crate::durable::query;
use crate::pruning::PRUNED_AT_ONCE;
use crate::{AccountStanding, Page, PageRequest, Result, Tx};

/// A new session.
#[derive(Clone)]
pub struct NewSession {
    /// A version 7 id.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The sealed key from which its refresh tokens are derived.
    pub family_key: Vec<u8>,
    /// The address it was opened from.
    pub address: Option<String>,
    /// The network of that address, by which the account will know it again.
    pub network: Option<String>,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// When its owner proved who they are.
    pub authenticated_at: DateTime<Utc>,
    /// With what: words separated by spaces.
    pub methods: String,
    /// When it ends unless it is used before.
    pub idle_expires_at: DateTime<Utc>,
    /// When it ends however much it is used.
    pub expires_at: DateTime<Utc>,
}

debug_only!(NewSession { id, account_id, authenticated_at, idle_expires_at, expires_at });

/// A session.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct Session {
    /// Its id, which its tokens carry.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The sealed key from which its refresh tokens are derived.
    pub family_key: Vec<u8>,
    /// How often it was rotated; the refresh token of this step is the good one.
    pub seq: i64,
    /// The address it was opened from.
    pub address: Option<String>,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it was last rotated; none before the first time.
    pub rotated_at: Option<DateTime<Utc>>,
    /// When its owner proved who they are.
    pub authenticated_at: DateTime<Utc>,
    /// With what: words separated by spaces.
    pub methods: String,
    /// When it ends unless it is used before.
    pub idle_expires_at: DateTime<Utc>,
    /// When it ends however much it is used.
    pub expires_at: DateTime<Utc>,
    /// When it was ended before its time.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Why it was ended before its time.
    pub revoked_reason: Option<String>,
}

impl Session {
    /// Whether its tokens may be used.
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        is_live(self.revoked_at, self.idle_expires_at, self.expires_at, now)
    }
}

fn is_live(
    revoked_at: Option<DateTime<Utc>>,
    idle_expires_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> bool {
    revoked_at.is_none() && now < idle_expires_at && now < expires_at
}

debug_only!(Session { id, account_id, seq, created_at, rotated_at, idle_expires_at, expires_at, revoked_at });

/// The part of a session that decides whether its tokens still hold.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SessionState {
    /// Its id.
    pub id: Uuid,
    /// When it was ended before its time.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it ends unless it is used before.
    pub idle_expires_at: DateTime<Utc>,
    /// When it ends however much it is used.
    pub expires_at: DateTime<Utc>,
    /// When its owner proved who they are.
    pub authenticated_at: DateTime<Utc>,
}

impl SessionState {
    /// Whether its tokens may be used.
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        is_live(self.revoked_at, self.idle_expires_at, self.expires_at, now)
    }
}

/// How a session and the account behind it stand now.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SessionStanding {
    /// The session.
    #[sqlx(flatten)]
    pub session: SessionState,
    /// Its owner.
    #[sqlx(flatten)]
    pub account: AccountStanding,
}

/// The columns of a [`Session`].
macro_rules! session_columns {
    () => {
        "id, account_id, family_key, seq, address, user_agent, created_at, rotated_at, authenticated_at, \
         methods, idle_expires_at, expires_at, revoked_at, revoked_reason"
    };
}

pub(crate) use session_columns;

/// Queries on sessions.
pub struct Sessions<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Sessions<'_> {
    /// Opens a session at step 0. [`crate::Error::Refused`]: there is no such account.
    pub async fn create(&mut self, new: &NewSession) -> Result<Session> {
        let now = self.tx.now();
        let created = query!(
            self.tx,
            optional Session,
            concat!(
                "INSERT INTO sessions (id, account_id, family_key, seq, address, user_agent, created_at, \
                 authenticated_at, methods, idle_expires_at, expires_at, network) \
                 VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING ", session_columns!()
            ),
            new.id,
            new.account_id,
            &new.family_key,
            new.address.as_deref(),
            new.user_agent.as_deref(),
            now,
            new.authenticated_at,
            &new.methods,
            new.idle_expires_at,
            new.expires_at,
            new.network.as_deref()
        )?;
        created.ok_or_else(|| crate::Error::inconsistent("a new session did not come back"))
    }

    /// Finds a session, whatever its state.
    pub async fn find(&mut self, id: Uuid) -> Result<Option<Session>> {
        query!(
            self.tx,
            optional Session,
            concat!("SELECT ", session_columns!(), " FROM sessions WHERE id = $1"),
            id
        )
    }

    /// How a session and its owner stand now, in one query.
    pub async fn standing(&mut self, id: Uuid) -> Result<Option<SessionStanding>> {
        query!(
            self.tx,
            optional SessionStanding,
            concat!(
                "SELECT sessions.id, sessions.revoked_at, sessions.idle_expires_at, sessions.expires_at, \
                 sessions.authenticated_at, accounts.id AS account_id, ", standing_columns!(),
                " FROM sessions JOIN accounts ON accounts.id = sessions.account_id \
                 JOIN roles ON roles.name = accounts.role WHERE sessions.id = $1"
            ),
            id
        )
    }

    /// Takes a live session from step `seq` to the next. None: it is not live, or another call took that
    /// step.
    pub async fn rotate(
        &mut self,
        id: Uuid,
        seq: i64,
        idle_expires_at: DateTime<Utc>,
    ) -> Result<Option<Session>> {
        let now = self.tx.now();
        query!(
            self.tx,
            optional Session,
            concat!(
                "UPDATE sessions SET seq = seq + 1, rotated_at = $3, idle_expires_at = $4 \
                 WHERE id = $1 AND seq = $2 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3 \
                 RETURNING ", session_columns!()
            ),
            id,
            seq,
            now,
            idle_expires_at
        )
    }

    /// Notes with what else its owner proved who they are.
    pub async fn set_methods(&mut self, id: Uuid, methods: &str) -> Result<()> {
        query!(self.tx, execute, "UPDATE sessions SET methods = $2 WHERE id = $1", id, methods)?;
        Ok(())
    }

    /// Ends a session. False: there is none, or it was ended before.
    pub async fn revoke(&mut self, id: Uuid, reason: &str) -> Result<bool> {
        let now = self.tx.now();
        let revoked = query!(
            self.tx,
            execute,
            "UPDATE sessions SET revoked_at = $2, revoked_reason = $3 WHERE id = $1 AND revoked_at IS NULL",
            id,
            now,
            reason
        )?;
        Ok(revoked > 0)
    }

    /// Ends a session of an account. False: the account has none of that id, or it was ended before.
    pub async fn revoke_own(&mut self, account: Uuid, id: Uuid, reason: &str) -> Result<bool> {
        let now = self.tx.now();
        let revoked = query!(
            self.tx,
            execute,
            "UPDATE sessions SET revoked_at = $3, revoked_reason = $4 \
             WHERE account_id = $1 AND id = $2 AND revoked_at IS NULL",
            account,
            id,
            now,
            reason
        )?;
        Ok(revoked > 0)
    }

    /// Ends every session of an account, except one if given, and returns their ids.
    pub async fn revoke_all(
        &mut self,
        account: Uuid,
        except: Option<Uuid>,
        reason: &str,
    ) -> Result<Vec<Uuid>> {
        let now = self.tx.now();
        query!(
            self.tx,
            values Uuid,
            "UPDATE sessions SET revoked_at = $3, revoked_reason = $4 \
             WHERE account_id = $1 AND id <> $2 AND revoked_at IS NULL RETURNING id",
            account,
            except.unwrap_or(Uuid::nil()),
            now,
            reason
        )
    }

    /// Ends every account's sessions that began by a moment, except the given one, and returns how many.
    pub async fn revoke_every(
        &mut self,
        begun_by: DateTime<Utc>,
        except: Option<Uuid>,
        reason: &str,
    ) -> Result<u64> {
        let now = self.tx.now();
        query!(
            self.tx,
            execute,
            "UPDATE sessions SET revoked_at = $1, revoked_reason = $2 \
             WHERE revoked_at IS NULL AND expires_at > $1 AND created_at <= $3 AND id <> $4",
            now,
            reason,
            begun_by,
            except.unwrap_or(Uuid::nil())
        )
    }

    /// Ends the oldest live sessions of an account beyond the newest `keep`, and returns their ids.
    pub async fn revoke_oldest(&mut self, account: Uuid, keep: u32, reason: &str) -> Result<Vec<Uuid>> {
        let now = self.tx.now();
        query!(
            self.tx,
            values Uuid,
            "UPDATE sessions SET revoked_at = $3, revoked_reason = $4 WHERE id IN (SELECT id FROM sessions \
             WHERE account_id = $1 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3 \
             ORDER BY id DESC LIMIT $5 OFFSET $2) RETURNING id",
            account,
            i64::from(keep),
            now,
            reason,
            i64::MAX
        )
    }

    /// The live sessions of an account, newest first.
    pub async fn list(&mut self, account: Uuid, page: &PageRequest) -> Result<Page<Session>> {
        let now = self.tx.now();
        let sessions = query!(
            self.tx,
            all Session,
            concat!(
                "SELECT ", session_columns!(), " FROM sessions WHERE account_id = $1 AND id < $2 \
                 AND revoked_at IS NULL AND idle_expires_at > $3 AND expires_at > $3 ORDER BY id DESC LIMIT $4"
            ),
            account,
            page.below(),
            now,
            page.rows()
        )?;
        Ok(page.page(sessions, |session| session.id))
    }

    /// Whether an account that was logged in to before never was from this network, as far as sessions are kept.
    pub async fn is_new_network(&mut self, account: Uuid, network: &str) -> Result<bool> {
        query!(
            self.tx,
            one bool,
            "SELECT EXISTS (SELECT 1 FROM people WHERE account_id = $1 AND last_login_at IS NOT NULL) \
             AND NOT EXISTS (SELECT 1 FROM sessions WHERE account_id = $1 AND network = $2)",
            account,
            network
        )
    }

    /// How many sessions of all accounts are live.
    pub async fn active_count(&mut self) -> Result<i64> {
        let now = self.tx.now();
        query!(
            self.tx,
            one i64,
            "SELECT COUNT(*) FROM sessions WHERE revoked_at IS NULL AND idle_expires_at > $1 AND expires_at > $1",
            now
        )
    }

    /// Removes the sessions that ended, one way or another, before a moment. Answers how many. Only those that began
    /// before it are looked at: ids rise with time.
    pub async fn prune(&mut self, before: DateTime<Utc>) -> Result<u64> {
        query!(
            self.tx,
            execute,
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE id < $2 \
             AND (expires_at < $1 OR idle_expires_at < $1 OR revoked_at < $1) \
             AND account_id NOT IN (SELECT account_id FROM legal_holds) LIMIT $3)",
            before,
            first_id(before),
            PRUNED_AT_ONCE
        )
    }
}

/// Below every version 7 id of a moment or later (RFC 9562, section 5.7: 48 bits of milliseconds come first).
fn first_id(moment: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::try_from(moment.timestamp_millis()).unwrap_or(0) << 80)
}
