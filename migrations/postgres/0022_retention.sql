-- What was kept long enough is removed by a part of the program of its own, which tells of it in the trail. Its pair is
-- migrations/sqlite/0022_retention.sql.

DROP POLICY pruners ON sessions;
DROP POLICY pruners ON notices;
DROP POLICY pruners ON outbox;
DROP POLICY pruners ON ended_tokens;
DROP POLICY pruners ON one_time_tokens;
DROP POLICY pruners ON quota_periods;
DO $$
DECLARE
    pruned text;
BEGIN
    FOREACH pruned IN ARRAY ARRAY['sessions', 'notices', 'outbox', 'ended_tokens', 'one_time_tokens', 'quota_periods',
                                  'alerts', 'ip_rules', 'usage_daily'] LOOP
        EXECUTE format('CREATE POLICY retention_reads ON %I FOR SELECT USING ((SELECT modelgate_serves(''retention'')))', pruned);
        EXECUTE format('CREATE POLICY retention_removes ON %I FOR DELETE USING ((SELECT modelgate_serves(''retention'')))', pruned);
    END LOOP;
END
$$;
CREATE POLICY retention_reads ON legal_holds FOR SELECT USING ((SELECT modelgate_serves('retention')));
CREATE POLICY retention_tells ON audit_events FOR INSERT WITH CHECK ((SELECT modelgate_serves('retention')));

-- The one way to remove usage: a row here removes what was used up to a day, but nothing of an account under a legal hold.
CREATE TABLE usage_prunings (
    id        uuid        PRIMARY KEY,
    through   date        NOT NULL,
    pruned_at timestamptz NOT NULL
);
CREATE POLICY removed_by_retention ON usage_daily AS RESTRICTIVE FOR DELETE USING ((SELECT modelgate_serves('retention')));
CREATE INDEX usage_daily_by_age ON usage_daily (day);

-- Runs as the owner, for the program's role may delete no usage; policies do not hold an owner who is a superuser.
CREATE FUNCTION usage_prune() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NOT modelgate_serves('retention') THEN
        RAISE EXCEPTION 'usage is removed by retention alone' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.through >= greatest(current_date, (SELECT max(day) FROM usage_daily)) - 62 THEN
        RAISE EXCEPTION 'usage of the last 62 days stays' USING ERRCODE = 'check_violation';
    END IF;
    DELETE FROM usage_daily WHERE day <= NEW.through AND account_id NOT IN (SELECT account_id FROM legal_holds);
    RETURN NULL;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION usage_prune() SET search_path TO %I, pg_temp', current_schema());
END
$$;
CREATE TRIGGER usage_prunings_prune AFTER INSERT ON usage_prunings FOR EACH ROW EXECUTE FUNCTION usage_prune();

GRANT SELECT, INSERT ON usage_prunings TO modelgate_app;
REVOKE UPDATE, DELETE ON usage_prunings FROM modelgate_app;
