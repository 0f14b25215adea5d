-- Versions that were added and wait for their activation. Its pair is migrations/postgres/0025_waiting_versions.sql.
-- Before, adding one fixed the version that was active then.
ALTER TABLE desired_models ADD COLUMN waiting TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(waiting));
