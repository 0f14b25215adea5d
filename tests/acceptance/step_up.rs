//! Sensitive acts need a person who proved lately who they are (RFC 9470).

use std::time::Duration;

use serde_json::json;

use crate::harness::{Reply, Server, Tokens, promise};

const KEYS: &str = "/api/v1/api-keys";
const QUARTER: Duration = Duration::from_secs(900);

/// Insists on the answer that asks for a new proof.
#[track_caller]
fn asks_for_proof(reply: Reply) {
    let reply = reply.refused(401, "step_up_required");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("error=\"insufficient_user_authentication\", max_age=900"), "{challenge}");
}

promise! {
    fn a_key_is_made_changed_and_renewed_only_soon_after_a_login(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let wish = json!({"name": "a key", "scopes": ["models:read"]});
        server.advance(QUARTER - Duration::from_secs(60));
        let (id, key) = ada.make_key_with(wish.clone());
        server.advance(Duration::from_secs(120));
        asks_for_proof(ada.api.post(KEYS, &wish));
        asks_for_proof(ada.api.put(&format!("{KEYS}/{id}"), &json!({"allowed_ips": null})));
        asks_for_proof(ada.api.act(&format!("{KEYS}/{id}/rotate")));
        assert_eq!(ada.api.get(KEYS).is(200).items().len(), 1);
        server.key(&key).get("/api/v1/models").is(200);
        // To refresh is no proof: whoever stole the tokens can do it.
        let refreshed = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
        asks_for_proof(server.user(&refreshed.access).post(KEYS, &wish));
        server.log_in(&ada.email, &ada.password).api.post(KEYS, &wish).is(201);
        // Ending a key is no danger, and may be urgent.
        ada.api.delete(&format!("{KEYS}/{id}")).is(204);
    }
}
