//! Tokens that are good once and not for long: a step of a login, a link in a mail.
//!
//! They are no JWTs: 256 random bits under a prefix that names their purpose, stored as a digest that is bound to it.
//! One made for a purpose is nothing anywhere else, and ends with its row.

use chrono::Duration;
use secrecy::{ExposeSecret, SecretString};
use storage::{Holder, OneTimeToken, RowKey, SealedColumn, Tx, named_enum};
use uuid::Uuid;

use crate::{Auth, Error, Result, crypto, crypto::random};

/// Base62 characters after the prefix: 256 bits.
const LENGTH: usize = 43;

macro_rules! purposes {
    ($($variant:ident = $name:literal $prefix:literal $lifetime:expr, $attempts:literal, $doc:literal;)*) => {
        named_enum! {
            /// What a token is good for.
            pub(crate) enum Purpose { $(#[doc = $doc] $variant = $name,)* }
        }

        impl Purpose {
            /// What its tokens start with.
            pub const fn prefix(self) -> &'static str {
                match self { $(Self::$variant => $prefix,)* }
            }

            /// How long its tokens are good.
            pub const fn lifetime(self) -> Duration {
                match self { $(Self::$variant => $lifetime,)* }
            }

            /// Wrong tries that its tokens survive.
            const fn attempts(self) -> i64 {
                match self { $(Self::$variant => $attempts,)* }
            }
        }
    };
}

purposes! {
    SecondFactor = "second_factor" "mgm_" Duration::minutes(5), 5, "The second step of a login.";
    PasswordReset = "password_reset" "mgp_" Duration::hours(1), 1, "Choosing a new password.";
    Invitation = "invitation" "mgi_" Duration::days(7), 1, "Accepting an invitation.";
    EmailChange = "email_change" "mge_" Duration::hours(24), 1, "Confirming a new address.";
    Registration = "registration" "mgv_" Duration::hours(24), 1, "Confirming the address of a new account.";
}

/// What a good token stands for.
pub(crate) struct Redeemed {
    /// Whose it is; none where there is no account yet.
    pub account: Option<Uuid>,
    /// What it is about.
    pub payload: Vec<u8>,
}

impl Auth {
    /// Makes a token; `payload` is kept sealed.
    pub(crate) async fn issue_once(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        holder: Holder<'_>,
        payload: &[u8],
    ) -> Result<SecretString> {
        let text = SecretString::from(format!("{}{}", purpose.prefix(), random::base62(LENGTH)?));
        let hash = digest(&text);
        let (account_id, email_lookup) = holder.columns();
        let token = OneTimeToken {
            payload: Some(self.encryption.seal(&place(&hash), payload)?),
            hash,
            purpose: purpose.name().into(),
            account_id,
            email_lookup: email_lookup.map(str::to_owned),
            attempts_left: purpose.attempts(),
            expires_at: tx.now() + purpose.lifetime(),
        };
        tx.one_time_tokens().create(&token).await?;
        Ok(text)
    }

    /// Counts a try at a token before it is made; commit it whatever comes of the try. None: there is no such token, or
    /// its tries are used up.
    pub(crate) async fn try_once(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        text: &SecretString,
    ) -> Result<Option<Redeemed>> {
        let found = tx.one_time_tokens().attempt(&digest(text), purpose.name()).await?;
        found.map(|token| self.redeemed(token)).transpose()
    }

    /// Looks at a token without a try at it. None: there is no such token.
    pub(crate) async fn find_once(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        text: &SecretString,
    ) -> Result<Option<Redeemed>> {
        let found = tx.one_time_tokens().find(&digest(text), purpose.name()).await?;
        found.map(|token| self.redeemed(token)).transpose()
    }

    /// Spends a token that is for an address, with every other that is for it. False: it is none, or another got there
    /// first.
    pub(crate) async fn redeem_for_address(
        &self,
        tx: &mut Tx,
        text: &SecretString,
        lookup: &str,
    ) -> Result<bool> {
        Ok(tx.one_time_tokens().take_for_address(&digest(text), lookup).await?)
    }

    /// Spends a token. None: there is no such token, or another got it first.
    pub(crate) async fn redeem_once(
        &self,
        tx: &mut Tx,
        purpose: Purpose,
        text: &SecretString,
    ) -> Result<Option<Redeemed>> {
        let taken = tx.one_time_tokens().take(&digest(text), purpose.name()).await?;
        taken.map(|token| self.redeemed(token)).transpose()
    }

    fn redeemed(&self, token: OneTimeToken) -> Result<Redeemed> {
        let sealed = token.payload.ok_or_else(|| Error::Internal("a token without a payload".into()))?;
        let payload = self.encryption.open(&place(&token.hash), &sealed)?;
        Ok(Redeemed { account: token.account_id, payload })
    }
}

fn digest(text: &SecretString) -> Vec<u8> {
    crypto::sha256(text.expose_secret().as_bytes()).to_vec()
}

/// Where a payload is sealed for.
fn place(hash: &[u8]) -> String {
    SealedColumn::OneTimePayload.place(RowKey::Digest(hash.to_vec()))
}
