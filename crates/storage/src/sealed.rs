//! Every column that holds sealed values, for sealing them and for resealing them under a new key.

use std::fmt;

use uuid::Uuid;

use crate::debug::debug_only;
use crate::durable::query;
use crate::{Result, Tx, named_enum};

/// The key of a row, whatever its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKey {
    /// An id.
    Id(Uuid),
    /// A name.
    Name(String),
    /// A digest.
    Digest(Vec<u8>),
}

impl fmt::Display for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
            Self::Digest(digest) => data_encoding::HEXLOWER.encode_display(digest).fmt(formatter),
        }
    }
}

/// One sealed value.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// The row it stands in.
    pub row: RowKey,
    /// What stands there.
    pub sealed: Vec<u8>,
}

debug_only!(SealedValue { row });

macro_rules! sealed_columns {
    ($($(#[$meta:meta])* $variant:ident = $table:literal $column:literal by $key:literal: $kind:ident;)*) => {
        named_enum! {
            /// A column that holds sealed values; its name is `table.column`.
            pub enum SealedColumn { $($(#[$meta])* $variant = concat!($table, ".", $column),)* }
        }

        impl SealedColumn {
            /// Below the key of every row.
            fn before_first(self) -> RowKey {
                match self { $(Self::$variant => RowKey::$kind(Default::default()),)* }
            }

            /// `IS DISTINCT FROM`: of no bytes at all, `substr` is null on SQLite.
            const fn select(self) -> &'static str {
                match self { $(Self::$variant => concat!(
                    "SELECT ", $key, ", ", $column, " FROM ", $table, " WHERE ", $key, " > $1 AND ", $column,
                    " IS NOT NULL AND substr(", $column, ", 1, $2) IS DISTINCT FROM $3 ORDER BY ", $key, " LIMIT $4"
                ),)* }
            }

            const fn update(self) -> &'static str {
                match self { $(Self::$variant => concat!(
                    "UPDATE ", $table, " SET ", $column, " = $3 WHERE ", $key, " = $1 AND ", $column, " = $2"
                ),)* }
            }

            const fn count(self) -> &'static str {
                match self { $(Self::$variant => concat!(
                    "SELECT COUNT(*) FROM ", $table, " WHERE ", $column,
                    " IS NOT NULL AND substr(", $column, ", 1, $1) IS DISTINCT FROM $2"
                ),)* }
            }
        }
    };
}

sealed_columns! {
    /// What a family's refresh tokens are derived from.
    FamilyKey = "sessions" "family_key" by "id": Id;
    /// The private half of a signing key.
    SigningKey = "signing_keys" "private_key" by "kid": Name;
    /// The text of a key that signs.
    KeySecret = "api_key_secrets" "sealed" by "hash": Digest;
    /// What a file's bytes are sealed with.
    FileKey = "files" "data_key" by "id": Id;
    /// A person's address.
    PersonEmail = "people" "email" by "account_id": Id;
    /// A person's name.
    PersonName = "people" "name" by "account_id": Id;
    /// What an authenticator shares with us.
    SecondFactorSecret = "second_factors" "secret" by "id": Id;
    /// What a token that is good once is about.
    OneTimePayload = "one_time_tokens" "payload" by "hash": Digest;
    /// Who somebody is at another issuer.
    IdentitySubject = "external_identities" "subject" by "id": Id;
    /// What a mail on its way is for.
    Errand = "outbox" "errand" by "id": Id;
    /// A secret of the program's own.
    Secret = "secrets" "value" by "name": Name;
}

impl SealedColumn {
    /// The place of a value, which is sealed with it: `table.column:row`.
    pub fn place(self, row: impl fmt::Display) -> String {
        format!("{}:{row}", self.name())
    }
}

/// Queries on sealed values, by how they begin.
pub struct Sealed<'tx> {
    pub(crate) tx: &'tx mut Tx,
}

impl Sealed<'_> {
    /// The values that do not begin with `prefix`, at most `limit`, by row, from behind `after`.
    pub async fn unlike(
        &mut self,
        column: SealedColumn,
        prefix: &[u8],
        after: Option<&RowKey>,
        limit: u32,
    ) -> Result<Vec<SealedValue>> {
        let (length, limit) = (length(prefix), i64::from(limit));
        macro_rules! read {
            ($after:expr, $type:ty, $kind:ident) => {{
                let rows =
                    query!(self.tx, all($type, Vec<u8>), column.select(), $after, length, prefix, limit)?;
                rows.into_iter()
                    .map(|(row, sealed)| SealedValue { row: RowKey::$kind(row), sealed })
                    .collect()
            }};
        }
        Ok(match after.cloned().unwrap_or_else(|| column.before_first()) {
            RowKey::Id(after) => read!(after, Uuid, Id),
            RowKey::Name(after) => read!(&after, String, Name),
            RowKey::Digest(after) => read!(&after, Vec<u8>, Digest),
        })
    }

    /// How many values do not begin with `prefix`.
    pub async fn count_unlike(&mut self, column: SealedColumn, prefix: &[u8]) -> Result<i64> {
        query!(self.tx, one i64, column.count(), length(prefix), prefix)
    }

    /// Puts `new` in the place of a value, unless that has changed meanwhile. Answers whether it was done.
    pub async fn replace(&mut self, column: SealedColumn, old: &SealedValue, new: &[u8]) -> Result<bool> {
        let (sql, sealed) = (column.update(), &old.sealed);
        let changed = match &old.row {
            RowKey::Id(row) => query!(self.tx, execute, sql, row, sealed, new),
            RowKey::Name(row) => query!(self.tx, execute, sql, row, sealed, new),
            RowKey::Digest(row) => query!(self.tx, execute, sql, row, sealed, new),
        }?;
        Ok(changed > 0)
    }
}

fn length(prefix: &[u8]) -> i32 {
    i32::try_from(prefix.len()).unwrap_or(i32::MAX)
}
