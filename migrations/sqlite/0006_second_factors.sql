-- What a person has besides their password. One that is not confirmed yet is none.
CREATE TABLE second_factors (
    id           BLOB    PRIMARY KEY,
    account_id   BLOB    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind         TEXT    NOT NULL CHECK (kind IN ('totp')),
    -- The shared secret, sealed.
    secret       BLOB    NOT NULL,
    -- The latest time step whose code was taken (RFC 6238): none is taken twice.
    last_step    INTEGER NOT NULL DEFAULT 0,
    created_at   TEXT    NOT NULL,
    confirmed_at TEXT
) STRICT;
CREATE INDEX second_factors_of_account ON second_factors (account_id);
CREATE UNIQUE INDEX second_factors_one_totp ON second_factors (account_id) WHERE kind = 'totp';

-- Codes for one who lost their second factor: their digests, each good once.
CREATE TABLE recovery_codes (
    account_id BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       BLOB NOT NULL,
    used_at    TEXT,
    PRIMARY KEY (account_id, hash)
) STRICT;

-- An administrator took the second factor away: another one comes before anything else.
ALTER TABLE accounts ADD COLUMN must_enrol INTEGER NOT NULL DEFAULT 0 CHECK (must_enrol IN (0, 1));

-- What the session was opened with, as words separated by spaces.
ALTER TABLE sessions ADD COLUMN methods TEXT NOT NULL DEFAULT 'password';
