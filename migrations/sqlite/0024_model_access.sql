-- A model that was granted to somebody has a row although nobody said whose it is. Its pair is
-- migrations/postgres/0024_model_access.sql.
-- 1: who may use it is what its model.toml says, and access stands for nothing.
ALTER TABLE models ADD COLUMN follows_manifest INTEGER NOT NULL DEFAULT 0 CHECK (follows_manifest IN (0, 1));
