//! How much: every window and the freshness of the caller, decided in one round trip.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use storage::{Check, Outcome};

use crate::events::Event;
use crate::in_flight::InFlight;
use crate::limits::{LimitClass, Subject, Window};
use crate::signed_requests::{self, Presented};
use crate::{Auth, Error, Permission, Principal, Result, Throttle};

/// How long a caller with too much in flight is told to wait.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// What is left of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowanceState {
    /// The window's name in the `RateLimit` header.
    pub name: &'static str,
    /// Requests allowed in it.
    pub limit: u32,
    /// Its length.
    pub period: Duration,
    /// Requests left.
    pub remaining: u32,
    /// When it starts again.
    pub reset_after: Duration,
}

/// A caller who may go on.
#[derive(Debug)]
pub struct Entered {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// Their place among the account's running requests.
    pub place: InFlight,
    /// Every window that was counted.
    pub windows: Vec<AllowanceState>,
}

/// A caller who may not go on, and what they were counted in.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub error: Error,
    /// Every window that was counted.
    pub windows: Vec<AllowanceState>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, windows: Vec::new() }
    }
}

/// What the store said to an admission.
enum Verdict {
    Admitted(Vec<AllowanceState>),
    /// Something about the caller changed since it was cached.
    Stale,
    Throttled(Throttle),
}

impl Auth {
    /// The three guards in order: who it is, whether they may, and how much is left.
    ///
    /// `permission` is none for what is one's own.
    pub async fn enter(
        &self,
        presented: &Presented<'_>,
        address: IpAddr,
        permission: Option<Permission>,
        class: LimitClass,
    ) -> std::result::Result<Entered, Refusal> {
        let mut retried = false;
        loop {
            let principal = match presented {
                Presented::Whole(text) => self.authenticate_from(text, Some(address)).await?,
                Presented::Signed(request) => self.authenticate_signed(request).await?,
            };
            let permitted = || permission.map_or(Ok(()), |permission| principal.require(permission));
            let allowed = principal.admits(address).and_then(|()| permitted());
            let mut windows = self.limits.windows_of(&principal, class);
            windows.extend(presented.nonce_window(self.signature_max_age));
            match self.decide(&principal.watched_checks(), &windows).await? {
                Verdict::Admitted(windows) => {
                    let windows = signed_requests::told(windows);
                    // Told only now: a refusal counts like any request, and was not decided on stale knowledge.
                    let allowed = allowed.inspect_err(|_| self.events.count(Event::PermissionDenied));
                    let allowed = self.require_open_to_caller(&principal).and(allowed);
                    return match allowed.and_then(|()| self.in_flight(&principal)) {
                        Ok(place) => Ok(Entered { principal, place, windows }),
                        Err(error) => Err(Refusal { error, windows }),
                    };
                }
                Verdict::Throttled(throttle) => return Err(signed_requests::refusal(throttle).into()),
                // Read again what changed; once suffices, for the reading is newer than the change.
                Verdict::Stale if !retried => {
                    self.principals.forget(&presented.fingerprint());
                    retried = true;
                }
                Verdict::Stale => return Err(Error::Overloaded.into()),
            }
        }
    }

    /// Refuses a caller who has not proved lately who they are.
    pub fn require_recent(&self, principal: &Principal) -> Result<()> {
        principal.require_recent(self.step_up_max_age, self.now())
    }

    /// Counts a caller without a credential.
    pub async fn admit_visitor(&self, address: IpAddr, class: LimitClass) -> Result<Vec<AllowanceState>> {
        match self.decide(&[], &self.limits.windows(class, Subject::Address(address))).await? {
            Verdict::Admitted(windows) => Ok(windows),
            Verdict::Throttled(throttle) => Err(Error::Throttled(throttle)),
            Verdict::Stale => Ok(Vec::new()),
        }
    }

    /// Counts one attempt in all of the given windows, or in none, before it is made.
    pub(crate) async fn reserve(&self, windows: &[Window]) -> Result<Vec<AllowanceState>> {
        match self.decide(&[], windows).await? {
            Verdict::Throttled(throttle) => Err(Error::Throttled(throttle)),
            Verdict::Admitted(states) => Ok(states),
            Verdict::Stale => Ok(Vec::new()),
        }
    }

    fn in_flight(&self, principal: &Principal) -> Result<InFlight> {
        self.in_flight.enter(principal.account).ok_or_else(|| {
            Error::Throttled(Throttle {
                policy: "in-flight",
                retry_after: IN_FLIGHT_RETRY,
                windows: Vec::new(),
            })
        })
    }

    async fn decide(&self, fresh: &[(String, i64)], windows: &[Window]) -> Result<Verdict> {
        let fresh_checks = fresh.iter().map(|(key, seen)| Check::Unchanged { key, seen: *seen });
        let window_checks = windows.iter().map(|window| Check::Window {
            key: &window.key,
            limit: window.limit,
            period: window.period,
            cost: 1,
        });
        let checks: Vec<Check<'_>> = fresh_checks.chain(window_checks).collect();
        if checks.is_empty() {
            return Ok(Verdict::Admitted(Vec::new()));
        }
        let outcome = match self.ephemeral.decide(&checks).await {
            Ok(outcome) => {
                if self.ephemeral.is_redis() {
                    self.freshness.in_contact();
                }
                outcome
            }
            // Counted in this process meanwhile; revocations are known here through the change feed.
            Err(error) if error.is_unavailable() && signed_requests::can_stand_in(windows) => {
                self.stand_in.decide(&checks).await?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(read_outcome(&outcome, fresh.len(), windows))
    }
}

impl Principal {
    fn watched_checks(&self) -> Vec<(String, i64)> {
        self.watched().into_iter().map(|watched| (watched.ephemeral_key(), self.seen)).collect()
    }
}

fn read_outcome(outcome: &Outcome, fresh: usize, windows: &[Window]) -> Verdict {
    let states: Vec<AllowanceState> = windows
        .iter()
        .zip(&outcome.windows)
        .map(|(window, state)| AllowanceState {
            name: window.name,
            limit: window.limit,
            period: window.period,
            remaining: state.remaining,
            reset_after: state.reset_after,
        })
        .collect();
    match outcome.refused {
        None => Verdict::Admitted(states),
        Some(index) if index < fresh => Verdict::Stale,
        Some(index) => {
            let refusing = states.get(index - fresh);
            Verdict::Throttled(Throttle {
                policy: refusing.map_or("", |state| state.name),
                // Another window may be exhausted as well: the wait is over when all of them are.
                retry_after: states
                    .iter()
                    .filter(|state| state.remaining == 0)
                    .map(|state| state.reset_after)
                    .max()
                    .unwrap_or(IN_FLIGHT_RETRY),
                windows: states,
            })
        }
    }
}
