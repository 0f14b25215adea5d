//! Attempts that may need a challenge first: logins, registrations, requests for links.

use crate::app::App;
use crate::error::Result;
use crate::outgoing::challenge::{Attempt, Counts};

/// Does what an attempt is for, after its challenge where one is due, and counts it.
pub async fn after_challenge<T>(
    app: &App,
    attempt: Attempt<'_>,
    act: impl Future<Output = auth::Result<T>>,
) -> Result<T> {
    let Some(challenge) = &app.challenge else { return Ok(act.await?) };
    challenge.require(&app.auth, &attempt).await?;
    let done = act.await;
    match (attempt.counts, &done) {
        (Counts::Attempts, _) => app.auth.count_towards_challenge(None, attempt.origin).await?,
        (Counts::Failures, Err(auth::Error::WrongCredentials)) => {
            app.auth.count_towards_challenge(Some(attempt.email), attempt.origin).await?;
        }
        (Counts::Failures, _) => {}
    }
    Ok(done?)
}
