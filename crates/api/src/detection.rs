//! What is counted of every request that was answered: how many, how slow, what it looks like. Bodies of tensors and
//! pictures are not looked at, nor are credentials.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap};
use auth::{Activity, AttackPattern};

use crate::app::App;
use crate::guard::API_KEY;
use crate::request_context::RequestContext;

/// Where files are brought.
const UPLOADS: [&str; 2] = ["/api/v1/files", "/api/v1/admin/models/{name}/versions/{version}"];

/// Counts a request.
pub fn observe<B: MessageBody>(
    app: &App,
    response: &ServiceResponse<B>,
    context: &RequestContext,
    endpoint: &str,
) {
    let request = response.request();
    count(app, context.address, endpoint, context.arrived.elapsed(), &context.id);
    if matches!(*request.method(), Method::POST | Method::PUT) && UPLOADS.contains(&endpoint) {
        app.auth.notice(Activity::Upload, context.address);
    }
    let target = auth::in_target(request.path(), request.query_string());
    match target.or_else(|| of_headers(request.headers())) {
        Some(pattern) if is_made_by_a_page(request) => tell(pattern, context.address, &context.id),
        Some(pattern) => report(app, pattern, context.address, &context.id),
        None => {}
    }
}

/// Whether another site's page had a browser send it, as one of its pictures, scripts or frames or to ask whether it may
/// send more (Fetch Metadata): whoever sits there, and whoever shares the address, did nothing. A page chooses path,
/// query and some headers, and no credential. Who lies here is told of, and neither counted nor blocked.
fn is_made_by_a_page(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let destination = headers.get("sec-fetch-dest");
    matches!(*request.method(), Method::GET | Method::HEAD | Method::POST | Method::OPTIONS)
        && !headers.contains_key(AUTHORIZATION)
        && !headers.contains_key(API_KEY)
        && headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
        && destination.is_some_and(|destination| destination != "document")
}

/// Counts a call that came over HTTP or gRPC.
pub fn count(app: &App, address: IpAddr, endpoint: &str, took: Duration, id: &str) {
    app.auth.notice(Activity::Request, address);
    let limit = app.settings.detection.slow_request_ms;
    if limit > 0 && took >= Duration::from_millis(limit) {
        metrics::counter!("slow_requests_total", "endpoint" => endpoint.to_owned()).increment(1);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(request_id = id, endpoint, milliseconds, "slow_request");
        app.auth.notice(Activity::Slow, address);
    }
}

/// Counts something that looks like an attack, wherever it stood, against its address.
pub fn report(app: &App, pattern: AttackPattern, address: IpAddr, id: &str) {
    tell(pattern, address, id);
    app.auth.notice(Activity::Attack(pattern), address);
}

/// Tells operators of something that looks like an attack; what stood there is not repeated.
fn tell(pattern: AttackPattern, address: IpAddr, id: &str) {
    metrics::counter!("attack_patterns_total", "rule" => pattern.name()).increment(1);
    tracing::warn!(request_id = id, rule = pattern.name(), client = %address, "this looks like an attack");
}

fn of_headers(headers: &HeaderMap) -> Option<AttackPattern> {
    headers
        .iter()
        .filter(|(name, _)| **name != AUTHORIZATION && **name != COOKIE && name.as_str() != API_KEY)
        .find_map(|(name, value)| auth::in_header(name.as_str(), value.as_bytes()))
}
