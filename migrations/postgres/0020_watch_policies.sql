-- Alerts, incidents and rules about addresses tell of people, though they belong to none: each part of the program
-- reaches what it works with, and nobody else a row.

-- Whoever writes an event down may have to tell of it; whoever prunes the trail prunes these too.
ALTER TABLE alerts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY services ON alerts
    USING ((SELECT modelgate_serves('login', 'token', 'administration', 'audit', 'mail')));

ALTER TABLE incidents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY services ON incidents USING ((SELECT modelgate_serves('login', 'token', 'administration', 'audit')));

ALTER TABLE incident_entries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY services ON incident_entries
    USING ((SELECT modelgate_serves('login', 'token', 'administration', 'audit')));
-- Whether an answer waits.
CREATE POLICY readers ON incident_entries FOR SELECT USING ((SELECT modelgate_serves('feed')));

ALTER TABLE ip_rules ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY services ON ip_rules USING ((SELECT modelgate_serves('administration')));
CREATE POLICY readers ON ip_rules FOR SELECT USING ((SELECT modelgate_serves('feed')));
