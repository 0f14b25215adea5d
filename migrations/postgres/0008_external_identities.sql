-- People whom another issuer vouches for (OpenID Connect). Its pair is migrations/sqlite/0008_external_identities.sql.

-- Issuer and subject together are one identity; an address never is.
CREATE TABLE external_identities (
    id               uuid        PRIMARY KEY,
    account_id       uuid        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    issuer           text        NOT NULL CHECK (issuer <> ''),
    -- Who it is there, sealed.
    subject          bytea       NOT NULL,
    -- A keyed digest of issuer and subject: finds them, and tells nothing of them.
    lookup           text        NOT NULL UNIQUE,
    created_at       timestamptz NOT NULL,
    -- When a token of theirs came that was newer than all before.
    last_seen_at     timestamptz,
    -- When the newest token that came was issued: an older one decides nothing any more.
    newest_token_at  timestamptz,
    -- When they last proved to the issuer who they are.
    authenticated_at timestamptz,
    -- Tokens issued until then are refused.
    ended_at         timestamptz
);
CREATE INDEX external_identities_of_account ON external_identities (account_id, id);

-- What must not come back before it ends by itself: a token that was logged out, by its digest, and the tokens of an
-- identity that was removed, by its own.
CREATE TABLE ended_tokens (
    digest     text        PRIMARY KEY CHECK (digest <> ''),
    account_id uuid        REFERENCES accounts (id) ON DELETE CASCADE,
    ended_at   timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ended_tokens_by_end ON ended_tokens (expires_at);
CREATE INDEX ended_tokens_of_account ON ended_tokens (account_id);

ALTER TABLE external_identities ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON external_identities USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON external_identities USING ((SELECT modelgate_serves('login', 'administration')));
CREATE POLICY readers ON external_identities FOR SELECT USING ((SELECT modelgate_serves('token', 'sealing')));
CREATE POLICY sealers ON external_identities FOR UPDATE USING ((SELECT modelgate_serves('sealing')));

ALTER TABLE ended_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON ended_tokens USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON ended_tokens USING ((SELECT modelgate_serves('login', 'administration')));
CREATE POLICY readers ON ended_tokens FOR SELECT USING ((SELECT modelgate_serves('token', 'feed')));
CREATE POLICY pruners ON ended_tokens FOR DELETE USING ((SELECT modelgate_serves('feed')));
