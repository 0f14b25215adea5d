//! What is noticed, and what happens by itself.

use std::str::FromStr;

use auth::{Answer, IncidentKind};
use clap::Args;

use super::mail::Switch;

/// What is noticed, and what happens by itself.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Detection")]
#[group(skip)]
pub struct DetectionSettings {
    /// What is done by itself about each kind of incident, as kind:answer, separated by commas and in this order; none: nothing.
    #[arg(
        long = "INCIDENT_ANSWERS",
        value_delimiter = ',',
        default_value = "failed_logins:collect_evidence,stolen_token:collect_evidence,request_flood:block_address,\
                         attack_pattern:block_address,impossible_sequence:collect_evidence,data_breach:collect_evidence,\
                         data_breach:disable_accounts,system_compromise:collect_evidence,system_compromise:maintenance"
    )]
    pub incident_answers: Vec<KindAnswer>,
    /// Whether detectors may block an address by themselves; unset: on in production.
    #[arg(long = "AUTO_BLOCK", value_enum)]
    pub auto_block: Option<Switch>,
    /// Seconds that an address stays blocked.
    #[arg(long = "BLOCK_SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub block_seconds: u32,
}

/// An answer to a kind of incident, `kind:answer`, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindAnswer(Option<(IncidentKind, Answer)>);

impl DetectionSettings {
    /// What is done by itself.
    pub fn answers(&self) -> Vec<(IncidentKind, Answer)> {
        self.incident_answers.iter().filter_map(|answer| answer.0).collect()
    }
}

impl FromStr for KindAnswer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let read = || {
            let (kind, answer) = text.split_once(':')?;
            Some((IncidentKind::parse(kind.trim())?, Answer::parse(answer.trim())?))
        };
        let wrong = || format!("{text:?} is no kind:answer, such as data_breach:disable_accounts");
        read().map(|answer| Self(Some(answer))).ok_or_else(wrong)
    }
}
