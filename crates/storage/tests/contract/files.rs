use std::time::Duration;

use storage::{FileTotal, PageRequest, StoredFile};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores, page_after};

pub(crate) fn file(world: &World, account: Uuid) -> StoredFile {
    StoredFile {
        id: next_id(),
        account_id: account,
        name: "seven.png".into(),
        media_type: "image/png".into(),
        size: 7,
        sha256: "0".repeat(64),
        data_key: b"old".to_vec(),
        created_at: world.now(),
    }
}

on_both_stores! {
    async fn a_file_is_its_owners_alone_and_goes_with_them(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let mut tx = world.begin().await;
        let files = [file(world, ada), file(world, ada), file(world, eve)];
        for file in &files {
            tx.files().add(file).await.unwrap();
        }
        assert_eq!(tx.files().find(ada, files[0].id).await.unwrap().as_ref(), Some(&files[0]));
        assert_eq!(tx.files().find(eve, files[0].id).await.unwrap(), None);
        assert!(!tx.files().remove(eve, files[0].id).await.unwrap());
        assert_eq!(tx.files().total(ada).await.unwrap(), FileTotal { count: 2, bytes: 14 });
        assert_eq!(tx.files().total(next_id()).await.unwrap(), FileTotal { count: 0, bytes: 0 });
        let first = tx.files().list(ada, &PageRequest { limit: 1, cursor: None }).await.unwrap();
        assert_eq!(first.items[0].id, files[1].id);
        assert_eq!(tx.files().list(ada, &page_after(1, &first)).await.unwrap().items[0].id, files[0].id);
        assert_eq!(tx.personal_data(ada, 10).files().await.unwrap().len(), 2);
        assert!(tx.files().remove(ada, files[0].id).await.unwrap());
        assert_eq!(tx.files().ids(ada).await.unwrap(), [files[1].id]);
        assert!(tx.users().delete(ada).await.unwrap());
        assert!(tx.files().ids(ada).await.unwrap().is_empty());
        assert_eq!(tx.files().ids(eve).await.unwrap(), [files[2].id]);
    }

    async fn files_are_kept_for_a_while(world) {
        let ada = world.person("ada", "user").await.id;
        let mut tx = world.begin().await;
        let old = [file(world, ada), file(world, ada), file(world, ada)];
        for file in &old {
            tx.files().add(file).await.unwrap();
        }
        assert!(tx.files().prune(world.now(), 10).await.unwrap().is_empty());
        tx.commit().await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        let mut tx = world.begin().await;
        assert_eq!(tx.files().prune(world.now(), 2).await.unwrap().len(), 2);
        assert_eq!(tx.files().prune(world.now(), 2).await.unwrap().len(), 1);
    }
}
