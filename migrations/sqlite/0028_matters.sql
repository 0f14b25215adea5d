-- Whose matter an address in the audit trail belongs to, where the event names neither them as its actor nor their account as
-- its target: what erases them erases it. Its pair is migrations/postgres/0028_matters.sql.
ALTER TABLE audit_subjects ADD COLUMN account_id BLOB;
CREATE INDEX audit_subjects_by_account ON audit_subjects (account_id) WHERE account_id IS NOT NULL;
