//! `modelgate alert`

use auth::Alert as Message;
use clap::Subcommand;
use storage::with_causes;

use super::{CommandResult, print};
use crate::outgoing::{Alerter, Mailer};
use crate::settings::Settings;
use crate::start;

/// Test the channels of alerts.
#[derive(Debug, Subcommand)]
pub enum Alert {
    /// Send a test through every channel that is set up; fails unless all of them accept it.
    Test,
}

impl Alert {
    /// Runs the command.
    pub async fn run(self, settings: Settings) -> CommandResult {
        let Self::Test = self;
        start::check(&settings).map_err(|error| error.to_string())?;
        let channels = settings.alerts.channels();
        if channels.is_empty() {
            return Err("no channel for alerts is set up; see ALERT_… in docs/CONFIG.md".into());
        }
        let auth = start::command(&settings).await?;
        let (alerter, mailer) = (Alerter::new(&settings.alerts), Mailer::new(&settings.mail)?);
        let test = Message::test(auth.now());
        let mut failed = Vec::new();
        for channel in channels {
            match alerter.send(channel, &test, &auth, mailer.as_ref()).await {
                Ok(()) => print(&format!("{}: sent", channel.name())),
                Err(reason) => failed.push(format!("{}: {reason}", channel.name())),
            }
        }
        auth.note_alert_test(failed.is_empty()).await.map_err(|error| with_causes(&error))?;
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
    }
}
