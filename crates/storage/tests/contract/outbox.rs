use std::time::Duration;

use chrono::TimeDelta;
use storage::Holder;

use crate::world::{next_id, on_both_stores};

/// An address without an account.
const SOMEBODY: Holder<'static> = Holder::Address("of nobody");
const LEASE: TimeDelta = TimeDelta::minutes(2);

on_both_stores! {
    async fn a_mail_is_taken_once_until_its_lease_is_over(world) {
        let id = next_id();
        let mut tx = world.begin().await;
        assert!(tx.outbox().add(id, SOMEBODY, b"sealed", 10).await.unwrap());
        tx.commit().await.unwrap();
        let take = async || {
            let mut tx = world.begin().await;
            let taken = tx.outbox().take(LEASE).await.unwrap();
            tx.commit().await.unwrap();
            taken
        };
        let (one, other) = tokio::join!(take(), take());
        let taken = one.or(other.clone()).unwrap();
        assert_eq!((taken.id, taken.account_id, taken.attempts), (id, None, 1));
        assert_eq!(taken.errand, b"sealed");
        assert_eq!(take().await, None);
        world.clock.advance(Duration::from_secs(120));
        assert_eq!(take().await.map(|taken| taken.attempts), Some(2));
    }

    async fn a_mail_can_wait_be_given_up_or_be_gone(world) {
        let [later, failed, sent] = [next_id(), next_id(), next_id()];
        let mut tx = world.begin().await;
        for id in [later, failed, sent] {
            assert!(tx.outbox().add(id, SOMEBODY, b"sealed", 10).await.unwrap());
        }
        tx.outbox().postpone(later, world.in_hours(1)).await.unwrap();
        tx.outbox().fail(failed).await.unwrap();
        assert!(tx.outbox().remove(sent).await.unwrap());
        assert!(!tx.outbox().remove(sent).await.unwrap());
        assert_eq!(tx.outbox().take(LEASE).await.unwrap(), None);
        tx.commit().await.unwrap();
        world.clock.advance(Duration::from_secs(3600));
        let mut tx = world.begin().await;
        assert_eq!(tx.outbox().take(LEASE).await.unwrap().map(|mail| mail.id), Some(later));
        assert_eq!(tx.outbox().take(LEASE).await.unwrap(), None, "what was given up stays so");
        assert_eq!(tx.outbox().prune(world.in_hours(-1)).await.unwrap(), 0);
        assert_eq!(tx.outbox().prune(world.now()).await.unwrap(), 2);
    }

    async fn so_many_mails_wait_for_each_account_and_no_more(world) {
        let ada = world.person("ada", "user").await.id;
        let mut tx = world.begin().await;
        for holder in [Holder::Account(ada), SOMEBODY] {
            let ids = [next_id(), next_id(), next_id()];
            for (id, has_room) in ids.into_iter().zip([true, true, false]) {
                assert_eq!(tx.outbox().add(id, holder, b"sealed", 2).await.unwrap(), has_room, "{holder:?}");
            }
            tx.outbox().fail(ids[0]).await.unwrap();
            assert!(tx.outbox().add(next_id(), holder, b"sealed", 2).await.unwrap(), "one does not wait any more");
        }
        assert!(tx.users().delete(ada).await.unwrap());
        let mut left = 0;
        while let Some(mail) = tx.outbox().take(LEASE).await.unwrap() {
            assert_eq!(mail.account_id, None, "the others went with their account");
            left += 1;
        }
        assert_eq!(left, 2);
    }

    async fn mails_to_an_address_go_with_the_account_that_it_has(world) {
        let ada = world.person("ada", "user").await;
        let mut tx = world.begin().await;
        for holder in [Holder::Address("ada@example.org"), SOMEBODY] {
            assert!(tx.outbox().add(next_id(), holder, b"sealed", 10).await.unwrap());
        }
        assert_eq!(tx.outbox().forget_address_of(ada.id).await.unwrap(), 1);
        assert!(tx.outbox().take(LEASE).await.unwrap().is_some(), "that of another address is left");
        assert!(tx.outbox().take(LEASE).await.unwrap().is_none());
    }
}
