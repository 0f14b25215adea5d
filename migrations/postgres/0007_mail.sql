-- What people are told of their own account, and what is to be mailed. Its pair is migrations/sqlite/0007_mail.sql.

CREATE TABLE notices (
    id         uuid        PRIMARY KEY,
    account_id uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind       text        NOT NULL CHECK (kind <> ''),
    created_at timestamptz NOT NULL,
    -- None: not yet, or there is no mail here.
    mailed_at  timestamptz
);
CREATE INDEX notices_of_account ON notices (account_id, id);

-- Mails on their way. What they say and to whom is sealed; links are made only when one is sent.
CREATE TABLE outbox (
    id              uuid        PRIMARY KEY,
    -- Whose account it is about; none: perhaps nobody's.
    account_id      uuid        REFERENCES accounts (id) ON DELETE CASCADE,
    errand          bytea       NOT NULL,
    attempts        bigint      NOT NULL CHECK (attempts >= 0),
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    -- Given up.
    failed_at       timestamptz
);
CREATE INDEX outbox_due ON outbox (next_attempt_at) WHERE failed_at IS NULL;
CREATE INDEX outbox_of_account ON outbox (account_id);

-- What is told of one account, for whoever wants to see all of it or have it erased.
CREATE INDEX audit_events_by_target ON audit_events (target, id);

ALTER TABLE notices ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON notices USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON notices USING ((SELECT modelgate_serves('login', 'administration')));
CREATE POLICY writers ON notices FOR INSERT WITH CHECK ((SELECT modelgate_serves('token')));
CREATE POLICY readers ON notices FOR SELECT USING ((SELECT modelgate_serves('mail', 'feed')));
CREATE POLICY mailers ON notices FOR UPDATE USING ((SELECT modelgate_serves('mail')));
CREATE POLICY pruners ON notices FOR DELETE USING ((SELECT modelgate_serves('feed')));

-- Whoever adds a mail counts those that wait.
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON outbox USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON outbox USING ((SELECT modelgate_serves('login', 'administration', 'mail')));
CREATE POLICY writers ON outbox FOR INSERT WITH CHECK ((SELECT modelgate_serves('token')));
CREATE POLICY readers ON outbox FOR SELECT USING ((SELECT modelgate_serves('token', 'feed', 'sealing')));
CREATE POLICY sealers ON outbox FOR UPDATE USING ((SELECT modelgate_serves('sealing')));
CREATE POLICY pruners ON outbox FOR DELETE USING ((SELECT modelgate_serves('feed')));
