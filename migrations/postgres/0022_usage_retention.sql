-- Usage that was kept long enough goes. Its pair is migrations/sqlite/0022_usage_retention.sql.

CREATE INDEX usage_daily_by_age ON usage_daily (day);

-- Whoever prunes the trail prunes this, and nobody else removes what others used.
GRANT DELETE ON usage_daily TO modelgate_app;
CREATE POLICY pruned ON usage_daily FOR SELECT USING ((SELECT modelgate_serves('audit')));
CREATE POLICY pruners ON usage_daily FOR DELETE USING ((SELECT modelgate_serves('audit')));
CREATE POLICY kept ON usage_daily AS RESTRICTIVE FOR DELETE USING ((SELECT modelgate_serves('audit')));
