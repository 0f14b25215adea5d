//! `modelgate incident`

use auth::{Auth, IncidentChange, IncidentKind, IncidentRequest, IncidentStatus, Origin, Severity};
use clap::{Args, Subcommand};
use storage::{Incident as Row, PageRequest};
use uuid::Uuid;
use validator::ValidationError;

use super::admin::explained;
use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;
use crate::v1::admin::incident_bodies::{check_line, check_text};
use crate::v1::rules;

/// Incidents shown at once.
const SHOWN: u32 = 100;

/// Open, show and close incidents.
#[derive(Debug, Subcommand)]
pub enum Incident {
    /// Open an incident; running servers alert operators, and run the answers of its kind within a second.
    Open(Open),
    /// List the latest hundred.
    List {
        /// Those of one status alone: open, contained, resolved or closed.
        #[arg(long)]
        status: Option<IncidentStatus>,
    },
    /// Show one with its timeline.
    Show {
        /// Its id.
        id: Uuid,
    },
    /// Close one for good.
    Close {
        /// Its id.
        id: Uuid,
        /// The resolution.
        #[arg(long)]
        resolution: String,
    },
}

/// An incident to open.
#[derive(Args, Debug)]
pub struct Open {
    /// What kind of thing went wrong, such as data_breach or system_compromise.
    kind: IncidentKind,
    /// What went wrong, in a line.
    #[arg(long)]
    title: Option<String>,
    /// low, medium, high or critical.
    #[arg(long)]
    severity: Option<Severity>,
    /// An account that it is about; may be given several times.
    #[arg(long = "account")]
    accounts: Vec<Uuid>,
    /// The address that it is about.
    #[arg(long)]
    address: Option<std::net::IpAddr>,
}

impl Incident {
    /// Runs the command.
    pub async fn run(self, settings: Settings) -> CommandResult {
        let auth = start::command(&settings).await?;
        match self {
            Self::Open(open) => {
                let Open { kind, title, severity, accounts, address } = open;
                title.as_deref().map(check_line).transpose().map_err(|error| said("--title", error))?;
                let request = IncidentRequest { kind, severity, title, accounts, address };
                let opened = auth.open_incident(None, request, &Origin::default()).await;
                print(&opened.map_err(explained)?.id.to_string());
            }
            Self::List { status } => {
                let page = PageRequest { limit: SHOWN, cursor: None };
                let incidents = auth.incidents(&page, status, None).await.map_err(explained)?;
                incidents.items.iter().for_each(|incident| print(&line(incident)));
            }
            Self::Show { id } => show(&auth, id).await?,
            Self::Close { id, resolution } => {
                check_text(&resolution).map_err(|error| said("--resolution", error))?;
                let status = Some(IncidentStatus::Closed);
                let change = IncidentChange { status, resolution: Some(resolution), severity: None };
                let closed = auth.change_incident(None, id, change, &Origin::default()).await;
                print(&line(&closed.map_err(explained)?));
            }
        }
        Ok(())
    }
}

fn said(option: &str, error: ValidationError) -> String {
    format!("{option}: {}", rules::message(error))
}

async fn show(auth: &Auth, id: Uuid) -> CommandResult {
    print(&line(&auth.incident(id).await.map_err(explained)?));
    let page = PageRequest { limit: SHOWN, cursor: None };
    let entries = auth.incident_entries(id, &page).await.map_err(explained)?;
    for entry in entries.items.iter().rev() {
        print(&format!("{} {} {}", entry.at.format("%Y-%m-%d %H:%M:%S"), entry.kind, entry.detail));
    }
    Ok(())
}

fn line(incident: &Row) -> String {
    let Row { id, kind, severity, status, title, subject, occurrences, .. } = incident;
    let subject = subject.as_deref().unwrap_or("-");
    format!("{id} {status} {severity} {kind} {subject} {occurrences}x {title:?}")
}
