-- Makes the two logins of an installation on Postgres, for psql as an administrator of the server, in its database:
--
--   OWNER_PASSWORD=… SERVER_PASSWORD=… psql --file migrations/database-roles.sql --dbname modelgate
--
-- modelgate_owner migrates (DATABASE_MIGRATION_URL) and owns the tables. modelgate_server is what the program logs in
-- as (DATABASE_URL): it owns nothing and is a member of modelgate_app, as which it works, and of nothing else. Run
-- again it only sets the passwords.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv server_password SERVER_PASSWORD

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['modelgate_app', 'modelgate_owner', 'modelgate_server'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

ALTER ROLE modelgate_owner LOGIN PASSWORD :'owner_password';
ALTER ROLE modelgate_server LOGIN PASSWORD :'server_password';
GRANT modelgate_app TO modelgate_server;

-- Nobody else comes in, and neither of the two makes anything outside of the schema.
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO modelgate_owner, modelgate_server;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO modelgate_owner;
GRANT USAGE ON SCHEMA public TO modelgate_app;
