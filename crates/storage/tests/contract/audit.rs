use storage::{AuditFilter, NewAuditEvent, PageRequest};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores, page_after};

async fn event(world: &World, action: &str, actor: Option<Uuid>) -> Uuid {
    let id = next_id();
    let new = NewAuditEvent {
        id,
        occurred_at: world.now(),
        action: action.into(),
        outcome: "success".into(),
        actor,
        target: Some("session".into()),
        request_id: None,
        canonical: vec![0, 255, 1],
        address: Some("203.0.113.7".into()),
    };
    let mut tx = world.begin().await;
    tx.audit().append(&new).await.unwrap();
    tx.commit().await.unwrap();
    id
}

on_both_stores! {
    async fn events_are_listed_and_filtered(world) {
        let ada = next_id();
        let login = event(world, "login", Some(ada)).await;
        let logout = event(world, "logout", Some(ada)).await;
        let refused = event(world, "login", None).await;
        let mut tx = world.read().await;
        let everything = AuditFilter::default();
        let first = tx.audit().list(&PageRequest { limit: 2, cursor: None }, &everything).await.unwrap();
        assert_eq!((first.items[0].id, first.items[1].id), (refused, logout));
        let rest = tx.audit().list(&page_after(2, &first), &everything).await.unwrap();
        assert_eq!((rest.items[0].id, rest.items.len(), rest.next_cursor), (login, 1, None));
        let found = &rest.items[0];
        assert_eq!((found.occurred_at, found.canonical.as_slice()), (world.now(), &[0, 255, 1][..]));
        assert_eq!((found.target.as_deref(), found.request_id.as_deref()), (Some("session"), None));

        let by = |action: Option<&str>, actor| AuditFilter { action: action.map(str::to_owned), actor };
        for (filter, expected) in [
            (by(Some("login"), None), vec![refused, login]),
            (by(None, Some(ada)), vec![logout, login]),
            (by(Some("login"), Some(ada)), vec![login]),
        ] {
            let page = tx.audit().list(&PageRequest::default(), &filter).await.unwrap();
            assert_eq!(page.items.iter().map(|event| event.id).collect::<Vec<_>>(), expected, "{filter:?}");
        }
    }

    async fn an_event_outlives_the_person_and_loses_only_the_address(world) {
        let ada = world.person("ada", "user").await.id;
        let id = event(world, "login", Some(ada)).await;
        let other = event(world, "login", None).await;
        let mut tx = world.begin().await;
        assert!(tx.users().delete(ada).await.unwrap());
        assert_eq!(tx.audit().erase_subject(ada, "account:ada").await.unwrap(), 1);
        let page = tx.audit().list(&PageRequest::default(), &AuditFilter::default()).await.unwrap();
        let seen: Vec<_> = page.items.iter().map(|event| (event.id, event.actor, event.address.as_deref())).collect();
        assert_eq!(seen, [(other, None, Some("203.0.113.7")), (id, Some(ada), None)]);
    }

    async fn what_is_told_of_an_account_is_found_and_addresses_of_others_stay(world) {
        let (ada, admin) = (next_id(), next_id());
        let own = event(world, "login", Some(ada)).await;
        // Both are about the `session`, which stands for an account's own name here.
        let by_nobody = event(world, "registered", None).await;
        let by_admin = event(world, "changed", Some(admin)).await;
        let mut tx = world.begin().await;
        let about: Vec<Uuid> =
            tx.personal_data(ada, 10).events("session").await.unwrap().iter().map(|event| event.id).collect();
        assert_eq!(about, [by_admin, by_nobody, own]);
        assert_eq!(tx.personal_data(ada, 1).events("session").await.unwrap().len(), 1);
        assert_eq!(tx.personal_data(ada, 10).events("elsewhere").await.unwrap().len(), 1);
        assert_eq!(tx.audit().erase_subject(ada, "session").await.unwrap(), 2);
        let left = tx.personal_data(ada, 10).events("session").await.unwrap();
        let addresses: Vec<_> = left.iter().map(|event| event.address.is_some()).collect();
        assert_eq!(addresses, [true, false, false]);
        assert!(left.iter().all(|event| event.canonical == [0, 255, 1]), "byte for byte");
    }

    async fn the_database_itself_refuses_to_change_an_event(world) {
        event(world, "login", None).await;
        for sql in ["UPDATE audit_events SET action = 'nothing'", "DELETE FROM audit_events"] {
            let error = world.raw(sql).await.unwrap_err().to_string();
            assert!(error.contains("only ever added"), "{sql}: {error}");
        }
        if world.store.is_postgres() {
            assert!(world.raw("TRUNCATE audit_events CASCADE").await.is_err());
        }
        let page = world.read().await.audit().list(&PageRequest::default(), &AuditFilter::default()).await.unwrap();
        assert_eq!(page.items.len(), 1);
    }

    async fn the_chain_has_its_tables(world) {
        for table in ["audit_links", "audit_seals"] {
            world.raw(&format!("SELECT * FROM {table}")).await.unwrap();
        }
    }
}
