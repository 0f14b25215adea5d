-- What a person has besides their password. One that is not confirmed yet is none.
CREATE TABLE second_factors (
    id           uuid        PRIMARY KEY,
    account_id   uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind         text        NOT NULL CHECK (kind IN ('totp')),
    -- The shared secret, sealed.
    secret       bytea       NOT NULL,
    -- The latest time step whose code was taken (RFC 6238): none is taken twice.
    last_step    bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    confirmed_at timestamptz
);
CREATE INDEX second_factors_of_account ON second_factors (account_id);
CREATE UNIQUE INDEX second_factors_one_totp ON second_factors (account_id) WHERE kind = 'totp';

-- Codes for one who lost their second factor: their digests, each good once.
CREATE TABLE recovery_codes (
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       bytea       NOT NULL,
    used_at    timestamptz,
    PRIMARY KEY (account_id, hash)
);

-- An administrator took the second factor away: another one comes before anything else.
ALTER TABLE accounts ADD COLUMN must_enrol boolean NOT NULL DEFAULT false;

-- What the session was opened with, as words separated by spaces.
ALTER TABLE sessions ADD COLUMN methods text NOT NULL DEFAULT 'password';

-- Whether an account has a second factor is part of how it stands, for everyone who checks a credential.
ALTER TABLE second_factors ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON second_factors USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON second_factors USING ((SELECT modelgate_serves('login', 'administration')));
CREATE POLICY readers ON second_factors FOR SELECT USING ((SELECT modelgate_serves('token', 'api_key', 'sealing')));
CREATE POLICY sealers ON second_factors FOR UPDATE USING ((SELECT modelgate_serves('sealing')));

ALTER TABLE recovery_codes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON recovery_codes USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON recovery_codes USING ((SELECT modelgate_serves('login', 'administration')));
