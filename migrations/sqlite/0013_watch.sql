-- Alerts on their way, and incidents. Its pair is migrations/postgres/0013_watch.sql.

-- One row for each alert and channel. A dedup_key goes out on a channel once in a while, however often it is raised.
CREATE TABLE alerts (
    id              BLOB        PRIMARY KEY,
    channel         TEXT        NOT NULL CHECK (channel <> ''),
    dedup_key       TEXT        NOT NULL,
    kind            TEXT        NOT NULL,
    severity        TEXT        NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    title           TEXT        NOT NULL,
    body            TEXT        NOT NULL,
    attempts        INTEGER     NOT NULL CHECK (attempts >= 0),
    created_at      TEXT NOT NULL,
    next_attempt_at TEXT NOT NULL,
    sent_at         TEXT,
    -- Given up.
    failed_at       TEXT
) STRICT;
CREATE INDEX alerts_due ON alerts (channel, next_attempt_at) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX alerts_by_time ON alerts (channel, created_at);

CREATE TABLE incidents (
    id          BLOB        PRIMARY KEY,
    kind        TEXT        NOT NULL CHECK (kind <> ''),
    severity    TEXT        NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    status      TEXT        NOT NULL CHECK (status IN ('open', 'contained', 'resolved', 'closed')),
    title       TEXT        NOT NULL,
    -- Whom or what it is about, such as an address; of one subject and kind one incident is open at a time.
    subject     TEXT,
    -- None: a detector, or the command line.
    opened_by   BLOB,
    occurrences INTEGER     NOT NULL CHECK (occurrences > 0),
    opened_at   TEXT NOT NULL,
    updated_at  TEXT NOT NULL,
    closed_at   TEXT,
    resolution  TEXT
) STRICT;
CREATE UNIQUE INDEX incidents_open ON incidents (kind, subject) WHERE closed_at IS NULL;

-- The timeline: what was said, linked, done and undone.
CREATE TABLE incident_entries (
    id          BLOB        PRIMARY KEY,
    incident_id BLOB        NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    at          TEXT NOT NULL,
    kind        TEXT        NOT NULL CHECK (kind <> ''),
    -- None: the program.
    actor       BLOB,
    detail      TEXT        NOT NULL,
    undone_at   TEXT
) STRICT;
CREATE INDEX incident_entries_of_incident ON incident_entries (incident_id, id);
CREATE INDEX incident_entries_by_kind ON incident_entries (kind, id);
