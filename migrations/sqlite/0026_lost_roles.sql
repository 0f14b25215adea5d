-- Accounts that are off because their issuer gives them no role. Its pair is migrations/postgres/0026_lost_roles.sql.
-- Since when, for the identity whose token said so; a later token of it with a role switches the account on again.
ALTER TABLE external_identities ADD COLUMN role_lost_at TEXT;
