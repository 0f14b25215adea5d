//! Security events, and how often each happened in this process.

use std::sync::atomic::{AtomicU64, Ordering};

use storage::named_enum;

use crate::alerts::Severity;

named_enum! {
    /// Something that matters to security. The upper-case names are those that operators of such services know; audit
    /// trail and metrics use them.
    #[repr(u8)]
    pub(crate) enum Event {
        LoginSuccess = "LOGIN_SUCCESS",
        LoginFailure = "LOGIN_FAILURE",
        PasswordChange = "PASSWORD_CHANGE",
        PasswordReset = "password.reset",
        PasswordResetRequested = "password.reset_requested",
        EmailChangeRequested = "email.change_requested",
        EmailConfirmed = "email.confirmed",
        InvitationAccepted = "account.invitation_accepted",
        PermissionDenied = "PERMISSION_DENIED",
        DataAccess = "DATA_ACCESS",
        AddressRefused = "address.refused",
        AddressBlocked = "address.blocked",
        IpRuleAdded = "ip_rule.added",
        IpRuleRemoved = "ip_rule.removed",
        SuspiciousActivity = "SUSPICIOUS_ACTIVITY",
        AccountCreated = "account.created",
        AccountChanged = "account.changed",
        AccountUnlocked = "account.unlocked",
        AccountDeleted = "account.deleted",
        RoleChanged = "role.changed",
        LimitsChanged = "limits.changed",
        QuotaChanged = "quota.changed",
        QuotaExceeded = "quota.exceeded",
        ModelPolicyChanged = "model.policy_changed",
        ModelLoaded = "model.loaded",
        ModelUnloaded = "model.unloaded",
        ModelActivated = "model.activated",
        ModelRolledBack = "model.rolled_back",
        ModelVersionAdded = "model.version_added",
        ModelVersionRemoved = "model.version_removed",
        ModelFileChanged = "model.file_changed",
        ModelEndedServer = "model.ended_server",
        IncidentOpened = "incident.opened",
        IncidentChanged = "incident.changed",
        IncidentAnswered = "incident.answered",
        IncidentAnswerUndone = "incident.answer_undone",
        IncidentsPruned = "incident.pruned",
        AlertTested = "alert.tested",
        AlertRetried = "alert.retried",
        OperationChanged = "operation.changed",
        SigningKeyChanged = "signing_key.changed",
        EncryptionKeyRotated = "encryption_key.rotated",
        SecondFactorAsked = "mfa.asked",
        SecondFactorAdded = "mfa.added",
        SecondFactorRemoved = "mfa.removed",
        SecondFactorReset = "mfa.reset",
        RecoveryCodesRenewed = "mfa.recovery_codes_renewed",
        SteppedUp = "session.stepped_up",
        IdentityLinked = "identity.linked",
        IdentityUnlinked = "identity.unlinked",
        IdentityRefused = "identity.refused",
        SessionEnded = "session.ended",
        FileUpload = "FILE_UPLOAD",
        FileDeleted = "file.deleted",
        ApiKeyCreated = "api_key.created",
        ApiKeyChanged = "api_key.changed",
        ApiKeyRotated = "api_key.rotated",
        ApiKeyRevoked = "api_key.revoked",
        AuditRead = "audit.read",
        LegalHoldPlaced = "legal_hold.placed",
        LegalHoldReleased = "legal_hold.released",
        AuditPruned = "audit.pruned",
        RecordsPruned = "records.pruned",
        AuditCutOff = "audit.cut_off",
    }
}

impl Event {
    /// The severity of its alert, if it raises one; what opens an incident is alerted by the incident.
    pub const fn alert(self) -> Option<Severity> {
        match self {
            Self::OperationChanged | Self::ModelFileChanged | Self::ModelEndedServer => Some(Severity::High),
            Self::AuditCutOff => Some(Severity::Critical),
            _ => None,
        }
    }
}

/// One counter for each event.
#[derive(Debug)]
pub(crate) struct EventCounts(Vec<AtomicU64>);

impl EventCounts {
    pub fn new() -> Self {
        Self(Event::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }

    pub fn count(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Name and number of each.
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        Event::ALL
            .iter()
            .zip(&self.0)
            .map(|(event, count)| (event.name(), count.load(Ordering::Relaxed)))
            .collect()
    }
}
