//! What was ended is over on every replica and every route, and at once.

use serde_json::json;

use crate::harness::{Client, Pair, Server, World, promise};
use crate::routes_matrix::operations;

const ME: &str = "/api/v1/me";

/// No route that asks who calls takes this client's credential any more.
#[track_caller]
fn is_refused_everywhere(server: &Server, client: &Client) {
    for operation in operations(server).iter().filter(|operation| operation.scopes.is_some()) {
        let reply = operation.ask(client);
        assert_eq!(reply.status, 401, "{}: {}", operation.name(), reply.text());
    }
}

#[test]
fn what_was_revoked_is_refused_on_every_route_of_both_replicas() {
    let world = World::new(Pair::Shared);
    let (first, second) = (world.start(&[]), world.start(&[]));
    let admin = first.admin();
    let (id, text) = admin.make_key_with(json!({"name": "a key", "scopes": ["models:read", "users:manage"]}));
    let keys = [first.key(&text), second.key(&text)];
    let sessions = [admin.api.clone(), second.user(&admin.tokens.access)];
    keys.iter().for_each(|key| drop(key.get("/api/v1/models").is(200)));
    sessions.iter().for_each(|session| drop(session.get(ME).is(200)));
    admin.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
    admin.api.act("/api/v1/auth/logout").is(204);

    let before = world.state();
    for (server, client) in
        [&first, &second].into_iter().zip(&keys).chain([&first, &second].into_iter().zip(&sessions))
    {
        is_refused_everywhere(server, client);
    }
    world.is_unchanged_since(&before);
    assert_eq!(
        (first.audited("api_key.revoked", "success"), first.audited("session.ended", "success")),
        (1, 1)
    );
}

promise! {
    fn a_login_in_the_very_second_of_a_logout_everywhere_holds_and_what_was_before_does_not(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        for _ in 0..5 {
            let older = server.log_in(&ada.email, &ada.password);
            let laptop = server.log_in(&ada.email, &ada.password);
            laptop.api.act("/api/v1/auth/logout-all").is(204);
            let newer = server.log_in(&ada.email, &ada.password);
            for over in [&older, &laptop] {
                over.api.get(ME).refused(401, "invalid_token");
                server.refresh(&over.tokens.refresh).refused(401, "invalid_token");
            }
            newer.api.get(ME).is(200);
            server.refresh(&newer.tokens.refresh).is(200);
        }
        assert_eq!(server.audited("session.ended", "success"), 5);
    }

    /// Whoever floods the service with made-up credentials pushes nobody out and brings nothing in.
    fn made_up_credentials_poison_no_cache(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let key = ada.make_key(&["models:read"]);
        let (token, before) = (&ada.tokens.access, server.metric("storage_queries_total"));
        for number in 0..300 {
            // The beginnings of good ones, which a careless cache would take for them.
            let (token, key) = (format!("{}{number}", &token[..token.len() - 9]), format!("{}{number:06}", &key[..key.len() - 6]));
            server.user(&token).get(ME).refused(401, "invalid_token");
            server.anon().with("X-API-Key", &key).get(ME).refused(401, "invalid_token");
        }
        let cost = server.metric("storage_queries_total") - before;
        assert!(cost < 60.0, "{cost} statements: made-up ones must cost none");
        ada.api.get(ME).is(200);
        server.key(&key).get("/api/v1/models").is(200);
    }
}
