-- The foundation. Its pair is migrations/sqlite/0001_foundation.sql: the same tables, the same columns, native types.
-- Ids are UUIDs of version 7, so that their order is the order in time. Times come from the program's clock.

-- Roles carry permissions; what a caller may do is always read from here.
CREATE TABLE roles (
    name        text        PRIMARY KEY CHECK (name <> ''),
    permissions jsonb       NOT NULL,
    built_in    boolean     NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- Everything that is owned belongs to an account, whatever kind of account it is.
CREATE TABLE accounts (
    id               uuid        PRIMARY KEY,
    kind             text        NOT NULL CHECK (kind IN ('person', 'service', 'team')),
    role             text        NOT NULL REFERENCES roles (name),
    active           boolean     NOT NULL,
    security_version bigint      NOT NULL CHECK (security_version >= 0),
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL
);
CREATE INDEX accounts_role ON accounts (role);

CREATE TABLE people (
    account_id    uuid PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    email         text NOT NULL,
    email_lookup  text NOT NULL UNIQUE,
    name          text NOT NULL,
    -- Address and name in lower case, for searches.
    search        text NOT NULL,
    last_login_at timestamptz
);

CREATE TABLE credentials (
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind       text        NOT NULL CHECK (kind IN ('password')),
    secret     text        NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, kind)
);

-- A session is a family of refresh tokens: the one of step seq is good, none is stored.
CREATE TABLE sessions (
    id               uuid        PRIMARY KEY,
    account_id       uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    family_key       bytea       NOT NULL,
    seq              bigint      NOT NULL CHECK (seq >= 0),
    address          text,
    user_agent       text,
    created_at       timestamptz NOT NULL,
    rotated_at       timestamptz,
    authenticated_at timestamptz NOT NULL,
    idle_expires_at  timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    revoked_at       timestamptz,
    revoked_reason   text
);
CREATE INDEX sessions_of_account ON sessions (account_id, id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE signing_keys (
    kid         text        PRIMARY KEY,
    algorithm   text        NOT NULL,
    purpose     text        NOT NULL,
    private_key bytea       NOT NULL,
    public_key  bytea       NOT NULL,
    state       text        NOT NULL CHECK (state IN ('published', 'active', 'retired')),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX signing_keys_of_purpose ON signing_keys (purpose, created_at);

CREATE TABLE api_keys (
    id                uuid        PRIMARY KEY,
    public_id         text        NOT NULL UNIQUE,
    account_id        uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name              text        NOT NULL,
    scopes            jsonb       NOT NULL,
    models            jsonb,
    allowed_ips       jsonb,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    expires_at        timestamptz,
    revoked_at        timestamptz,
    last_used_at      timestamptz,
    last_used_address text
);
CREATE INDEX api_keys_of_account ON api_keys (account_id, id);

CREATE TABLE api_key_secrets (
    key_id     uuid        NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    number     bigint      NOT NULL CHECK (number >= 0),
    hash       bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (key_id, number)
);

-- The desired state of models.
CREATE TABLE models (
    name       text        PRIMARY KEY CHECK (name <> ''),
    access     text        NOT NULL CHECK (access IN ('everyone', 'granted')),
    generation bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE model_versions (
    name       text        NOT NULL REFERENCES models (name) ON DELETE CASCADE,
    version    text        NOT NULL,
    sha256     text        NOT NULL CHECK (length(sha256) = 64),
    state      text        NOT NULL CHECK (state IN ('serving', 'stopped')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (name, version)
);

-- The subject is the id of an account or the name of a role.
CREATE TABLE model_grants (
    model        text        NOT NULL REFERENCES models (name) ON DELETE CASCADE,
    subject_kind text        NOT NULL CHECK (subject_kind IN ('account', 'role')),
    subject      text        NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (model, subject_kind, subject)
);
CREATE INDEX model_grants_of_subject ON model_grants (subject_kind, subject);

-- Usage refers to accounts, keys and models without foreign keys: it outlives them.
CREATE TABLE usage_daily (
    account_id           uuid   NOT NULL,
    api_key_id           uuid   NOT NULL,
    model                text   NOT NULL,
    version              text   NOT NULL,
    day                  date   NOT NULL,
    requests             bigint NOT NULL CHECK (requests >= 0),
    inferences           bigint NOT NULL CHECK (inferences >= 0),
    images               bigint NOT NULL CHECK (images >= 0),
    bytes                bigint NOT NULL CHECK (bytes >= 0),
    compute_microseconds bigint NOT NULL CHECK (compute_microseconds >= 0),
    failures             bigint NOT NULL CHECK (failures >= 0),
    PRIMARY KEY (account_id, api_key_id, model, version, day)
);
CREATE INDEX usage_daily_by_day ON usage_daily (account_id, day);

-- Which batches were counted, so that a retry never charges twice.
CREATE TABLE usage_batches (
    replica     uuid        NOT NULL,
    batch_no    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (replica, batch_no)
);
CREATE INDEX usage_batches_by_time ON usage_batches (recorded_at);

-- Audit events are only ever added. What the chain vouches for is the canonical bytes.
CREATE TABLE audit_events (
    id          uuid        PRIMARY KEY,
    occurred_at timestamptz NOT NULL,
    action      text        NOT NULL,
    outcome     text        NOT NULL,
    actor       uuid,
    target      text,
    request_id  text,
    canonical   bytea       NOT NULL
);
CREATE INDEX audit_events_by_actor ON audit_events (actor, id);
CREATE INDEX audit_events_by_action ON audit_events (action, id);

CREATE FUNCTION audit_events_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events are only ever added';
END
$$;
CREATE TRIGGER audit_events_stay BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_are_final();
CREATE TRIGGER audit_events_stay_all BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_are_final();

-- Personal data of an event, which can be erased without touching the event.
CREATE TABLE audit_subjects (
    event_id uuid PRIMARY KEY REFERENCES audit_events (id),
    address  text NOT NULL
);

-- The chain over the events: numbered links, and seals that sign the head now and then.
CREATE TABLE audit_links (
    seq      bigint PRIMARY KEY CHECK (seq > 0),
    event_id uuid   NOT NULL UNIQUE REFERENCES audit_events (id),
    mac      bytea  NOT NULL,
    key_id   text   NOT NULL
);
CREATE TABLE audit_seals (
    seq       bigint      PRIMARY KEY CHECK (seq > 0),
    head      bytea       NOT NULL,
    signature bytea       NOT NULL,
    key_id    text        NOT NULL,
    sealed_at timestamptz NOT NULL
);

-- The change feed. Its one head row is locked while a number is given out.
CREATE TABLE change_head (
    id  integer PRIMARY KEY CHECK (id = 1),
    seq bigint  NOT NULL CHECK (seq >= 0)
);
INSERT INTO change_head (id, seq) VALUES (1, 0);
CREATE TABLE changes (
    seq        bigint      PRIMARY KEY,
    kind       text        NOT NULL,
    subject    text        NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX changes_by_time ON changes (created_at);

CREATE TABLE settings (
    key        text        PRIMARY KEY,
    value      jsonb       NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE replicas (
    id         uuid        PRIMARY KEY,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);

-- Rows to lock, where no other row stands for what must not happen twice at a time.
CREATE TABLE locks (
    name text PRIMARY KEY
);
