//! A challenge for people, after failures.

use clap::Args;
use secrecy::SecretString;

use super::secret;

/// A challenge for people, after failures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Challenge")]
#[group(skip)]
pub struct ChallengeSettings {
    /// Where tokens of a challenge are verified, such as https://challenges.cloudflare.com/turnstile/v0/siteverify or
    /// https://api.hcaptcha.com/siteverify; unset: nobody is challenged.
    #[arg(long = "CHALLENGE_VERIFY_URL")]
    pub challenge_verify_url: Option<String>,
    /// What proves to the verifier that it is us.
    #[arg(long = "CHALLENGE_SECRET", value_parser = secret)]
    pub challenge_secret: Option<SecretString>,
    /// What a page shows the challenge with; it is in the answer that asks for one.
    #[arg(long = "CHALLENGE_SITE_KEY")]
    pub challenge_site_key: Option<String>,
    /// Failures within a quarter of an hour, of one account name or network, after which logins, registrations and
    /// forgotten passwords need a solved challenge; 0: always. Registrations and forgotten passwords count as
    /// failures of the network.
    #[arg(long = "CHALLENGE_AFTER_FAILURES", default_value_t = 3)]
    pub challenge_after_failures: u32,
    /// Whether those who would have to solve one are let go on while the verifier does not answer; if not, they get
    /// 503.
    #[arg(long = "CHALLENGE_FAIL_OPEN", default_value_t = false, action = clap::ArgAction::Set)]
    pub challenge_fail_open: bool,
}

impl ChallengeSettings {
    /// What is wrong with them. In `production`, what is sent to the verifier must be protected.
    pub fn problem(&self, production: bool) -> Option<&'static str> {
        let url = self.challenge_verify_url.as_ref()?;
        if self.challenge_secret.is_none() || self.challenge_site_key.is_none() {
            return Some("CHALLENGE_VERIFY_URL needs CHALLENGE_SECRET and CHALLENGE_SITE_KEY");
        }
        let readable = url::Url::parse(url).is_ok_and(|url| url.has_host());
        let protected = url.starts_with("https://") || (url.starts_with("http://") && !production);
        (!readable || !protected)
            .then_some("CHALLENGE_VERIFY_URL must begin with https://: it is sent a secret")
    }
}
