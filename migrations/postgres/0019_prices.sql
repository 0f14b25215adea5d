-- What inferences cost by the prices of models. Its pair is migrations/sqlite/0019_prices.sql.

ALTER TABLE usage_daily ADD COLUMN credits bigint NOT NULL DEFAULT 0 CHECK (credits >= 0);
-- Until now everything cost what a model without a price does. The owner changes rows of everyone here, once.
ALTER TABLE usage_daily NO FORCE ROW LEVEL SECURITY;
UPDATE usage_daily SET credits = inferences;
ALTER TABLE usage_daily FORCE ROW LEVEL SECURITY;

ALTER TABLE quotas DROP CONSTRAINT quotas_unit_check;
ALTER TABLE quotas ADD CONSTRAINT quotas_unit_check
    CHECK (unit IN ('requests', 'inferences', 'images', 'bytes', 'compute_ms', 'credits'));
