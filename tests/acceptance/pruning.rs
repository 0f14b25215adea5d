//! Retention: what has ended is kept for a while and then removed.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{World, eventually, promise, sample};

const DAY: Duration = Duration::from_secs(86_400);

promise! {
    fn what_is_long_over_is_removed(pair) {
        let world = World::new(pair);
        let server = world.start(&[]);
        let ada = server.person("ada");
        let day = server.anon().get("/health").member("timestamp")[..10].to_owned();
        ada.api.predict(&sample("1-1")).is(200);
        eventually("the usage is written", || {
            (!ada.api.get("/api/v1/me/usage").is(200).items().is_empty()).then_some(())
        });
        ada.api.act("/api/v1/auth/logout").is(204);
        let grace = server.person("grace");
        grace.api.act("/api/v1/auth/logout").is(204);
        // Killed: it does not say that it leaves.
        drop(server);

        world.advance(31 * DAY);
        let server = world.start(&[]);
        let pruned = |records: &str| {
            let is_of = |entry: &Value| entry["message"] == "old records are pruned" && entry["records"] == records;
            server.wait_for_log("pruning", is_of)["rows"].as_u64()
        };
        assert_eq!((pruned("sessions"), pruned("replicas")), (Some(2), Some(1)));
        assert!(pruned("changes") >= Some(1) && pruned("usage_batches") >= Some(1));
        server.log_in(&ada.email, &ada.password).api.act("/api/v1/auth/logout").is(204);
        let prunings = || server.log().matches("\"records\":\"sessions\"").count();
        assert_eq!(prunings(), 1);
        // Of what tells of people the trail knows it as well.
        eventually("it is told", || (server.audited("records.pruned", "success") == 1).then_some(()));

        // And again, while it runs, without anybody noticing.
        world.advance(31 * DAY);
        eventually("the next pruning", || (prunings() == 2).then_some(()));
        let again = server.log_in(&ada.email, &ada.password);
        again.api.get("/api/v1/me").is(200);
        let usage = again.api.get(&format!("/api/v1/me/usage?from={day}")).is(200).items();
        assert_eq!(usage.len(), 1, "what was used stays: {usage:?}");
    }
}
