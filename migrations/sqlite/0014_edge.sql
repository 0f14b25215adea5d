-- Which addresses are let in, and keys that sign. Its pair is migrations/postgres/0014_edge.sql.

-- An administrator says one thing of a network, and so does the program, which only ever denies.
CREATE TABLE ip_rules (
    id         BLOB    PRIMARY KEY,
    -- A CIDR block without host bits, IPv4 also where it was written as IPv6.
    network    TEXT    NOT NULL CHECK (network <> ''),
    effect     TEXT    NOT NULL CHECK (effect IN ('allow', 'deny')),
    applies_to TEXT    NOT NULL CHECK (applies_to IN ('all', 'admin')),
    automatic  INTEGER NOT NULL CHECK (automatic IN (0, 1)),
    reason     TEXT    NOT NULL,
    created_at TEXT    NOT NULL,
    expires_at TEXT,
    UNIQUE (network, applies_to, automatic)
) STRICT;
CREATE INDEX ip_rules_by_end ON ip_rules (expires_at);

-- A key that signs its requests is never sent itself: its text stands here, sealed, to verify them with.
ALTER TABLE api_keys ADD COLUMN require_signature INTEGER NOT NULL DEFAULT 0 CHECK (require_signature IN (0, 1));
ALTER TABLE api_key_secrets ADD COLUMN sealed BLOB;
