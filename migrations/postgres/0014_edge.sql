-- Which addresses are let in, and keys that sign. Its pair is migrations/sqlite/0014_edge.sql.

-- An administrator says one thing of a network, and so does the program, which only ever denies.
CREATE TABLE ip_rules (
    id         uuid        PRIMARY KEY,
    -- A CIDR block without host bits, IPv4 also where it was written as IPv6.
    network    text        NOT NULL CHECK (network <> ''),
    effect     text        NOT NULL CHECK (effect IN ('allow', 'deny')),
    applies_to text        NOT NULL CHECK (applies_to IN ('all', 'admin')),
    automatic  boolean     NOT NULL,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    UNIQUE (network, applies_to, automatic)
);
CREATE INDEX ip_rules_by_end ON ip_rules (expires_at);

-- A key that signs its requests is never sent itself: its text stands here, sealed, to verify them with.
ALTER TABLE api_keys ADD COLUMN require_signature boolean NOT NULL DEFAULT false;
ALTER TABLE api_key_secrets ADD COLUMN sealed bytea;
CREATE POLICY resealers ON api_key_secrets FOR SELECT USING ((SELECT modelgate_serves('sealing')));
CREATE POLICY sealers ON api_key_secrets FOR UPDATE USING ((SELECT modelgate_serves('sealing')));
