-- Policies are Postgres's (migrations/postgres/0020_watch_policies.sql). A SQLite file has one user.
SELECT 1;
