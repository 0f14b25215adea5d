use std::time::Duration;

use storage::{NewSession, PageRequest};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores, page_after};

pub(crate) async fn open(world: &World, account: Uuid) -> Uuid {
    let home = Some("203.0.113.7".to_owned());
    let new = NewSession {
        family_key: vec![0, 159, 146, 150],
        address: home.clone(),
        network: home,
        ..world.new_session(account)
    };
    let mut tx = world.begin().await;
    let session = tx.sessions().create(&new).await.unwrap();
    assert_eq!(tx.sessions().find(new.id).await.unwrap(), Some(session));
    tx.commit().await.unwrap();
    new.id
}

on_both_stores! {
    async fn everything_that_is_kept_has_ended_sessions_too_and_only_ones_own(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let ids = [open(world, ada).await, open(world, ada).await];
        open(world, eve).await;
        let mut tx = world.begin().await;
        tx.sessions().revoke(ids[0], "logout").await.unwrap();
        let all = tx.personal_data(ada, 10).sessions().await.unwrap();
        assert_eq!(all.iter().map(|session| session.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
        assert_eq!(tx.personal_data(ada, 1).sessions().await.unwrap().len(), 1);
    }

    async fn a_session_is_found_as_it_was_opened(world) {
        let ada = world.person("ada", "user").await;
        let id = open(world, ada.id).await;
        let mut tx = world.read().await;
        let session = tx.sessions().find(id).await.unwrap().unwrap();
        assert_eq!((session.account_id, session.seq, session.created_at), (ada.id, 0, world.now()));
        assert_eq!((session.family_key.as_slice(), session.user_agent), (&[0, 159, 146, 150][..], None));
        assert_eq!((session.idle_expires_at, session.expires_at), (world.in_hours(1), world.in_hours(3)));
        assert_eq!((session.rotated_at, session.revoked_at), (None, None));
        assert_eq!(tx.sessions().find(next_id()).await.unwrap(), None);
    }

    async fn standing_says_how_session_and_owner_are(world) {
        let ada = world.person("ada", "user").await;
        let id = open(world, ada.id).await;
        let mut tx = world.begin().await;
        let standing = tx.sessions().standing(id).await.unwrap().unwrap();
        assert_eq!((standing.session.id, standing.session.revoked_at), (id, None));
        assert_eq!((standing.session.authenticated_at, standing.session.expires_at), (world.now(), world.in_hours(3)));
        assert_eq!((standing.account.account_id, standing.account.role.as_str()), (ada.id, "user"));
        tx.sessions().revoke(id, "logout").await.unwrap();
        let standing = tx.sessions().standing(id).await.unwrap().unwrap();
        assert_eq!(standing.session.revoked_at, Some(world.now()));
        assert_eq!(tx.sessions().standing(next_id()).await.unwrap(), None);
    }

    async fn a_step_is_taken_once_and_only_while_the_session_lives(world) {
        let ada = world.person("ada", "user").await;
        let id = open(world, ada.id).await;
        let mut tx = world.begin().await;
        let rotated = tx.sessions().rotate(id, 0, world.in_hours(2)).await.unwrap().unwrap();
        assert_eq!((rotated.seq, rotated.rotated_at, rotated.idle_expires_at), (1, Some(world.now()), world.in_hours(2)));
        assert_eq!(tx.sessions().rotate(id, 0, world.in_hours(2)).await.unwrap(), None, "taken");
        assert_eq!(tx.sessions().rotate(id, 2, world.in_hours(2)).await.unwrap(), None, "not there yet");
        tx.commit().await.unwrap();

        let idle = open(world, ada.id).await;
        world.clock.advance(Duration::from_secs(3600));
        let mut tx = world.begin().await;
        assert_eq!(tx.sessions().rotate(idle, 0, world.in_hours(1)).await.unwrap(), None, "idle to the second");
        assert!(tx.sessions().rotate(id, 1, world.in_hours(9)).await.unwrap().is_some());
        tx.commit().await.unwrap();
        world.clock.advance(Duration::from_secs(7200));
        let mut tx = world.begin().await;
        assert_eq!(tx.sessions().rotate(id, 2, world.in_hours(9)).await.unwrap(), None, "expired");
        drop(tx);

        let revoked = open(world, ada.id).await;
        let mut tx = world.begin().await;
        tx.sessions().revoke(revoked, "logout").await.unwrap();
        assert_eq!(tx.sessions().rotate(revoked, 0, world.in_hours(1)).await.unwrap(), None, "revoked");
    }

    async fn moments_are_told_apart_to_the_microsecond_however_they_are_written(world) {
        // SQLite compares moments as text, which has none, three or six digits behind the point.
        let ada = world.person("ada", "user").await;
        let id = open(world, ada.id).await;
        let mut seq = 0;
        for (wait, end) in [(999_999, 1), (0, 499_999), (500_000, 1), (0, 123_000), (123_000, 1), (377_000, 1)] {
            world.clock.advance(Duration::from_micros(wait));
            let end = world.now() + chrono::TimeDelta::microseconds(end);
            let mut tx = world.begin().await;
            assert!(tx.sessions().rotate(id, seq, end).await.unwrap().is_some(), "{}", world.now());
            seq += 1;
            tx.commit().await.unwrap();
            assert_eq!(world.read().await.sessions().active_count().await.unwrap(), 1, "{end} is after {}", world.now());
            let mut tx = world.begin().await;
            assert!(tx.sessions().rotate(id, seq, world.in_hours(1)).await.unwrap().is_some());
            seq += 1;
            tx.commit().await.unwrap();
        }
    }

    async fn of_fifty_that_take_one_step_at_once_one_does(world) {
        let ada = world.person("ada", "user").await;
        let id = open(world, ada.id).await;
        let until = world.in_hours(2);
        let attempts: Vec<_> = (0..50).map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut tx = store.begin(crate::world::SERVICE).await.unwrap();
                let rotated = tx.sessions().rotate(id, 0, until).await.unwrap();
                tx.commit().await.unwrap();
                rotated.is_some()
            })
        }).collect();
        let mut winners = 0;
        for attempt in attempts {
            winners += usize::from(attempt.await.unwrap());
        }
        assert_eq!(winners, 1);
        assert_eq!(world.read().await.sessions().find(id).await.unwrap().unwrap().seq, 1);
    }

    async fn a_session_is_revoked_once_and_by_its_owner_only(world) {
        let (ada, eve) = (world.person("ada", "user").await, world.person("eve", "user").await);
        let id = open(world, ada.id).await;
        let mut tx = world.begin().await;
        assert!(!tx.sessions().revoke_own(eve.id, id, "no").await.unwrap());
        assert!(tx.sessions().revoke_own(ada.id, id, "logout").await.unwrap());
        assert!(!tx.sessions().revoke_own(ada.id, id, "again").await.unwrap());
        assert!(!tx.sessions().revoke(id, "again").await.unwrap());
        let session = tx.sessions().find(id).await.unwrap().unwrap();
        assert_eq!(session.revoked_reason.as_deref(), Some("logout"));
    }

    async fn all_sessions_of_an_account_end_but_one(world) {
        let (ada, eve) = (world.person("ada", "user").await, world.person("eve", "user").await);
        let (first, second, third) = (open(world, ada.id).await, open(world, ada.id).await, open(world, ada.id).await);
        let other = open(world, eve.id).await;
        let mut tx = world.begin().await;
        tx.sessions().revoke(first, "earlier").await.unwrap();
        assert_eq!(tx.sessions().revoke_all(ada.id, Some(third), "password").await.unwrap(), [second]);
        assert_eq!(tx.sessions().revoke_all(ada.id, None, "logout").await.unwrap(), [third]);
        assert!(tx.sessions().find(other).await.unwrap().unwrap().revoked_at.is_none());
    }

    async fn only_live_sessions_are_listed_and_counted(world) {
        let ada = world.person("ada", "user").await;
        let idle = open(world, ada.id).await;
        world.clock.advance(Duration::from_secs(1800));
        let (first, second) = (open(world, ada.id).await, open(world, ada.id).await);
        let revoked = open(world, ada.id).await;
        world.clock.advance(Duration::from_secs(1800));
        let mut tx = world.begin().await;
        tx.sessions().revoke(revoked, "logout").await.unwrap();
        assert_eq!(tx.sessions().active_count().await.unwrap(), 2);
        let newest = tx.sessions().list(ada.id, &PageRequest { limit: 1, cursor: None }).await.unwrap();
        assert_eq!(newest.items[0].id, second);
        let oldest = tx.sessions().list(ada.id, &page_after(1, &newest)).await.unwrap();
        assert_eq!((oldest.items[0].id, oldest.next_cursor), (first, None));

        let now = world.now() + chrono::TimeDelta::microseconds(1);
        assert_eq!(tx.sessions().prune(now).await.unwrap(), 2, "the idle and the revoked one");
        assert!(tx.sessions().find(idle).await.unwrap().is_none());
    }
}
