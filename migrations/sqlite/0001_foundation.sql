-- The foundation. Its pair is migrations/postgres/0001_foundation.sql: the same tables, the same columns, native types.
-- Here a UUID is its 16 bytes, a time is RFC 3339 text in UTC (its order as text is its order in time), a boolean is 0 or 1,
-- and JSON is text. STRICT refuses values of another type, as Postgres does.
-- Ids are UUIDs of version 7, so that their order is the order in time. Times come from the program's clock.

-- Roles carry permissions; what a caller may do is always read from here.
CREATE TABLE roles (
    name        TEXT    PRIMARY KEY CHECK (name <> ''),
    permissions TEXT    NOT NULL CHECK (json_valid(permissions)),
    built_in    INTEGER NOT NULL CHECK (built_in IN (0, 1)),
    created_at  TEXT    NOT NULL,
    updated_at  TEXT    NOT NULL
) STRICT;

-- Everything that is owned belongs to an account, whatever kind of account it is.
CREATE TABLE accounts (
    id               BLOB    PRIMARY KEY,
    kind             TEXT    NOT NULL CHECK (kind IN ('person', 'service', 'team')),
    role             TEXT    NOT NULL REFERENCES roles (name),
    active           INTEGER NOT NULL CHECK (active IN (0, 1)),
    security_version INTEGER NOT NULL CHECK (security_version >= 0),
    created_at       TEXT    NOT NULL,
    updated_at       TEXT    NOT NULL
) STRICT;
CREATE INDEX accounts_role ON accounts (role);

CREATE TABLE people (
    account_id    BLOB    PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    email         TEXT    NOT NULL,
    email_lookup  TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    -- Address and name in lower case, for searches.
    search        TEXT    NOT NULL,
    last_login_at TEXT
) STRICT;

CREATE TABLE credentials (
    account_id BLOB    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('password')),
    secret     TEXT    NOT NULL,
    updated_at TEXT    NOT NULL,
    PRIMARY KEY (account_id, kind)
) STRICT;

-- A session is a family of refresh tokens: the one of step seq is good, none is stored.
CREATE TABLE sessions (
    id               BLOB    PRIMARY KEY,
    account_id       BLOB    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    family_key       BLOB    NOT NULL,
    seq              INTEGER NOT NULL CHECK (seq >= 0),
    address          TEXT,
    user_agent       TEXT,
    created_at       TEXT    NOT NULL,
    rotated_at       TEXT,
    authenticated_at TEXT    NOT NULL,
    idle_expires_at  TEXT    NOT NULL,
    expires_at       TEXT    NOT NULL,
    revoked_at       TEXT,
    revoked_reason   TEXT
) STRICT;
CREATE INDEX sessions_of_account ON sessions (account_id, id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE signing_keys (
    kid         TEXT    PRIMARY KEY,
    algorithm   TEXT    NOT NULL,
    purpose     TEXT    NOT NULL,
    private_key BLOB    NOT NULL,
    public_key  BLOB    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('published', 'active', 'retired')),
    created_at  TEXT    NOT NULL,
    updated_at  TEXT    NOT NULL
) STRICT;
CREATE INDEX signing_keys_of_purpose ON signing_keys (purpose, created_at);

CREATE TABLE api_keys (
    id                BLOB    PRIMARY KEY,
    public_id         TEXT    NOT NULL UNIQUE,
    account_id        BLOB    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name              TEXT    NOT NULL,
    scopes            TEXT    NOT NULL CHECK (json_valid(scopes)),
    models            TEXT    CHECK (json_valid(models)),
    allowed_ips       TEXT    CHECK (json_valid(allowed_ips)),
    created_at        TEXT    NOT NULL,
    updated_at        TEXT    NOT NULL,
    expires_at        TEXT,
    revoked_at        TEXT,
    last_used_at      TEXT,
    last_used_address TEXT
) STRICT;
CREATE INDEX api_keys_of_account ON api_keys (account_id, id);

CREATE TABLE api_key_secrets (
    key_id     BLOB    NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL CHECK (number >= 0),
    hash       BLOB    NOT NULL,
    created_at TEXT    NOT NULL,
    expires_at TEXT,
    PRIMARY KEY (key_id, number)
) STRICT;

-- The desired state of models.
CREATE TABLE models (
    name       TEXT    PRIMARY KEY CHECK (name <> ''),
    access     TEXT    NOT NULL CHECK (access IN ('everyone', 'granted')),
    generation INTEGER NOT NULL,
    created_at TEXT    NOT NULL,
    updated_at TEXT    NOT NULL
) STRICT;

CREATE TABLE model_versions (
    name       TEXT    NOT NULL REFERENCES models (name) ON DELETE CASCADE,
    version    TEXT    NOT NULL,
    sha256     TEXT    NOT NULL CHECK (length(sha256) = 64),
    state      TEXT    NOT NULL CHECK (state IN ('serving', 'stopped')),
    created_at TEXT    NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

-- The subject is the id of an account or the name of a role.
CREATE TABLE model_grants (
    model        TEXT    NOT NULL REFERENCES models (name) ON DELETE CASCADE,
    subject_kind TEXT    NOT NULL CHECK (subject_kind IN ('account', 'role')),
    subject      TEXT    NOT NULL,
    created_at   TEXT    NOT NULL,
    PRIMARY KEY (model, subject_kind, subject)
) STRICT;
CREATE INDEX model_grants_of_subject ON model_grants (subject_kind, subject);

-- Usage refers to accounts, keys and models without foreign keys: it outlives them.
CREATE TABLE usage_daily (
    account_id           BLOB    NOT NULL,
    api_key_id           BLOB    NOT NULL,
    model                TEXT    NOT NULL,
    version              TEXT    NOT NULL,
    day                  TEXT    NOT NULL,
    requests             INTEGER NOT NULL CHECK (requests >= 0),
    inferences           INTEGER NOT NULL CHECK (inferences >= 0),
    images               INTEGER NOT NULL CHECK (images >= 0),
    bytes                INTEGER NOT NULL CHECK (bytes >= 0),
    compute_microseconds INTEGER NOT NULL CHECK (compute_microseconds >= 0),
    failures             INTEGER NOT NULL CHECK (failures >= 0),
    PRIMARY KEY (account_id, api_key_id, model, version, day)
) STRICT;
CREATE INDEX usage_daily_by_day ON usage_daily (account_id, day);

-- Which batches were counted, so that a retry never charges twice.
CREATE TABLE usage_batches (
    replica     BLOB    NOT NULL,
    batch_no    INTEGER NOT NULL,
    recorded_at TEXT    NOT NULL,
    PRIMARY KEY (replica, batch_no)
) STRICT;
CREATE INDEX usage_batches_by_time ON usage_batches (recorded_at);

-- Audit events are only ever added. What the chain vouches for is the canonical bytes.
CREATE TABLE audit_events (
    id          BLOB    PRIMARY KEY,
    occurred_at TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,
    actor       BLOB,
    target      TEXT,
    request_id  TEXT,
    canonical   BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_events_by_actor ON audit_events (actor, id);
CREATE INDEX audit_events_by_action ON audit_events (action, id);

CREATE TRIGGER audit_events_stay_unchanged BEFORE UPDATE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are only ever added');
END;
CREATE TRIGGER audit_events_stay BEFORE DELETE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are only ever added');
END;

-- Personal data of an event, which can be erased without touching the event.
CREATE TABLE audit_subjects (
    event_id BLOB    PRIMARY KEY REFERENCES audit_events (id),
    address  TEXT    NOT NULL
) STRICT;

-- The chain over the events: numbered links, and seals that sign the head now and then.
CREATE TABLE audit_links (
    seq      INTEGER PRIMARY KEY CHECK (seq > 0),
    event_id BLOB    NOT NULL UNIQUE REFERENCES audit_events (id),
    mac      BLOB    NOT NULL,
    key_id   TEXT    NOT NULL
) STRICT;
CREATE TABLE audit_seals (
    seq       INTEGER PRIMARY KEY CHECK (seq > 0),
    head      BLOB    NOT NULL,
    signature BLOB    NOT NULL,
    key_id    TEXT    NOT NULL,
    sealed_at TEXT    NOT NULL
) STRICT;

-- The change feed. Its one head row is locked while a number is given out.
CREATE TABLE change_head (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL CHECK (seq >= 0)
) STRICT;
INSERT INTO change_head (id, seq) VALUES (1, 0);
CREATE TABLE changes (
    seq        INTEGER PRIMARY KEY,
    kind       TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    created_at TEXT    NOT NULL
) STRICT;
CREATE INDEX changes_by_time ON changes (created_at);

CREATE TABLE settings (
    key        TEXT    PRIMARY KEY,
    value      TEXT    NOT NULL CHECK (json_valid(value)),
    updated_at TEXT    NOT NULL
) STRICT;

CREATE TABLE replicas (
    id         BLOB    PRIMARY KEY,
    started_at TEXT    NOT NULL,
    seen_at    TEXT    NOT NULL
) STRICT;

-- Rows to lock, where no other row stands for what must not happen twice at a time.
CREATE TABLE locks (
    name TEXT PRIMARY KEY
) STRICT;
