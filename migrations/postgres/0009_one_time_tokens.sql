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

ALTER TABLE one_time_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON one_time_tokens USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON one_time_tokens USING ((SELECT modelgate_serves('login', 'administration')));
CREATE POLICY readers ON one_time_tokens FOR SELECT USING ((SELECT modelgate_serves('feed', 'sealing')));
CREATE POLICY sealers ON one_time_tokens FOR UPDATE USING ((SELECT modelgate_serves('sealing')));
CREATE POLICY pruners ON one_time_tokens FOR DELETE USING ((SELECT modelgate_serves('feed')));
