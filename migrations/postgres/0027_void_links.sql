-- What makes links and linked identities void. Its pair is migrations/sqlite/0027_void_links.sql.

-- Incremented whenever links made before must stop working for good: the address moved, the account was switched off or
-- on, or what it may do became another.
ALTER TABLE accounts ADD COLUMN link_version bigint NOT NULL DEFAULT 0 CHECK (link_version >= 0);

-- What whoever linked it could not do themselves: it leads to no account that may do any of that. None: it does to any.
-- Not what they could: a later release knows of more.
ALTER TABLE external_identities ADD COLUMN linker_lacked jsonb;

-- A keyed digest of the address to be registered, where there is no account yet.
ALTER TABLE one_time_tokens ADD COLUMN email_lookup text;
CREATE INDEX one_time_tokens_by_lookup ON one_time_tokens (email_lookup) WHERE email_lookup IS NOT NULL;
