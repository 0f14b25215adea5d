-- Stored files. Their bytes lie in FILE_DIR, sealed. Its pair is migrations/sqlite/0015_files.sql.
CREATE TABLE files (
    id         uuid        PRIMARY KEY,
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- What its owner calls it; nothing is found by it.
    name       text        NOT NULL,
    -- Told from its content.
    media_type text        NOT NULL CHECK (media_type <> ''),
    size       bigint      NOT NULL CHECK (size >= 0),
    sha256     text        NOT NULL,
    -- What its bytes are sealed with, sealed.
    data_key   bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX files_of_account ON files (account_id, id);
CREATE INDEX files_by_time ON files (created_at);

ALTER TABLE files ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON files USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON files USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON files FOR SELECT USING ((SELECT modelgate_serves('feed', 'sealing')));
CREATE POLICY sealers ON files FOR UPDATE USING ((SELECT modelgate_serves('sealing')));
CREATE POLICY pruners ON files FOR DELETE USING ((SELECT modelgate_serves('feed')));
