//! Rotation of the encryption key: reseals under the active key what earlier keys sealed, while servers run.

use serde_json::json;
use storage::{Scope, SealedColumn, SealedValue, Service};

use crate::audit::Entry;
use crate::events::Event;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Values of one transaction: few, since other writers of these rows wait for its end.
const BATCH: u32 = 50;

/// What became of one column.
#[derive(Debug)]
pub struct Resealed {
    /// `table.column`.
    pub column: &'static str,
    /// Values that are now under the active key.
    pub resealed: u64,
    /// Values that are not: they do not open, or came while this went on.
    pub left: i64,
    /// Why the first of them does not open.
    pub reason: Option<String>,
}

impl Auth {
    /// Seals anew every value that is not under the active key. What servers change meanwhile is theirs: no value is
    /// replaced but the one that was opened. Where nothing is to be done, nothing is.
    pub async fn rotate_encryption(&self) -> Result<Vec<Resealed>> {
        let mut columns = Vec::new();
        for column in SealedColumn::ALL {
            columns.push(self.reseal(*column).await?);
        }
        self.record_rotation(&columns).await?;
        Ok(columns)
    }

    async fn reseal(&self, column: SealedColumn) -> Result<Resealed> {
        let mut done = Resealed { column: column.name(), resealed: 0, left: 0, reason: None };
        let prefix = self.encryption.active_prefix();
        let mut after = None;
        loop {
            let mut tx = self.store.begin(Scope::Service(Service::Sealing)).await?;
            let batch = tx.sealed().unlike(column, prefix, after.as_ref(), BATCH).await?;
            for value in &batch {
                match self.sealed_anew(column, value) {
                    Ok(anew) => done.resealed += u64::from(tx.sealed().replace(column, value, &anew).await?),
                    // A fault of ours that the operator may know.
                    Err(Error::Internal(reason)) => drop(done.reason.get_or_insert(reason)),
                    Err(error) => return Err(error),
                }
            }
            tx.commit().await?;
            match batch.into_iter().next_back() {
                Some(last) => after = Some(last.row),
                None => break,
            }
        }
        let mut tx = self.store.read(Scope::Service(Service::Sealing)).await?;
        done.left = tx.sealed().count_unlike(column, prefix).await?;
        Ok(done)
    }

    fn sealed_anew(&self, column: SealedColumn, value: &SealedValue) -> Result<Vec<u8>> {
        let place = column.place(&value.row);
        self.encryption.seal(&place, &self.encryption.open(&place, &value.sealed)?)
    }

    async fn record_rotation(&self, columns: &[Resealed]) -> Result<()> {
        let changed = |column: &&Resealed| column.resealed > 0;
        let counts: serde_json::Map<_, _> = columns
            .iter()
            .filter(changed)
            .map(|done| (done.column.to_owned(), json!(done.resealed)))
            .collect();
        if counts.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin(Scope::Service(Service::Sealing)).await?;
        let origin = Origin::default();
        let detail = json!({"key": self.encryption.active_id(), "sealed_anew": counts});
        self.record(&mut tx, Entry::success(Event::EncryptionKeyRotated, &origin).with(detail)).await?;
        Ok(tx.commit().await?)
    }
}
