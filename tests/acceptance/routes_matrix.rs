//! Every route of the document, called with every role: callers without the permission are refused, others are not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::harness::{Pair, Person, Reply, Server, promise};
pub use crate::operations::{NOBODY, Operation, document, operations};

/// What each role has, as the contract lists it.
#[rustfmt::skip]
const ROLES: [(&str, &[&str]); 4] = [
    ("readonly", &["models:read"]),
    ("user", &["models:read", "models:infer", "files:write"]),
    ("moderator", &["models:read", "models:infer", "files:write", "users:read", "keys:read", "usage:read", "audit:read", "incidents:manage"]),
    ("admin", &["models:read", "models:infer", "files:write", "users:read", "keys:read", "usage:read", "audit:read", "incidents:manage",
                "models:manage", "users:manage", "keys:manage", "roles:manage", "limits:manage", "system:manage"]),
];

/// What the contract lists and this release carries.
const ROUTES: &str = "\
    GET /health
    GET /health/live
    GET /health/ready
    GET /metrics system:manage
    GET /.well-known/jwks.json
    GET /.well-known/security.txt
    POST /api/v1/auth/register
    POST /api/v1/auth/login
    POST /api/v1/auth/mfa
    POST /api/v1/auth/step-up person
    POST /api/v1/auth/revoke
    POST /api/v1/auth/introspect own
    POST /api/v1/auth/refresh
    POST /api/v1/auth/logout person
    POST /api/v1/auth/logout-all person
    POST /api/v1/auth/password person
    POST /api/v1/auth/password/forgot
    POST /api/v1/auth/password/reset
    POST /api/v1/auth/invitations/accept
    POST /api/v1/auth/email/change person
    POST /api/v1/auth/email/confirm
    GET /api/v1/auth/sessions person
    DELETE /api/v1/auth/sessions/{id} person
    GET /api/v1/me own
    PUT /api/v1/me person
    GET /api/v1/me/mfa person
    POST /api/v1/me/mfa/totp person
    DELETE /api/v1/me/mfa/totp person
    POST /api/v1/me/mfa/totp/confirm person
    POST /api/v1/me/mfa/recovery-codes person
    GET /api/v1/me/usage own
    GET /api/v1/me/usage/export own
    GET /api/v1/me/notices person
    GET /api/v1/me/identities person
    GET /api/v1/me/export person
    DELETE /api/v1/me person
    GET /api/v1/api-keys person
    POST /api/v1/api-keys person
    GET /api/v1/api-keys/{id} person
    PUT /api/v1/api-keys/{id} person
    DELETE /api/v1/api-keys/{id} person
    POST /api/v1/api-keys/{id}/rotate person
    GET /api/v1/files own
    POST /api/v1/files files:write
    GET /api/v1/files/{id} own
    DELETE /api/v1/files/{id} own
    GET /api/v1/models models:read
    GET /api/v1/models/{name} models:read
    POST /api/v1/models/{name}/predict models:infer
    GET /api/v1/admin/users users:read
    GET /api/v1/admin/users/{id} users:read
    PUT /api/v1/admin/users/{id} users:manage
    DELETE /api/v1/admin/users/{id} users:manage
    DELETE /api/v1/admin/users/{id}/sessions users:manage
    DELETE /api/v1/admin/users/{id}/mfa users:manage
    POST /api/v1/admin/users users:manage
    POST /api/v1/admin/users/{id}/reset-password users:manage
    POST /api/v1/admin/users/{id}/unlock users:manage
    GET /api/v1/admin/users/{id}/identities users:read
    POST /api/v1/admin/users/{id}/identities users:manage
    DELETE /api/v1/admin/users/{id}/identities/{identity_id} users:manage
    GET /api/v1/admin/api-keys keys:read
    DELETE /api/v1/admin/api-keys/{id} keys:manage
    GET /api/v1/admin/audit audit:read
    GET /api/v1/admin/audit/{id} audit:read
    GET /api/v1/admin/audit/chain audit:read
    GET /api/v1/admin/audit/export audit:read
    GET /api/v1/admin/audit/stream audit:read
    GET /api/v1/admin/legal-holds users:manage
    PUT /api/v1/admin/legal-holds/{id} users:manage
    DELETE /api/v1/admin/legal-holds/{id} users:manage
    GET /api/v1/admin/service-accounts users:read
    POST /api/v1/admin/service-accounts users:manage
    GET /api/v1/admin/service-accounts/{id} users:read
    PUT /api/v1/admin/service-accounts/{id} users:manage
    DELETE /api/v1/admin/service-accounts/{id} users:manage
    GET /api/v1/admin/service-accounts/{id}/api-keys keys:read
    POST /api/v1/admin/service-accounts/{id}/api-keys keys:manage
    PUT /api/v1/admin/service-accounts/{id}/api-keys/{key_id} keys:manage
    DELETE /api/v1/admin/service-accounts/{id}/api-keys/{key_id} keys:manage
    POST /api/v1/admin/service-accounts/{id}/api-keys/{key_id}/rotate keys:manage
    GET /api/v1/admin/roles roles:manage
    POST /api/v1/admin/roles roles:manage
    PUT /api/v1/admin/roles/{name} roles:manage
    DELETE /api/v1/admin/roles/{name} roles:manage
    GET /api/v1/admin/ip-rules system:manage
    POST /api/v1/admin/ip-rules system:manage
    DELETE /api/v1/admin/ip-rules/{id} system:manage
    GET /api/v1/admin/incidents incidents:manage
    POST /api/v1/admin/incidents incidents:manage
    GET /api/v1/admin/incidents/{id} incidents:manage
    PUT /api/v1/admin/incidents/{id} incidents:manage
    GET /api/v1/admin/incidents/{id}/timeline incidents:manage
    POST /api/v1/admin/incidents/{id}/notes incidents:manage
    POST /api/v1/admin/incidents/{id}/events incidents:manage
    POST /api/v1/admin/incidents/{id}/answers incidents:manage
    GET /api/v1/admin/incidents/{id}/answers/{entry_id} incidents:manage
    DELETE /api/v1/admin/incidents/{id}/answers/{entry_id} incidents:manage
    GET /api/v1/admin/alerts incidents:manage
    POST /api/v1/admin/alerts/{id}/retry incidents:manage
    GET /api/v1/admin/maintenance system:manage
    PUT /api/v1/admin/maintenance system:manage
    GET /api/v1/admin/usage usage:read
    GET /api/v1/admin/usage/export usage:read
    GET /api/v1/admin/limits limits:manage
    PUT /api/v1/admin/limits/{scope}/{subject} limits:manage
    DELETE /api/v1/admin/limits/{scope}/{subject} limits:manage
    GET /api/v1/admin/quotas limits:manage
    PUT /api/v1/admin/quotas/{scope}/{subject}/{unit}/{period} limits:manage
    DELETE /api/v1/admin/quotas/{scope}/{subject}/{unit}/{period} limits:manage
    GET /api/v1/admin/models models:manage
    POST /api/v1/admin/models/{name}/load models:manage
    POST /api/v1/admin/models/{name}/unload models:manage
    POST /api/v1/admin/models/{name}/activate models:manage
    POST /api/v1/admin/models/{name}/rollback models:manage
    PUT /api/v1/admin/models/{name}/versions/{version} models:manage
    DELETE /api/v1/admin/models/{name}/versions/{version} models:manage
    GET /api/v1/admin/models/{name}/access models:manage
    PUT /api/v1/admin/models/{name}/access models:manage
    PUT /api/v1/admin/models/{name}/grants models:manage
    DELETE /api/v1/admin/models/{name}/grants/accounts/{id} models:manage
    DELETE /api/v1/admin/models/{name}/grants/roles/{role} models:manage
    GET /v2/health/live
    GET /v2/health/ready
    GET /v2 models:read
    GET /v2/ models:read
    GET /v2/models/stats models:read
    GET /v2/models/{name} models:read
    GET /v2/models/{name}/config models:read
    GET /v2/models/{name}/stats models:read
    GET /v2/models/{name}/ready models:read
    GET /v2/models/{name}/versions/{version} models:read
    GET /v2/models/{name}/versions/{version}/ready models:read
    GET /v2/models/{name}/versions/{version}/config models:read
    GET /v2/models/{name}/versions/{version}/stats models:read
    POST /v2/models/{name}/infer models:infer
    POST /v2/models/{name}/versions/{version}/infer models:infer
    POST /v2/repository/index models:read
    POST /v2/repository/models/{name}/load models:manage
    POST /v2/repository/models/{name}/unload models:manage";

/// One of each role; the administrator first.
fn people(server: &Server) -> BTreeMap<&'static str, Person> {
    let admin = server.admin();
    let mut people = BTreeMap::new();
    for (role, _) in ROLES.into_iter().filter(|(role, _)| *role != "admin") {
        people.insert(role, server.person_with_role(&admin, role, role));
    }
    people.insert("admin", admin);
    people
}

#[track_caller]
fn let_through(operation: &Operation, who: &str, reply: &Reply) {
    let may_be_missing = operation.path.contains('{') || operation.path.ends_with("/security.txt");
    let is_refused = matches!(reply.status, 401 | 403 | 405) || (reply.status == 404 && !may_be_missing);
    assert!(!is_refused, "{who}: {}: {} {}", operation.name(), reply.status, reply.text());
}

promise! {
    fn the_document_has_every_route_and_says_what_it_asks(pair) {
        let server = Server::start(pair, &[]);
        let expected: BTreeSet<String> = ROUTES.lines().map(|line| line.trim().to_owned()).collect();
        let found: BTreeSet<String> = operations(&server)
            .iter()
            .map(|operation| {
                format!("{} {}", operation.name(), operation.requirement()).trim_end().to_owned()
            })
            .collect();
        let difference: Vec<_> = expected.symmetric_difference(&found).collect();
        assert!(difference.is_empty(), "{difference:#?}");
    }

    fn nobody_gets_401_wherever_a_caller_is_needed(pair) {
        let server = Server::start(pair, &[]);
        for operation in operations(&server) {
            let reply = operation.ask(&server.anon());
            match &operation.scopes {
                Some(_) => assert_eq!(reply.status, 401, "{}: {}", operation.name(), reply.text()),
                None if operation.path.ends_with("/auth/login")
                    || operation.path.ends_with("/auth/mfa")
                    || operation.path.ends_with("/auth/refresh") =>
                {
                    assert_eq!(reply.status, 400, "an empty object is no credential: {}", reply.text());
                }
                None => let_through(&operation, "nobody", &reply),
            }
        }
    }

    fn each_role_gets_what_it_has_and_no_more(pair) {
        let server = Server::start(pair, &[]);
        let people = people(&server);
        let (ends, others): (Vec<_>, Vec<_>) =
            operations(&server).into_iter().partition(Operation::is_an_end);
        assert_eq!(ends.len(), 3);
        for (role, has) in ROLES {
            let person = &people[role];
            for operation in &others {
                let reply = operation.ask(&person.api);
                let needs = operation.scopes.clone().unwrap_or_default();
                if needs.iter().all(|scope| has.contains(&scope.as_str())) {
                    let_through(operation, role, &reply);
                } else {
                    assert_eq!(reply.status, 403, "{role}: {}: {}", operation.name(), reply.text());
                    let challenge = reply.header("www-authenticate").unwrap_or_default();
                    assert!(challenge.contains("insufficient_scope"), "{}: {challenge}", operation.name());
                }
            }
            for operation in &ends {
                let reply = operation.ask(&server.log_in(&person.email, &person.password).api);
                let stays = role == "admin" && operation.method == "DELETE";
                assert_eq!(reply.status, if stays { 409 } else { 204 }, "{role}: {}", operation.name());
            }
        }
    }

    fn a_key_gets_its_scopes_and_manages_no_keys(pair) {
        let server = Server::start(pair, &[]);
        let admin = server.admin();
        let all: Vec<&str> = ROLES[3].1.to_vec();
        for scopes in [vec!["files:write"], vec!["models:read"], vec!["models:infer", "users:read"], all] {
            let key = server.key(&admin.make_key(&scopes));
            for operation in operations(&server).iter().filter(|operation| operation.scopes.is_some()) {
                let reply = operation.ask(&key);
                let needs = operation.scopes.clone().unwrap_or_default();
                let may = operation.takes_keys && needs.iter().all(|scope| scopes.contains(&scope.as_str()));
                if may {
                    let_through(operation, "a key", &reply);
                } else {
                    assert_eq!(reply.status, 403, "{scopes:?}: {}: {}", operation.name(), reply.text());
                }
            }
        }
        let bearer = server.user(&admin.make_key(&["models:read"]));
        bearer.get("/api/v1/models").is(200);
        bearer.get("/api/v1/admin/users").refused(403, "insufficient_permissions");
    }

    fn who_may_not_is_refused_before_the_body_is_looked_at(pair) {
        let server = Server::start(pair, &[]);
        let reader = server.person_with_role(&server.admin(), "reader", "readonly");
        for operation in operations(&server).iter().filter(|operation| operation.body.is_object()) {
            if operation.scopes.is_none() {
                continue;
            }
            let path =
                operation.path.replace("{id}", NOBODY).replace("{key_id}", NOBODY).replace("{name}", "digits").replace("{version}", "1");
            let reply = server.anon().send(&operation.method, &path, Some("text/plain"), b"not { json");
            assert_eq!(reply.status, 401, "{}: {}", operation.name(), reply.text());
            let reply = reader.api.send(&operation.method, &path, Some("text/plain"), b"not { json");
            let may = operation.scopes.iter().flatten().all(|scope| scope == "models:read");
            assert_eq!(reply.status == 403, !may, "{}: {}", operation.name(), reply.text());
        }
    }
}

#[test]
fn every_operation_tells_all_its_answers() {
    let server = Server::start(Pair::Embedded, &[]);
    let document = document(&server);
    for operation in operations(&server) {
        let described = &document["paths"][&operation.path][operation.method.to_lowercase()];
        let mut needed = vec!["400", "429", "503"];
        if operation.scopes.is_some() {
            needed.extend(["401", "403"]);
        }
        if operation.body.is_object() {
            needed.extend(["413", "415"]);
        }
        if operation.path.contains('{') {
            needed.push("404");
        }
        let name = operation.name();
        for status in needed {
            assert!(described["responses"].get(status).is_some(), "{name} does not tell of {status}");
        }
        let (kind, schema) = if operation.path.starts_with("/v2") {
            ("application/json", "V2Error")
        } else {
            ("application/problem+json", "Problem")
        };
        for (status, response) in described["responses"].as_object().expect("responses") {
            let is_report = status == "503" && operation.path.ends_with("/ready");
            if status.starts_with(['4', '5']) && !is_report {
                let expected = json!(format!("#/components/schemas/{schema}"));
                assert_eq!(
                    response["content"][kind]["schema"]["$ref"], expected,
                    "{name} {status}: {response}"
                );
            }
            assert!(status != "500", "{name} plans to fail");
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} {status}");
        }
        assert!(described["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{name} has no tag");
        assert!(described["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no summary");
    }
}
