//! The kinds and statuses of incidents.

use storage::named_enum;

use crate::alerts::Severity;

macro_rules! kinds {
    ($($variant:ident = $name:literal $severity:ident $title:literal from [$($reason:literal)*];)*) => {
        named_enum! {
            /// What kind of thing went wrong.
            pub enum IncidentKind { $(#[doc = $title] $variant = $name,)* }
        }

        impl IncidentKind {
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

named_enum! {
    /// The kind of an entry of a timeline.
    pub enum EntryKind {
        /// It was opened.
        Opened = "opened",
        /// Its kind, severity or status was changed.
        Changed = "changed",
        /// Somebody's note.
        Note = "note",
        /// An event of the audit trail that belongs to it.
        Event = "event",
        /// An automatic answer that is due.
        Planned = "planned",
        /// An answer that was given.
        Answer = "answer",
        /// An automatic answer that could not be given.
        Failed = "failed",
        /// An answer that was taken back.
        Undone = "undone",
    }
}

named_enum! {
    /// The status of an incident.
    pub enum IncidentStatus {
        /// Nobody works on it yet.
        Open = "open",
        /// It does no further harm.
        Contained = "contained",
        /// Its cause is removed.
        Resolved = "resolved",
        /// Closed for good.
        Closed = "closed",
    }
}
