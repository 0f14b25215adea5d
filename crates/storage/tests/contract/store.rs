use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use storage::{Clock, Durable, Error, PageRequest, Scope, Service, Store};

use crate::world::{SERVICE, World, new_user, next_id, on_both_stores};

on_both_stores! {
    async fn what_is_not_committed_is_not_there(world) {
        let mut tx = world.begin().await;
        tx.users().create(&new_user("ada", "user")).await.unwrap();
        drop(tx);
        assert_eq!(world.read().await.users().count().await.unwrap(), 0);
    }

    async fn who_gives_up_at_the_beginning_leaves_nothing_open(world) {
        for microseconds in (0..4000).step_by(20) {
            let patience = std::time::Duration::from_micros(microseconds);
            let _ = tokio::time::timeout(patience, world.store.read(SERVICE)).await;
            let _ = tokio::time::timeout(patience, world.store.begin(SERVICE)).await;
        }
        for number in 0..20 {
            let mut tx = world.begin().await;
            tx.users().create(&new_user(&format!("ada{number}"), "user")).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(world.read().await.users().count().await.unwrap(), 20);
    }

    async fn who_gives_up_in_the_middle_leaves_nothing_done_and_nothing_open(world) {
        for microseconds in (0..4000).step_by(40) {
            let made = async {
                let mut tx = world.begin().await;
                for number in 0..3 {
                    tx.users().create(&new_user(&format!("ada{number}"), "user")).await.unwrap();
                }
                std::future::pending::<()>().await;
            };
            let _ = tokio::time::timeout(std::time::Duration::from_micros(microseconds), made).await;
        }
        assert_eq!(world.read().await.users().count().await.unwrap(), 0);
        let mut tx = world.begin().await;
        tx.users().create(&new_user("ada0", "user")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.read().await.users().count().await.unwrap(), 1);
    }

    async fn a_reader_waits_for_no_writer_and_cannot_write(world) {
        let mut writer = world.begin().await;
        writer.users().create(&new_user("ada", "user")).await.unwrap();
        let mut reader = world.read().await;
        assert_eq!(reader.users().count().await.unwrap(), 0);
        assert!(reader.settings().put("key", &json!(1)).await.is_err());
    }

    async fn statements_are_counted_by_who_waits_for_them(world) {
        let before = world.store.queries();
        let account = Scope::Account(next_id());
        for (scope, request, background) in [
            (account, 2, 0), (Scope::Service(Service::Login), 2, 0), (Scope::Service(Service::Models), 2, 0),
            (Scope::Service(Service::Upkeep), 0, 2), (Scope::Service(Service::Metering), 0, 2),
            (Scope::Service(Service::Audit), 0, 2), (Scope::Service(Service::Setup), 0, 2),
        ] {
            let before = world.store.queries();
            let mut tx = world.store.read(scope).await.unwrap();
            tx.users().count().await.unwrap();
            tx.users().count().await.unwrap();
            tx.commit().await.unwrap();
            let after = world.store.queries();
            let counted = (after.request - before.request, after.background - before.background);
            assert_eq!(counted, (request, background), "{scope:?}");
        }
        drop(world.store.begin(account).await.unwrap());
        assert_eq!(world.store.queries().request - before.request, 7, "an empty transaction counts as one");
    }

    async fn migrating_again_changes_nothing_even_side_by_side(world) {
        let durable = world.durable();
        let (one, two) = tokio::join!(Store::migrate(&durable), Store::migrate(&durable));
        one.unwrap();
        two.unwrap();
        let other = Store::connect(durable, world.clock.clone()).await.unwrap();
        other.ping().await.unwrap();
        other.close().await;
        assert!(other.ping().await.unwrap_err().is_unavailable());
        assert!(other.begin(crate::world::SERVICE).await.is_err_and(|error| error.is_unavailable()));
    }

    async fn deleting_a_person_takes_what_was_theirs(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let mut tx = world.begin().await;
        let session = world.new_session(ada);
        tx.sessions().create(&session).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Login).await;
        tx.users().set_password(ada, "$hash").await.unwrap();
        tx.commit().await.unwrap();
        // What is taken along is taken whether or not who deletes could see it.
        let mut tx = world.begin().await;
        assert!(tx.users().delete(ada).await.unwrap());
        assert!(!tx.users().delete(ada).await.unwrap());
        assert!(tx.sessions().find(session.id).await.unwrap().is_none());
        let left = tx.users().list(&PageRequest::default()).await.unwrap();
        assert_eq!(left.items.iter().map(|user| user.id).collect::<Vec<_>>(), [eve]);
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Login).await;
        assert_eq!(tx.users().password_hash(ada).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_sqlite_file_is_its_owners_only() {
    let world = World::sqlite().await;
    let Durable::Sqlite { path } = world.durable() else { unreachable!() };
    for suffix in ["", "-wal"] {
        let file = format!("{}{suffix}", path.display());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_and_never_shown() {
    let refused = Durable::Postgres { url: "postgres://user:hunter2@[".into(), max_connections: 1 };
    assert!(!format!("{refused:?}").contains("hunter2"));
    let error = Store::connect(refused, Clock::system()).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody =
        Durable::Postgres { url: format!("postgres://user:hunter2@{closed}/x").into(), max_connections: 1 };
    let error = Store::connect(nobody, Clock::system()).await.unwrap_err();
    assert!(error.is_unavailable() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("refused") && !text.contains("hunter2"), "the cause, and no secret: {text}");
}
