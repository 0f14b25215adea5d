//! Admission: quotas in memory, then every rate window and the caller's freshness.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::callers::counting::Verdict;
use crate::keys::signed_requests::{self, PresentedCredential};
use crate::limits::in_flight::InFlight;
use crate::limits::over_limit::Requester;
use crate::limits::{LimitClass, Window, network_of};
use crate::quotas::{QuotaLease, QuotaUnit};
use crate::{Auth, Error, Permission, Principal, Result, Throttle};

/// `Retry-After` for a caller with too many requests in flight.
pub(super) const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// How often a caller is read in one admission: each reading is newer than the change that asked for it, but somebody may
/// be changing one thing after another.
const READINGS: usize = 8;

/// What is left of one window or quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowanceState {
    /// Its name in the `RateLimit` header.
    pub name: &'static str,
    /// How much is allowed in it.
    pub limit: u64,
    /// Its length.
    pub period: Duration,
    /// What is left.
    pub remaining: u64,
    /// When it starts again.
    pub reset_after: Duration,
    /// What is counted in it.
    pub unit: QuotaUnit,
    /// Whether it is exceeded without a refusal: a soft quota.
    pub is_over: bool,
}

/// A caller who may go on.
#[derive(Debug)]
pub struct Admission {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// Their place among the account's running requests.
    pub in_flight: InFlight,
    /// Every window and quota that was counted.
    pub windows: Vec<AllowanceState>,
    /// What the request takes of quotas; none where there are none.
    pub lease: Option<QuotaLease>,
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

/// Where a request comes from, and which one it is where it has a name.
#[derive(Clone, Copy, Debug)]
pub struct RequestSource<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: Option<&'a str>,
}

impl From<IpAddr> for RequestSource<'_> {
    fn from(address: IpAddr) -> Self {
        Self { address, request_id: None }
    }
}

impl Auth {
    /// The three guards in order: who it is, whether they may, and how much is left.
    ///
    /// `permission` is none for what is one's own; `model` is the one that is to be run, where that is known already.
    pub async fn admit(
        &self,
        presented: &PresentedCredential<'_>,
        source: impl Into<RequestSource<'_>>,
        permission: Option<Permission>,
        class: LimitClass,
        model: Option<&str>,
    ) -> std::result::Result<Admission, Refusal> {
        let source = source.into();
        for _ in 0..READINGS {
            if let Some(admission) = self.try_admit(presented, source, permission, class, model).await? {
                return Ok(admission);
            }
            self.principals.forget(&presented.fingerprint());
        }
        Err(Error::Overloaded.into())
    }

    /// None where something about the caller changed since it was cached.
    async fn try_admit(
        &self,
        presented: &PresentedCredential<'_>,
        source: RequestSource<'_>,
        permission: Option<Permission>,
        class: LimitClass,
        model: Option<&str>,
    ) -> std::result::Result<Option<Admission>, Refusal> {
        let (address, now) = (source.address, self.now());
        let principal = match presented {
            PresentedCredential::Whole(text) => self.authenticate_from(text, Some(address), now).await?,
            // Boxed, as what the cache does not know: most requests need no room for it.
            PresentedCredential::Signed(request) => Box::pin(self.authenticate_signed(request)).await?,
        };
        let permitted = || permission.map_or(Ok(()), |permission| principal.require(permission));
        let allowed = principal.admits(address).and_then(|()| permitted());
        let mut windows = self.limits.of_caller(&principal, class, model);
        let requester = Requester::Caller(principal.account, principal.credential.id(), class);
        if let Some(throttle) = self.over_limit.find(&requester, &windows, now) {
            return Err(Error::Throttled(throttle).into());
        }
        // Before the windows, and given back where they refuse: all is counted, or nothing.
        let (lease, quotas) = match allowed {
            Ok(()) => self.lease(&principal, class, now).await?,
            Err(_) => (None, Vec::new()),
        };
        // A refusal is remembered without it: it is another one with each request.
        let limits = windows.len();
        windows.extend(presented.nonce_window(self.signature_max_age));
        let mut states = match self.count_caller(&principal, &windows).await? {
            Verdict::Admitted(states) => signed_requests::visible_windows(states),
            Verdict::Throttled(throttle) => {
                return Err(self.throttled(requester, throttle, &windows[..limits]).into());
            }
            Verdict::Stale => return Ok(None),
        };
        states.extend(quotas);
        // Only now: a refusal counts like any request, and was not decided on stale knowledge.
        let allowed = allowed.inspect_err(|refusal| self.deny(&principal, refusal, source));
        let allowed = self.require_open_to_caller(&principal).and(allowed);
        self.detector.place(&principal, address, now);
        match allowed.and_then(|()| self.in_flight(&principal)) {
            Ok(in_flight) => Ok(Some(Admission { principal, in_flight, windows: states, lease })),
            Err(error) => Err(Refusal { error, windows: states }),
        }
    }

    fn throttled(&self, requester: Requester, throttle: Throttle, windows: &[Window]) -> Error {
        let error = signed_requests::refusal(throttle);
        if let Error::Throttled(throttle) = &error {
            self.over_limit.remember(requester, throttle, windows, self.now());
        }
        error
    }

    /// Refuses a caller who has not proved lately who they are.
    pub fn require_recent(&self, principal: &Principal) -> Result<()> {
        principal.require_recent(self.lifetimes.proof, self.now())
    }

    /// Counts a caller without a credential.
    pub async fn admit_anonymous(&self, address: IpAddr, class: LimitClass) -> Result<Vec<AllowanceState>> {
        let windows = self.limits.of_anonymous(class, address);
        let requester = Requester::Anonymous(network_of(address), class);
        if let Some(throttle) = self.over_limit.find(&requester, &windows, self.now()) {
            return Err(Error::Throttled(throttle));
        }
        let admitted = self.reserve(&windows).await;
        if let Err(Error::Throttled(throttle)) = &admitted {
            self.over_limit.remember(requester, throttle, &windows, self.now());
        }
        admitted
    }

    /// Counts a caller in the windows of a model that was not known when they were let in. Where there are none it
    /// costs nothing.
    pub async fn admit_to_model(&self, principal: &Principal, model: &str) -> Result<Vec<AllowanceState>> {
        self.reserve(&self.limits.of_model(principal.account, model)).await
    }

    /// Charges an inference to the caller's quotas. Without quotas it costs nothing.
    async fn lease(
        &self,
        principal: &Principal,
        class: LimitClass,
        now: DateTime<Utc>,
    ) -> Result<(Option<QuotaLease>, Vec<AllowanceState>)> {
        if class != LimitClass::Infer || principal.quotas.is_empty() {
            return Ok((None, Vec::new()));
        }
        let begun = QuotaLease::begin(&self.quota_book, principal.account, &principal.quotas, now).await;
        begun.map(|(lease, states)| (Some(lease), states))
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
}
