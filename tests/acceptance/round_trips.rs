//! An authenticated inference costs no SQL, and at most one trip to the ephemeral store.

use std::time::Duration;

use crate::harness::{Client, Pair, Server, promise, sample};

const INFERENCES: u32 = 200;
/// What runs beside the requests: a sign of life once a second.
const BACKGROUND: f64 = 20.0;

/// Statements and trips that so many inferences cost.
fn cost(server: &Server, client: &Client) -> (f64, f64) {
    let picture = sample("1-1");
    // The first request with a credential reads who it is.
    client.predict(&picture).is(200);
    let before = (server.metric("storage_queries_total"), server.metric("ephemeral_round_trips_total"));
    for _ in 0..INFERENCES {
        client.predict(&picture).is(200);
    }
    let after = (server.metric("storage_queries_total"), server.metric("ephemeral_round_trips_total"));
    (after.0 - before.0, after.1 - before.1)
}

promise! {
    fn an_inference_reads_nothing_from_the_database(pair) {
        let settings = [("RATE_LIMIT_INFER_PER_MINUTE", "10000"), ("RATE_LIMIT_PER_HOUR", "10000")];
        let server = Server::start(pair, &settings);
        let ada = server.person("ada");
        let key = server.key(&ada.make_key(&["models:infer"]));
        for (name, client) in [("token", &ada.api), ("key", &key)] {
            let (queries, trips) = cost(&server, client);
            assert_eq!(queries, 0.0, "statements for {INFERENCES} inferences with a {name}");
            // Redis is asked once for several of them (counting_ahead.rs).
            let least = if pair == Pair::Embedded { f64::from(INFERENCES) } else { 0.0 };
            let most = f64::from(INFERENCES) + BACKGROUND;
            assert!((least..=most).contains(&trips), "{trips} trips with a {name}");
        }
        server.advance(Duration::from_secs(61));
        let before = server.metric("storage_queries_total");
        ada.api.predict(&sample("1-1")).is(200);
        assert!(
            server.metric("storage_queries_total") > before,
            "what is known of a caller is read again each minute"
        );
    }
}
