use storage::{AuditFilter, AuditLink, AuditRecord, AuditSeal, PageRequest};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores, page_after};

/// Where events were done from.
const ADDRESS: &str = "203.0.113.7";

fn new_event(world: &World, action: &str, actor: Option<Uuid>) -> AuditRecord {
    AuditRecord {
        id: next_id(),
        occurred_at: world.now(),
        action: action.into(),
        outcome: "success".into(),
        actor,
        target: Some("session".into()),
        request_id: None,
        canonical: vec![0, 255, 1],
        mac: Some(vec![7; 40]),
    }
}

/// Gives so many events their links, from a number on.
async fn link(world: &World, first: i64, count: u32) {
    let mut tx = world.begin().await;
    tx.audit_chain().lock().await.unwrap();
    for (event, seq) in tx.audit_chain().pending(count).await.unwrap().iter().zip(first..) {
        let link = AuditLink { seq, event_id: event.id, mac: vec![0; 32], key_id: "key".into() };
        tx.audit_chain().link(&link).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn event(world: &World, action: &str, actor: Option<Uuid>) -> Uuid {
    let new = new_event(world, action, actor);
    let id = new.id;
    let mut tx = world.begin().await;
    tx.audit().append(&new, Some(ADDRESS), None).await.unwrap();
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

        let by = |action: Option<&str>, actor| AuditFilter { action: action.map(str::to_owned), actor, ..AuditFilter::default() };
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

    async fn an_address_goes_with_whom_it_was_kept_for(world) {
        let (ada, grace) = (next_id(), next_id());
        let mut tx = world.begin().await;
        for matter_of in [Some(ada), Some(grace), None] {
            tx.audit().append(&new_event(world, "suspicion", None), Some(ADDRESS), matter_of).await.unwrap();
        }
        assert_eq!(tx.audit().erase_subject(ada, "account:ada").await.unwrap(), 1);
        let page = tx.audit().list(&PageRequest::default(), &AuditFilter::default()).await.unwrap();
        let kept: Vec<_> = page.items.iter().map(|event| event.address.is_some()).collect();
        assert_eq!(kept, [true, true, false]);
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

    async fn what_is_committed_late_is_linked_late_and_not_overlooked(world) {
        let early = event(world, "early", None).await;
        let mut tx = world.begin().await;
        assert_eq!(tx.audit_chain().pending(10).await.unwrap()[0].id, early);
        drop(tx);
        // SQLite has one writer at a time.
        let mut late = world.begin().await;
        late.audit().append(&new_event(world, "late", None), Some(ADDRESS), None).await.unwrap();
        let late = if world.store.is_postgres() { Some(late) } else { late.commit().await.unwrap(); None };
        event(world, "later", None).await;
        link(world, 1, 1).await;
        if let Some(late) = late {
            link(world, 2, 1).await;
            assert!(!world.read().await.audit_chain().has_pending().await.unwrap());
            late.commit().await.unwrap();
            link(world, 3, 1).await;
        } else {
            link(world, 2, 2).await;
        }
        let mut tx = world.read().await;
        assert!(!tx.audit_chain().has_pending().await.unwrap());
        let links = tx.audit_chain().links(0, 10).await.unwrap();
        assert_eq!(links.iter().map(|linked| linked.link.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(links.iter().all(|linked| linked.event.as_ref().is_some_and(|event| event.id == linked.link.event_id)));
        assert_eq!(tx.audit_chain().unlinked(Uuid::nil(), 10).await.unwrap(), []);
    }

    async fn what_is_refused_waits_until_it_is_looked_at_again(world) {
        let id = event(world, "odd", None).await;
        let mut tx = world.begin().await;
        tx.audit_chain().refuse(id).await.unwrap();
        assert!(!tx.audit_chain().has_pending().await.unwrap());
        let unlinked = tx.audit_chain().unlinked(Uuid::nil(), 10).await.unwrap();
        assert_eq!((unlinked[0].event.id, unlinked[0].waits), (id, true));
        assert_eq!(tx.audit_chain().reconsider().await.unwrap(), 1);
        assert!(tx.audit_chain().has_pending().await.unwrap());
    }

    async fn the_chain_is_only_ever_added_to(world) {
        event(world, "login", None).await;
        link(world, 1, 1).await;
        let mut tx = world.begin().await;
        let seal = AuditSeal { seq: 1, head: vec![1], signature: vec![2], key_id: "key".into(), sealed_at: world.now() };
        tx.audit_chain().seal(&seal).await.unwrap();
        tx.commit().await.unwrap();
        for sql in [
            "UPDATE audit_links SET mac = mac", "DELETE FROM audit_links", "UPDATE audit_seals SET seq = 2", "DELETE FROM audit_seals",
        ] {
            let error = world.raw(sql).await.unwrap_err().to_string();
            assert!(error.contains("only ever added to"), "{sql}: {error}");
        }
        let order = if world.store.is_postgres() {
            "SET modelgate.service = 'retention'; INSERT INTO audit_prunings VALUES (7, now())"
        } else {
            "INSERT INTO audit_prunings VALUES (7, '2026-01-01T00:00:00+00:00')"
        };
        let error = world.raw(order).await.unwrap_err().to_string();
        assert!(error.contains("up to a seal only"), "{error}");
        assert_eq!(world.read().await.audit_chain().last_seal().await.unwrap(), Some(seal));
    }
}
