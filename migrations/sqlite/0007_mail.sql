-- What people are told of their own account, and what is to be mailed. Its pair is migrations/postgres/0007_mail.sql.

CREATE TABLE notices (
    id         BLOB PRIMARY KEY,
    account_id BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL CHECK (kind <> ''),
    created_at TEXT NOT NULL,
    -- None: not yet, or there is no mail here.
    mailed_at  TEXT
) STRICT;
CREATE INDEX notices_of_account ON notices (account_id, id);

-- Mails on their way. What they say and to whom is sealed; links are made only when one is sent.
CREATE TABLE outbox (
    id              BLOB    PRIMARY KEY,
    -- Whose account it is about; none: perhaps nobody's.
    account_id      BLOB    REFERENCES accounts (id) ON DELETE CASCADE,
    errand          BLOB    NOT NULL,
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    created_at      TEXT    NOT NULL,
    next_attempt_at TEXT    NOT NULL,
    -- Given up.
    failed_at       TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (next_attempt_at) WHERE failed_at IS NULL;
CREATE INDEX outbox_of_account ON outbox (account_id);

-- What is told of one account, for whoever wants to see all of it or have it erased.
CREATE INDEX audit_events_by_target ON audit_events (target, id);
