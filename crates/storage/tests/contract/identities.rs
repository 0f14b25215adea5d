use chrono::{DateTime, Duration, Utc};
use storage::{Error, NewIdentity, UserUpdate};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores};

const ISSUER: &str = "https://id.example.com";

fn identity(account: Uuid, lookup: &str) -> NewIdentity {
    let subject = lookup.as_bytes().to_vec();
    let (issuer, lookup) = (ISSUER.into(), lookup.into());
    NewIdentity {
        id: next_id(),
        account_id: account,
        issuer,
        subject,
        lookup,
        ended_at: None,
        linker_lacked: None,
    }
}

fn before(world: &World, minutes: i64) -> DateTime<Utc> {
    world.now() - Duration::minutes(minutes)
}

on_both_stores! {
    async fn an_identity_is_one_accounts(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "admin").await.id);
        let mut tx = world.begin().await;
        let new = identity(ada, "one");
        tx.identities().create(&new).await.unwrap();
        tx.identities().create(&identity(ada, "two")).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.begin().await;
        let taken = tx.identities().create(&identity(eve, "one")).await;
        assert!(matches!(taken, Err(Error::Conflict)), "{taken:?}");
        drop(tx);
        let mut tx = world.begin().await;
        let standing = tx.identities().standing("one", "digest").await.unwrap().unwrap();
        assert_eq!((standing.identity.id, standing.account.account_id), (new.id, ada));
        assert_eq!(standing.account, tx.accounts().standing(ada).await.unwrap().unwrap());
        assert_eq!(tx.identities().standing("three", "digest").await.unwrap(), None);
        let listed = tx.identities().list(ada, 10).await.unwrap();
        assert_eq!(listed.iter().map(|one| &one.subject[..]).collect::<Vec<_>>(), [&b"one"[..], b"two"]);
        assert_eq!(tx.identities().list(ada, 1).await.unwrap().len(), 1);
        assert!(tx.identities().list(eve, 10).await.unwrap().is_empty());
        assert_eq!(tx.identities().state(eve, new.id, "digest").await.unwrap(), None, "another's");
    }

    async fn only_a_newer_token_decides(world) {
        let ada = world.person("ada", "user").await.id;
        let new = identity(ada, "one");
        let mut tx = world.begin().await;
        tx.identities().create(&new).await.unwrap();
        for (minutes, noted) in [(10, true), (10, false), (20, false), (9, true)] {
            let at = before(world, minutes);
            assert_eq!(tx.identities().note_token(new.id, at, at).await.unwrap(), noted, "{minutes}");
        }
        let state = tx.identities().state(ada, new.id, "digest").await.unwrap().unwrap();
        assert_eq!((state.newest_token_at, state.authenticated_at), (Some(before(world, 9)), Some(before(world, 9))));
        assert_eq!((state.ended_at, state.token_ended), (None, false));
        assert_eq!(tx.identities().list(ada, 1).await.unwrap()[0].last_seen_at, Some(world.now()));
    }

    async fn tokens_end_one_by_one_or_together(world) {
        let ada = world.person("ada", "user").await.id;
        let new = identity(ada, "one");
        let mut tx = world.begin().await;
        tx.identities().create(&new).await.unwrap();
        assert!(tx.identities().end_token(ada, "digest", world.in_hours(1)).await.unwrap());
        assert!(!tx.identities().end_token(ada, "digest", world.in_hours(2)).await.unwrap(), "a second time");
        assert!(tx.identities().standing("one", "digest").await.unwrap().unwrap().identity.token_ended);
        assert!(!tx.identities().standing("one", "other").await.unwrap().unwrap().identity.token_ended);
        tx.identities().end_tokens(ada).await.unwrap();
        assert_eq!(tx.identities().state(ada, new.id, "other").await.unwrap().unwrap().ended_at, Some(world.now()));
        assert_eq!(tx.identities().prune(world.now()).await.unwrap(), 0);
        assert_eq!(tx.identities().prune(world.in_hours(3)).await.unwrap(), 1);
    }

    async fn a_lost_role_is_remembered_until_somebody_switches_the_account(world) {
        let ada = world.person("ada", "user").await.id;
        let new = NewIdentity { ended_at: Some(before(world, 5)), ..identity(ada, "one") };
        let mut tx = world.begin().await;
        tx.identities().create(&new).await.unwrap();
        let state = tx.identities().state(ada, new.id, "digest").await.unwrap().unwrap();
        assert_eq!((state.ended_at, state.role_lost_at), (Some(before(world, 5)), None));
        for (active, lost) in [(None, Some(world.now())), (Some(false), None), (Some(true), None)] {
            tx.identities().lose_role(new.id).await.unwrap();
            let update = UserUpdate { name: Some("Ada".into()), active, ..UserUpdate::default() };
            tx.users().update(ada, &update).await.unwrap().unwrap();
            let standing = tx.identities().standing("one", "digest").await.unwrap().unwrap();
            assert_eq!(standing.identity.role_lost_at, lost, "{active:?}");
        }
    }

    async fn a_removed_identity_leaves_only_that_its_tokens_ended(world) {
        let ada = world.person("ada", "user").await.id;
        let (one, two) = (identity(ada, "one"), identity(ada, "two"));
        let mut tx = world.begin().await;
        tx.identities().create(&one).await.unwrap();
        tx.identities().create(&two).await.unwrap();
        assert_eq!(tx.identities().remove(ada, Some(next_id()), world.in_hours(1)).await.unwrap(), 0);
        assert_eq!(tx.identities().remove(ada, Some(one.id), world.in_hours(1)).await.unwrap(), 1);
        assert_eq!(tx.identities().removed_at("one").await.unwrap(), Some(world.now()));
        assert_eq!(tx.identities().removed_at("two").await.unwrap(), None);
        tx.identities().create(&one).await.unwrap();
        assert_eq!(tx.identities().remove(ada, None, world.in_hours(2)).await.unwrap(), 2, "again, and the other");
        assert!(tx.identities().list(ada, 10).await.unwrap().is_empty());
        assert!(tx.users().delete(ada).await.unwrap());
        assert_eq!(tx.identities().removed_at("one").await.unwrap(), Some(world.now()), "it outlives the account");
    }
}
