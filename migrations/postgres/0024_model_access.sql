-- A model that was granted to somebody has a row although nobody said whose it is. Its pair is
-- migrations/sqlite/0024_model_access.sql.
-- True: who may use it is what its model.toml says, and access stands for nothing.
ALTER TABLE models ADD COLUMN follows_manifest boolean NOT NULL DEFAULT false;
