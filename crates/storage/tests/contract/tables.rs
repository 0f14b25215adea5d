//! The tables on Postgres: whose rows they hold, and which part of the program does what with them.

use uuid::Uuid;

/// Tables of which no row tells of a person.
pub(crate) const NOBODYS: [&str; 19] = [
    "_sqlx_migrations",
    "audit_links",
    "audit_pending",
    "audit_prunings",
    "audit_seals",
    "change_head",
    "changes",
    "desired_models",
    "locks",
    "model_files",
    "model_sources",
    "models",
    "replicas",
    "roles",
    "secrets",
    "settings",
    "signing_keys",
    "usage_batches",
    "usage_prunings",
];

/// A table with rows of people.
pub(crate) struct Owned {
    pub table: &'static str,
    /// What one row of `$account` takes; `$id` is a fresh id, `$parent` that of the row that `$account` has in the
    /// table before.
    pub row: &'static str,
    /// Who reads every row.
    pub read_by: &'static [&'static str],
    /// Who can delete every row.
    pub deleted_by: &'static [&'static str],
}

pub(crate) const OWNED: [Owned; 23] = [
    Owned {
        table: "accounts",
        row: "(id, kind, role, active, security_version, created_at, updated_at) \
              VALUES ('$account', 'person', 'user', true, 0, now(), now())",
        read_by: &["login", "token", "api_key", "administration"],
        deleted_by: &["login", "administration"],
    },
    Owned {
        table: "people",
        row: "(account_id, email, email_lookup, name) VALUES ('$account', '', '$id', '')",
        read_by: &["login", "administration", "sealing"],
        deleted_by: &["login", "administration"],
    },
    Owned {
        table: "credentials",
        row: "VALUES ('$account', 'password', '', now())",
        read_by: &["login", "administration"],
        deleted_by: &["login", "administration"],
    },
    Owned {
        table: "sessions",
        row: "(id, account_id, family_key, seq, created_at, authenticated_at, idle_expires_at, expires_at) \
              VALUES ('$id', '$account', '', 0, now(), now(), now(), now())",
        read_by: &["login", "token", "administration", "feed", "metering", "sealing", "retention"],
        deleted_by: &["login", "token", "administration", "retention"],
    },
    Owned {
        table: "api_keys",
        row: "(id, public_id, account_id, name, scopes, created_at, updated_at) \
              VALUES ('$id', '$id', '$account', '', '[]', now(), now())",
        read_by: &["api_key", "administration", "metering"],
        deleted_by: &["administration"],
    },
    Owned {
        table: "api_key_secrets",
        row: "(key_id, number, hash, created_at) VALUES ('$parent', 0, '', now())",
        read_by: &["api_key", "administration", "sealing"],
        deleted_by: &["administration"],
    },
    Owned {
        table: "model_grants",
        row: "VALUES ('digits', 'account', '$account', now())",
        read_by: &["token", "api_key", "administration", "models"],
        deleted_by: &["administration"],
    },
    Owned {
        table: "usage_daily",
        row: "VALUES ('$account', '$id', '', '', now(), 0, 0, 0, 0, 0, 0)",
        read_by: &["administration", "metering", "quota", "retention"],
        deleted_by: &[],
    },
    Owned {
        table: "audit_events",
        row: "(id, occurred_at, action, outcome, actor, canonical) VALUES ('$id', now(), '', '', '$account', '')",
        read_by: &["administration", "audit", "retention"],
        deleted_by: &[],
    },
    Owned {
        table: "audit_subjects",
        row: "(event_id, address) VALUES ('$parent', '203.0.113.7')",
        read_by: &["administration", "audit", "retention"],
        deleted_by: &["administration", "audit", "retention"],
    },
    Owned {
        table: "service_accounts",
        row: "VALUES ('$account', '')",
        read_by: &["administration"],
        deleted_by: &["administration"],
    },
    Owned {
        table: "second_factors",
        row: "(id, account_id, kind, secret, created_at, confirmed_at) \
              VALUES ('$id', '$account', 'totp', '', now(), now())",
        read_by: &["login", "token", "api_key", "administration", "sealing"],
        deleted_by: &["login", "administration"],
    },
    Owned {
        table: "recovery_codes",
        row: "VALUES ('$account', '', NULL)",
        read_by: &["login", "administration"],
        deleted_by: &["login", "administration"],
    },
    Owned {
        table: "notices",
        row: "(id, account_id, kind, created_at) VALUES ('$id', '$account', 'test', now())",
        read_by: &["login", "administration", "mail", "feed", "retention"],
        deleted_by: &["login", "administration", "retention"],
    },
    Owned {
        table: "outbox",
        row: "(id, account_id, errand, attempts, created_at, next_attempt_at) \
              VALUES ('$id', '$account', '', 0, now(), now())",
        read_by: &["login", "token", "administration", "mail", "feed", "sealing", "retention"],
        deleted_by: &["login", "administration", "mail", "retention"],
    },
    Owned {
        table: "external_identities",
        row: "(id, account_id, issuer, subject, lookup, created_at) \
              VALUES ('$id', '$account', 'https://id.example.com', '', '$id', now())",
        read_by: &["login", "token", "administration", "sealing"],
        deleted_by: &["login", "administration"],
    },
    Owned {
        table: "ended_tokens",
        row: "VALUES ('$id', '$account', now(), now())",
        read_by: &["login", "token", "administration", "feed", "retention"],
        deleted_by: &["login", "administration", "retention"],
    },
    Owned {
        table: "files",
        row: "VALUES ('$id', '$account', '', 'image/png', 0, '', '', now())",
        read_by: &["administration", "feed", "sealing"],
        deleted_by: &["administration", "feed"],
    },
    Owned {
        table: "one_time_tokens",
        row: "VALUES ('$id', 'test', '$account', NULL, 1, now(), now())",
        read_by: &["login", "administration", "feed", "sealing", "retention"],
        deleted_by: &["login", "administration", "retention"],
    },
    Owned {
        table: "legal_holds",
        row: "VALUES ('$account', 'a case', '$id', now())",
        read_by: &["administration", "feed", "audit", "retention"],
        deleted_by: &["administration"],
    },
    Owned {
        table: "quotas",
        row: "VALUES ('$id', 'account', '$account', '$account', 'requests', 'day', 1, true, now())",
        read_by: &["token", "api_key", "administration"],
        deleted_by: &["administration"],
    },
    Owned {
        table: "quota_periods",
        row: "VALUES ('$account', '$account', 'requests', 'day', now(), 0, 0, NULL)",
        read_by: &["quota", "metering", "administration", "feed", "retention"],
        deleted_by: &["quota", "metering", "retention"],
    },
    Owned {
        table: "rate_limits",
        row: "VALUES ('account', '$account', '$account', 1, 1, now())",
        read_by: &["administration", "feed", "setup"],
        deleted_by: &["administration"],
    },
];

/// Tables that tell of people and belong to none: accounts reach no row. The `$account` of a row is that of another
/// one, its `$parent` is the id of the row in the table before.
pub(crate) const PROGRAMS: [Owned; 5] = [
    Owned {
        table: "alerts",
        row: "(id, channel, dedup_key, kind, severity, title, body, attempts, created_at, next_attempt_at) \
              VALUES ('$id', 'slack', '', '', 'low', '', '', 0, now(), now())",
        read_by: &["login", "token", "administration", "audit", "mail", "retention"],
        deleted_by: &["login", "token", "administration", "audit", "mail", "retention"],
    },
    Owned {
        table: "incidents",
        row: "(id, kind, severity, status, title, opened_by, occurrences, opened_at, updated_at) \
              VALUES ('$id', 'other', 'low', 'open', '', '$account', 1, now(), now())",
        read_by: &["login", "token", "administration", "audit"],
        deleted_by: &["login", "token", "administration", "audit"],
    },
    Owned {
        table: "incident_entries",
        row: "VALUES ('$id', '$parent', now(), 'note', '$account', '{}', NULL)",
        read_by: &["login", "token", "administration", "audit", "feed"],
        deleted_by: &["login", "token", "administration", "audit"],
    },
    Owned {
        table: "incident_holds",
        row: "VALUES ('$parent', 'account:$account')",
        read_by: &["administration"],
        deleted_by: &["administration"],
    },
    Owned {
        table: "ip_rules",
        row: "VALUES ('$id', '203.0.113.$account', 'deny', 'all', true, '', now(), NULL)",
        read_by: &["administration", "feed", "retention"],
        deleted_by: &["administration", "retention"],
    },
];

/// Columns that tell of a person: a table that has one is under policies.
pub(crate) const TELLING: [&str; 8] =
    ["account_id", "actor", "address", "detail", "email", "network", "opened_by", "user_agent"];

/// The parts of the program, by the names that the policies know.
pub(crate) const SERVICES: [&str; 13] = [
    "login",
    "token",
    "api_key",
    "administration",
    "setup",
    "feed",
    "retention",
    "metering",
    "quota",
    "audit",
    "models",
    "sealing",
    "mail",
];

impl Owned {
    /// The statement that adds the row.
    pub fn insert(&self, account: Uuid, id: Uuid, parent: Uuid) -> String {
        let row = self.row.replace("$account", &account.to_string()).replace("$id", &id.to_string());
        format!("INSERT INTO {} {}", self.table, row.replace("$parent", &parent.to_string()))
    }
}
