//! Limits, revocation and models that are not everyone's hold for gRPC as for HTTP; a caller has one allowance for
//! both.

use std::time::Duration;

use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use super::{ON, method};
use crate::harness::grpc::{Answer, Grpc, digits, inference as of, refused};
use crate::harness::{Server, eventually, promise, sample};

fn infer(client: &Grpc) -> Answer<of::ModelInferResponse> {
    client.infer(digits(&[0.0; 64]))
}

fn index(client: &Grpc) -> Answer<of::RepositoryIndexResponse> {
    client.call(&method("RepositoryIndex"), of::RepositoryIndexRequest::default())
}

/// An entry of an answer's metadata, as a number.
fn number<T>(answer: &tonic::Response<T>, name: &str) -> Option<u64> {
    answer.metadata().get(name)?.to_str().ok()?.parse().ok()
}

promise! {
    fn a_caller_has_one_window_for_both(pair) {
        let server = Server::start(pair, &[ON, ("RATE_LIMIT_INFER_PER_MINUTE", "4")]);
        let (ada, grace) = (server.person("ada"), server.person("grace"));
        let client = server.grpc_user(&ada.tokens.access);
        ada.api.predict(&sample("1-1")).is(200);
        let answer = infer(&client).expect("an answer");
        assert_eq!((number(&answer, "x-ratelimit-limit"), number(&answer, "x-ratelimit-remaining")), (Some(4), Some(2)));
        assert!(answer.metadata().contains_key("ratelimit-policy"));
        ada.api.predict(&sample("1-1")).is(200);
        infer(&client).expect("an answer");
        ada.api.predict(&sample("1-1")).refused(429, "rate_limited");
        let status = infer(&client).expect_err("a refusal");
        let wait = status.get_error_details().retry_info().and_then(|info| info.retry_delay).expect("a wait");
        assert!((1..=60).contains(&wait.as_secs()), "{wait:?}");
        refused(infer(&client), Code::ResourceExhausted, "rate_limited");
        infer(&server.grpc_user(&grace.tokens.access)).expect("another account");
        server.advance(Duration::from_secs(61));
        infer(&client).expect("a new window");
    }

    fn a_quota_and_the_limit_of_a_model_are_one_for_both(pair) {
        let server = Server::start(pair, &[ON]);
        let (admin, ada) = (server.admin(), server.person("ada"));
        let client = server.grpc_user(&ada.tokens.access);
        let quota = format!("/api/v1/admin/quotas/account/{}/requests/day", ada.id);
        admin.api.put(&quota, &json!({"limit": 3})).is(204);
        ada.api.predict(&sample("1-1")).is(200);
        let answer = infer(&client).expect("an answer");
        assert_eq!(number(&answer, "x-ratelimit-remaining"), Some(1));
        infer(&client).expect("an answer");
        refused(infer(&client), Code::ResourceExhausted, "quota_exceeded");
        ada.api.predict(&sample("1-1")).refused(429, "quota_exceeded");
        admin.api.delete(&quota).is(204);
        let limit = "/api/v1/admin/limits/model/digits";
        admin.api.put(limit, &json!({"per_minute": 2})).is(204);
        let answer = infer(&client).expect("an answer");
        let policies = answer.metadata().get("ratelimit-policy").and_then(|policies| policies.to_str().ok());
        assert!(policies.is_some_and(|policies| policies.contains("\"model\";q=2")), "{policies:?}");
        ada.api.predict(&sample("1-1")).is(200);
        refused(infer(&client), Code::ResourceExhausted, "rate_limited");
        ada.api.predict(&sample("1-1")).refused(429, "rate_limited");
    }

    fn nobodys_calls_are_counted_by_address(pair) {
        let server = Server::start(pair, &[ON, ("RATE_LIMIT_PER_MINUTE", "3")]);
        refused(infer(&server.grpc()), Code::Unauthenticated, "authentication_required");
        refused(infer(&server.grpc_user("guess-guess-guess")), Code::Unauthenticated, "invalid_token");
        server.anon().get("/api/v1/me").is(401);
        refused(infer(&server.grpc_key("mg_test_guess-guess")), Code::ResourceExhausted, "rate_limited");
        server.anon().get("/api/v1/me").is(429);
    }

    fn the_guard_stands_before_everything(pair) {
        let server = Server::start(pair, &[ON, ("GUARD_PER_SECOND", "3")]);
        let client = server.grpc();
        let codes: Vec<Code> = (0..20).map(|_| infer(&client).expect_err("nobody").code()).collect();
        assert!(codes.contains(&Code::ResourceExhausted) && codes.contains(&Code::Unauthenticated), "{codes:?}");
        eventually("the guard lets through again", || {
            infer(&client).is_err_and(|status| status.code() == Code::Unauthenticated).then_some(())
        });
    }

    fn what_is_revoked_ends_at_once(pair) {
        let server = Server::start(pair, &[ON]);
        let admin = server.admin();
        let ada = server.person("ada");
        let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:infer"]}));
        let (token, key) = (server.grpc_user(&ada.tokens.access), server.grpc_key(&text));
        for client in [&token, &key] {
            infer(client).expect("an answer");
        }
        ada.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
        refused(infer(&key), Code::Unauthenticated, "invalid_token");
        infer(&token).expect("the session lives");
        admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"role": "readonly"})).is(200);
        let again = server.grpc_user(&server.log_in(&ada.email, &ada.password).tokens.access);
        refused(infer(&again), Code::PermissionDenied, "insufficient_permissions");
        index(&again).expect("what readers may");
        admin.api.put(&format!("/api/v1/admin/users/{}", ada.id), &json!({"active": false})).is(200);
        refused(index(&again), Code::Unauthenticated, "invalid_token");
        refused(infer(&token), Code::Unauthenticated, "invalid_token");
    }

    fn a_logout_ends_calls_over_grpc(pair) {
        let server = Server::start(pair, &[ON]);
        let ada = server.person("ada");
        let client = server.grpc_user(&ada.tokens.access);
        index(&client).expect("an answer");
        ada.api.act("/api/v1/auth/logout").is(204);
        refused(index(&client), Code::Unauthenticated, "invalid_token");
    }

    fn a_model_that_is_not_granted_does_not_exist(pair) {
        let server = Server::start(pair, &[ON]);
        let admin = server.admin();
        let ada = server.person("ada");
        let client = server.grpc_user(&ada.tokens.access);
        admin.api.put("/api/v1/admin/models/digits/access", &json!({"access": "granted"})).is(204);
        refused(infer(&client), Code::NotFound, "model_not_found");
        let ready = of::ModelReadyRequest { name: "digits".into(), ..Default::default() };
        refused(client.call::<_, of::ModelReadyResponse>(&method("ModelReady"), ready), Code::NotFound, "model_not_found");
        assert!(index(&client).expect("an answer").into_inner().models.is_empty());
        admin.api.put("/api/v1/admin/models/digits/grants", &json!({"account": ada.id})).is(204);
        infer(&client).expect("an answer");
        let narrow = ada.make_key_with(json!({"name": "a key", "scopes": ["models:infer"], "models": ["other"]})).1;
        refused(infer(&server.grpc_key(&narrow)), Code::NotFound, "model_not_found");
    }

    fn plain_calls_from_elsewhere_are_refused(pair) {
        let server = Server::start(pair, &[ON, ("TRUSTED_PROXIES", "127.0.0.1"), ("ALLOWED_HOSTS", "api.example.com,127.0.0.1")]);
        let client = server.grpc_user(&server.person("ada").tokens.access);
        let from = |address: &str| client.with("x-forwarded-for", address);
        infer(&client).expect("loopback itself");
        refused(infer(&from("192.0.2.1")), Code::PermissionDenied, "https_required");
        infer(&from("192.0.2.1").with("x-forwarded-proto", "https")).expect("over https");
        refused(infer(&from("unknown").with("x-forwarded-proto", "https")), Code::InvalidArgument, "malformed_request");
        let live = from("192.0.2.1").call::<_, of::ServerLiveResponse>(&method("ServerLive"), of::ServerLiveRequest {});
        live.expect("a probe");
    }
}
