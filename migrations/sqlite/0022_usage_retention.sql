-- Usage that was kept long enough goes. Its pair is migrations/postgres/0022_usage_retention.sql.

CREATE INDEX usage_daily_by_age ON usage_daily (day);
