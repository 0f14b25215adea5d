-- Whose matter an address in the audit trail belongs to, where the event names neither them as its actor nor their account as
-- its target: what erases them erases it. Its pair is migrations/sqlite/0028_matters.sql.
ALTER TABLE audit_subjects ADD COLUMN account_id uuid;
CREATE INDEX audit_subjects_by_account ON audit_subjects (account_id) WHERE account_id IS NOT NULL;
