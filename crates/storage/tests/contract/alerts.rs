use std::time::Duration;

use chrono::TimeDelta;
use storage::{AlertBounds, NewAlert, PageRequest};

use crate::world::{World, next_id, on_both_stores};

const LEASE: TimeDelta = TimeDelta::minutes(1);

fn alert(dedup_key: &str) -> NewAlert<'_> {
    NewAlert { dedup_key, kind: "test", severity: "high", title: "a title", body: "{}" }
}

fn bounds(world: &World, most: i64) -> AlertBounds {
    AlertBounds { same_since: world.now() - TimeDelta::minutes(5), most, counted_since: world.in_hours(-1) }
}

on_both_stores! {
    async fn the_same_alert_is_added_once_in_a_while_and_so_many_in_an_hour(world) {
        let mut tx = world.begin().await;
        let bound = bounds(world, 3);
        for (channel, key, is_added) in [
            ("slack", "a", true), ("slack", "a", false), ("email", "a", true), ("slack", "b", true),
            ("slack", "c", true), ("slack", "d", false),
        ] {
            let added = tx.alerts().add(next_id(), channel, &alert(key), bound).await.unwrap();
            assert_eq!(added, is_added, "{channel} {key}");
        }
        tx.commit().await.unwrap();
        world.clock.advance(Duration::from_secs(300));
        let mut tx = world.begin().await;
        assert!(tx.alerts().add(next_id(), "slack", &alert("a"), bounds(world, 4)).await.unwrap());
        assert_eq!(tx.alerts().prune(world.now()).await.unwrap(), 4);
    }

    async fn what_became_of_alerts_is_listed_and_one_that_was_given_up_waits_again(world) {
        let ids = [next_id(), next_id(), next_id()];
        let mut tx = world.begin().await;
        for (id, key) in ids.into_iter().zip(["a", "b", "c"]) {
            tx.alerts().add(id, "slack", &alert(key), bounds(world, 9)).await.unwrap();
        }
        tx.alerts().sent(ids[0]).await.unwrap();
        tx.alerts().fail(ids[1]).await.unwrap();
        let page = PageRequest { limit: 2, cursor: None };
        let first = tx.alerts().list(&page, None).await.unwrap();
        let states: Vec<_> = first.items.iter().map(|alert| (alert.id, alert.state.as_str())).collect();
        assert_eq!(states, [(ids[2], "waiting"), (ids[1], "given_up")]);
        assert!(first.next_cursor.is_some());
        let sent = tx.alerts().list(&page, Some("sent")).await.unwrap().items;
        assert_eq!((sent.len(), sent[0].id, sent[0].sent_at), (1, ids[0], Some(tx.now())));
        for (id, revived) in [(ids[0], Some(false)), (ids[1], Some(true)), (ids[1], Some(false)), (next_id(), None)] {
            assert_eq!(tx.alerts().revive(id).await.unwrap(), revived);
        }
        let waiting = tx.alerts().list(&page, Some("waiting")).await.unwrap().items;
        assert_eq!(waiting.iter().map(|alert| alert.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    }

    async fn an_alert_is_taken_once_until_its_lease_is_over_and_never_after_it_was_sent(world) {
        let id = next_id();
        let mut tx = world.begin().await;
        tx.alerts().add(id, "slack", &alert("a"), bounds(world, 9)).await.unwrap();
        tx.commit().await.unwrap();
        let take = async |channel: &str| {
            let mut tx = world.begin().await;
            let taken = tx.alerts().take(channel, LEASE).await.unwrap();
            tx.commit().await.unwrap();
            taken
        };
        let (one, other) = tokio::join!(take("slack"), take("slack"));
        let taken = one.or(other).unwrap();
        assert_eq!((taken.id, taken.attempts, taken.title.as_str()), (id, 1, "a title"));
        assert_eq!((take("slack").await, take("email").await), (None, None));
        world.clock.advance(Duration::from_secs(60));
        assert_eq!(take("slack").await.map(|taken| taken.attempts), Some(2));
        let mut tx = world.begin().await;
        tx.alerts().postpone(id, world.now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(take("slack").await.map(|taken| taken.attempts), Some(3));
        let mut tx = world.begin().await;
        tx.alerts().sent(id).await.unwrap();
        tx.commit().await.unwrap();
        world.clock.advance(Duration::from_secs(600));
        assert_eq!(take("slack").await, None);
    }
}
