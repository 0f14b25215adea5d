//! `modelgate ip-rules`: also the way back for administrators who shut themselves out.

use auth::{Auth, IpRuleRequest, Origin};
use clap::{Args, Subcommand, ValueEnum};
use storage::{Cursor, IpEffect, IpPlace, IpRule, PageRequest};
use uuid::Uuid;

use super::admin::explained;
use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;
use crate::v1::admin::ip_rules::check_reason;
use crate::v1::rules;

/// Rules of one look at the list.
const PAGE: u32 = 100;
/// The longest that a rule with an end holds, in minutes: a hundred years.
const MAX_MINUTES: i64 = 100 * 365 * 24 * 60;

/// Allow and deny client addresses; servers on the same database follow within a second.
#[derive(Debug, Subcommand)]
pub enum IpRules {
    /// Show the rules that hold: id, network, effect, for which requests, until when and why.
    List,
    /// Add a rule.
    Add(Add),
    /// Remove the rule with this id, or every rule about this network.
    Remove {
        /// An id, an address or a CIDR block.
        rule: String,
    },
}

/// A rule to add.
#[derive(Args, Debug)]
pub struct Add {
    /// An address or a CIDR block.
    cidr: String,
    /// Whether it is allowed or denied.
    #[arg(value_enum)]
    effect: Effect,
    /// Only for what needs a permission over others or over the installation.
    #[arg(long)]
    admin: bool,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Minutes until it ends; left out: never.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=MAX_MINUTES))]
    minutes: Option<i64>,
}

/// The effect of a rule.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Effect {
    /// The network is allowed, where a wider rule would deny it.
    Allow,
    /// The network is denied.
    Deny,
}

impl IpRules {
    /// Runs the command.
    pub async fn run(self, settings: Settings) -> CommandResult {
        let auth = start::command(&settings).await?;
        match self {
            Self::List => all(&auth).await?.iter().for_each(show),
            Self::Add(add) => add.run(&auth).await?,
            Self::Remove { rule } => remove(&auth, &rule).await?,
        }
        Ok(())
    }
}

impl Add {
    async fn run(self, auth: &Auth) -> CommandResult {
        check_reason(&self.reason).map_err(|error| format!("--reason: {}", rules::message(error)))?;
        let request = IpRuleRequest {
            network: self.cidr,
            effect: match self.effect {
                Effect::Allow => IpEffect::Allow,
                Effect::Deny => IpEffect::Deny,
            },
            applies_to: if self.admin { IpPlace::Admin } else { IpPlace::All },
            reason: self.reason,
            expires_at: self.minutes.map(|minutes| auth.now() + chrono::Duration::minutes(minutes)),
        };
        show(&auth.add_ip_rule(None, request, true, &Origin::default()).await.map_err(explained)?);
        Ok(())
    }
}

async fn all(auth: &Auth) -> Result<Vec<IpRule>, String> {
    let (mut rules, mut cursor) = (Vec::new(), None);
    loop {
        let page = auth.ip_rules(&PageRequest { limit: PAGE, cursor }).await.map_err(explained)?;
        rules.extend(page.items);
        cursor = page.next_cursor.as_deref().and_then(Cursor::parse);
        if cursor.is_none() {
            return Ok(rules);
        }
    }
}

async fn remove(auth: &Auth, id_or_network: &str) -> CommandResult {
    let id = Uuid::parse_str(id_or_network).ok();
    // As it was written down when it was added.
    let network = auth::network(id_or_network).map(|network| network.to_string());
    let mut matching = all(auth).await?;
    matching.retain(|rule| Some(rule.id) == id || Some(&rule.network) == network.as_ref());
    if matching.is_empty() {
        return Err(format!("there is no rule {id_or_network}; modelgate ip-rules list shows them"));
    }
    for rule in matching {
        auth.remove_ip_rule(None, rule.id, true, &Origin::default()).await.map_err(explained)?;
        print(&format!("removed {} {}", rule.network, rule.effect.name()));
    }
    Ok(())
}

fn show(rule: &IpRule) {
    let end = rule.expires_at.map_or_else(|| "for ever".to_owned(), |end| end.to_rfc3339());
    let IpRule { id, network, reason, .. } = rule;
    let (effect, place) = (rule.effect.name(), rule.applies_to.name());
    print(&format!("{id}\t{network}\t{effect}\t{place}\t{end}\t{reason}"));
}
