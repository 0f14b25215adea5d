use std::time::Duration;

use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores, start_of_time};

/// A confirmed authenticator, its last code that of step 7.
async fn enrolled(world: &World, account: Uuid) -> Uuid {
    let id = next_id();
    let mut tx = world.begin().await;
    tx.second_factors().begin_totp(id, account, &[1, 2, 3]).await.unwrap();
    assert!(tx.second_factors().confirm(id, 7).await.unwrap());
    tx.commit().await.unwrap();
    id
}

on_both_stores! {
    async fn an_authenticator_counts_once_it_is_confirmed(world) {
        let ada = world.person("ada", "user").await.id;
        let (first, second) = (next_id(), next_id());
        let mut tx = world.begin().await;
        tx.second_factors().begin_totp(first, ada, &[1]).await.unwrap();
        tx.second_factors().begin_totp(second, ada, &[2]).await.unwrap();
        let long_ago = start_of_time() - Duration::from_secs(1);
        let pending = tx.second_factors().pending_totp(ada, long_ago).await.unwrap().unwrap();
        assert_eq!((pending.id, pending.secret, pending.confirmed_at), (second, vec![2], None), "the later one");
        assert_eq!(tx.second_factors().pending_totp(ada, world.now()).await.unwrap(), None, "too old");
        assert_eq!(tx.second_factors().totp(ada).await.unwrap(), None);
        assert!(!tx.accounts().standing(ada).await.unwrap().unwrap().has_second_factor);
        assert!(!tx.second_factors().take_step(second, 9).await.unwrap(), "not confirmed");

        assert!(!tx.second_factors().confirm(first, 7).await.unwrap(), "replaced");
        assert!(tx.second_factors().confirm(second, 7).await.unwrap());
        assert!(!tx.second_factors().confirm(second, 8).await.unwrap(), "confirmed before");
        let totp = tx.second_factors().totp(ada).await.unwrap().unwrap();
        assert_eq!((totp.id, totp.confirmed_at), (second, Some(world.now())));
        let standing = tx.accounts().standing(ada).await.unwrap().unwrap();
        assert!(standing.has_second_factor && standing.is_person && !standing.must_enrol);
        let another = tx.second_factors().begin_totp(next_id(), ada, &[3]).await;
        assert!(matches!(another, Err(storage::Error::Conflict)), "{another:?}");
    }

    async fn a_time_step_is_taken_once_and_no_earlier_one_after_it(world) {
        let id = enrolled(world, world.person("ada", "user").await.id).await;
        let mut tx = world.begin().await;
        assert!(!tx.second_factors().take_step(id, 7).await.unwrap(), "it confirmed");
        assert!(tx.second_factors().take_step(id, 9).await.unwrap());
        assert!(!tx.second_factors().take_step(id, 9).await.unwrap());
        assert!(!tx.second_factors().take_step(id, 8).await.unwrap());
        assert!(!tx.second_factors().take_step(next_id(), 10).await.unwrap());
    }

    async fn a_recovery_code_is_taken_once_by_its_owner(world) {
        let (ada, grace) = (world.person("ada", "user").await.id, world.person("grace", "user").await.id);
        let mut tx = world.begin().await;
        tx.second_factors().set_recovery_codes(ada, &[vec![1], vec![2]]).await.unwrap();
        assert_eq!(tx.second_factors().recovery_codes_left(ada).await.unwrap(), 2);
        assert!(!tx.second_factors().take_recovery_code(grace, &[1]).await.unwrap());
        assert!(!tx.second_factors().take_recovery_code(ada, &[3]).await.unwrap());
        assert!(tx.second_factors().take_recovery_code(ada, &[1]).await.unwrap());
        assert!(!tx.second_factors().take_recovery_code(ada, &[1]).await.unwrap());
        assert_eq!(tx.second_factors().recovery_codes_left(ada).await.unwrap(), 1);
        tx.second_factors().set_recovery_codes(ada, &[vec![4]]).await.unwrap();
        assert!(!tx.second_factors().take_recovery_code(ada, &[2]).await.unwrap(), "replaced");
    }

    async fn second_factors_go_together_and_with_their_account(world) {
        let (ada, grace) = (world.person("ada", "user").await.id, world.person("grace", "user").await.id);
        enrolled(world, ada).await;
        let of_grace = enrolled(world, grace).await;
        let mut tx = world.begin().await;
        tx.second_factors().set_recovery_codes(ada, &[vec![1]]).await.unwrap();
        assert!(tx.second_factors().remove(ada).await.unwrap());
        assert!(!tx.second_factors().remove(ada).await.unwrap());
        assert_eq!(tx.second_factors().recovery_codes_left(ada).await.unwrap(), 0);
        tx.accounts().set_must_enrol(ada, true).await.unwrap();
        let standing = tx.accounts().standing(ada).await.unwrap().unwrap();
        assert!(standing.must_enrol && !standing.has_second_factor);
        assert!(tx.users().delete(grace).await.unwrap());
        assert!(!tx.second_factors().take_step(of_grace, 99).await.unwrap());
    }

    async fn a_session_remembers_what_it_was_opened_with(world) {
        let ada = world.person("ada", "user").await.id;
        let id = crate::sessions::open(world, ada).await;
        let mut tx = world.begin().await;
        assert_eq!(tx.sessions().find(id).await.unwrap().unwrap().methods, "password");
        tx.sessions().set_methods(id, "password totp").await.unwrap();
        assert_eq!(tx.sessions().find(id).await.unwrap().unwrap().methods, "password totp");
    }
}
