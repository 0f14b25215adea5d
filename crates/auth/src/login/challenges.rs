//! When a challenge (CAPTCHA) is due: after a number of recent failures of logins, registrations and requests for mail,
//! counted by the name that was typed, whether or not it has an account, and by network.

use std::time::Duration;

use storage::Check;

use crate::limits::{Window, network_of};
use crate::login::guessing::id_of;
use crate::service::Origin;
use crate::{Auth, Result};

/// How long failures count, from the first on.
const PERIOD: Duration = Duration::from_secs(900);

impl Auth {
    /// How many failures count against an attempt: those about its name or those from its network, whichever are more.
    pub async fn recent_failures(&self, email: &str, origin: &Origin) -> Result<u32> {
        let windows = self.failure_windows(Some(email), origin);
        // A cost of nothing only looks.
        let checks: Vec<Check<'_>> = windows
            .iter()
            .map(|window| Check::Window { key: &window.key, limit: window.limit, period: PERIOD, cost: 0 })
            .collect();
        let outcome = match self.ephemeral.decide(&checks).await {
            Err(error) if error.is_unavailable() => self.stand_in.decide(&checks).await?,
            decided => decided?,
        };
        Ok(outcome.windows.iter().map(|window| window.limit - window.remaining).max().unwrap_or(0))
    }

    /// Counts a failure against a network, and against a name where one was tried out.
    pub async fn count_towards_challenge(&self, email: Option<&str>, origin: &Origin) -> Result<()> {
        self.reserve(&self.failure_windows(email, origin)).await.map(drop)
    }

    fn failure_windows(&self, email: Option<&str>, origin: &Origin) -> Vec<Window> {
        let name = email.map(|email| format!("name:{}", id_of(&self.email_index.of(email)).simple()));
        let network = origin.address.map(|address| format!("network:{}", network_of(address)));
        let window = |whose| Window {
            name: "challenge",
            key: format!("window:challenge:{whose}"),
            // Too high to refuse: what counts is how many there were.
            limit: u32::MAX,
            period: PERIOD,
        };
        [name, network].into_iter().flatten().map(window).collect()
    }
}
