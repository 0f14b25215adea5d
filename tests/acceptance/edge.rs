//! The edge: who may call from where, under which name, over what, and what every answer carries.

use serde_json::Value;

use crate::harness::{Client, Reply, Server, promise};

const APP: &str = "https://app.example.com";

/// A preflight as a browser sends it.
#[track_caller]
fn preflight(client: &Client, origin: &str, method: &str, headers: &str) -> Reply {
    let client = client.with("Origin", origin).with("Access-Control-Request-Method", method);
    let client =
        if headers.is_empty() { client } else { client.with("Access-Control-Request-Headers", headers) };
    client.send("OPTIONS", "/api/v1/me", None, b"")
}

fn allowed_origin(reply: &Reply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

/// The access log's line of a request.
#[track_caller]
fn access(server: &Server, reply: &Reply) -> Value {
    let id = reply.header("x-request-id").expect("an id").to_owned();
    server.wait_for_log("request", |entry| entry["target"] == "access" && entry["request_id"] == *id)
}

promise! {
    fn every_answer_carries_the_security_headers(pair) {
        let server = Server::start(pair, &[("ALLOWED_ORIGINS", APP)]);
        let ada = server.person("ada");
        let expected = [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            ),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ("permissions-policy", "geolocation=(), microphone=(), camera=()"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ];
        let replies = [
            server.anon().get("/health"),
            server.anon().get("/api/v1/me"),
            server.anon().get("/nothing"),
            server.anon().send("PATCH", "/health", None, b""),
            ada.api.get("/api/v1/me"),
            ada.api.get("/v2/models/digits"),
            ada.api.post("/v2/models/digits/infer", &serde_json::json!({})),
            preflight(&server.anon(), APP, "GET", ""),
            preflight(&server.anon(), "https://evil.example", "GET", ""),
        ];
        for reply in replies {
            for (name, value) in expected {
                assert_eq!(reply.header(name), Some(value), "{}: {name}", reply.request);
            }
        }
        let keys = server.anon().get("/.well-known/jwks.json").is(200);
        assert!(
            keys.header("cache-control").is_some_and(|value| value.starts_with("public")),
            "public keys may be kept"
        );
    }

    fn listed_origins_may_read_answers_and_no_others(pair) {
        let server =
            Server::start(pair, &[("ALLOWED_ORIGINS", "https://app.example.com, http://localhost:3000")]);
        let ada = server.person("ada").api;
        for origin in [APP, "http://localhost:3000"] {
            let reply = ada.with("Origin", origin).get("/api/v1/me").is(200);
            assert_eq!(allowed_origin(&reply), Some(origin));
            assert!(reply.header("vary").is_some_and(|vary| vary.contains("Origin")));
            let exposed = reply.header("access-control-expose-headers").unwrap_or_default();
            for name in ["retry-after", "www-authenticate", "content-disposition", "x-request-id", "ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-quota-exceeded"] {
                assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name}: {exposed}");
            }
            let refused = server.anon().with("Origin", origin).get("/api/v1/me").is(401);
            assert_eq!(allowed_origin(&refused), Some(origin), "a page must be able to read the error");
        }
        for origin in [
            "null",
            "https://evil.example",
            "https://app.example.com.evil.example",
            "https://evilapp.example.com",
            "https://sub.app.example.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "http://localhost:30001",
            "file://",
        ] {
            let reply = ada.with("Origin", origin).get("/api/v1/me").is(200);
            assert_eq!(allowed_origin(&reply), None, "{origin}");
            assert_eq!(reply.header("access-control-allow-credentials"), None, "{origin}");
            assert_eq!(allowed_origin(&preflight(&server.anon(), origin, "GET", "")), None, "{origin}");
        }
        ada.get("/api/v1/me").is(200);
    }

    fn preflights_are_answered_without_a_credential_or_a_limit(pair) {
        let limits = [("ALLOWED_ORIGINS", APP), ("RATE_LIMIT_PER_MINUTE", "2"), ("GUARD_PER_SECOND", "2")];
        let server = Server::start(pair, &limits);
        let anon = server.anon();
        for _ in 0..10 {
            let reply = preflight(&anon, APP, "PUT", "authorization,content-type,x-api-key");
            assert!(matches!(reply.status, 200 | 204), "{}", reply.status);
            assert_eq!(allowed_origin(&reply), Some(APP));
            let methods = reply.header("access-control-allow-methods").unwrap_or_default().to_owned();
            assert!(
                ["GET", "HEAD", "POST", "PUT", "DELETE"].iter().all(|method| methods.contains(method)),
                "{methods}"
            );
            let headers = reply.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
            assert!(
                ["authorization", "x-api-key", "content-type"].iter().all(|name| headers.contains(name)),
                "{headers}"
            );
            assert!(reply.number("access-control-max-age") > 0);
            assert_eq!(
                reply.header("access-control-allow-credentials"),
                None,
                "there are no cookies to send"
            );
        }
        for (method, headers) in [("PATCH", ""), ("GET", "x-evil"), ("TRACE", "")] {
            preflight(&anon, APP, method, headers).refused(400, "malformed_request");
        }
    }

    fn without_origins_no_page_may_call(pair) {
        let server = Server::start(pair, &[]);
        for reply in
            [preflight(&server.anon(), APP, "GET", ""), server.anon().with("Origin", APP).get("/health")]
        {
            assert_eq!(allowed_origin(&reply), None);
            assert_eq!(reply.header("access-control-allow-methods"), None);
        }
    }

    fn only_the_listed_host_names_are_served(pair) {
        let server = Server::start(pair, &[("ALLOWED_HOSTS", "api.example.com,127.0.0.1,*.below.example")]);
        let anon = server.anon();
        for host in ["api.example.com", "API.example.com", "api.example.com:8080", "127.0.0.1", "one.below.example"] {
            anon.with("Host", host).get("/api/v1/me").is(401);
        }
        for host in [
            "evil.example",
            "api.example.com.evil.example",
            "evil.example:80",
            "below.example",
            "localhost",
            "[::1]",
        ] {
            anon.with("Host", host).get("/api/v1/me").refused(400, "unknown_host");
            anon.with("Host", host).get("/v2").is(400);
            for probe in ["/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"] {
                anon.with("Host", host).get(probe).is(200);
            }
        }
        // What is no host at all is no request (RFC 9112, section 3.2); a target with a host stands above the header.
        for host in ["api.example.com@evil.example", "api.example.com evil", "api.example.com/", "api.example.com:x"] {
            anon.with("Host", host).get("/api/v1/me").refused(400, "malformed_request");
            anon.with("Host", host).get("/health").is(400);
        }
        let ask = |target| server.raw(format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(ask("http://evil.example/api/v1/me").contains("unknown_host"));
        assert!(ask("http://api.example.com/api/v1/me").contains("authentication_required"));
        let anyone = Server::start(pair, &[]);
        anyone.anon().with("Host", "evil.example").get("/api/v1/me").is(401);
    }

    fn plain_http_is_for_loopback_proxies_that_say_https_and_probes(pair) {
        let server = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")]);
        let ada = server.person("ada").api;
        let remote = ada.with("X-Forwarded-For", "203.0.113.9");
        for client in [
            remote.clone(),
            remote.with("X-Forwarded-Proto", "http"),
            remote.with("X-Forwarded-Proto", "httpss"),
        ] {
            client.get("/api/v1/me").refused(403, "https_required");
            client.get("/openapi.json").refused(403, "https_required");
            client.get("/v2").is(403);
            for probe in ["/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"] {
                client.get(probe).is(200);
            }
        }
        let reply = remote.with("X-Forwarded-Proto", "https").get("/api/v1/me").is(200);
        assert_eq!(access(&server, &reply)["client"], "203.0.113.9");
        let reply = ada.get("/api/v1/me").is(200);
        assert_eq!(access(&server, &reply)["client"], "127.0.0.1", "loopback itself needs no proxy");
    }

    fn a_clients_own_claim_of_an_address_is_no_address(pair) {
        let untrusting = Server::start(pair, &[]);
        for claim in ["203.0.113.9", "203.0.113.9, 198.51.100.7", "nonsense", "::1"] {
            let reply = untrusting
                .anon()
                .with("X-Forwarded-For", claim)
                .with("X-Forwarded-Proto", "http")
                .get("/api/v1/me");
            assert_eq!(access(&untrusting, &reply.is(401))["client"], "127.0.0.1", "{claim}");
        }
        let trusting = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")]);
        for (forwarded, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
            ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
            ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            let anon = trusting.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", forwarded);
            assert_eq!(access(&trusting, &anon.get("/api/v1/me").is(401))["client"], client, "{forwarded}");
        }
    }

    fn limits_count_the_client_behind_the_proxy(pair) {
        let server = Server::start(pair, &[("TRUSTED_PROXIES", "127.0.0.1"), ("RATE_LIMIT_PER_MINUTE", "2")]);
        let from = |address: &str| {
            let client = server.anon().with("X-Forwarded-Proto", "https").with("X-Forwarded-For", address);
            client.get("/.well-known/security.txt").status
        };
        assert_eq!([from("203.0.113.9"), from("203.0.113.9"), from("203.0.113.9")], [404, 404, 429]);
        assert_eq!(from("6.6.6.6, 203.0.113.9"), 429, "a claim in front changes nothing");
        assert_eq!(from("198.51.100.7"), 404);
    }

    fn a_request_has_an_id_that_finds_it_in_the_log(pair) {
        let server = Server::start(pair, &[]);
        let reply = server.anon().with("X-Request-Id", "order-42_a.b").get("/api/v1/me").is(401);
        assert_eq!(reply.header("x-request-id"), Some("order-42_a.b"));
        let entry = access(&server, &reply);
        assert_eq!(
            (&entry["method"], &entry["path"], &entry["status"]),
            (&"GET".into(), &"/api/v1/me".into(), &401.into())
        );
        let long = "a".repeat(129);
        let mut seen = std::collections::BTreeSet::new();
        for unfit in ["two words", "{\"a\":1}", "../../etc", "<script>", &long, "ä"] {
            let reply = server.anon().with("X-Request-Id", unfit).get("/health").is(200);
            let id = reply.header("x-request-id").expect("an id").to_owned();
            assert!(id != unfit && id.len() == 36 && seen.insert(id.clone()), "{unfit}: {id}");
        }
    }

    fn the_access_log_tells_of_every_request_and_no_query(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let reply = ada.api.get("/api/v1/models?access_token=a-secret-in-a-query").is(200);
        let entry = access(&server, &reply);
        assert_eq!(entry["path"], "/api/v1/models");
        assert_eq!(entry["account"], ada.id.as_str());
        assert!(entry["duration_us"].is_u64() && entry["timestamp"].is_string(), "{entry}");
        let reply = ada.api.with("User-Agent", "evil\tagent").get("/nothing%0d%0aInjected:%201").is(404);
        let entry = access(&server, &reply);
        assert_eq!(entry["status"], 404);
        assert!(!server.log().contains("a-secret-in-a-query"));
        assert!(server.log().lines().all(|line| line.starts_with('{')), "each line is JSON");
    }

    fn metrics_need_their_token_or_a_permission(pair) {
        let server = Server::start(pair, &[]);
        server.anon().get("/metrics").refused(401, "authentication_required");
        server.user("a-wrong-metrics-token-0123456789").get("/metrics").is(401);
        server.anon().with("X-API-Key", "of-these-tests-0123456789-abcdefghij").get("/metrics").is(401);
        server.person("ada").api.get("/metrics").refused(403, "insufficient_permissions");
        let text = server.admin().api.get("/metrics").is(200);
        assert!(
            text.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
        );
        let text = text.text();
        for name in [
            "storage_queries_total",
            "ephemeral_round_trips_total",
            "login_attempts_total",
            "active_sessions",
            "api_requests_total",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_threads",
            "storage_pool_connections",
            "inference_queue_depth",
            "inference_batch_size",
        ] {
            assert!(text.contains(&format!("# TYPE {name} ")), "no {name}");
        }
        assert!(!text.contains("/nothing"), "paths that clients make up are no labels");
        let closed = Server::start(pair, &[("METRICS_TOKEN", "")]);
        closed.user("").get("/metrics").is(401);
        closed.admin().api.get("/metrics").is(200);
    }

    fn made_up_paths_and_methods_do_not_grow_the_metrics(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada").api;
        let series = || {
            let text = server
                .anon()
                .with("Authorization", "Bearer of-these-tests-0123456789-abcdefghij")
                .get("/metrics")
                .text();
            text.lines().filter(|line| line.starts_with("api_requests_total")).count()
        };
        let ask = |number: usize| {
            server.anon().get(&format!("/made/up/{number}")).is(404);
            server.anon().send(&format!("BREW{number}"), "/api/v1/me", None, b"").is(405);
            ada.get(&format!("/api/v1/models/{number}")).is(404);
        };
        ask(0);
        series();
        let before = series();
        (1..20).for_each(ask);
        assert_eq!(series(), before);
    }

    fn security_txt_names_a_contact_and_an_end(pair) {
        let server = Server::start(pair, &[("SECURITY_CONTACT", "mailto:security@example.com")]);
        let reply = server.anon().get("/.well-known/security.txt").is(200);
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        let text = reply.text();
        assert!(text.contains("Contact: mailto:security@example.com\n"), "{text}");
        let end = text.lines().find_map(|line| line.strip_prefix("Expires: ")).expect("an end").to_owned();
        assert!(end > server.anon().get("/health").member("timestamp"), "{end}");
        Server::start(pair, &[]).anon().get("/.well-known/security.txt").refused(404, "not_found");
    }

    fn what_is_read_may_be_asked_about(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada").api;
        for path in ["/health", "/api/v1/me", "/v2/models/digits", "/api/v1/models"] {
            let (head, get) = (ada.send("HEAD", path, None, b"").is(200), ada.get(path).is(200));
            assert!(head.body.is_empty());
            assert_eq!(head.header("content-type"), get.header("content-type"));
        }
        server.anon().send("HEAD", "/api/v1/me", None, b"").is(401);
    }
}
