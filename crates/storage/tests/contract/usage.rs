use chrono::{Days, NaiveDate};
use storage::{Error, Scope, Service, UsageCounts, UsageCursor, UsageEntry, UsageFilter};
use uuid::Uuid;

use crate::world::{next_id, on_both_stores};

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, day).unwrap()
}

fn entry(account: Uuid, on: u32, requests: i64) -> UsageEntry {
    UsageEntry {
        account_id: account,
        api_key_id: Uuid::nil(),
        model: "digits".into(),
        version: "1".into(),
        day: day(on),
        counts: UsageCounts {
            requests,
            inferences: 2 * requests,
            images: 3,
            bytes: 1 << 40,
            compute_microseconds: 5,
            failures: 0,
            credits: 6 * requests,
        },
    }
}

on_both_stores! {
    async fn counters_add_up_by_day(world) {
        let (account, other, replica) = (next_id(), next_id(), next_id());
        let mut tx = world.begin_as(Service::Metering).await;
        let batch = [entry(account, 2, 1), entry(account, 1, 10), entry(account, 2, 100), entry(other, 2, 1000)];
        assert!(tx.usage().record(replica, 1, &batch).await.unwrap());
        assert!(tx.usage().record(replica, 2, &[entry(account, 9, 7)]).await.unwrap());
        let rows = tx.usage().summary(account, day(1), day(2)).await.unwrap().0;
        let seen: Vec<_> = rows.iter().map(|row| (row.day, row.counts.requests, row.counts.inferences, row.counts.bytes, row.counts.credits)).collect();
        assert_eq!(seen, [(day(2), 101, 202, 2 << 40, 606), (day(1), 10, 20, 1 << 40, 60)]);
        assert!(tx.usage().summary(account, day(3), day(8)).await.unwrap().0.is_empty());
        let counts = UsageCounts { failures: -1, ..UsageCounts::default() };
        let negative = [UsageEntry { counts, ..entry(account, 20, 1) }];
        assert!(matches!(tx.usage().record(replica, 3, &negative).await, Err(Error::Refused(_))));
    }

    async fn what_is_old_is_removed_by_days_the_oldest_first(world) {
        let account = next_id();
        let mut tx = world.begin_as(Service::Metering).await;
        let batch: Vec<_> = (1..=5).map(|on| entry(account, on, 1)).collect();
        assert!(tx.usage().record(next_id(), 1, &batch).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Retention).await;
        assert_eq!(tx.usage().prune(day(1)).await.unwrap(), 0, "the first day is kept");
        assert_eq!(tx.usage().prune(day(4)).await.unwrap(), 1);
        assert_eq!(tx.usage().prune(day(4)).await.unwrap(), 1);
        let left = tx.usage().summary(account, day(1), day(9)).await.unwrap().0;
        assert_eq!(left.iter().map(|row| row.day).collect::<Vec<_>>(), [day(5), day(4), day(3)]);
        tx.commit().await.unwrap();
    }

    async fn usage_of_the_last_two_months_stays_whoever_asks(world) {
        let account = next_id();
        let mut tx = world.begin_as(Service::Metering).await;
        let newest = NaiveDate::from_ymd_opt(2100, 3, 4).unwrap();
        let batch: Vec<_> = [0, 62, 63].map(|ago| UsageEntry { day: newest - Days::new(ago), ..entry(account, 1, 1) }).into();
        assert!(tx.usage().record(next_id(), 1, &batch).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Retention).await;
        assert_eq!(tx.usage().prune(newest).await.unwrap(), 1, "the oldest day, of 63 days ago");
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Retention).await;
        assert!(tx.usage().prune(newest).await.is_err());
    }

    async fn old_batches_are_forgotten_a_part_at_a_time(world) {
        let mut tx = world.begin_as(Service::Metering).await;
        for number in 0..1_001 {
            assert!(tx.usage().record(Uuid::nil(), number, &[]).await.unwrap());
        }
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Retention).await;
        let later = world.in_hours(1);
        let mut removed = Vec::new();
        for _ in 0..3 {
            removed.push(tx.usage().prune_batches(later).await.unwrap());
        }
        assert_eq!(removed, [1_000, 1, 0]);
    }

    async fn slices_add_up_by_day_or_month_and_go_on_where_they_ended(world) {
        let (ada, eve, key) = (next_id(), next_id(), next_id());
        let mut tx = world.begin_as(Service::Metering).await;
        let of = |account, key, model: &str, on| {
            UsageEntry { api_key_id: key, model: model.into(), ..entry(account, on, 1) }
        };
        let batch = [
            of(ada, Uuid::nil(), "digits", 1), of(ada, Uuid::nil(), "digits", 2), of(ada, key, "digits", 2),
            of(eve, Uuid::nil(), "digits", 2), of(eve, Uuid::nil(), "other", 2), of(eve, Uuid::nil(), "other", 9),
        ];
        tx.usage().record(next_id(), 1, &batch).await.unwrap();
        let all = UsageFilter { from: day(1), to: day(3), ..UsageFilter::default() };
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let (slices, next) = tx.usage().slices(&all, after.as_ref(), 2).await.unwrap();
            seen.extend(slices.into_iter().map(|slice| (slice.period, slice.account_id, slice.api_key_id, slice.model)));
            let Some(next) = next else { break };
            after = Some(UsageCursor::parse(&next.encode()).unwrap());
            assert_eq!(after, Some(next));
        }
        let mut sorted = seen.clone();
        sorted.sort();
        assert_eq!((seen.len(), &seen), (5, &sorted));
        let months = UsageFilter { by_month: true, to: day(20), ..all.clone() };
        let (slices, _) = tx.usage().slices(&months, None, 10).await.unwrap();
        let found: Vec<_> = slices.iter().map(|slice| (&*slice.period, slice.account_id, slice.counts.requests)).collect();
        assert_eq!(found, [("2026-03", ada, 2), ("2026-03", ada, 1), ("2026-03", eve, 1), ("2026-03", eve, 2)]);
        for (filter, rows) in [
            (UsageFilter { account: Some(eve), ..months.clone() }, 2),
            (UsageFilter { api_key: Some(key), ..months.clone() }, 1),
            (UsageFilter { model: Some("other".into()), ..months.clone() }, 1),
            (UsageFilter { model: Some("' OR 1=1".into()), ..months }, 0),
        ] {
            assert_eq!(tx.usage().slices(&filter, None, 10).await.unwrap().0.len(), rows, "{filter:?}");
        }
        for text in ["", "x", "AAAA", "MjAyNg"] {
            assert_eq!(UsageCursor::parse(text), None, "{text:?}");
        }
    }

    async fn a_retried_batch_never_charges_twice(world) {
        let (account, replica) = (next_id(), next_id());
        let attempts: Vec<_> = (0..20).map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut tx = store.begin(Scope::Service(Service::Metering)).await.unwrap();
                let first = tx.usage().record(replica, 7, &[entry(account, 1, 1)]).await.unwrap();
                tx.commit().await.unwrap();
                first
            })
        }).collect();
        let mut recorded = 0;
        for attempt in attempts {
            recorded += usize::from(attempt.await.unwrap());
        }
        assert_eq!(recorded, 1);

        // A batch that was rolled back was not recorded, and its retry is.
        let mut tx = world.begin_as(Service::Metering).await;
        assert!(tx.usage().record(replica, 8, &[entry(account, 1, 1)]).await.unwrap());
        drop(tx);
        let mut tx = world.begin_as(Service::Metering).await;
        assert!(tx.usage().record(replica, 8, &[entry(account, 1, 1)]).await.unwrap());
        assert!(tx.usage().record(next_id(), 8, &[entry(account, 1, 1)]).await.unwrap(), "another replica's");
        assert_eq!(tx.usage().summary(account, day(1), day(1)).await.unwrap().0[0].counts.requests, 3);
        assert_eq!(tx.usage().prune_batches(world.in_hours(1)).await.unwrap(), 3);
    }

    async fn replicas_that_write_the_same_counters_do_not_lock_each_other_out(world) {
        let (one, two) = (next_id(), next_id());
        let writers: Vec<_> = (0..10).map(|number| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut batch = vec![entry(one, 1, 1), entry(two, 1, 1)];
                if number % 2 == 0 { batch.reverse(); }
                let mut tx = store.begin(Scope::Service(Service::Metering)).await.unwrap();
                tx.usage().record(next_id(), 1, &batch).await.unwrap();
                tx.commit().await.unwrap();
            })
        }).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let mut tx = world.read().await;
        for account in [one, two] {
            assert_eq!(tx.usage().summary(account, day(1), day(1)).await.unwrap().0[0].counts.requests, 10);
        }
    }
}
