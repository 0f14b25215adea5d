-- Guessing, keys' own limits, service accounts. Its pair is migrations/sqlite/0005_guarding.sql.

-- Wrong passwords in a row; a right one begins anew.
ALTER TABLE credentials ADD COLUMN failures bigint NOT NULL DEFAULT 0 CHECK (failures >= 0);

-- What one customer holds of the address that opened the session: an account knows the networks it was used from.
ALTER TABLE sessions ADD COLUMN network text;
CREATE INDEX sessions_of_network ON sessions (account_id, network);

-- Requests a minute and an hour that a key is held to, besides what its account is.
ALTER TABLE api_keys ADD COLUMN limits jsonb;

-- Accounts of programs: they own keys that outlive whoever made them, and log in nowhere.
CREATE TABLE service_accounts (
    account_id uuid PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    name       text NOT NULL
);
ALTER TABLE service_accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON service_accounts USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON service_accounts USING ((SELECT modelgate_serves('administration')));
