use std::time::Duration;

use storage::PageRequest;

use crate::world::{next_id, on_both_stores, page_after};

on_both_stores! {
    async fn notices_are_listed_for_whom_they_are_newest_first(world) {
        let (ada, grace) = (world.person("ada", "user").await.id, world.person("grace", "user").await.id);
        let ids = [next_id(), next_id(), next_id()];
        let mut tx = world.begin().await;
        for (id, account) in ids.into_iter().zip([ada, grace, ada]) {
            tx.notices().add(id, account, "told").await.unwrap();
        }
        let first = tx.notices().list(ada, &PageRequest { limit: 1, cursor: None }).await.unwrap();
        assert_eq!((first.items[0].id, first.items[0].kind.as_str()), (ids[2], "told"));
        assert_eq!((first.items[0].created_at, first.items[0].mailed_at), (world.now(), None));
        let rest = tx.notices().list(ada, &page_after(1, &first)).await.unwrap();
        assert_eq!((rest.items[0].id, rest.items.len(), rest.next_cursor), (ids[0], 1, None));
        let all = tx.personal_data(ada, 10).notices().await.unwrap();
        assert_eq!(all.iter().map(|notice| notice.id).collect::<Vec<_>>(), [ids[2], ids[0]]);
        assert!(tx.notices().add(next_id(), next_id(), "told").await.is_err(), "there is no such account");
    }

    async fn a_notice_is_dated_when_it_is_mailed_and_kept_for_a_while(world) {
        let ada = world.person("ada", "user").await.id;
        let id = next_id();
        let mut tx = world.begin().await;
        tx.notices().add(id, ada, "told").await.unwrap();
        tx.notices().mailed(id).await.unwrap();
        tx.notices().mailed(next_id()).await.unwrap();
        let page = tx.notices().list(ada, &PageRequest::default()).await.unwrap();
        assert_eq!(page.items[0].mailed_at, Some(world.now()));
        assert_eq!(tx.notices().prune(world.now()).await.unwrap(), 0);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(tx.notices().prune(world.now()).await.unwrap(), 1);
    }

    async fn notices_go_with_their_account(world) {
        let ada = world.person("ada", "user").await.id;
        let mut tx = world.begin().await;
        tx.notices().add(next_id(), ada, "told").await.unwrap();
        assert!(tx.users().delete(ada).await.unwrap());
        assert!(tx.notices().list(ada, &PageRequest::default()).await.unwrap().items.is_empty());
    }
}
