use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::world::{SERVICE, on_both_stores};

on_both_stores! {
    async fn changes_are_numbered_and_read_in_order(world) {
        let mut tx = world.begin().await;
        assert_eq!(tx.changes().head().await.unwrap(), 0);
        for (seq, subject) in [(1, "a"), (2, "b"), (3, "c")] {
            assert_eq!(tx.changes().append("account", subject).await.unwrap(), seq);
        }
        assert_eq!(tx.changes().head().await.unwrap(), 3);
        let changes = tx.changes().since(1, 1).await.unwrap();
        assert_eq!((changes[0].seq, changes[0].kind.as_str(), changes[0].subject.as_str()), (2, "account", "b"));
        assert_eq!(changes.len(), 1);
        assert!(tx.changes().since(3, 100).await.unwrap().is_empty());
        assert_eq!(tx.changes().prune(world.now()).await.unwrap(), 0, "none is older than now");
        assert_eq!(tx.changes().prune(world.in_hours(1)).await.unwrap(), 2, "the last one stays");
        assert_eq!(tx.changes().since(0, 100).await.unwrap()[0].seq, 3, "which shows the gap");
        assert_eq!(tx.changes().prune(world.in_hours(1)).await.unwrap(), 0);
        assert_eq!(tx.changes().append("account", "d").await.unwrap(), 4, "numbers are never given again");
    }

    async fn a_reader_never_misses_a_change_that_commits_late(world) {
        let done = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn({
            let (store, done) = (world.store.clone(), Arc::clone(&done));
            async move {
                let mut seen = Vec::new();
                loop {
                    let last_round = done.load(Ordering::SeqCst);
                    let mut tx = store.read(SERVICE).await.unwrap();
                    let after = seen.last().copied().unwrap_or(0);
                    let news = tx.changes().since(after, 1000).await.unwrap();
                    seen.extend(news.iter().map(|change| change.seq));
                    if last_round { return seen }
                }
            }
        });
        let writers: Vec<_> = (0..40).map(|number| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut tx = store.begin(SERVICE).await.unwrap();
                tx.changes().append("account", "x").await.unwrap();
                tokio::task::yield_now().await;
                // Every fourth changes its mind: its number must go to another.
                if number % 4 > 0 { tx.commit().await.unwrap(); }
            })
        }).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert_eq!(reader.await.unwrap(), (1..=30).collect::<Vec<i64>>());
    }
}
