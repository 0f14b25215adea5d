//! Challenges (Turnstile, hCaptcha, reCAPTCHA and compatible services) before further attempts after many failures.
//!
//! Their common ground is one request: a form with `secret`, `response` and `remoteip`, answered by JSON with
//! `success`.

use auth::{Auth, Origin};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::form_urlencoded::Serializer;

use super::http::Outgoing;
use crate::error::{ApiError, Code, Result};
use crate::settings::ChallengeSettings;

/// Longest token that is passed on, in characters; Turnstile's have up to 2048.
pub const MAX_TOKEN: u64 = 4096;
/// Tokens that are being verified at a time in this process; one more is answered with 503.
const MAX_AT_ONCE: usize = 32;

/// The verifier of tokens, and when a challenge is due.
pub struct Challenge {
    verify_url: String,
    secret: SecretString,
    site_key: String,
    after_failures: u32,
    fail_open: bool,
    outgoing: Outgoing,
    places: Semaphore,
}

/// What counts against who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// What goes wrong.
    Failures,
    /// Each time, and against the network alone: there is no right or wrong in it.
    Attempts,
}

/// One who tries.
pub struct Attempt<'a> {
    /// The address that was written.
    pub email: &'a str,
    /// What the challenge gave them.
    pub token: Option<&'a str>,
    /// Where they come from.
    pub origin: &'a Origin,
    /// What counts against them.
    pub counts: Counts,
}

/// The part of an answer that all of them have.
#[derive(Deserialize)]
struct Verdict {
    success: bool,
}

impl Challenge {
    /// None where no verifier is set.
    pub fn new(settings: &ChallengeSettings) -> Option<Self> {
        Some(Self {
            verify_url: settings.challenge_verify_url.clone()?,
            secret: settings.challenge_secret.clone()?,
            site_key: settings.challenge_site_key.clone()?,
            after_failures: settings.challenge_after_failures,
            fail_open: settings.challenge_fail_open,
            outgoing: Outgoing::default(),
            places: Semaphore::new(MAX_AT_ONCE),
        })
    }

    /// Refuses an attempt whose challenge is due and not solved.
    pub async fn require(&self, auth: &Auth, attempt: &Attempt<'_>) -> Result<()> {
        let failures = auth.recent_failures(attempt.email, attempt.origin).await?;
        if failures < self.after_failures {
            return Ok(());
        }
        let token =
            attempt.token.ok_or_else(|| self.wanted("Solve the challenge and send challenge_token."))?;
        match self.verify(token, attempt.origin).await? {
            true => Ok(()),
            false => Err(self
                .wanted("The challenge was not solved, or this token was used before; solve another one.")),
        }
    }

    async fn verify(&self, token: &str, origin: &Origin) -> Result<bool> {
        let busy = |_| ApiError::new(Code::Overloaded, "Too many challenges are being verified.");
        let _place = self.places.try_acquire().map_err(busy)?;
        let mut form = Serializer::new(String::new());
        form.append_pair("secret", self.secret.expose_secret());
        form.append_pair("response", token);
        if let Some(address) = origin.address {
            form.append_pair("remoteip", &address.to_string());
        }
        let answer = self.outgoing.post_form(&self.verify_url, form.finish()).await;
        let verdict = answer.and_then(|answer| {
            serde_json::from_slice::<Verdict>(&answer)
                .map_err(|_| "CHALLENGE_VERIFY_URL gave no verdict".into())
        });
        match verdict {
            Ok(verdict) => Ok(verdict.success),
            Err(error) => {
                tracing::warn!(error, fail_open = self.fail_open, "a challenge cannot be verified");
                let refusal = "The challenge cannot be verified now; try again shortly.";
                if self.fail_open { Ok(true) } else { Err(ApiError::new(Code::Unavailable, refusal)) }
            }
        }
    }

    fn wanted(&self, detail: &str) -> ApiError {
        let mut error = ApiError::new(Code::ChallengeRequired, detail);
        error.hints.site_key = Some(self.site_key.clone());
        error
    }
}
