-- The second wall (docs/decisions/0009-row-level-security.md): the program works as a role that owns nothing, and the
-- database itself keeps each transaction to the rows of its scope. Every transaction begins with
--   SET LOCAL ROLE modelgate_app and the settings modelgate.account_id and modelgate.service.
-- Whoever adds a table that holds what is a person's gives it policies; whoever adds another one names it in
-- crates/storage/tests/contract/tables.rs.

-- The role is one for the whole server, where other databases may have it already or be making it at this moment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'modelgate_app') THEN
        CREATE ROLE modelgate_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role modelgate_app is missing and % may create none; let an administrator of the server run: CREATE ROLE modelgate_app NOLOGIN; GRANT modelgate_app TO %;',
            quote_ident(current_user), quote_ident(current_user);
END
$$;

-- With one address the owner works too, as this role. With two the owner need not be a member, so nothing is lost
-- where it may not become one: a program whose login cannot take the role says so when it starts.
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'modelgate_app', 'USAGE') THEN
        EXECUTE format('GRANT modelgate_app TO %I', current_user);
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN NULL;
END
$$;

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO modelgate_app', current_schema());
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
    -- For the tables of later migrations.
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO modelgate_app', current_schema());
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON
    roles, accounts, people, credentials, sessions, signing_keys, api_keys, api_key_secrets, models, model_versions,
    model_grants, settings, replicas, secrets
    TO modelgate_app;
GRANT SELECT, INSERT, UPDATE ON usage_daily, locks TO modelgate_app;
GRANT SELECT, INSERT, DELETE ON usage_batches, changes TO modelgate_app;
GRANT SELECT, UPDATE ON change_head TO modelgate_app;
-- The trail is only ever added to; what is personal in it can be erased.
GRANT SELECT, INSERT ON audit_events, audit_links, audit_seals TO modelgate_app;
GRANT SELECT, INSERT, DELETE ON audit_subjects TO modelgate_app;
-- Whether the schema is up to date.
GRANT SELECT ON _sqlx_migrations TO modelgate_app;

-- The account in whose name the transaction works; null: none.
CREATE FUNCTION modelgate_account() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('modelgate.account_id', true), '')::uuid;

-- Whether the transaction is of one of these parts of the program, or a migration.
CREATE FUNCTION modelgate_serves(VARIADIC services text[]) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('modelgate.service', true) = ANY (array_append(services, 'migration')), false);

GRANT EXECUTE ON FUNCTION modelgate_account, modelgate_serves TO modelgate_app;

-- In the policies the functions stand in a SELECT of their own: so they run once for each query, not for each row.
-- `own` is an account's; `services` have every row; `readers`, `counters`, … may do with every row what they say.

ALTER TABLE accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON accounts USING (id = (SELECT modelgate_account()));
CREATE POLICY services ON accounts USING ((SELECT modelgate_serves('login', 'administration')));
CREATE POLICY readers ON accounts FOR SELECT USING ((SELECT modelgate_serves('token', 'api_key')));

ALTER TABLE people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON people USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON people USING ((SELECT modelgate_serves('login', 'administration')));
CREATE POLICY readers ON people FOR SELECT USING ((SELECT modelgate_serves('sealing')));
CREATE POLICY sealers ON people FOR UPDATE USING ((SELECT modelgate_serves('sealing')));

ALTER TABLE credentials ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON credentials USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON credentials USING ((SELECT modelgate_serves('login', 'administration')));

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON sessions USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON sessions USING ((SELECT modelgate_serves('login', 'token', 'administration')));
CREATE POLICY readers ON sessions FOR SELECT USING ((SELECT modelgate_serves('metering', 'feed', 'sealing')));
CREATE POLICY sealers ON sessions FOR UPDATE USING ((SELECT modelgate_serves('sealing')));
CREATE POLICY pruners ON sessions FOR DELETE USING ((SELECT modelgate_serves('feed')));

ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON api_keys USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON api_keys USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON api_keys FOR SELECT USING ((SELECT modelgate_serves('api_key', 'metering')));
-- They note when a key was last used.
CREATE POLICY counters ON api_keys FOR UPDATE USING ((SELECT modelgate_serves('metering')));

ALTER TABLE api_key_secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON api_key_secrets
    USING (EXISTS (SELECT FROM api_keys WHERE id = key_id AND account_id = (SELECT modelgate_account())));
CREATE POLICY services ON api_key_secrets USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON api_key_secrets FOR SELECT USING ((SELECT modelgate_serves('api_key')));

-- What was granted to an account, or to its role; nobody grants anything to themselves.
ALTER TABLE model_grants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON model_grants FOR SELECT
    USING ((subject_kind = 'account' AND subject = (SELECT modelgate_account())::text)
        OR (subject_kind = 'role' AND subject = (SELECT role FROM accounts WHERE id = (SELECT modelgate_account()))));
CREATE POLICY services ON model_grants USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON model_grants FOR SELECT USING ((SELECT modelgate_serves('token', 'api_key', 'models')));

ALTER TABLE usage_daily ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON usage_daily FOR SELECT USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON usage_daily USING ((SELECT modelgate_serves('metering')));
CREATE POLICY readers ON usage_daily FOR SELECT USING ((SELECT modelgate_serves('administration')));

-- An account tells of itself only; parts of the program tell of whomever they have seen.
ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON audit_events USING (actor = (SELECT modelgate_account()));
CREATE POLICY services ON audit_events USING ((SELECT modelgate_serves('administration', 'audit')));
CREATE POLICY writers ON audit_events FOR INSERT
    WITH CHECK ((SELECT modelgate_serves('login', 'token', 'setup', 'sealing')));

ALTER TABLE audit_subjects ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON audit_subjects
    USING (EXISTS (SELECT FROM audit_events WHERE id = event_id AND actor = (SELECT modelgate_account())));
CREATE POLICY services ON audit_subjects USING ((SELECT modelgate_serves('administration', 'audit')));
CREATE POLICY writers ON audit_subjects FOR INSERT
    WITH CHECK ((SELECT modelgate_serves('login', 'token', 'setup', 'sealing')));
