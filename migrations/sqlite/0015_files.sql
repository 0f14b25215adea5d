-- Stored files. Their bytes lie in FILE_DIR, sealed. Its pair is migrations/postgres/0015_files.sql.
CREATE TABLE files (
    id         BLOB    PRIMARY KEY,
    account_id BLOB    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- What its owner calls it; nothing is found by it.
    name       TEXT    NOT NULL,
    -- Told from its content.
    media_type TEXT    NOT NULL CHECK (media_type <> ''),
    size       INTEGER NOT NULL CHECK (size >= 0),
    sha256     TEXT    NOT NULL,
    -- What its bytes are sealed with, sealed.
    data_key   BLOB    NOT NULL,
    created_at TEXT    NOT NULL
) STRICT;
CREATE INDEX files_of_account ON files (account_id, id);
CREATE INDEX files_by_time ON files (created_at);
