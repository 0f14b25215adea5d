//! Making a change known everywhere: the durable row first, then this replica's memory, then the ephemeral store; and
//! it is answered when no replica relies any more on what the store said before.

use std::time::Duration;

use storage::Tx;

use crate::callers::confirmation::CONFIRMED_FOR;
use crate::callers::freshness::{CACHED_FOR, ChangeSubject};
use crate::{Auth, Result};

/// How long a change stays in the ephemeral store: longer than anything cached before it.
fn remembered_for() -> Duration {
    (CACHED_FOR * 5).to_std().unwrap_or(Duration::from_secs(300))
}

impl Auth {
    /// Commits `tx`, in which `changed` were changed, and makes them known.
    pub(crate) async fn commit_change(&self, mut tx: Tx, changed: &[ChangeSubject]) -> Result<()> {
        let mut numbered = Vec::with_capacity(changed.len());
        for watched in changed {
            let number = tx.changes().append(watched.kind(), &watched.id().to_string()).await?;
            numbered.push((*watched, number));
        }
        tx.commit().await?;
        for (watched, number) in numbered {
            self.freshness.note(watched, number, self.now());
            let raised = self.ephemeral.raise(&watched.ephemeral_key(), number, remembered_for()).await;
            if let Err(error) = raised {
                // Not lost: the others read it from the change feed within a second.
                tracing::warn!(%error, "a change could not be told through the ephemeral store");
            }
        }
        if !changed.is_empty() {
            self.outlast_confirmations().await;
        }
        Ok(())
    }

    /// Waits until no replica relies on what the ephemeral store said before; also where somebody else has just made the
    /// change that is asked for, and may still wait.
    pub(crate) async fn outlast_confirmations(&self) {
        if self.ephemeral.is_redis() {
            tokio::time::sleep(CONFIRMED_FOR).await;
        }
    }
}
