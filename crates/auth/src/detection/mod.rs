//! What looks wrong among requests: counted in this process, in bounded memory, with windows on the clock.
//!
//! A request costs a few look-ups in memory and no I/O. What crosses a threshold waits in a short queue; once a second it is
//! written into the audit trail, where it opens an incident (docs/decisions/0025).

mod patterns;
mod places;
mod windows;

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use storage::{Scope, Service};
use uuid::Uuid;

pub use patterns::{AttackPattern, in_header, in_target, in_text};
use places::Places;
use windows::Windows;

use crate::audit::Entry;
use crate::events::Event;
use crate::limits::network_of;
use crate::principal::{Credential, Principal};
use crate::service::Origin;
use crate::{Auth, Error, Result};

/// Suspicions that wait to be written down; more are counted and forgotten.
const MOST_WAITING: usize = 256;

/// So many in so long, from the first on.
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
pub enum Deed {
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
struct Suspicion {
    address: IpAddr,
    account: Option<Uuid>,
    detail: Value,
}

/// Everything that is counted.
pub(crate) struct Detector {
    settings: DetectionSettings,
    requests: Windows,
    uploads: Windows,
    attacks: Windows,
    slow: Windows,
    places: Places,
    waiting: Mutex<Vec<Suspicion>>,
}

impl Detector {
    pub fn new(settings: DetectionSettings) -> Self {
        Self {
            requests: Windows::new(settings.requests),
            uploads: Windows::new(settings.uploads),
            attacks: Windows::new(settings.attacks),
            slow: Windows::new(settings.slow),
            places: Places::default(),
            waiting: Mutex::default(),
            settings,
        }
    }

    fn suspect(&self, suspicion: Suspicion) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST_WAITING {
            waiting.push(suspicion);
        }
    }

    fn take_waiting(&self) -> Vec<Suspicion> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn notice(&self, deed: Deed, address: IpAddr, now: DateTime<Utc>) {
        let (windows, threshold, reason) = match deed {
            Deed::Request => (&self.requests, self.settings.requests, "request_flood"),
            Deed::Upload => (&self.uploads, self.settings.uploads, "upload_flood"),
            Deed::Attack(_) => (&self.attacks, self.settings.attacks, "attack_pattern"),
            Deed::Slow => (&self.slow, self.settings.slow, "slow_requests"),
        };
        if windows.count(network_of(address), now) {
            let rule = if let Deed::Attack(pattern) = deed { Some(pattern.name()) } else { None };
            let detail = json!({"reason": reason, "count": threshold.count, "seconds": threshold.seconds, "rule": rule});
            self.suspect(Suspicion { address, account: None, detail });
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
            self.suspect(Suspicion { address, account: Some(principal.account), detail });
        }
    }
}

impl Auth {
    /// Counts something that an address does.
    pub fn notice(&self, deed: Deed, address: IpAddr) {
        self.detector.notice(deed, address, self.now());
    }

    /// Writes down what crossed a threshold since the last call; to be called every second. What could not be written
    /// because the store is away waits for the next call.
    pub async fn report_suspicions(&self) -> Result<()> {
        let mut waiting = self.detector.take_waiting().into_iter();
        while let Some(suspicion) = waiting.next() {
            if let Err(error) = self.report(&suspicion).await {
                let comes_again = matches!(error, Error::Unavailable(_)).then_some(suspicion);
                comes_again.into_iter().chain(waiting).for_each(|kept| self.detector.suspect(kept));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn report(&self, Suspicion { address, account, detail }: &Suspicion) -> Result<()> {
        let origin = Origin { address: Some(*address), ..Origin::default() };
        let mut tx = self.store.begin(Scope::Service(Service::Audit)).await?;
        let entry = Entry::failure(Event::SuspiciousActivity, &origin).with(detail.clone());
        let entry = account.iter().fold(entry, |entry, account| entry.on("account", *account));
        self.record(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}
