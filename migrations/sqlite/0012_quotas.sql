-- Quotas, what was taken of them, and limits said at run time. Its pair is migrations/postgres/0012_quotas.sql.

CREATE TABLE quotas (
    id         BLOB    PRIMARY KEY,
    scope      TEXT    NOT NULL CHECK (scope IN ('role', 'account', 'key')),
    -- The name of a role, or the id of an account or a key.
    subject    TEXT    NOT NULL CHECK (subject <> ''),
    -- Whose it is; none: a role's.
    account_id BLOB    REFERENCES accounts (id) ON DELETE CASCADE,
    unit       TEXT    NOT NULL CHECK (unit IN ('requests', 'inferences', 'images', 'bytes', 'compute_ms')),
    period     TEXT    NOT NULL CHECK (period IN ('day', 'month')),
    cap        INTEGER NOT NULL CHECK (cap >= 0),
    -- Whether what is beyond is refused, rather than told of.
    hard       INTEGER NOT NULL CHECK (hard IN (0, 1)),
    updated_at TEXT    NOT NULL,
    UNIQUE (scope, subject, unit, period),
    CHECK ((scope = 'role') = (account_id IS NULL))
) STRICT;
CREATE INDEX quotas_of_account ON quotas (account_id);

-- The authority on what was taken; compute time in microseconds. Like usage it outlives what it speaks of.
CREATE TABLE quota_periods (
    account_id  BLOB    NOT NULL,
    -- The account, or one of its keys.
    subject     BLOB    NOT NULL,
    unit        TEXT    NOT NULL,
    period      TEXT    NOT NULL,
    starts_on   TEXT    NOT NULL,
    -- Given to replicas, who may have it still.
    reserved    INTEGER NOT NULL CHECK (reserved >= 0),
    -- Of that, what was used.
    settled     INTEGER NOT NULL CHECK (settled >= 0),
    -- When the cap was met.
    exceeded_at TEXT,
    PRIMARY KEY (subject, unit, period, starts_on)
) STRICT;
CREATE INDEX quota_periods_of_account ON quota_periods (account_id, starts_on);
CREATE INDEX quota_periods_by_start ON quota_periods (starts_on);

-- Requests a minute and an hour, said by administrators; none: nothing is said; 0: off.
CREATE TABLE rate_limits (
    scope      TEXT    NOT NULL CHECK (scope IN ('class', 'role', 'account', 'key', 'model')),
    -- The name of a class, role or model, or the id of an account or a key.
    subject    TEXT    NOT NULL CHECK (subject <> ''),
    -- Whose it is; none: everyone's.
    account_id BLOB    REFERENCES accounts (id) ON DELETE CASCADE,
    per_minute INTEGER CHECK (per_minute >= 0),
    per_hour   INTEGER CHECK (per_hour >= 0),
    updated_at TEXT    NOT NULL,
    PRIMARY KEY (scope, subject),
    CHECK ((scope IN ('account', 'key')) = (account_id IS NOT NULL))
) STRICT;
CREATE INDEX rate_limits_of_account ON rate_limits (account_id);
