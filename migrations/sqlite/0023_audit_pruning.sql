-- Policies are Postgres's (migrations/postgres/0023_audit_pruning.sql). A SQLite file has one user.
SELECT 1;
