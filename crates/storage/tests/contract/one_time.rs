use std::time::Duration;

use storage::OneTimeToken;
use uuid::Uuid;

use crate::world::{World, on_both_stores};

fn token(world: &World, number: u8, account: Option<Uuid>) -> OneTimeToken {
    OneTimeToken {
        hash: vec![number; 32],
        purpose: "door".into(),
        account_id: account,
        email_lookup: None,
        payload: Some(vec![1, 2, 3]),
        attempts_left: 2,
        expires_at: world.in_hours(1),
    }
}

on_both_stores! {
    async fn a_one_time_token_is_taken_once_and_for_its_purpose(world) {
        let one = token(world, 1, None);
        let mut tx = world.begin().await;
        tx.one_time_tokens().create(&one).await.unwrap();
        assert_eq!(tx.one_time_tokens().find(&one.hash, "window").await.unwrap(), None);
        assert_eq!(tx.one_time_tokens().take(&one.hash, "window").await.unwrap(), None);
        assert_eq!(tx.one_time_tokens().find(&one.hash, "door").await.unwrap(), Some(one.clone()));
        assert_eq!(tx.one_time_tokens().take(&one.hash, "door").await.unwrap(), Some(one.clone()));
        assert_eq!(tx.one_time_tokens().take(&one.hash, "door").await.unwrap(), None);
    }

    async fn a_token_for_an_address_is_taken_once_with_the_others_for_it(world) {
        let for_address = |number: u8, lookup: &str| {
            OneTimeToken { email_lookup: Some(lookup.into()), ..token(world, number, None) }
        };
        let tokens = [(1, "ada"), (2, "ada"), (3, "grace")].map(|(number, lookup)| for_address(number, lookup));
        let mut tx = world.begin().await;
        for token in &tokens {
            tx.one_time_tokens().create(token).await.unwrap();
        }
        assert!(!tx.one_time_tokens().take_for_address(&tokens[0].hash, "grace").await.unwrap(), "another's");
        assert!(tx.one_time_tokens().take_for_address(&tokens[0].hash, "ada").await.unwrap());
        for hash in [&tokens[0].hash, &tokens[1].hash] {
            assert!(!tx.one_time_tokens().take_for_address(hash, "ada").await.unwrap());
        }
    }

    async fn tries_at_a_one_time_token_are_counted_to_an_end(world) {
        let one = token(world, 1, None);
        let mut tx = world.begin().await;
        tx.one_time_tokens().create(&one).await.unwrap();
        for left in [1, 0] {
            let tried = tx.one_time_tokens().attempt(&one.hash, "door").await.unwrap();
            assert_eq!(tried.map(|token| token.attempts_left), Some(left));
        }
        assert_eq!(tx.one_time_tokens().attempt(&one.hash, "door").await.unwrap(), None);
        assert_eq!(tx.one_time_tokens().attempt(&one.hash, "window").await.unwrap(), None);
    }

    async fn one_time_tokens_end_with_time(world) {
        let one = token(world, 1, None);
        let mut tx = world.begin().await;
        tx.one_time_tokens().create(&one).await.unwrap();
        tx.commit().await.unwrap();
        world.clock.advance(Duration::from_secs(3600));
        let mut tx = world.begin().await;
        assert_eq!(tx.one_time_tokens().find(&one.hash, "door").await.unwrap(), None);
        assert_eq!(tx.one_time_tokens().attempt(&one.hash, "door").await.unwrap(), None);
        assert_eq!(tx.one_time_tokens().take(&one.hash, "door").await.unwrap(), None);
        assert_eq!(tx.one_time_tokens().prune(one.expires_at).await.unwrap(), 0);
        assert_eq!(tx.one_time_tokens().prune(world.in_hours(1)).await.unwrap(), 1);
    }

    async fn one_time_tokens_go_with_their_account(world) {
        let (ada, grace) = (world.person("ada", "user").await.id, world.person("grace", "user").await.id);
        let mut tx = world.begin().await;
        for (number, account) in [(1, ada), (2, ada), (3, grace)] {
            tx.one_time_tokens().create(&token(world, number, Some(account))).await.unwrap();
        }
        assert_eq!(tx.one_time_tokens().forget(ada, "window").await.unwrap(), 0);
        assert_eq!(tx.one_time_tokens().forget(ada, "door").await.unwrap(), 2);
        assert!(tx.users().delete(grace).await.unwrap());
        assert_eq!(tx.one_time_tokens().find(&[3; 32], "door").await.unwrap(), None);
    }
}
