-- People whom another issuer vouches for (OpenID Connect). Its pair is migrations/postgres/0008_external_identities.sql.

-- Issuer and subject together are one identity; an address never is.
CREATE TABLE external_identities (
    id               BLOB PRIMARY KEY,
    account_id       BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    issuer           TEXT NOT NULL CHECK (issuer <> ''),
    -- Who it is there, sealed.
    subject          BLOB NOT NULL,
    -- A keyed digest of issuer and subject: finds them, and tells nothing of them.
    lookup           TEXT NOT NULL UNIQUE,
    created_at       TEXT NOT NULL,
    -- When a token of theirs came that was newer than all before.
    last_seen_at     TEXT,
    -- When the newest token that came was issued: an older one decides nothing any more.
    newest_token_at  TEXT,
    -- When they last proved to the issuer who they are.
    authenticated_at TEXT,
    -- Tokens issued until then are refused.
    ended_at         TEXT
) STRICT;
CREATE INDEX external_identities_of_account ON external_identities (account_id, id);

-- What must not come back before it ends by itself: a token that was logged out, by its digest, and the tokens of an
-- identity that was removed, by its own.
CREATE TABLE ended_tokens (
    digest     TEXT PRIMARY KEY CHECK (digest <> ''),
    account_id BLOB REFERENCES accounts (id) ON DELETE CASCADE,
    ended_at   TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX ended_tokens_by_end ON ended_tokens (expires_at);
CREATE INDEX ended_tokens_of_account ON ended_tokens (account_id);
