-- Where versions come from that were added by an address. Its pair is migrations/postgres/0017_model_sources.sql.
-- A replica whose repository lacks one of them fetches it from there.
CREATE TABLE model_sources (
    name     TEXT    NOT NULL,
    version  TEXT    NOT NULL,
    file     TEXT    NOT NULL,
    url      TEXT    NOT NULL CHECK (url <> ''),
    sha256   TEXT    NOT NULL CHECK (length(sha256) = 64),
    -- In bytes, where it was said.
    size     INTEGER CHECK (size > 0),
    added_at TEXT    NOT NULL,
    PRIMARY KEY (name, version, file)
) STRICT;
