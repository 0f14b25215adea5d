-- People's addresses and names are sealed. Its pair is migrations/postgres/0002_sealed_people.sql.
-- No release kept them open: where there are people from before, the copy below fails and everything stays as it was.
ALTER TABLE people RENAME TO people_before;

CREATE TABLE people (
    account_id    BLOB PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    email         BLOB NOT NULL,
    -- A keyed digest of the address: finds it, and tells nothing of it.
    email_lookup  TEXT NOT NULL UNIQUE,
    name          BLOB NOT NULL,
    last_login_at TEXT
) STRICT;
INSERT INTO people (account_id, email) SELECT account_id, NULL FROM people_before;
DROP TABLE people_before;

-- Secrets that the program makes for itself, sealed.
CREATE TABLE secrets (
    name       TEXT PRIMARY KEY CHECK (name <> ''),
    value      BLOB NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
