-- What was kept long enough is removed, usage too. Its pair is migrations/postgres/0022_retention.sql.

-- The one way to remove usage: a row here removes what was used up to a day, but nothing of an account under a legal hold.
CREATE TABLE usage_prunings (
    id        BLOB PRIMARY KEY,
    through   TEXT NOT NULL,
    pruned_at TEXT NOT NULL
) STRICT;
CREATE INDEX usage_daily_by_age ON usage_daily (day);

CREATE TRIGGER usage_stays BEFORE DELETE ON usage_daily
WHEN OLD.day > coalesce((SELECT max(through) FROM usage_prunings), '')
BEGIN
    SELECT RAISE(ABORT, 'usage is removed by what is written to usage_prunings');
END;
CREATE TRIGGER usage_prunings_keep BEFORE INSERT ON usage_prunings
WHEN NEW.through >= date(max(date('now'), coalesce((SELECT max(day) FROM usage_daily), '')), '-62 days')
BEGIN
    SELECT RAISE(ABORT, 'usage of the last 62 days stays');
END;
CREATE TRIGGER usage_prunings_prune AFTER INSERT ON usage_prunings
BEGIN
    DELETE FROM usage_daily WHERE day <= NEW.through AND account_id NOT IN (SELECT account_id FROM legal_holds);
END;
