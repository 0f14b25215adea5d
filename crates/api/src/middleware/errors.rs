//! The one place that writes an error's body.

use actix_web::HttpRequest;
use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::http::{Method, StatusCode};
use auth::Violations;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, Code};
use crate::guard::{put_into, whole_seconds, write_rate_headers};
use crate::request_context::RequestContext;

/// An error as RFC 9457 writes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A URI for the kind of error.
    #[serde(rename = "type")]
    #[schema(example = "urn:modelgate:problem:not_found")]
    kind: String,
    /// The kind of error in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do.
    detail: String,
    /// A stable name for the kind of error.
    code: &'static str,
    /// The id that finds this request in the log.
    request_id: String,
    /// With `challenge_required`: what a page shows the challenge with.
    #[serde(skip_serializing_if = "Option::is_none")]
    site_key: Option<String>,
    /// Field → what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Vec<String>>>)]
    errors: Option<Violations>,
    /// The quotas that are used up, by their names in `RateLimit-Policy`.
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<&'static str>,
}

/// The kind of error that draft-ietf-httpapi-ratelimit-headers registers for a quota that is used up.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Gives every error its documented body and headers, whether a handler, a guard or the framework made it.
pub fn write<B>(
    response: ServiceResponse<EitherBody<B>>,
    context: &RequestContext,
) -> ServiceResponse<EitherBody<B>> {
    let error = response.response().extensions().get::<ApiError>().cloned();
    let status = response.status();
    let Some(error) = error.or_else(|| is_bare(&response).then(|| bare(status, response.request()))) else {
        return response;
    };
    log_error(&error, context);
    written(response, &error, context).map_into_right_body()
}

/// The client gets the id, the operator finds the cause with it.
pub fn log_error(error: &ApiError, context: &RequestContext) {
    let Some(cause) = &error.hints.cause else { return };
    let (request_id, code) = (context.id.as_str(), error.code.name());
    if error.code == Code::Internal {
        tracing::error!(request_id, code, cause, "internal error");
    } else {
        tracing::error!(request_id, code, cause, "a store is unavailable");
    }
}

/// What the framework says with a status alone.
fn bare(status: StatusCode, request: &HttpRequest) -> ApiError {
    if status == StatusCode::BAD_REQUEST && request.method() == Method::OPTIONS {
        let detail =
            "Pages of this origin (ALLOWED_ORIGINS), with this method or with these headers, may not call.";
        return ApiError::new(Code::MalformedRequest, detail);
    }
    ApiError::from_status(status)
}

/// An error that the framework made: what handlers answer on purpose, such as a health report, is JSON.
fn is_bare<B>(response: &ServiceResponse<B>) -> bool {
    let status = response.status();
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    (status.is_client_error() || status.is_server_error()) && !is_json
}

fn written<B>(response: ServiceResponse<B>, error: &ApiError, context: &RequestContext) -> ServiceResponse {
    let (media_type, body) = if is_v2(response.request().path()) {
        // Exactly this media type: a client compares it as a whole.
        ("application/json", serde_json::json!({"error": error.detail}).to_string())
    } else {
        ("application/problem+json", problem(error, context))
    };
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (request, old) = response.into_parts();
    let mut new = actix_web::HttpResponse::with_body(status, BoxBody::new(body));
    // What inner layers added, such as CORS headers, holds for the error as well.
    for (name, value) in old.headers() {
        new.headers_mut().append(name.clone(), value.clone());
    }
    new.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    describe(error, new.headers_mut());
    ServiceResponse::new(request, new)
}

/// Whether a path is of the Open Inference Protocol, which has errors of its own.
pub fn is_v2(path: &str) -> bool {
    path.strip_prefix("/v2").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn problem(error: &ApiError, context: &RequestContext) -> String {
    let problem = Problem {
        kind: match error.code {
            Code::QuotaExceeded => QUOTA_EXCEEDED.to_owned(),
            code => format!("urn:modelgate:problem:{}", code.name()),
        },
        title: error.code.title(),
        status: error.code.status(),
        detail: error.detail.clone(),
        code: error.code.name(),
        request_id: context.id.clone(),
        site_key: error.hints.site_key.clone(),
        errors: error.hints.violations.clone(),
        violated_policies: error.hints.violated_policies.clone(),
    };
    serde_json::to_string(&problem).unwrap_or_default()
}

fn describe(error: &ApiError, headers: &mut HeaderMap) {
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    if let Some(wait) = error.hints.retry_after {
        put(RETRY_AFTER, whole_seconds(wait).max(1).to_string());
    }
    if let Some(allow) = &error.hints.allow {
        put(ALLOW, allow.clone());
    }
    if let Some(encodings) = error.hints.accept_encoding {
        put(ACCEPT_ENCODING, encodings.to_owned());
    }
    if let Some(challenge) = challenge(error) {
        put(WWW_AUTHENTICATE, challenge);
    }
    write_rate_headers(&error.hints.windows, put_into(headers));
}

/// RFC 6750, section 3, and RFC 9470, section 3.
fn challenge(error: &ApiError) -> Option<String> {
    const REALM: &str = "Bearer realm=\"modelgate\"";
    if let Some(max_age) = error.hints.max_age {
        let wanted = format!("max_age={}", whole_seconds(max_age));
        return Some(format!("{REALM}, error=\"insufficient_user_authentication\", {wanted}"));
    }
    match (error.code.status(), error.hints.scope) {
        (401, _) if error.code == Code::InvalidToken => Some(format!("{REALM}, error=\"invalid_token\"")),
        (401, _) => Some(REALM.into()),
        (403, Some(scope)) => Some(format!("{REALM}, error=\"insufficient_scope\", scope=\"{scope}\"")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::io::Write;
    use std::sync::Arc;

    use actix_web::dev::ServiceRequest;
    use actix_web::middleware::{Next, from_fn};
    use actix_web::test::{TestRequest, call_and_read_body_json, init_service};
    use actix_web::{App, HttpResponse, web};
    use serde_json::Value;

    use super::*;
    use crate::middleware::context;

    #[derive(Clone, Default)]
    struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_request_id_finds_the_cause_in_the_log_and_only_there() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
        let _logging = tracing::subscriber::set_default(log.finish());
        let answer: Value = actix_web::rt::System::new().block_on(async {
            let fault = || async { Err::<HttpResponse, _>(ApiError::internal("the disk is on fire")) };
            let around = async |request: ServiceRequest, next: Next<BoxBody>| {
                let context = context::begin(&request);
                Ok::<_, actix_web::Error>(write(next.call(request).await?.map_into_left_body(), &context))
            };
            let app = App::new().wrap(from_fn(around)).route("/fault", web::get().to(fault));
            let app = init_service(app).await;
            call_and_read_body_json(&app, TestRequest::get().uri("/fault").to_request()).await
        });
        assert_eq!(answer["code"], "internal_error");
        assert!(!answer.to_string().contains("fire"), "{answer}");
        let log = String::from_utf8(lines.0.lock().clone()).unwrap();
        let mut entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let entry = entries.find(|entry| entry["message"] == "internal error").unwrap();
        assert_eq!(entry["request_id"], answer["request_id"]);
        assert_eq!(entry["cause"], "the disk is on fire");
    }
}
