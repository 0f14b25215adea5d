//! The first line of defence: actix-governor, per address, in this process, before anything is looked up.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use actix_governor::governor::clock::{Clock, DefaultClock, QuantaInstant};
use actix_governor::governor::{NotUntil, middleware::NoOpMiddleware};
use actix_governor::{Governor, GovernorConfig, GovernorConfigBuilder, KeyExtractor};
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use auth::{AllowanceState, QuotaUnit};

use crate::error::ApiError;
use crate::request_context::RequestContext;
use crate::{health, well_known};

/// How often addresses that have long been quiet are forgotten.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(30);

/// Its window in the headers of limits.
const WINDOW: &str = "guard";
/// Its length.
const PERIOD: Duration = Duration::from_secs(1);

/// Its configuration and counters; every worker counts in the same place.
#[derive(Clone, Debug)]
pub struct AddressLimit {
    config: GovernorConfig<Peer, NoOpMiddleware<QuantaInstant>>,
    per_second: u32,
}

impl AddressLimit {
    /// For `per_second` requests of one address, with as many at once; 0 switches it off.
    pub fn new(per_second: u32) -> Option<Self> {
        let rate = per_second.max(1);
        GovernorConfigBuilder::default()
            .nanoseconds_per_request(1_000_000_000 / u64::from(rate))
            .burst_size(rate)
            .key_extractor(Peer { per_second })
            .finish()
            .map(|config| Self { config, per_second })
    }

    /// The middleware.
    pub fn middleware(&self) -> Governor<Peer, NoOpMiddleware<QuantaInstant>> {
        Governor::new(&self.config)
    }

    /// Counts a request that came another way than through the middleware. Refuses it past the limit.
    pub fn count(&self, address: IpAddr) -> Result<(), ApiError> {
        if self.per_second == 0 {
            return Ok(());
        }
        let key = Some(auth::network_of(address));
        self.config.limiter().check_key(&key).map_err(|until| exceeded(self.per_second, &until))
    }

    /// Forgets addresses that have their whole allowance again, so that memory does not grow with visitors.
    pub fn forget_quiet(&self) {
        self.config.limiter().retain_recent();
    }
}

/// Counts by client address, IPv6 by /64; what must always answer is not counted.
#[derive(Clone, Debug)]
pub struct Peer {
    /// 0: nobody is counted.
    per_second: u32,
}

impl KeyExtractor for Peer {
    type Key = Option<IpAddr>;
    type KeyExtractionError = Never;

    fn extract(&self, request: &ServiceRequest) -> Result<Self::Key, Never> {
        let headers = request.headers();
        let is_preflight = request.method() == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let exempt = is_preflight
            || health::PATHS.contains(&request.path())
            || request.path() == well_known::JWKS_PATH;
        Ok((self.per_second > 0 && !exempt).then(|| auth::network_of(RequestContext::of(request).address)))
    }

    fn whitelisted_keys(&self) -> Vec<Self::Key> {
        vec![None]
    }

    fn exceed_rate_limit_response(
        &self,
        until: &NotUntil<QuantaInstant>,
        _: HttpResponseBuilder,
    ) -> HttpResponse {
        exceeded(self.per_second, until).error_response()
    }
}

fn exceeded(per_second: u32, until: &NotUntil<QuantaInstant>) -> ApiError {
    let wait = until.wait_time_from(DefaultClock::default().now());
    let detail = "Too many requests from this address; wait as long as Retry-After says.";
    let window = AllowanceState {
        name: WINDOW,
        limit: per_second.into(),
        period: PERIOD,
        remaining: 0,
        reset_after: wait,
        unit: QuotaUnit::Requests,
        is_over: false,
    };
    ApiError::rate_limited(detail, wait, vec![window])
}

/// The address of a request is always known.
#[derive(Debug)]
pub struct Never(Infallible);

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl ResponseError for Never {
    fn status_code(&self) -> StatusCode {
        match self.0 {}
    }
}
