//! The guards in front of every handler: authenticate, authorise, admit; only then is the body read.
//!
//! A route's guard is built from the type of its handler's first argument, so a handler without one does not compile
//! (see [`routes`](crate::routes)). The decisions themselves are `auth`'s; this is their adapter to actix-web.

mod caller;
pub mod credential;
mod rate_headers;

use std::panic::AssertUnwindSafe;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError, web};
use auth::{Admission, LimitClass};
use futures_util::FutureExt;

use caller::Proof;
pub(crate) use caller::account;
pub use caller::{Caller, FirstArgument, Own, Person, Requirement, Visitor, permission};
pub use rate_headers::{whole_seconds, write as write_rate_headers};

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::middleware::RequestContext;

/// Lets a request through to its handler, or answers it.
pub async fn stand_before(
    requirement: Requirement,
    class: LimitClass,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> std::result::Result<ServiceResponse, actix_web::Error> {
    let mut admission = match decide(requirement, class, &request).await {
        Ok(admission) => admission,
        Err(error) => return Ok(request.into_response(error.error_response())),
    };
    let running = admission.in_flight.take();
    let subject = request.request().clone();
    // A fault in one handler must cost one answer, not a connection or a worker.
    let answered = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    drop(running);
    let mut response = match answered {
        Ok(response) => response?,
        Err(_) => ServiceResponse::new(subject, ApiError::internal("a handler panicked").error_response()),
    };
    rate_headers::write(&admission.windows, response.headers_mut());
    Ok(response)
}

async fn decide(requirement: Requirement, class: LimitClass, request: &ServiceRequest) -> Result<Admission> {
    let app =
        request.app_data::<web::Data<App>>().ok_or_else(|| ApiError::internal("the app has no state"))?;
    let address = RequestContext::of(request).address;
    let Requirement::Caller { permission, person } = requirement else {
        return Ok(app.auth.admit_visitor(address, class).await?);
    };
    let entered = match credential::read(request.headers()) {
        Ok(credential) => {
            app.auth.enter(credential, address, permission, class).await.map_err(ApiError::from)
        }
        Err(error) => Err(error),
    };
    match entered {
        Ok((principal, admission)) => {
            if person {
                principal.require_session()?;
            }
            request.extensions_mut().insert(Proof { principal, requirement });
            Ok(admission)
        }
        Err(error) => {
            // Whoever failed to say who they are is counted as nobody, so that credentials cannot be guessed freely.
            if error.code.status() == 401 {
                app.auth.admit_visitor(address, LimitClass::Anonymous).await?;
            }
            Err(error)
        }
    }
}
