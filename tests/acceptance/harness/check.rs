//! What holds for every answer, whatever the request.

use std::collections::BTreeSet;

use serde_json::Value;

use super::client::Reply;

const SECURITY_HEADERS: [(&str, &str); 10] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src"),
    ("referrer-policy", "origin"),
    ("permissions-policy", "camera=()"),
    ("strict-transport-security", "max-age="),
    ("x-xss-protection", "1; mode=block"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("x-permitted-cross-domain-policies", "none"),
];
const PROBLEM_MEMBERS: [&str; 6] = ["code", "detail", "request_id", "status", "title", "type"];

/// Fails where an answer breaks a rule that has no exception.
#[track_caller]
pub fn every_answer(method: &str, path: &str, reply: &Reply) {
    assert_ne!(reply.status, 500, "{}: {}", reply.request, reply.text());
    for (name, part) in SECURITY_HEADERS {
        let value = reply.header(name).unwrap_or_else(|| panic!("{}: no {name}", reply.request));
        assert!(value.contains(part), "{}: {name}: {value}", reply.request);
    }
    for name in ["cache-control", "x-request-id"] {
        assert!(reply.header(name).is_some_and(|value| !value.is_empty()), "{}: no {name}", reply.request);
    }
    for name in ["set-cookie", "server", "x-powered-by", "location"] {
        assert!(reply.header(name).is_none() || path.starts_with("/docs"), "{}: {name}", reply.request);
    }
    if reply.status == 204 {
        assert!(reply.body.is_empty(), "{}: 204 with a body", reply.request);
    }
    required_headers(path, reply);
    if reply.status >= 400 && method != "HEAD" && !is_report(path, reply) {
        body(path, reply);
    }
}

#[track_caller]
fn required_headers(path: &str, reply: &Reply) {
    let has = |name| reply.header(name).is_some_and(|value: &str| !value.is_empty());
    match reply.status {
        401 => assert!(has("www-authenticate"), "{}: 401 without WWW-Authenticate", reply.request),
        405 => assert!(has("allow"), "{}: 405 without Allow", reply.request),
        429 => assert!(reply.number("retry-after") >= 1, "{}", reply.request),
        503 if !is_report(path, reply) => assert!(reply.number("retry-after") >= 1, "{}", reply.request),
        _ => {}
    }
}

/// Readiness is a report, also where the report is "no".
fn is_report(path: &str, reply: &Reply) -> bool {
    reply.status == 503 && path.ends_with("/ready")
}

#[track_caller]
fn body(path: &str, reply: &Reply) {
    let json: Value = reply.json();
    let members: BTreeSet<&str> =
        json.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path == "/v2" || path.starts_with("/v2/") {
        assert_eq!(reply.header("content-type"), Some("application/json"), "{}", reply.request);
        assert_eq!(members, BTreeSet::from(["error"]), "{}: {json}", reply.request);
        assert!(json["error"].as_str().is_some_and(|error| !error.is_empty()), "{}: {json}", reply.request);
        return;
    }
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{}", reply.request);
    let mut expected = BTreeSet::from(PROBLEM_MEMBERS);
    if json["code"] == "validation_failed" {
        expected.insert("errors");
    }
    if json["code"] == "quota_exceeded" {
        expected.insert("violated-policies");
    }
    if json["code"] == "challenge_required" {
        expected.insert("site_key");
    }
    assert_eq!(members, expected, "{}: {json}", reply.request);
    assert_eq!(json["status"], reply.status, "{}: {json}", reply.request);
    assert_eq!(json["request_id"].as_str(), reply.header("x-request-id"), "{}: {json}", reply.request);
    let code = json["code"].as_str().unwrap_or_default();
    let kind = match code {
        "quota_exceeded" => "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned(),
        code => format!("urn:modelgate:problem:{code}"),
    };
    assert_eq!(json["type"], kind, "{}: {json}", reply.request);
    for member in ["title", "detail"] {
        assert!(json[member].as_str().is_some_and(|text| !text.is_empty()), "{}: {json}", reply.request);
    }
    if let Some(errors) = json.get("errors") {
        let lists =
            |messages: &Value| messages.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        assert!(
            errors.as_object().is_some_and(|fields| fields.values().all(lists)),
            "{}: {json}",
            reply.request
        );
    }
}
