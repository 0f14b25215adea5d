-- What inferences cost by the prices of models. Its pair is migrations/postgres/0019_prices.sql.

ALTER TABLE usage_daily ADD COLUMN credits INTEGER NOT NULL DEFAULT 0 CHECK (credits >= 0);
-- Until now everything cost what a model without a price does.
UPDATE usage_daily SET credits = inferences;

-- A check cannot be changed: the table is made anew with one unit more.
CREATE TABLE quotas_with_credits (
    id         BLOB    PRIMARY KEY,
    scope      TEXT    NOT NULL CHECK (scope IN ('role', 'account', 'key')),
    -- The name of a role, or the id of an account or a key.
    subject    TEXT    NOT NULL CHECK (subject <> ''),
    -- Whose it is; none: a role's.
    account_id BLOB    REFERENCES accounts (id) ON DELETE CASCADE,
    unit       TEXT    NOT NULL CHECK (unit IN ('requests', 'inferences', 'images', 'bytes', 'compute_ms', 'credits')),
    period     TEXT    NOT NULL CHECK (period IN ('day', 'month')),
    cap        INTEGER NOT NULL CHECK (cap >= 0),
    -- Whether what is beyond is refused, rather than told of.
    hard       INTEGER NOT NULL CHECK (hard IN (0, 1)),
    updated_at TEXT    NOT NULL,
    UNIQUE (scope, subject, unit, period),
    CHECK ((scope = 'role') = (account_id IS NULL))
) STRICT;
INSERT INTO quotas_with_credits (id, scope, subject, account_id, unit, period, cap, hard, updated_at)
    SELECT id, scope, subject, account_id, unit, period, cap, hard, updated_at FROM quotas;
DROP TABLE quotas;
ALTER TABLE quotas_with_credits RENAME TO quotas;
CREATE INDEX quotas_of_account ON quotas (account_id);
