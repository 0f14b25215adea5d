-- The chain over the audit trail at work. Its pair is migrations/postgres/0011_audit_chain.sql.

-- The word of whoever wrote the event: the id of the key (8 bytes) and the HMAC of the row. Null: from before this migration.
ALTER TABLE audit_events ADD COLUMN mac BLOB;

-- Events without a link yet. The database adds each event in the transaction that writes it, so that none is overlooked,
-- however late it is committed and whatever its id.
CREATE TABLE audit_pending (
    event_id BLOB    PRIMARY KEY REFERENCES audit_events (id),
    -- Nobody whom the linker knows wrote it.
    refused  INTEGER NOT NULL DEFAULT 0 CHECK (refused IN (0, 1))
) STRICT;
INSERT INTO audit_pending (event_id) SELECT id FROM audit_events;

CREATE TRIGGER audit_events_wait AFTER INSERT ON audit_events
BEGIN
    INSERT INTO audit_pending (event_id) VALUES (NEW.id);
END;

-- Whoever links holds this row, so that one does at a time.
INSERT INTO locks (name) VALUES ('audit_chain') ON CONFLICT DO NOTHING;

-- The one way to remove anything: a row here removes what a seal and those before it vouch for. The seal itself stays, for
-- the rest of the chain begins there.
CREATE TABLE audit_prunings (
    through   INTEGER PRIMARY KEY,
    pruned_at TEXT    NOT NULL
) STRICT;

-- Made anew for its deferred reference; nothing was ever in it.
DROP TABLE audit_links;
CREATE TABLE audit_links (
    seq      INTEGER PRIMARY KEY CHECK (seq > 0),
    event_id BLOB    NOT NULL UNIQUE REFERENCES audit_events (id) DEFERRABLE INITIALLY DEFERRED,
    mac      BLOB    NOT NULL,
    key_id   TEXT    NOT NULL
) STRICT;

DROP TRIGGER audit_events_stay;
CREATE TRIGGER audit_events_stay BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_links WHERE event_id = OLD.id AND seq <= (SELECT max(through) FROM audit_prunings))
BEGIN
    SELECT RAISE(ABORT, 'audit events are only ever added');
END;

CREATE TRIGGER audit_links_stay_unchanged BEFORE UPDATE ON audit_links
BEGIN
    SELECT RAISE(ABORT, 'the audit chain is only ever added to');
END;
CREATE TRIGGER audit_links_stay BEFORE DELETE ON audit_links
WHEN OLD.seq > coalesce((SELECT max(through) FROM audit_prunings), 0)
BEGIN
    SELECT RAISE(ABORT, 'the audit chain is only ever added to');
END;

CREATE TRIGGER audit_seals_stay_unchanged BEFORE UPDATE ON audit_seals
BEGIN
    SELECT RAISE(ABORT, 'the audit chain is only ever added to');
END;
CREATE TRIGGER audit_seals_stay BEFORE DELETE ON audit_seals
WHEN OLD.seq >= coalesce((SELECT max(through) FROM audit_prunings), 0)
BEGIN
    SELECT RAISE(ABORT, 'the audit chain is only ever added to');
END;

CREATE TRIGGER audit_prunings_stay_unchanged BEFORE UPDATE ON audit_prunings
BEGIN
    SELECT RAISE(ABORT, 'the audit chain is only ever added to');
END;
CREATE TRIGGER audit_prunings_stay BEFORE DELETE ON audit_prunings
BEGIN
    SELECT RAISE(ABORT, 'the audit chain is only ever added to');
END;
CREATE TRIGGER audit_prunings_end_at_a_seal BEFORE INSERT ON audit_prunings
WHEN NOT EXISTS (SELECT 1 FROM audit_seals WHERE seq = NEW.through)
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is pruned up to a seal only');
END;
CREATE TRIGGER audit_prunings_prune AFTER INSERT ON audit_prunings
BEGIN
    DELETE FROM audit_subjects WHERE event_id IN (SELECT event_id FROM audit_links WHERE seq <= NEW.through);
    DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_links WHERE seq <= NEW.through);
    DELETE FROM audit_links WHERE seq <= NEW.through;
    DELETE FROM audit_seals WHERE seq < NEW.through;
END;

-- Accounts of which nothing may be removed. The reference keeps the account itself.
CREATE TABLE legal_holds (
    account_id BLOB PRIMARY KEY REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED,
    reason     TEXT NOT NULL CHECK (reason <> ''),
    placed_by  BLOB NOT NULL,
    placed_at  TEXT NOT NULL
) STRICT;
