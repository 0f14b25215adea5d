use std::time::Duration;

use storage::{IpEffect, IpPlace, IpRule, PageRequest};

use crate::world::{World, next_id, on_both_stores, page_after};

fn rule(world: &World, network: &str, hours: Option<i64>) -> IpRule {
    IpRule {
        id: next_id(),
        network: network.into(),
        effect: IpEffect::Deny,
        applies_to: IpPlace::All,
        automatic: false,
        reason: "a test".into(),
        created_at: world.now(),
        expires_at: hours.map(|hours| world.in_hours(hours)),
    }
}

on_both_stores! {
    async fn one_rule_holds_for_a_network_until_it_ends(world) {
        let first = rule(world, "192.0.2.0/24", Some(1));
        let elsewhere = IpRule { applies_to: IpPlace::Admin, effect: IpEffect::Allow, ..rule(world, "192.0.2.0/24", None) };
        let automatic = IpRule { automatic: true, ..rule(world, "192.0.2.0/24", Some(5)) };
        let mut tx = world.begin().await;
        for rule in [&first, &elsewhere, &automatic] {
            tx.ip_rules().add(rule).await.unwrap();
        }
        assert_eq!((tx.ip_rules().count(false).await.unwrap(), tx.ip_rules().count(true).await.unwrap()), (2, 1));
        let page = tx.ip_rules().list(&PageRequest { limit: 2, cursor: None }).await.unwrap();
        assert_eq!(page.items, [automatic.clone(), elsewhere.clone()]);
        assert_eq!(tx.ip_rules().list(&page_after(2, &page)).await.unwrap().items, std::slice::from_ref(&first));
        tx.commit().await.unwrap();
        let mut tx = world.begin().await;
        let again = rule(world, "192.0.2.0/24", Some(4));
        assert!(matches!(tx.ip_rules().add(&again).await, Err(storage::Error::Conflict)));
        drop(tx);
        world.clock.advance(Duration::from_secs(3600));
        let mut tx = world.begin().await;
        assert_eq!(tx.ip_rules().live().await.unwrap().len(), 2);
        tx.ip_rules().add(&again).await.unwrap();
        assert_eq!(tx.ip_rules().live().await.unwrap().len(), 3);
        assert!(tx.ip_rules().remove(again.id).await.unwrap());
        assert!(!tx.ip_rules().remove(first.id).await.unwrap());
        world.clock.advance(Duration::from_secs(5 * 3600));
        assert_eq!(tx.ip_rules().prune(world.now()).await.unwrap(), 1, "the one without an end stays");
    }

    async fn what_is_extended_never_ends_sooner(world) {
        let mut tx = world.begin().await;
        for (hours, end) in [(2, 2), (1, 2), (3, 3)] {
            let extended = IpRule { automatic: true, ..rule(world, "198.51.100.7/32", Some(hours)) };
            tx.ip_rules().extend(&extended).await.unwrap();
            let live = tx.ip_rules().live().await.unwrap();
            assert_eq!((live.len(), live[0].expires_at), (1, Some(world.in_hours(end))));
        }
    }
}
