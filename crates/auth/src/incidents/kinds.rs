//! What can go wrong, and how far work on it is.

use crate::alerts::Severity;

macro_rules! kinds {
    ($($variant:ident = $name:literal $severity:ident $title:literal from [$($reason:literal)*];)*) => {
        /// What kind of thing went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum IncidentKind { $(#[doc = $title] $variant,)* }

        impl IncidentKind {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word it is stored and shown as.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is, in a line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// How bad it is as a rule.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What a detector's reason is about.
            pub(crate) fn of_reason(reason: &str) -> Self {
                match reason { $($($reason => Self::$variant,)*)* _ => Self::Other }
            }
        }
    };
}

kinds! {
    FailedLogins = "failed_logins" Medium "Repeated failed logins" from ["login_failures"];
    StolenToken = "stolen_token" High "A refresh token was used twice" from ["refresh_token_reuse"];
    RequestFlood = "request_flood" Medium "A flood of requests" from ["request_flood"];
    UploadFlood = "upload_flood" Medium "A flood of uploads" from ["upload_flood"];
    AttackPattern = "attack_pattern" Medium "Requests that look like attacks" from ["attack_pattern"];
    ImpossibleSequence = "impossible_sequence" High "Something that one person cannot have done" from ["impossible_sequence"];
    SlowRequests = "slow_requests" Low "Many slow requests" from ["slow_requests"];
    DataBreach = "data_breach" Critical "Data got out" from [];
    SystemCompromise = "system_compromise" Critical "The system is in others' hands" from [];
    Other = "other" Medium "Something else" from [];
}

impl IncidentKind {
    /// The kind of a word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// How far work on an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentStatus {
    /// Nobody has it in hand yet.
    Open,
    /// It does no more harm.
    Contained,
    /// What it came from is mended.
    Resolved,
    /// Done with, for good.
    Closed,
}

impl IncidentStatus {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Open, Self::Contained, Self::Resolved, Self::Closed];

    /// The word it is stored and shown as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Contained => "contained",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }

    /// The status of a word.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}
