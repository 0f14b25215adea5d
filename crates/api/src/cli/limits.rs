//! `modelgate limits`: also the way back for whoever limited themselves too much.

use auth::{Allowance, Auth, LimitSubject, Origin};
use clap::{Args, Subcommand};

use super::admin::explained;
use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;

/// Say limits; servers on the same database follow within a second.
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// Show what was said: scope, subject, requests a minute and an hour.
    List,
    /// Say a limit.
    Set(Set),
    /// Take back what was said, so that what is less particular holds again.
    Remove(Subject),
}

/// Whose limit.
#[derive(Args, Debug)]
pub struct Subject {
    /// class, role, account, key or model.
    scope: String,
    /// The name of the class, role or model, or the id of the account or key.
    subject: String,
}

/// A limit to say.
#[derive(Args, Debug)]
pub struct Set {
    #[command(flatten)]
    subject: Subject,
    /// Requests a minute; 0: no limit.
    #[arg(long)]
    per_minute: Option<u32>,
    /// Requests an hour; 0: no limit.
    #[arg(long)]
    per_hour: Option<u32>,
}

impl Limits {
    /// Runs the command.
    pub async fn run(self, settings: Settings) -> CommandResult {
        let auth = start::command(&settings).await?;
        match self {
            Self::List => list(&auth).await,
            Self::Set(Set { subject, per_minute, per_hour }) => {
                let said = Allowance { per_minute, per_hour };
                let done = auth.set_limit(None, &subject.read()?, said, &Origin::default()).await;
                subject.told(done)
            }
            Self::Remove(subject) => {
                let done = auth.remove_limit(None, &subject.read()?, &Origin::default()).await;
                subject.told(done)
            }
        }
    }
}

impl Subject {
    fn read(&self) -> Result<LimitSubject, String> {
        LimitSubject::named(&self.scope, &self.subject).ok_or_else(|| self.nothing())
    }

    fn told(&self, done: auth::Result<()>) -> CommandResult {
        done.map_err(
            |error| if matches!(error, auth::Error::NotFound) { self.nothing() } else { explained(error) },
        )
    }

    fn nothing(&self) -> String {
        let Self { scope, subject } = self;
        format!(
            "there is no {scope} {subject} here, or nothing was said of it; docs/API.md lists what limits are said of"
        )
    }
}

async fn list(auth: &Auth) -> CommandResult {
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for limit in auth.configured_limits().await.map_err(explained)? {
        let (minute, hour) = (number(limit.per_minute), number(limit.per_hour));
        print(&format!("{}\t{}\t{minute}\t{hour}", limit.scope, limit.subject));
    }
    Ok(())
}
