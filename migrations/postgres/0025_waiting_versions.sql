-- Versions that were added and wait for their activation. Its pair is migrations/sqlite/0025_waiting_versions.sql.
-- Before, adding one fixed the version that was active then.
ALTER TABLE desired_models ADD COLUMN waiting jsonb NOT NULL DEFAULT '[]';
