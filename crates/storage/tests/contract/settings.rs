use std::time::Duration;

use serde_json::json;

use crate::world::{next_id, on_both_stores};

on_both_stores! {
    async fn settings_are_put_replaced_and_read(world) {
        let mut tx = world.begin().await;
        assert_eq!(tx.settings().get("limits").await.unwrap(), None);
        for value in [json!({"per_minute": 60, "names": ["é"]}), json!(null), json!("text"), json!(1.5)] {
            tx.settings().put("limits", &value).await.unwrap();
            assert_eq!(tx.settings().get("limits").await.unwrap(), Some(value));
        }
    }

    async fn replicas_see_who_else_is_alive(world) {
        let (one, two) = (next_id(), next_id());
        let mut tx = world.begin().await;
        tx.replicas().heartbeat(one).await.unwrap();
        assert_eq!(tx.replicas().others_live(one, world.now()).await.unwrap(), 0);
        assert_eq!(tx.replicas().others_live(two, world.now()).await.unwrap(), 1);
        tx.commit().await.unwrap();

        world.clock.advance(Duration::from_secs(30));
        let mut tx = world.begin().await;
        tx.replicas().heartbeat(two).await.unwrap();
        assert_eq!(tx.replicas().others_live(two, world.now()).await.unwrap(), 0, "the first fell silent");
        tx.replicas().heartbeat(one).await.unwrap();
        assert_eq!(tx.replicas().others_live(two, world.now()).await.unwrap(), 1);
        tx.replicas().leave(one).await.unwrap();
        assert_eq!(tx.replicas().others_live(two, world.now()).await.unwrap(), 0);
        assert_eq!(tx.replicas().prune(world.in_hours(1)).await.unwrap(), 1);
    }
}
