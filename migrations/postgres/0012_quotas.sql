-- Quotas, what was taken of them, and limits said at run time. Its pair is migrations/sqlite/0012_quotas.sql.

CREATE TABLE quotas (
    id         uuid        PRIMARY KEY,
    scope      text        NOT NULL CHECK (scope IN ('role', 'account', 'key')),
    -- The name of a role, or the id of an account or a key.
    subject    text        NOT NULL CHECK (subject <> ''),
    -- Whose it is; none: a role's.
    account_id uuid        REFERENCES accounts (id) ON DELETE CASCADE,
    unit       text        NOT NULL CHECK (unit IN ('requests', 'inferences', 'images', 'bytes', 'compute_ms')),
    period     text        NOT NULL CHECK (period IN ('day', 'month')),
    cap        bigint      NOT NULL CHECK (cap >= 0),
    -- Whether what is beyond is refused, rather than told of.
    hard       boolean     NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (scope, subject, unit, period),
    CHECK ((scope = 'role') = (account_id IS NULL))
);
CREATE INDEX quotas_of_account ON quotas (account_id);

-- The authority on what was taken; compute time in microseconds. Like usage it outlives what it speaks of.
CREATE TABLE quota_periods (
    account_id  uuid   NOT NULL,
    -- The account, or one of its keys.
    subject     uuid   NOT NULL,
    unit        text   NOT NULL,
    period      text   NOT NULL,
    starts_on   date   NOT NULL,
    -- Given to replicas, who may have it still.
    reserved    bigint NOT NULL CHECK (reserved >= 0),
    -- Of that, what was used.
    settled     bigint NOT NULL CHECK (settled >= 0),
    -- When the cap was met.
    exceeded_at timestamptz,
    PRIMARY KEY (subject, unit, period, starts_on)
);
CREATE INDEX quota_periods_of_account ON quota_periods (account_id, starts_on);
CREATE INDEX quota_periods_by_start ON quota_periods (starts_on);

-- Requests a minute and an hour, said by administrators; none: nothing is said; 0: off.
CREATE TABLE rate_limits (
    scope      text        NOT NULL CHECK (scope IN ('class', 'role', 'account', 'key', 'model')),
    -- The name of a class, role or model, or the id of an account or a key.
    subject    text        NOT NULL CHECK (subject <> ''),
    -- Whose it is; none: everyone's.
    account_id uuid        REFERENCES accounts (id) ON DELETE CASCADE,
    per_minute bigint      CHECK (per_minute >= 0),
    per_hour   bigint      CHECK (per_hour >= 0),
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (scope, subject),
    CHECK ((scope IN ('account', 'key')) = (account_id IS NOT NULL))
);
CREATE INDEX rate_limits_of_account ON rate_limits (account_id);

ALTER TABLE quotas ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON quotas FOR SELECT USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON quotas USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON quotas FOR SELECT USING ((SELECT modelgate_serves('token', 'api_key')));

ALTER TABLE quota_periods ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON quota_periods FOR SELECT USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON quota_periods USING ((SELECT modelgate_serves('quota', 'metering')));
CREATE POLICY readers ON quota_periods FOR SELECT USING ((SELECT modelgate_serves('administration', 'feed')));
CREATE POLICY pruners ON quota_periods FOR DELETE USING ((SELECT modelgate_serves('feed')));

ALTER TABLE rate_limits ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON rate_limits FOR SELECT USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON rate_limits USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON rate_limits FOR SELECT USING ((SELECT modelgate_serves('feed', 'setup')));

-- A period begins with what was used before there was a quota; that a cap was met is told in the trail.
CREATE POLICY quota_readers ON usage_daily FOR SELECT USING ((SELECT modelgate_serves('quota')));
CREATE POLICY quota_writers ON audit_events FOR INSERT WITH CHECK ((SELECT modelgate_serves('quota')));
