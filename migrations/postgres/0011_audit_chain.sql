-- The chain over the audit trail at work. Its pair is migrations/sqlite/0011_audit_chain.sql.

-- The word of whoever wrote the event: the id of the key (8 bytes) and the HMAC of the row. Null: from before this migration.
ALTER TABLE audit_events ADD COLUMN mac bytea;

-- Events without a link yet. The database adds each event in the transaction that writes it, so that none is overlooked,
-- however late it is committed and whatever its id.
CREATE TABLE audit_pending (
    event_id uuid    PRIMARY KEY REFERENCES audit_events (id),
    -- Nobody whom the linker knows wrote it.
    refused  boolean NOT NULL DEFAULT false
);
INSERT INTO audit_pending (event_id) SELECT id FROM audit_events;

CREATE FUNCTION audit_event_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_pending (event_id) VALUES (NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_events_wait AFTER INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION audit_event_waits();

-- Whoever links holds this row, so that one does at a time.
INSERT INTO locks (name) VALUES ('audit_chain') ON CONFLICT DO NOTHING;

-- The one way to remove anything: a row here removes what a seal and those before it vouch for. The seal itself stays, for
-- the rest of the chain begins there.
CREATE TABLE audit_prunings (
    through   bigint      PRIMARY KEY,
    pruned_at timestamptz NOT NULL
);
ALTER TABLE audit_links ALTER CONSTRAINT audit_links_event_id_fkey DEFERRABLE INITIALLY DEFERRED;

CREATE OR REPLACE FUNCTION audit_events_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT FROM audit_links WHERE event_id = OLD.id
                   AND seq <= (SELECT max(through) FROM audit_prunings)) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit events are only ever added';
END
$$;

-- The argument: how far below the pruning a row must be to go.
CREATE FUNCTION audit_chain_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.seq + TG_ARGV[0]::bigint <= (SELECT max(through) FROM audit_prunings) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit chain is only ever added to';
END
$$;
CREATE TRIGGER audit_links_stay BEFORE UPDATE OR DELETE ON audit_links
    FOR EACH ROW EXECUTE FUNCTION audit_chain_is_final(0);
CREATE TRIGGER audit_links_stay_all BEFORE TRUNCATE ON audit_links
    FOR EACH STATEMENT EXECUTE FUNCTION audit_chain_is_final(0);
CREATE TRIGGER audit_seals_stay BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION audit_chain_is_final(1);
CREATE TRIGGER audit_seals_stay_all BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION audit_chain_is_final(1);

CREATE FUNCTION audit_prunings_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit chain is only ever added to';
END
$$;
CREATE TRIGGER audit_prunings_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_prunings
    FOR EACH STATEMENT EXECUTE FUNCTION audit_prunings_are_final();

-- Runs as the owner, for the program's role may delete none of it.
CREATE FUNCTION audit_prune() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
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
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_prune() SET search_path TO %I, pg_temp', current_schema());
END
$$;
CREATE TRIGGER audit_prunings_prune AFTER INSERT ON audit_prunings FOR EACH ROW EXECUTE FUNCTION audit_prune();

-- Accounts of which nothing may be removed. The reference keeps the account itself.
CREATE TABLE legal_holds (
    account_id uuid        PRIMARY KEY REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED,
    reason     text        NOT NULL CHECK (reason <> ''),
    placed_by  uuid        NOT NULL,
    placed_at  timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON audit_pending, legal_holds TO modelgate_app;
GRANT SELECT, INSERT ON audit_prunings TO modelgate_app;
REVOKE UPDATE, DELETE ON audit_prunings FROM modelgate_app;

ALTER TABLE legal_holds ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON legal_holds FOR SELECT USING (account_id = (SELECT modelgate_account()));
CREATE POLICY services ON legal_holds USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON legal_holds FOR SELECT USING ((SELECT modelgate_serves('feed', 'audit')));
