-- What is wanted of models. Its pair is migrations/postgres/0010_desired_models.sql.
-- model_versions was never written by any release.
DROP TABLE model_versions;

-- One row for each model about which an operator said something; the others are served as their model.toml says.
CREATE TABLE desired_models (
    name             TEXT    PRIMARY KEY CHECK (name <> ''),
    unloaded         INTEGER NOT NULL CHECK (unloaded IN (0, 1)),
    -- The version that answers calls which name none.
    active_version   TEXT,
    -- The one before it, to go back to.
    previous_version TEXT,
    -- How often it was told to be read from disk afresh.
    loads            INTEGER NOT NULL CHECK (loads >= 0),
    updated_at       TEXT    NOT NULL
) STRICT;

-- The files of a version as they were when it was first served.
CREATE TABLE model_files (
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    file    TEXT NOT NULL,
    sha256  TEXT NOT NULL CHECK (length(sha256) = 64),
    seen_at TEXT NOT NULL,
    PRIMARY KEY (name, version, file)
) STRICT;
