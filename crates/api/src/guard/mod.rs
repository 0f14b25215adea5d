//! The guards in front of every handler: authenticate, authorise, admit; only then is the body read.
//!
//! What decides is [`admit`]; the adapters to actix-web (here) and to gRPC (`grpc::interceptor`) say what was asked.
//!
//! A route's guard is built from the type of its handler's first argument, so a handler without one does not compile
//! (see [`routes`](crate::routes)). The decisions themselves are `auth`'s.

mod caller;
pub mod credential;
mod rate_headers;
mod signature;
mod signed_body;
mod time_limit;
mod unwanted_body;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError, web};
use auth::{Admission, AllowanceState, InFlight, LimitClass, PresentedCredential, QuotaLease, RequestSource};
use futures_util::FutureExt;
use storage::IpPlace;

pub use caller::{
    Access, AlwaysOpen, Anonymous, Assurance, Authenticated, Caller, FirstArgument, Person, Proof,
    Requirement, StepUp, permission,
};
pub(crate) use caller::{account, infers};
pub use credential::{API_KEY, OptionalToken};
pub use rate_headers::{RateHeader, put_into, whole_seconds, write as write_rate_headers};
use signature::Signature;
pub use signature::Target;
pub use signed_body::broken;
pub use time_limit::{EXPORT_TIME, TimeLimit, in_time};

use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::request_context::RequestContext;
use crate::transport::HeaderLines;

/// Lets a request through to its handler, or answers it; with a body only where the handler `takes_body`.
pub async fn run_guarded(
    requirement: Requirement,
    class: LimitClass,
    time_limit: TimeLimit,
    takes_body: bool,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> std::result::Result<ServiceResponse, actix_web::Error> {
    let mut admitted = match admit_request(requirement, class, &request).await {
        Ok(admitted) => admitted,
        Err(error) => return Ok(request.into_response(error.error_response())),
    };
    if let Some(digest) = admitted.digest {
        signed_body::hold(&mut request, digest);
    }
    if !takes_body && let Err(error) = unwanted_body::refuse(&mut request).await {
        return Ok(request.into_response(error.with_windows(admitted.windows).error_response()));
    }
    let mut response = answer_in_time(time_limit, request, next).await?;
    admitted.refresh_states();
    rate_headers::write(&admitted.windows, put_into(response.headers_mut()));
    Ok(response)
}

/// Has the handler answer in its time.
async fn answer_in_time(
    time_limit: TimeLimit,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> std::result::Result<ServiceResponse, actix_web::Error> {
    let Some(app) = request.app_data::<web::Data<App>>() else { return catch_panic(request, next).await };
    let until = time_limit.until(app, RequestContext::arrival(&request.extensions()));
    let (subject, changes) = (request.request().clone(), !request.method().is_safe());
    let answered = in_time(until, changes, catch_panic(request, next)).await;
    answered.unwrap_or_else(|late| Ok(ServiceResponse::new(subject, late.error_response())))
}

/// A fault in one handler must cost one answer, not a connection or a worker.
async fn catch_panic(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> std::result::Result<ServiceResponse, actix_web::Error> {
    let subject = request.request().clone();
    let answered = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        Ok(ServiceResponse::new(subject, ApiError::internal("a handler panicked").error_response()))
    })
}

async fn admit_request(
    requirement: Requirement,
    class: LimitClass,
    request: &ServiceRequest,
) -> Result<Admitted> {
    let app =
        request.app_data::<web::Data<App>>().ok_or_else(|| ApiError::internal("the app has no state"))?;
    let context = RequestContext::of(request);
    let asked = AdmissionRequest {
        requirement,
        class,
        changes: !request.method().is_safe(),
        address: context.address,
        request_id: &context.id,
        model: request.match_info().get("name"),
        headers: request.headers(),
        target: Some(Target {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
        }),
    };
    let mut admitted = admit(app, asked).await?;
    if let Some(proof) = admitted.proof.take() {
        request.extensions_mut().insert(proof);
    }
    Ok(admitted)
}

/// What a request asks for, before its body is read.
pub struct AdmissionRequest<'a, Headers> {
    /// What its caller must have.
    pub requirement: Requirement,
    /// Which limits it falls under.
    pub class: LimitClass,
    /// Whether it may change something.
    pub changes: bool,
    /// Where it comes from.
    pub address: IpAddr,
    /// Its id.
    pub request_id: &'a str,
    /// The model that it is about, where that is known before the body is read.
    pub model: Option<&'a str>,
    /// Where its credential may stand.
    pub headers: &'a Headers,
    /// What a signature must be about; none where requests are not signed.
    pub target: Option<Target<'a>>,
}

/// Leave to go on.
pub struct Admitted {
    /// Who goes on, for the handler; none on a public route.
    pub proof: Option<Proof>,
    /// The windows and quotas that were counted.
    pub windows: Vec<AllowanceState>,
    /// What the body of a signed request must be.
    pub digest: Option<[u8; 32]>,
    /// What the request takes of quotas.
    pub lease: Option<Arc<QuotaLease>>,
    /// Held until the answer is made.
    pub in_flight: Option<InFlight>,
}

impl Admitted {
    /// Takes over how the quotas stand when the answer is made.
    fn refresh_states(&mut self) {
        if let Some(lease) = &self.lease {
            lease.refresh_states(&mut self.windows);
        }
    }
}

/// The three guards: who it is, whether they may, and how much is left; in the time of any request.
pub async fn admit<Headers: HeaderLines>(
    app: &App,
    asked: AdmissionRequest<'_, Headers>,
) -> Result<Admitted> {
    let until = Instant::now() + app.settings.program.request_timeout();
    in_time(until, false, judge(app, asked)).await?
}

async fn judge<Headers: HeaderLines>(app: &App, asked: AdmissionRequest<'_, Headers>) -> Result<Admitted> {
    let AdmissionRequest { requirement, class, changes, address, request_id, model, headers, target } = asked;
    let Requirement::Caller { permission, assurance } = requirement else {
        let windows = app.auth.admit_anonymous(address, class).await?;
        if requirement == Requirement::Public && class != LimitClass::Exempt {
            app.auth.require_open().map_err(|closed| ApiError::from(closed).with_windows(windows.clone()))?;
        }
        return Ok(Admitted { proof: None, windows, digest: None, lease: None, in_flight: None });
    };
    if permission.is_some_and(auth::Permission::is_administrative) {
        app.auth.require_address(address, IpPlace::Admin)?;
    }
    if app.auth.refuses_in_isolation(class, changes) {
        return Err(ApiError::new(
            Code::Unavailable,
            "No store is in reach; nothing can be changed meanwhile.",
        ));
    }
    let Presented { credential, digest } = match presented(headers, target) {
        Ok(presented) => presented,
        Err(error) => return Err(refused(app, address, error).await),
    };
    let source = RequestSource { address, request_id: Some(request_id) };
    let admitted = app.auth.admit(&credential, source, permission, class, model).await;
    let Admission { principal, in_flight, windows, lease } = match admitted {
        Ok(admission) => admission,
        Err(refusal) => return Err(refused(app, address, refusal.into()).await),
    };
    let assured = match assurance {
        Assurance::Credential => Ok(()),
        Assurance::Person => principal.require_person().map(drop),
        Assurance::RecentPerson => app.auth.require_recent(&principal),
    };
    if let Err(error) = assured {
        return Err(ApiError::from(error).with_windows(windows));
    }
    let lease = lease.map(Arc::new);
    let proof = Proof { principal, requirement, lease: lease.clone() };
    Ok(Admitted { proof: Some(proof), windows, digest, lease, in_flight: Some(in_flight) })
}

/// What a request proves.
struct Presented<'a> {
    /// Who calls.
    credential: PresentedCredential<'a>,
    /// What the body must be, where the request is signed.
    digest: Option<[u8; 32]>,
}

fn presented<'a, Headers: HeaderLines>(
    headers: &'a Headers,
    target: Option<Target<'_>>,
) -> Result<Presented<'a>> {
    if !signature::is_signed(headers) {
        let credential = PresentedCredential::Whole(credential::read(headers)?);
        return Ok(Presented { credential, digest: None });
    }
    let target = target
        .ok_or(auth::Error::InvalidCredential("calls over gRPC are not signed; use a key that is sent"))?;
    let Signature { request, digest } = signature::read(headers, target)?;
    Ok(Presented { credential: PresentedCredential::Signed(request), digest: Some(digest) })
}

/// Whoever failed to say who they are is counted as nobody: past that limit the answer is 429.
pub async fn refused(app: &App, address: IpAddr, error: ApiError) -> ApiError {
    if !matches!(error.code.status(), 400 | 401) {
        return error;
    }
    match app.auth.admit_anonymous(address, LimitClass::Anonymous).await {
        Ok(windows) => error.with_windows(windows),
        Err(throttled) => {
            let mut error = ApiError::from(throttled);
            error.hints.is_nobodys = true;
            error
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, clippy::unwrap_used, reason = "what is tested is a panic; a failed test may")]
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{HttpResponse, web};

    use super::*;

    async fn panics() -> HttpResponse {
        panic!("a fault")
    }

    #[actix_web::test]
    async fn what_is_late_is_given_up_and_claims_nothing() {
        let (over, never) = (Instant::now(), std::future::pending::<()>);
        let told = |error: ApiError| (error.code, error.hints.retry_after.is_some(), error.detail);
        let (code, retries, detail) = told(in_time(over, true, never()).await.unwrap_err());
        assert!(code == Code::DeadlineExceeded && retries && detail.contains("not known"), "{detail}");
        let (code, retries, detail) = told(in_time(over, false, never()).await.unwrap_err());
        assert!(code == Code::DeadlineExceeded && retries && detail.contains("try again"), "{detail}");
        assert!(in_time(over, true, std::future::ready(())).await.is_ok(), "what is done is done");
    }

    #[actix_web::test]
    async fn a_handler_that_panics_costs_one_answer() {
        let service = actix_web::App::new()
            .route("/panics", web::get().to(panics).wrap(from_fn(catch_panic)))
            .route("/works", web::get().to(HttpResponse::Ok));
        let service = init_service(service).await;
        for (path, status) in [("/panics", 500), ("/works", 200), ("/panics", 500)] {
            let answer = call_service(&service, TestRequest::get().uri(path).to_request()).await;
            assert_eq!(answer.status(), status, "{path}");
        }
    }
}
