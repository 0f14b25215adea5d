use std::time::Duration;

use storage::{ApiKey, ApiKeyUpdate, Error, KeyLimits, NewApiKey, PageRequest, UserUpdate};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores, page_after};

fn new_key(account: Uuid, public_id: &str) -> NewApiKey {
    NewApiKey {
        id: next_id(),
        public_id: public_id.into(),
        account_id: account,
        name: "ci".into(),
        scopes: vec!["models:infer".into()],
        models: None,
        allowed_ips: Some(vec!["203.0.113.0/24".into()]),
        limits: Some(KeyLimits { requests_per_minute: Some(30), requests_per_hour: None }),
        expires_at: None,
        require_signature: false,
        sealed_secret: None,
        secret_hash: vec![1; 32],
    }
}

async fn key(world: &World, account: Uuid, public_id: &str) -> ApiKey {
    let mut tx = world.begin().await;
    let key = tx.api_keys().create(&new_key(account, public_id)).await.unwrap();
    tx.commit().await.unwrap();
    key
}

on_both_stores! {
    async fn a_key_belongs_to_its_account_and_to_nobody_else(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let made = key(world, ada, "one").await;
        let mut tx = world.begin().await;
        assert_eq!(tx.api_keys().find(ada, made.id).await.unwrap().unwrap(), made);
        assert_eq!(tx.api_keys().find(eve, made.id).await.unwrap(), None);
        assert_eq!(tx.api_keys().update(eve, made.id, &ApiKeyUpdate::default()).await.unwrap(), None);
        assert!(!tx.api_keys().add_secret(eve, made.id, &[9; 32], None).await.unwrap());
        assert!(!tx.api_keys().revoke(eve, made.id).await.unwrap());
        assert!(tx.api_keys().list(eve, &PageRequest::default()).await.unwrap().items.is_empty());
        assert!(tx.personal_data(eve, 10).api_keys().await.unwrap().is_empty());
        assert!(tx.api_keys().revoke(ada, made.id).await.unwrap());
        assert_eq!(tx.personal_data(ada, 10).api_keys().await.unwrap().len(), 1, "revoked ones too");
        assert!(!tx.api_keys().revoke(ada, made.id).await.unwrap(), "once");
        assert_eq!(tx.api_keys().update(ada, made.id, &ApiKeyUpdate::default()).await.unwrap(), None, "revoked");
        assert!(!tx.api_keys().add_secret(ada, made.id, &[9; 32], None).await.unwrap(), "revoked");
        assert_eq!(tx.api_keys().find(ada, made.id).await.unwrap().unwrap().revoked_at, Some(world.now()));
    }

    async fn a_public_id_is_taken_once(world) {
        let ada = world.person("ada", "user").await.id;
        key(world, ada, "one").await;
        let again = world.begin().await.api_keys().create(&new_key(ada, "one")).await;
        assert!(matches!(again, Err(Error::Conflict)));
    }

    async fn keys_are_listed_page_by_page_without_the_revoked(world) {
        let ada = world.person("ada", "user").await.id;
        let (first, second, third) =
            (key(world, ada, "one").await, key(world, ada, "two").await, key(world, ada, "three").await);
        let mut tx = world.begin().await;
        tx.api_keys().revoke(ada, second.id).await.unwrap();
        let newest = tx.api_keys().list(ada, &PageRequest { limit: 1, cursor: None }).await.unwrap();
        assert_eq!(newest.items, [third]);
        let oldest = tx.api_keys().list(ada, &page_after(1, &newest)).await.unwrap();
        assert_eq!((oldest.items, oldest.next_cursor), (vec![first], None));
    }

    async fn an_update_changes_what_it_names(world) {
        let ada = world.person("ada", "user").await.id;
        let made = key(world, ada, "one").await;
        let mut tx = world.begin().await;
        assert_eq!(tx.api_keys().update(ada, made.id, &ApiKeyUpdate::default()).await.unwrap().unwrap(), made);
        let update = ApiKeyUpdate {
            name: Some("nightly".into()),
            scopes: Some(vec![]),
            models: Some(Some(vec!["digits".into()])),
            allowed_ips: Some(None),
            limits: Some(Some(KeyLimits { requests_per_minute: None, requests_per_hour: Some(9) })),
        };
        let changed = tx.api_keys().update(ada, made.id, &update).await.unwrap().unwrap();
        let expected = ApiKey {
            name: "nightly".into(),
            scopes: vec![],
            models: Some(vec!["digits".into()]),
            allowed_ips: None,
            limits: Some(KeyLimits { requests_per_minute: None, requests_per_hour: Some(9) }),
            ..made.clone()
        };
        assert_eq!(changed, expected);
        assert_eq!(tx.api_keys().find(ada, made.id).await.unwrap().unwrap(), expected);
    }

    async fn everyones_keys_are_listed_and_live_ones_are_counted(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let (first, second, third) =
            (key(world, ada, "one").await, key(world, eve, "two").await, key(world, ada, "three").await);
        let mut tx = world.begin().await;
        let ended = NewApiKey { expires_at: Some(world.now()), ..new_key(ada, "ended") };
        let ended = tx.api_keys().create(&ended).await.unwrap();
        let everyones = tx.api_keys().list_all(None, &PageRequest::default()).await.unwrap();
        assert_eq!(everyones.items, [ended, third.clone(), second.clone(), first.clone()]);
        let hers = tx.api_keys().list_all(Some(eve), &PageRequest::default()).await.unwrap();
        assert_eq!(hers.items, std::slice::from_ref(&second));
        assert_eq!(tx.api_keys().owner(second.id).await.unwrap(), Some(eve));
        assert_eq!(tx.api_keys().owner(next_id()).await.unwrap(), None);
        assert_eq!(tx.api_keys().live_count(ada).await.unwrap(), 2);
        tx.api_keys().revoke(ada, third.id).await.unwrap();
        assert_eq!(tx.api_keys().live_count(ada).await.unwrap(), 1);
        assert_eq!(tx.api_keys().list_all(Some(ada), &PageRequest::default()).await.unwrap().items.len(), 2);
    }

    async fn standing_brings_key_secrets_and_owner_together(world) {
        let ada = world.person("ada", "user").await.id;
        let made = key(world, ada, "one").await;
        let mut tx = world.begin().await;
        assert_eq!(tx.api_keys().standing("none").await.unwrap(), None);
        let standing = tx.api_keys().standing("one").await.unwrap().unwrap();
        assert_eq!((&standing.key, standing.account.account_id), (&made, ada));
        assert_eq!((standing.secrets[0].hash.as_slice(), standing.secrets[0].expires_at), (&[1; 32][..], None));
        assert!(!format!("{standing:?}").contains("hash"), "hashes stay out of Debug");
        let disabled = UserUpdate { active: Some(false), ..UserUpdate::default() };
        tx.users().update(ada, &disabled).await.unwrap();
        tx.api_keys().revoke(ada, made.id).await.unwrap();
        let standing = tx.api_keys().standing("one").await.unwrap().unwrap();
        assert_eq!((standing.account.active, standing.key.revoked_at), (false, Some(world.now())));
    }

    async fn two_secrets_at_most_during_a_rotation(world) {
        let ada = world.person("ada", "user").await.id;
        let made = key(world, ada, "one").await;
        let mut tx = world.begin().await;
        for secret in [2, 3] {
            tx.api_keys().expire_secrets(made.id, world.in_hours(i64::from(secret))).await.unwrap();
            assert!(tx.api_keys().add_secret(ada, made.id, &[secret; 32], None).await.unwrap());
        }
        let secrets = tx.api_keys().standing("one").await.unwrap().unwrap().secrets;
        let seen: Vec<_> = secrets.iter().map(|secret| (secret.hash[0], secret.expires_at)).collect();
        assert_eq!(seen, [(3, None), (2, Some(world.in_hours(3)))]);
        tx.api_keys().expire_secrets(made.id, world.in_hours(9)).await.unwrap();
        let secrets = tx.api_keys().standing("one").await.unwrap().unwrap().secrets;
        assert_eq!(secrets[1].expires_at, Some(world.in_hours(3)), "never later than before");
    }

    async fn the_last_use_only_moves_forward(world) {
        let ada = world.person("ada", "user").await.id;
        let made = key(world, ada, "one").await;
        let earlier = world.now();
        world.clock.advance(Duration::from_secs(60));
        let later = world.now();
        let mut tx = world.begin().await;
        let uses = [
            (made.id, later, Some("203.0.113.0".to_owned())),
            (made.id, earlier, Some("198.51.100.0".to_owned())),
            (next_id(), later, None),
        ];
        tx.api_keys().touch(&uses).await.unwrap();
        tx.api_keys().touch(&uses[1..]).await.unwrap();
        let found = tx.api_keys().find(ada, made.id).await.unwrap().unwrap();
        assert_eq!((found.last_used_at, found.last_used_address.as_deref()), (Some(later), Some("203.0.113.0")));
    }
}
