//! What looks wrong among requests: counted in this process, in bounded memory, with windows on the clock.
//!
//! A request costs a few look-ups in memory and no I/O. What crosses a threshold waits in a short queue; once a
//! second it is written into the audit trail, where it opens an incident (docs/decisions/0025).

mod denials;
mod patterns;
mod places;
mod windows;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::{Value, json};
use storage::{Scope, Service};
use uuid::Uuid;

use denials::Denials;
pub use patterns::{AttackPattern, in_header, in_target, in_text};
use places::Places;
use windows::Windows;

use crate::audit::Entry;
use crate::callers::admission::RequestSource;
use crate::callers::principal::{Credential, Principal};
use crate::events::Event;
use crate::limits::network_of;
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// What waits to be written down; more is counted and forgotten.
const MOST_WAITING: usize = 256;
/// Of those, missing permissions: they must not crowd out what is worse.
const MOST_DENIALS_WAITING: usize = MOST_WAITING / 2;

/// A count in a window that begins with the first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The number that is too many; 0: never.
    pub count: u32,
    /// The time in which they are counted, in seconds.
    pub seconds: u32,
}

/// What is too many.
#[derive(Clone, Copy, Debug)]
pub struct DetectionSettings {
    /// Requests from an address.
    pub requests: Threshold,
    /// Uploads from an address.
    pub uploads: Threshold,
    /// Requests from an address that look like attacks.
    pub attacks: Threshold,
    /// Slow requests from an address.
    pub slow: Threshold,
    /// Networks that one API key is used from.
    pub key_networks: Threshold,
    /// Moves of one session from a network to another.
    pub session_moves: Threshold,
}

impl Default for DetectionSettings {
    fn default() -> Self {
        let never = Threshold { count: 0, seconds: 1 };
        Self {
            requests: never,
            uploads: never,
            attacks: never,
            slow: never,
            key_networks: never,
            session_moves: never,
        }
    }
}

/// Something that an address does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A request, whatever became of it.
    Request,
    /// A request that brings a file.
    Upload,
    /// A request that looks like an attack.
    Attack(AttackPattern),
    /// A request that took long.
    Slow,
}

/// Something to be written down.
#[derive(Debug)]
struct Finding {
    kind: FindingKind,
    origin: Origin,
    detail: Value,
}

impl Finding {
    fn suspicion(account: Option<Uuid>, address: IpAddr, detail: Value) -> Self {
        let origin = Origin { address: Some(address), ..Origin::default() };
        Self { kind: FindingKind::Suspicion(account), origin, detail }
    }
}

#[derive(Debug)]
enum FindingKind {
    /// Something is wrong, about this account where it is known.
    Suspicion(Option<Uuid>),
    /// This account lacked a right.
    Denial(Uuid),
}

/// Everything that is counted.
pub(crate) struct Detector {
    settings: DetectionSettings,
    requests: Windows,
    uploads: Windows,
    attacks: Windows,
    slow: Windows,
    places: Places,
    denials: Denials,
    waiting: Mutex<Vec<Finding>>,
}

impl Detector {
    pub fn new(settings: DetectionSettings) -> Self {
        Self {
            requests: Windows::new(settings.requests),
            uploads: Windows::new(settings.uploads),
            attacks: Windows::new(settings.attacks),
            slow: Windows::new(settings.slow),
            places: Places::default(),
            denials: Denials::default(),
            waiting: Mutex::default(),
            settings,
        }
    }

    fn keep(&self, finding: Finding) {
        let most =
            if let FindingKind::Denial(_) = finding.kind { MOST_DENIALS_WAITING } else { MOST_WAITING };
        let mut waiting = self.waiting.lock();
        if waiting.len() < most {
            waiting.push(finding);
        }
    }

    fn take_waiting(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.waiting.lock())
    }

    fn notice(&self, activity: Activity, address: IpAddr, now: DateTime<Utc>) {
        let (windows, threshold, reason) = match activity {
            Activity::Request => (&self.requests, self.settings.requests, "request_flood"),
            Activity::Upload => (&self.uploads, self.settings.uploads, "upload_flood"),
            Activity::Attack(_) => (&self.attacks, self.settings.attacks, "attack_pattern"),
            Activity::Slow => (&self.slow, self.settings.slow, "slow_requests"),
        };
        if windows.count(network_of(address), now) {
            let rule = if let Activity::Attack(pattern) = activity { Some(pattern.name()) } else { None };
            let detail = json!({"reason": reason, "count": threshold.count, "seconds": threshold.seconds, "rule": rule});
            self.keep(Finding::suspicion(None, address, detail));
        }
    }

    /// Notes where a credential is used: one that is at many places at once is in several hands.
    pub fn place(&self, principal: &Principal, address: IpAddr, now: DateTime<Utc>) {
        let (id, threshold, credential) = match principal.credential {
            Credential::ApiKey { id } => (id, self.settings.key_networks, "api_key"),
            Credential::Session { id, .. } => (id, self.settings.session_moves, "session"),
            Credential::External(_) => return,
        };
        let counts_moves = matches!(principal.credential, Credential::Session { .. });
        if self.places.note(id, network_of(address), now, threshold, counts_moves) {
            let detail = json!({"reason": "impossible_sequence", "credential": credential, "id": id,
                "count": threshold.count, "seconds": threshold.seconds});
            self.keep(Finding::suspicion(Some(principal.account), address, detail));
        }
    }

    /// Notes that a caller lacks a right.
    pub fn deny(
        &self,
        principal: &Principal,
        refusal: &Error,
        source: RequestSource<'_>,
        now: DateTime<Utc>,
    ) {
        let (account, missing) = (principal.account, refusal.to_string());
        if self.denials.is_first(account, missing.clone(), now) {
            let detail = json!({"reason": missing, "credential": principal.credential.id()});
            let origin = Origin {
                address: Some(source.address),
                request_id: source.request_id.map(str::to_owned),
                ..Origin::default()
            };
            self.keep(Finding { kind: FindingKind::Denial(account), origin, detail });
        }
    }
}

impl Auth {
    /// Counts something that an address does.
    pub fn notice(&self, activity: Activity, address: IpAddr) {
        self.detector.notice(activity, address, self.now());
    }

    /// Counts a refusal for want of a right; the first of its kind in a while is written down with the next
    /// [`report_noticed`](Self::report_noticed).
    pub(crate) fn deny(&self, principal: &Principal, refusal: &Error, source: RequestSource<'_>) {
        self.events.count(Event::PermissionDenied);
        self.detector.deny(principal, refusal, source, self.now());
    }

    /// Writes down what was noticed since the last call; to be called every second. What could not be written because
    /// the store is away waits for the next call.
    pub async fn report_noticed(&self) -> Result<()> {
        let mut waiting = self.detector.take_waiting().into_iter();
        while let Some(finding) = waiting.next() {
            if let Err(error) = self.report(&finding).await {
                let comes_again = matches!(error, Error::Unavailable(_)).then_some(finding);
                comes_again.into_iter().chain(waiting).for_each(|kept| self.detector.keep(kept));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn report(&self, Finding { kind, origin, detail }: &Finding) -> Result<()> {
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        match kind {
            FindingKind::Suspicion(account) => {
                let entry = Entry::failure(Event::SuspiciousActivity, origin).with(detail.clone());
                let entry = account.iter().fold(entry, |entry, account| entry.on("account", *account));
                self.record(&mut tx, entry).await?;
            }
            FindingKind::Denial(account) => {
                let entry = Entry::failure(Event::PermissionDenied, origin).by(*account);
                self.write(&mut tx, entry.with(detail.clone())).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}
