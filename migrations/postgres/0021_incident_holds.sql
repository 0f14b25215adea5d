-- What answers to incidents hold. Its pair is migrations/sqlite/0021_incident_holds.sql.

-- What several answers want, such as an account that is off, stays until none of them holds it.
CREATE TABLE incident_holds (
    entry_id uuid NOT NULL REFERENCES incident_entries (id) ON DELETE CASCADE,
    -- Such as account:<id>.
    subject  text NOT NULL CHECK (subject <> ''),
    PRIMARY KEY (entry_id, subject)
);
CREATE INDEX incident_holds_by_subject ON incident_holds (subject, entry_id);

ALTER TABLE incident_holds ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY services ON incident_holds USING ((SELECT modelgate_serves('administration')));
