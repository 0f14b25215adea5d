use storage::{GuessStanding, NewSession};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores};

const HOME: &str = "203.0.113.7";

async fn session_from(world: &World, account: Uuid, network: Option<&str>) -> Uuid {
    let new = NewSession { network: network.map(str::to_owned), ..world.new_session(account) };
    let mut tx = world.begin().await;
    tx.sessions().create(&new).await.unwrap();
    tx.commit().await.unwrap();
    new.id
}

on_both_stores! {
    async fn failures_are_counted_up_to_a_bound_and_forgotten(world) {
        let ada = world.person("ada", "user").await.id;
        let mut tx = world.begin().await;
        tx.guessing().count_failure(ada, true, 3).await.unwrap();
        assert_eq!(tx.guessing().standing(ada, None, "").await.unwrap().failures, 0, "without a password");
        tx.users().set_password(ada, "$argon2id$one").await.unwrap();
        for expected in [1, 2, 3, 3, 3] {
            tx.guessing().count_failure(ada, true, 3).await.unwrap();
            assert_eq!(tx.guessing().standing(ada, None, "").await.unwrap().failures, expected);
        }
        tx.guessing().forget_failures(ada).await.unwrap();
        assert_eq!(tx.guessing().standing(ada, None, "").await.unwrap().failures, 0);
        tx.guessing().count_failure(ada, true, i64::MAX).await.unwrap();
        tx.users().set_password(ada, "$argon2id$two").await.unwrap();
        assert_eq!(tx.guessing().standing(ada, None, "").await.unwrap().failures, 0, "a new password");
        tx.guessing().count_failure(next_id(), true, 3).await.unwrap();
        tx.guessing().forget_failures(next_id()).await.unwrap();
    }

    async fn a_network_is_new_to_an_account_that_was_logged_in_to_from_others_only(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let session = session_from(world, ada, Some(HOME)).await;
        let mut tx = world.begin().await;
        assert!(!tx.sessions().is_new_network(ada, "203.0.113.8").await.unwrap(), "the first login is no news");
        for account in [ada, eve] {
            tx.users().record_login(account).await.unwrap();
        }
        tx.sessions().revoke(session, "stolen").await.unwrap();
        for (account, network, is_new) in [(ada, HOME, false), (ada, "203.0.113.8", true), (eve, HOME, true)] {
            assert_eq!(tx.sessions().is_new_network(account, network).await.unwrap(), is_new, "{network}");
        }
    }

    async fn a_network_is_familiar_to_the_account_that_had_a_session_from_it(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let first = session_from(world, ada, Some(HOME)).await;
        session_from(world, ada, None).await;
        let mut tx = world.begin().await;
        let standing = tx.guessing().standing(ada, Some(HOME), "logout").await.unwrap();
        assert_eq!(standing, GuessStanding { failures: 0, familiar: true });
        for (account, network) in [(ada, Some("203.0.113.8")), (ada, None), (eve, Some(HOME)), (next_id(), Some(HOME))] {
            assert!(!tx.guessing().standing(account, network, "logout").await.unwrap().familiar, "{network:?}");
        }
        tx.sessions().revoke(first, "logout").await.unwrap();
        assert!(tx.guessing().standing(ada, Some(HOME), "logout").await.unwrap().familiar, "ended as it should");
        assert!(!tx.guessing().standing(ada, Some(HOME), "else").await.unwrap().familiar, "ended for another reason");
    }

    async fn the_oldest_live_sessions_make_room(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let mut sessions = Vec::new();
        for _ in 0..4 {
            sessions.push(session_from(world, ada, None).await);
        }
        let other = session_from(world, eve, None).await;
        let mut tx = world.begin().await;
        tx.sessions().revoke(sessions[3], "logout").await.unwrap();
        assert!(tx.sessions().revoke_oldest(ada, 3, "room").await.unwrap().is_empty(), "three are live");
        assert_eq!(tx.sessions().revoke_oldest(ada, 1, "room").await.unwrap().len(), 2);
        let live = tx.sessions().list(ada, &storage::PageRequest::default()).await.unwrap();
        assert_eq!(live.items.iter().map(|session| session.id).collect::<Vec<_>>(), [sessions[2]]);
        assert!(tx.sessions().find(other).await.unwrap().unwrap().revoked_at.is_none());
    }
}
