-- People's addresses and names are sealed. Its pair is migrations/sqlite/0002_sealed_people.sql.
-- No release kept them open: where there are people from before, the copy below fails and everything stays as it was.
ALTER TABLE people RENAME TO people_before;

CREATE TABLE people (
    account_id    uuid  PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    email         bytea NOT NULL,
    -- A keyed digest of the address: finds it, and tells nothing of it.
    email_lookup  text  NOT NULL UNIQUE,
    name          bytea NOT NULL,
    last_login_at timestamptz
);
INSERT INTO people (account_id, email) SELECT account_id, NULL FROM people_before;
DROP TABLE people_before;

-- Secrets that the program makes for itself, sealed.
CREATE TABLE secrets (
    name       text        PRIMARY KEY CHECK (name <> ''),
    value      bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
