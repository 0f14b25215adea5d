-- Mails to an address that may have no account yet go with the account that it gets. Its pair is
-- migrations/sqlite/0029_mails_of_an_address.sql.

-- A keyed digest of the address, where the mail is no account's.
ALTER TABLE outbox ADD COLUMN email_lookup text;
CREATE INDEX outbox_by_lookup ON outbox (email_lookup) WHERE email_lookup IS NOT NULL;
