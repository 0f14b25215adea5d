//! A request gets its context on its way in; its answer gets the id, and a line in the access log, on its way out.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest, web};

use crate::app::App;
use crate::detection::observe;
use crate::guard;
use crate::request_context::{REQUEST_ID, RequestContext};
use crate::telemetry::access_log::{self, Entry};
use crate::telemetry::series;
use crate::transport::connections;

const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static(REQUEST_ID);

/// The pattern of the route that a request came to; finding it a second time costs as much as the first.
#[derive(Clone)]
pub struct Endpoint(pub Arc<str>);

/// Gives the request its context, and its connection the time that it takes.
pub fn begin(request: &ServiceRequest) -> Rc<RequestContext> {
    let app = request.app_data::<web::Data<App>>();
    let trusted = app.map_or(&[][..], |app| &app.settings.program.trusted_proxies);
    let context = Rc::new(RequestContext::read(request.peer_addr(), request.headers(), trusted));
    request.extensions_mut().insert(Rc::clone(&context));
    connections::request_started(request.request());
    context
}

/// Gives the answer the request's id, and the access log its line.
pub fn end<B: MessageBody>(response: &mut ServiceResponse<B>, context: &RequestContext) {
    connections::answer_started(response.request(), response.response().body().size());
    if let Ok(value) = HeaderValue::from_str(&context.id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    record(response, context);
}

fn record<B: MessageBody>(response: &ServiceResponse<B>, context: &RequestContext) {
    let request = response.request();
    let status = response.status().as_u16();
    let endpoint = endpoint(request);
    series::count_answer(&endpoint, known_method(request.method().as_str()), status);
    let Some(app) = request.app_data::<web::Data<App>>() else { return };
    access_log::write(&Entry {
        at: app.auth.now(),
        request_id: &context.id,
        method: request.method().as_str(),
        path: request.path(),
        status,
        grpc_status: None,
        took: context.arrived.elapsed(),
        client: context.address,
        account: guard::account(request),
    });
    observe(app, response, context, &endpoint);
}

/// The pattern, not the path: a metric must not grow with what clients make up.
fn endpoint(request: &HttpRequest) -> Arc<str> {
    if let Some(Endpoint(pattern)) = request.extensions().get() {
        return Arc::clone(pattern);
    }
    request.match_pattern().map_or_else(|| "unknown".into(), Into::into)
}

fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}
