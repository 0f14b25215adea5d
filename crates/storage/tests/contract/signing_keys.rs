use storage::{Error, NewSigningKey, SigningKeyState};

use crate::world::{SERVICE, on_both_stores};

fn key(kid: &str, purpose: &str) -> NewSigningKey {
    NewSigningKey {
        kid: kid.into(),
        algorithm: "EdDSA".into(),
        purpose: purpose.into(),
        private_key: vec![7; 48],
        public_key: vec![8; 32],
        state: SigningKeyState::Published,
    }
}

on_both_stores! {
    async fn keys_are_kept_by_purpose_and_move_on_in_life(world) {
        let mut tx = world.begin().await;
        tx.signing_keys().insert(&key("a", "access")).await.unwrap();
        tx.signing_keys().insert(&key("b", "other")).await.unwrap();
        assert!(tx.signing_keys().set_state("a", SigningKeyState::Active).await.unwrap());
        assert!(!tx.signing_keys().set_state("z", SigningKeyState::Active).await.unwrap());
        tx.signing_keys().insert(&key("c", "brief")).await.unwrap();
        assert!(tx.signing_keys().delete("c").await.unwrap());
        assert!(!tx.signing_keys().delete("c").await.unwrap());
        assert_eq!(tx.signing_keys().list("brief").await.unwrap().len(), 0);
        let keys = tx.signing_keys().list("access").await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!((keys[0].kid.as_str(), keys[0].state), ("a", SigningKeyState::Active));
        assert_eq!((keys[0].private_key[0], keys[0].public_key.len()), (7, 32));
        assert!(!format!("{:?}", keys[0]).contains("private_key"));
        assert!(matches!(tx.signing_keys().insert(&key("a", "access")).await, Err(Error::Conflict)));
    }

    async fn replicas_that_start_at_once_make_one_first_key(world) {
        let starts: Vec<_> = (0..8).map(|replica| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut tx = store.begin(SERVICE).await.unwrap();
                tx.signing_keys().lock("access").await.unwrap();
                if tx.signing_keys().list("access").await.unwrap().is_empty() {
                    tokio::task::yield_now().await;
                    tx.signing_keys().insert(&key(&format!("key-{replica}"), "access")).await.unwrap();
                }
                tx.commit().await.unwrap();
            })
        }).collect();
        for start in starts {
            start.await.unwrap();
        }
        assert_eq!(world.read().await.signing_keys().list("access").await.unwrap().len(), 1);
    }
}
