-- The audit trail is pruned by the part of the program that removes what was kept long enough, as usage is. Its pair is
-- migrations/sqlite/0023_audit_pruning.sql.

CREATE POLICY retention_reads ON audit_events FOR SELECT USING ((SELECT modelgate_serves('retention')));
CREATE POLICY retention_removes ON audit_events FOR DELETE USING ((SELECT modelgate_serves('retention')));
CREATE POLICY removed_by_retention ON audit_events AS RESTRICTIVE FOR DELETE USING ((SELECT modelgate_serves('retention')));
CREATE POLICY retention_reads ON audit_subjects FOR SELECT USING ((SELECT modelgate_serves('retention')));
CREATE POLICY retention_removes ON audit_subjects FOR DELETE USING ((SELECT modelgate_serves('retention')));
-- Where the event that tells of a pruning came from.
CREATE POLICY retention_tells ON audit_subjects FOR INSERT WITH CHECK ((SELECT modelgate_serves('retention')));

-- Runs as the owner, for the program's role may delete none of it; policies do not hold an owner who is a superuser.
CREATE OR REPLACE FUNCTION audit_prune() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NOT modelgate_serves('retention') THEN
        RAISE EXCEPTION 'the audit trail is pruned by retention alone' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT FROM audit_seals WHERE seq = NEW.through) THEN
        RAISE EXCEPTION 'the audit trail is pruned up to a seal only';
    END IF;
    DELETE FROM audit_subjects WHERE event_id IN (SELECT event_id FROM audit_links WHERE seq <= NEW.through);
    DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_links WHERE seq <= NEW.through);
    DELETE FROM audit_links WHERE seq <= NEW.through;
    DELETE FROM audit_seals WHERE seq < NEW.through;
    RETURN NULL;
END
$$;
-- Replacing it took its search path away.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_prune() SET search_path TO %I, pg_temp', current_schema());
END
$$;
