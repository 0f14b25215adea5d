-- What is wanted of models. Its pair is migrations/sqlite/0010_desired_models.sql.
-- model_versions was never written by any release.
DROP TABLE model_versions;

-- One row for each model about which an operator said something; the others are served as their model.toml says.
CREATE TABLE desired_models (
    name             text        PRIMARY KEY CHECK (name <> ''),
    unloaded         boolean     NOT NULL,
    -- The version that answers calls which name none.
    active_version   text,
    -- The one before it, to go back to.
    previous_version text,
    -- How often it was told to be read from disk afresh.
    loads            bigint      NOT NULL CHECK (loads >= 0),
    updated_at       timestamptz NOT NULL
);

-- The files of a version as they were when it was first served.
CREATE TABLE model_files (
    name    text        NOT NULL,
    version text        NOT NULL,
    file    text        NOT NULL,
    sha256  text        NOT NULL CHECK (length(sha256) = 64),
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (name, version, file)
);
