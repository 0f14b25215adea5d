-- Alerts on their way, and incidents. Its pair is migrations/sqlite/0013_watch.sql.

-- One row for each alert and channel. A dedup_key goes out on a channel once in a while, however often it is raised.
CREATE TABLE alerts (
    id              uuid        PRIMARY KEY,
    channel         text        NOT NULL CHECK (channel <> ''),
    dedup_key       text        NOT NULL,
    kind            text        NOT NULL,
    severity        text        NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    title           text        NOT NULL,
    body            text        NOT NULL,
    attempts        bigint      NOT NULL CHECK (attempts >= 0),
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    sent_at         timestamptz,
    -- Given up.
    failed_at       timestamptz
);
CREATE INDEX alerts_due ON alerts (channel, next_attempt_at) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX alerts_by_time ON alerts (channel, created_at);

CREATE TABLE incidents (
    id          uuid        PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind <> ''),
    severity    text        NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    status      text        NOT NULL CHECK (status IN ('open', 'contained', 'resolved', 'closed')),
    title       text        NOT NULL,
    -- Whom or what it is about, such as an address; of one subject and kind one incident is open at a time.
    subject     text,
    -- None: a detector, or the command line.
    opened_by   uuid,
    occurrences bigint      NOT NULL CHECK (occurrences > 0),
    opened_at   timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    closed_at   timestamptz,
    resolution  text
);
CREATE UNIQUE INDEX incidents_open ON incidents (kind, subject) WHERE closed_at IS NULL;

-- The timeline: what was said, linked, done and undone.
CREATE TABLE incident_entries (
    id          uuid        PRIMARY KEY,
    incident_id uuid        NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    at          timestamptz NOT NULL,
    kind        text        NOT NULL CHECK (kind <> ''),
    -- None: the program.
    actor       uuid,
    detail      jsonb       NOT NULL,
    undone_at   timestamptz
);
CREATE INDEX incident_entries_of_incident ON incident_entries (incident_id, id);
CREATE INDEX incident_entries_by_kind ON incident_entries (kind, id);
