use storage::{Error, PageRequest, Service, UserUpdate};

use crate::world::{new_user, next_id, on_both_stores, page_after};

on_both_stores! {
    async fn a_person_is_found_as_they_were_created(world) {
        let ada = world.person("Ada", "user").await;
        let mut tx = world.read().await;
        assert_eq!(tx.users().find(ada.id).await.unwrap().unwrap(), ada);
        assert_eq!((ada.active, ada.security_version, ada.created_at), (true, 0, world.now()));
        assert_eq!(tx.users().find(next_id()).await.unwrap(), None);
        assert_eq!(tx.users().count().await.unwrap(), 1);
    }

    async fn a_taken_address_conflicts_and_leaves_nothing_behind(world) {
        world.person("ada", "user").await;
        let mut tx = world.begin().await;
        let again = tx.users().create(&new_user("ADA", "user")).await;
        assert!(matches!(again, Err(Error::Conflict)), "{again:?}");
        assert!(matches!(tx.commit().await, Err(Error::Refused(_))), "a failed transaction cannot be committed");
        assert_eq!(world.read().await.users().count().await.unwrap(), 1);
    }

    async fn an_unknown_role_is_refused(world) {
        let mut tx = world.begin().await;
        assert!(matches!(tx.users().create(&new_user("ada", "emperor")).await, Err(Error::Refused(_))));
    }

    async fn passwords_are_set_replaced_and_found_by_address(world) {
        let ada = world.person("Ada", "user").await;
        let mut tx = world.begin_as(Service::Login).await;
        let bare = tx.users().credentials("ada@example.org").await.unwrap().unwrap();
        assert_eq!((bare.user, bare.password_hash), (ada.clone(), None));
        assert_eq!(tx.users().password_hash(ada.id).await.unwrap(), None);
        for hash in ["$first", "$second"] {
            tx.users().set_password(ada.id, hash).await.unwrap();
            assert_eq!(tx.users().password_hash(ada.id).await.unwrap().as_deref(), Some(hash));
        }
        assert!(!tx.users().replace_password(ada.id, "$first", "$third").await.unwrap());
        assert!(tx.users().replace_password(ada.id, "$second", "$third").await.unwrap());
        assert!(tx.users().replace_password(ada.id, "$third", "$second").await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Login).await;
        let found = tx.users().credentials("ada@example.org").await.unwrap().unwrap();
        assert!(!format!("{found:?}").contains("$second"), "hashes stay out of Debug");
        assert_eq!(found.password_hash.as_deref(), Some("$second"));
        assert!(tx.users().credentials("nobody@example.org").await.unwrap().is_none());
    }

    async fn an_address_is_replaced_unless_it_is_taken(world) {
        let (ada, grace) = (world.person("ada", "user").await, world.person("grace", "user").await);
        let mut tx = world.begin().await;
        tx.users().set_email(ada.id, b"sealed anew", "countess@example.org").await.unwrap();
        let found = tx.users().credentials("countess@example.org").await.unwrap().unwrap().user;
        assert_eq!((found.id, found.email), (ada.id, b"sealed anew".to_vec()));
        assert!(tx.users().credentials("ada@example.org").await.unwrap().is_none());
        tx.commit().await.unwrap();
        let mut tx = world.begin().await;
        let taken = tx.users().set_email(grace.id, b"sealed anew", "countess@example.org").await;
        assert!(matches!(taken, Err(Error::Conflict)), "{taken:?}");
    }

    async fn a_login_is_dated_by_the_clock(world) {
        let ada = world.person("ada", "user").await;
        world.clock.advance(std::time::Duration::from_micros(1_500_001));
        let mut tx = world.begin().await;
        tx.users().record_login(ada.id).await.unwrap();
        assert_eq!(tx.users().find(ada.id).await.unwrap().unwrap().last_login_at, Some(world.now()));
    }

    async fn a_list_goes_from_newest_to_oldest_page_by_page(world) {
        let mut expected = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            expected.insert(0, world.person(name, "user").await);
        }
        let mut tx = world.read().await;
        let mut request = PageRequest { limit: 2, cursor: None };
        let mut seen = Vec::new();
        loop {
            let page = tx.users().list(&request).await.unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items.iter().cloned());
            if page.next_cursor.is_none() { break }
            request = page_after(2, &page);
        }
        assert_eq!(seen, expected);
    }

    async fn switching_an_account_off_or_on_ends_its_tokens_and_a_role_does_not(world) {
        let ada = world.person("ada", "user").await;
        let mut tx = world.begin().await;
        for (update, version) in [
            (UserUpdate { name: Some("Ada L.".into()), ..UserUpdate::default() }, 0),
            (UserUpdate { role: Some("user".into()), active: Some(true), ..UserUpdate::default() }, 0),
            (UserUpdate { role: Some("admin".into()), ..UserUpdate::default() }, 0),
            (UserUpdate { active: Some(false), ..UserUpdate::default() }, 1),
            (UserUpdate { role: Some("user".into()), active: Some(true), ..UserUpdate::default() }, 2),
        ] {
            let user = tx.users().update(ada.id, &update).await.unwrap().unwrap();
            assert_eq!(user.security_version, version, "{update:?}");
            assert_eq!(user.name, b"Ada L.");
            assert!(!format!("{user:?} {update:?}").contains("name"), "who they are stays out of Debug");
        }
        assert_eq!(tx.users().update(next_id(), &UserUpdate::default()).await.unwrap(), None);
    }

    async fn other_administrators_are_counted(world) {
        let ada = world.person("ada", "admin").await;
        let bob = world.person("bob", "admin").await;
        world.person("eve", "user").await;
        let mut tx = world.begin().await;
        tx.users().lock_administrators().await.unwrap();
        assert_eq!(tx.users().other_active_administrators(ada.id).await.unwrap(), 0, "bob cannot log in yet");
        tx.users().set_password(bob.id, "hash").await.unwrap();
        assert_eq!(tx.users().other_active_administrators(ada.id).await.unwrap(), 1);
        let disabled = UserUpdate { active: Some(false), ..UserUpdate::default() };
        tx.users().update(bob.id, &disabled).await.unwrap();
        assert_eq!(tx.users().other_active_administrators(ada.id).await.unwrap(), 0);
    }

    async fn two_administrators_cannot_disable_each_other_at_once(world) {
        let ada = world.person("ada", "admin").await.id;
        let bob = world.person("bob", "admin").await.id;
        let mut tx = world.begin().await;
        for id in [ada, bob] {
            tx.users().set_password(id, "hash").await.unwrap();
        }
        tx.commit().await.unwrap();
        let disable = async |id| {
            let mut tx = world.begin().await;
            tx.users().lock_administrators().await.unwrap();
            if tx.users().other_active_administrators(id).await.unwrap() > 0 {
                let update = UserUpdate { active: Some(false), ..UserUpdate::default() };
                tx.users().update(id, &update).await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        tokio::join!(disable(ada), disable(bob));
        let left = world.read().await.users().other_active_administrators(next_id()).await.unwrap();
        assert_eq!(left, 1);
    }
}
