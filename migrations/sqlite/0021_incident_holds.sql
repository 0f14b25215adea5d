-- What answers to incidents hold. Its pair is migrations/postgres/0021_incident_holds.sql.

-- What several answers want, such as an account that is off, stays until none of them holds it.
CREATE TABLE incident_holds (
    entry_id BLOB NOT NULL REFERENCES incident_entries (id) ON DELETE CASCADE,
    -- Such as account:<id>.
    subject  TEXT NOT NULL CHECK (subject <> ''),
    PRIMARY KEY (entry_id, subject)
) STRICT;
CREATE INDEX incident_holds_by_subject ON incident_holds (subject, entry_id);
