-- Tokens that are good once and not for long: a step of a login, a link in a mail. What is stored is their digest.
CREATE TABLE one_time_tokens (
    hash          bytea       PRIMARY KEY,
    purpose       text        NOT NULL CHECK (purpose <> ''),
    account_id    uuid        REFERENCES accounts (id) ON DELETE CASCADE,
    -- What it is about, sealed.
    payload       bytea,
    attempts_left bigint      NOT NULL CHECK (attempts_left >= 0),
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL
);
CREATE INDEX one_time_tokens_of_account ON one_time_tokens (account_id, purpose);
CREATE INDEX one_time_tokens_by_end ON one_time_tokens (expires_at);
