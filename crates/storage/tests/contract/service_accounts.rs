use storage::{
    Error, GrantSubject, ModelAccess, NewServiceAccount, PageRequest, ServiceAccount, ServiceAccountUpdate,
};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores};

async fn robot(world: &World, name: &str) -> ServiceAccount {
    let mut tx = world.begin().await;
    let new = NewServiceAccount { id: next_id(), name: name.into(), role: "user".into() };
    let account = tx.service_accounts().create(&new).await.unwrap();
    tx.commit().await.unwrap();
    account
}

async fn found(world: &World, id: Uuid) -> Option<ServiceAccount> {
    world.read().await.service_accounts().find(id).await.unwrap()
}

on_both_stores! {
    async fn a_service_account_is_found_listed_and_changed(world) {
        let (ci, cron) = (robot(world, "ci").await, robot(world, "cron").await);
        let ada = world.person("ada", "user").await;
        assert_eq!(found(world, ci.id).await, Some(ci.clone()));
        assert_eq!(found(world, ada.id).await, None, "a person is none");
        let mut tx = world.begin().await;
        assert_eq!(tx.users().find(ci.id).await.unwrap(), None, "nor is it a person");
        assert_eq!(tx.service_accounts().list(&PageRequest::default()).await.unwrap().items, [cron, ci.clone()]);
        assert_eq!(tx.accounts().standing(ci.id).await.unwrap().unwrap().role, "user");

        let same = tx.service_accounts().update(ci.id, &ServiceAccountUpdate::default()).await.unwrap();
        assert_eq!(same, Some(ci.clone()));
        let update = ServiceAccountUpdate { name: Some("build".into()), role: Some("admin".into()), active: Some(false) };
        let changed = tx.service_accounts().update(ci.id, &update).await.unwrap().unwrap();
        assert_eq!((changed.name.as_str(), changed.role.as_str(), changed.active), ("build", "admin", false));
        assert_eq!(tx.users().other_active_administrators(next_id()).await.unwrap(), 0, "only people are administrators");
        assert_eq!(tx.service_accounts().update(ada.id, &update).await.unwrap(), None);
        assert_eq!(tx.users().find(ada.id).await.unwrap().unwrap().role, "user");
    }

    async fn a_role_must_be_there(world) {
        let mut tx = world.begin().await;
        let new = NewServiceAccount { id: next_id(), name: "ci".into(), role: "wizard".into() };
        assert!(matches!(tx.service_accounts().create(&new).await, Err(Error::Refused(_))));
    }

    async fn it_is_deleted_with_its_grants(world) {
        let ci = robot(world, "ci").await;
        let ada = world.person("ada", "user").await;
        let mut tx = world.begin().await;
        tx.models().set_access("digits", Some(ModelAccess::Granted)).await.unwrap();
        tx.models().grant("digits", &GrantSubject::Account(ci.id)).await.unwrap();
        assert!(tx.service_accounts().delete(ci.id).await.unwrap());
        assert!(!tx.service_accounts().delete(ci.id).await.unwrap());
        assert!(tx.models().grants("digits").await.unwrap().is_empty());
        assert_eq!(tx.accounts().standing(ci.id).await.unwrap(), None);
        assert!(!tx.service_accounts().delete(ada.id).await.unwrap(), "a person stays");
        assert!(tx.users().find(ada.id).await.unwrap().is_some());
    }
}
