//! `modelgate limits`: also the way back for administrators who limited themselves too much.

use auth::{Allowance, Auth, LimitSubject, Origin};
use clap::{Args, Subcommand};

use super::admin::explained;
use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;

/// Set rate limits; servers on the same database follow within a second.
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// Show the limits that were set: scope, subject, requests a minute and an hour.
    List,
    /// Set a limit.
    Set(Set),
    /// Remove a limit, so that the next more general one holds again.
    Remove(Subject),
}

/// What a limit applies to.
#[derive(Args, Debug)]
pub struct Subject {
    /// class, role, account, key or model.
    scope: String,
    /// The name of the class, role or model, or the id of the account or key.
    subject: String,
}

/// A limit to set.
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
                let allowance = Allowance { per_minute, per_hour };
                let done = auth.set_limit(None, &subject.read()?, allowance, &Origin::default()).await;
                subject.explain(done)
            }
            Self::Remove(subject) => {
                let done = auth.remove_limit(None, &subject.read()?, &Origin::default()).await;
                subject.explain(done)
            }
        }
    }
}

impl Subject {
    fn read(&self) -> Result<LimitSubject, String> {
        LimitSubject::named(&self.scope, &self.subject).ok_or_else(|| self.missing())
    }

    fn explain(&self, done: auth::Result<()>) -> CommandResult {
        done.map_err(
            |error| if matches!(error, auth::Error::NotFound) { self.missing() } else { explained(error) },
        )
    }

    fn missing(&self) -> String {
        let Self { scope, subject } = self;
        format!(
            "there is no {scope} {subject} here, or it has no limit; docs/API.md lists what limits apply to"
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
