-- Roles and row-level security are Postgres's (migrations/postgres/0004_row_security.sql). A SQLite file has one user.
SELECT 1;
