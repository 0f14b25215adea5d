use storage::UserUpdate;

use crate::world::{next_id, on_both_stores};

on_both_stores! {
    async fn standing_joins_the_account_with_its_role_as_it_is_now(world) {
        let ada = world.person("ada", "user").await;
        let mut tx = world.begin().await;
        let standing = tx.accounts().standing(ada.id).await.unwrap().unwrap();
        assert_eq!((standing.account_id, standing.active, standing.security_version), (ada.id, true, 0));
        assert_eq!((standing.role.as_str(), standing.permissions), ("user", vec!["models:read".to_owned()]));

        let update = UserUpdate { role: Some("admin".into()), ..UserUpdate::default() };
        tx.users().update(ada.id, &update).await.unwrap();
        tx.roles().sync_built_in(&[("admin", &["a", "b"])]).await.unwrap();
        let standing = tx.accounts().standing(ada.id).await.unwrap().unwrap();
        assert_eq!((standing.security_version, standing.permissions), (0, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(tx.accounts().standing(next_id()).await.unwrap(), None);
    }

    async fn links_end_with_the_role_what_it_may_do_the_address_and_a_switch(world) {
        let permissions = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ada = world.person("ada", "user").await.id;
        let grace = world.person("grace", "user").await.id;
        let mut tx = world.begin().await;
        tx.roles().create("auditor", &permissions(&[])).await.unwrap();
        let role = |role: &str| UserUpdate { role: Some(role.into()), ..UserUpdate::default() };
        let switch = |active: bool| UserUpdate { active: Some(active), ..UserUpdate::default() };
        let changes = [role("auditor"), role("auditor"), switch(true), switch(false), switch(true)];
        for (change, version) in changes.iter().zip([1, 1, 1, 2, 3]) {
            tx.users().update(ada, change).await.unwrap();
            assert_eq!(tx.accounts().link_version(ada).await.unwrap(), Some(version), "{change:?}");
        }
        tx.roles().update("auditor", &permissions(&["users:read"])).await.unwrap();
        assert_eq!(tx.accounts().link_version(ada).await.unwrap(), Some(4));
        tx.users().set_email(ada, b"sealed", "countess@example.org").await.unwrap();
        assert_eq!(tx.accounts().link_version(ada).await.unwrap(), Some(5));
        assert_eq!(tx.accounts().link_version(grace).await.unwrap(), Some(0), "another's");
        assert_eq!(tx.accounts().link_version(next_id()).await.unwrap(), None);
    }

    async fn a_role_of_ones_own_lives_until_it_is_removed_and_nobody_has_it(world) {
        let permissions = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ada = world.person("ada", "user").await;
        let mut tx = world.begin().await;
        tx.roles().create("auditor", &permissions(&["users:read"])).await.unwrap();
        let role = tx.roles().find("auditor").await.unwrap().unwrap();
        assert_eq!((role.built_in, role.permissions), (false, permissions(&["users:read"])));
        assert!(tx.roles().update("auditor", &permissions(&[])).await.unwrap());
        assert!(!tx.roles().update("user", &permissions(&[])).await.unwrap(), "the program brought it");
        assert!(!tx.roles().update("nobody", &permissions(&[])).await.unwrap());

        let have = UserUpdate { role: Some("auditor".into()), ..UserUpdate::default() };
        tx.users().update(ada.id, &have).await.unwrap();
        assert!(!tx.roles().delete("auditor").await.unwrap(), "ada has it");
        let lose = UserUpdate { role: Some("user".into()), ..UserUpdate::default() };
        tx.users().update(ada.id, &lose).await.unwrap();
        assert!(tx.roles().delete("auditor").await.unwrap());
        assert!(!tx.roles().delete("user").await.unwrap());
        assert!(tx.accounts().lock(ada.id).await.unwrap());
        assert!(!tx.accounts().lock(next_id()).await.unwrap());
        tx.roles().create("auditor", &permissions(&[])).await.unwrap();
        assert!(matches!(tx.roles().create("auditor", &permissions(&[])).await, Err(storage::Error::Conflict)));
    }

    async fn built_in_roles_are_what_the_program_says(world) {
        let mut tx = world.begin().await;
        assert_eq!(tx.roles().find("nobody").await.unwrap(), None);
        let role = tx.roles().find("user").await.unwrap().unwrap();
        assert!(role.built_in);
        tx.roles().sync_built_in(&[("user", &[]), ("readonly", &["x"])]).await.unwrap();
        let roles = tx.roles().list().await.unwrap();
        let seen: Vec<_> = roles.iter().map(|role| (role.name.as_str(), role.permissions.len())).collect();
        assert_eq!(seen, [("admin", 1), ("readonly", 1), ("user", 0)]);
    }
}
