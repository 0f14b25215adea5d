-- Where versions come from that were added by an address. Its pair is migrations/sqlite/0017_model_sources.sql.
-- A replica whose repository lacks one of them fetches it from there.
CREATE TABLE model_sources (
    name     text        NOT NULL,
    version  text        NOT NULL,
    file     text        NOT NULL,
    url      text        NOT NULL CHECK (url <> ''),
    sha256   text        NOT NULL CHECK (length(sha256) = 64),
    -- In bytes, where it was said.
    size     bigint      CHECK (size > 0),
    added_at timestamptz NOT NULL,
    PRIMARY KEY (name, version, file)
);
