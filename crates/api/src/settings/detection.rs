//! Detection, and automatic answers to incidents.

use std::str::FromStr;

use auth::{Answer, IncidentKind, Threshold};
use clap::Args;

use super::mail::Switch;

/// Detection, and automatic answers to incidents.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Detection")]
#[group(skip)]
pub struct DetectionSettings {
    /// The automatic answers to each kind of incident, as kind:answer, separated by commas and in this order; none: no
    /// answers.
    #[arg(
        long = "INCIDENT_ANSWERS",
        value_delimiter = ',',
        default_value = "failed_logins:collect_evidence,stolen_token:collect_evidence,request_flood:block_address,\
                         attack_pattern:block_address,impossible_sequence:collect_evidence,data_breach:collect_evidence,\
                         data_breach:disable_accounts,system_compromise:collect_evidence,system_compromise:maintenance"
    )]
    pub incident_answers: Vec<KindAnswer>,
    /// Whether detectors may block an address automatically; unset: on in production.
    #[arg(long = "AUTO_BLOCK", value_enum)]
    pub auto_block: Option<Switch>,
    /// Requests from an address that are a flood, as count/seconds from the first on; 0: never.
    #[arg(long = "DETECT_REQUESTS", default_value = "6000/60", value_parser = threshold)]
    pub detect_requests: Threshold,
    /// Uploads of files and models from an address that are a flood.
    #[arg(long = "DETECT_UPLOADS", default_value = "100/3600", value_parser = threshold)]
    pub detect_uploads: Threshold,
    /// Requests from an address that look like attacks, in path, query, headers or JSON, before an incident is opened.
    #[arg(long = "DETECT_ATTACKS", default_value = "10/300", value_parser = threshold)]
    pub detect_attacks: Threshold,
    /// Slow requests from an address before an incident is opened.
    #[arg(long = "DETECT_SLOW", default_value = "100/300", value_parser = threshold)]
    pub detect_slow: Threshold,
    /// Networks that one API key is used from before an incident is opened.
    #[arg(long = "DETECT_KEY_NETWORKS", default_value = "20/60", value_parser = threshold)]
    pub detect_key_networks: Threshold,
    /// Moves of one session from a network to another before an incident is opened.
    #[arg(long = "DETECT_SESSION_MOVES", default_value = "10/60", value_parser = threshold)]
    pub detect_session_moves: Threshold,
    /// Milliseconds from which on a request is logged and counted as slow; 0: never.
    #[arg(long = "SLOW_REQUEST_MS", default_value_t = 1000)]
    pub slow_request_ms: u64,
    /// Seconds that an address stays blocked.
    #[arg(long = "BLOCK_SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    pub block_seconds: u32,
    /// Incidents of one kind that detectors have open at a time; what else they notice counts in one more, about
    /// "others".
    #[arg(long = "MAX_OPEN_INCIDENTS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_open_incidents: u32,
}

/// An answer to a kind of incident, `kind:answer`, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindAnswer(Option<(IncidentKind, Answer)>);

impl DetectionSettings {
    /// The thresholds of detectors.
    pub fn thresholds(&self) -> auth::DetectionSettings {
        auth::DetectionSettings {
            requests: self.detect_requests,
            uploads: self.detect_uploads,
            attacks: self.detect_attacks,
            slow: self.detect_slow,
            key_networks: self.detect_key_networks,
            session_moves: self.detect_session_moves,
        }
    }

    /// The automatic answers.
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
            Some((kind.trim().parse().ok()?, answer.trim().parse().ok()?))
        };
        let wrong = || format!("{text:?} is no kind:answer, such as data_breach:disable_accounts");
        read().map(|answer| Self(Some(answer))).ok_or_else(wrong)
    }
}

/// Reads `count/seconds`; `0` is never.
fn threshold(text: &str) -> Result<Threshold, String> {
    if text == "0" {
        return Ok(Threshold { count: 0, seconds: 1 });
    }
    let read = || {
        let (count, seconds) = text.split_once('/')?;
        let (count, seconds) = (count.parse().ok()?, seconds.parse().ok()?);
        (1..=86_400).contains(&seconds).then_some(Threshold { count, seconds })
    };
    read().ok_or_else(|| format!("{text:?} is not count/seconds, such as 10/300, with at most a day"))
}
