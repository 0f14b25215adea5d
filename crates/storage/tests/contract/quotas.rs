use chrono::NaiveDate;
use storage::{PageRequest, Quota, QuotaPeriod, Scope, Service, UsageCounts, UsageEntry};
use uuid::Uuid;

use crate::world::{next_id, on_both_stores, page_after, start_of_time};

fn day(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, day).unwrap()
}

fn quota(scope: &str, subject: &str, account: Option<Uuid>, cap: i64) -> Quota {
    Quota {
        id: next_id(),
        scope: scope.into(),
        subject: subject.into(),
        account_id: account,
        unit: "requests".into(),
        period: "day".into(),
        cap,
        hard: true,
        updated_at: start_of_time(),
    }
}

fn period(account: Uuid, subject: Uuid, unit: &'static str, name: &'static str, on: u32) -> QuotaPeriod {
    QuotaPeriod { account_id: account, subject, unit, period: name, starts_on: day(on) }
}

on_both_stores! {
    async fn a_quota_is_said_again_listed_and_taken_away(world) {
        let ada = world.person("ada", "user").await.id;
        let (account, key) = (ada.to_string(), next_id());
        let mut tx = world.begin().await;
        let first = quota("account", &account, Some(ada), 5);
        tx.quotas().set(&first).await.unwrap();
        tx.quotas().set(&quota("account", &account, Some(ada), 7)).await.unwrap();
        tx.quotas().set(&quota("role", "user", None, 9)).await.unwrap();
        tx.quotas().set(&quota("role", "admin", None, 9)).await.unwrap();
        tx.quotas().set(&quota("key", &key.to_string(), Some(ada), 3)).await.unwrap();
        let caps = |quotas: Vec<Quota>| {
            let mut caps: Vec<i64> = quotas.into_iter().map(|quota| quota.cap).collect();
            caps.sort_unstable();
            caps
        };
        assert_eq!(caps(tx.quotas().of_caller(ada, "user", None).await.unwrap()), [7, 9]);
        assert_eq!(caps(tx.quotas().of_caller(ada, "user", Some(key)).await.unwrap()), [3, 7, 9]);
        assert_eq!(tx.quotas().list(Some(&account), &PageRequest::default()).await.unwrap().items[0].id, first.id);
        let page = tx.quotas().list(None, &PageRequest { limit: 3, cursor: None }).await.unwrap();
        assert_eq!((page.items.len(), page.items[0].cap), (3, 3), "the newest first");
        assert_eq!(tx.quotas().list(None, &page_after(3, &page)).await.unwrap().items.len(), 1);
        let removed = tx.quotas().remove("account", &account, "requests", "day").await.unwrap();
        assert_eq!(removed.map(|quota| quota.cap), Some(7));
        assert!(tx.quotas().remove("account", &account, "requests", "day").await.unwrap().is_none());
        assert!(tx.users().delete(ada).await.unwrap());
        assert!(tx.quotas().of_caller(ada, "none", Some(key)).await.unwrap().is_empty(), "gone with the account");
    }

    async fn a_period_begins_with_what_was_used_and_is_never_below_nothing(world) {
        let (ada, key, replica) = (next_id(), next_id(), next_id());
        let usage = |key, on, requests, failures| UsageEntry {
            account_id: ada, api_key_id: key, model: "digits".into(), version: "1".into(), day: day(on),
            counts: UsageCounts { requests, inferences: 2, images: 3, bytes: 4, compute_microseconds: 5, failures, credits: 7 },
        };
        let mut tx = world.begin_as(Service::Metering).await;
        let batch = [usage(Uuid::nil(), 1, 10, 1), usage(key, 1, 5, 0), usage(key, 2, 1, 0)];
        tx.usage().record(replica, 1, &batch).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Quota).await;
        for (subject, unit, name, on, used) in [
            (ada, "requests", "day", 1, 14),
            (key, "requests", "day", 1, 5),
            (ada, "requests", "month", 1, 15),
            (key, "compute_ms", "month", 1, 10),
            (ada, "bytes", "day", 3, 0),
            (ada, "credits", "month", 1, 21),
        ] {
            let period = period(ada, subject, unit, name, on);
            tx.quotas().open(&period).await.unwrap();
            tx.quotas().open(&period).await.unwrap();
            assert_eq!(tx.quotas().reserve(&period, 0).await.unwrap(), used, "{period:?}");
        }
        let today = period(ada, ada, "requests", "day", 1);
        assert_eq!(tx.quotas().reserve(&today, 6).await.unwrap(), 20);
        tx.quotas().settle(&today, 4).await.unwrap();
        assert!(tx.quotas().mark_exceeded(&today).await.unwrap());
        assert!(!tx.quotas().mark_exceeded(&today).await.unwrap(), "once a period");
        let standing = tx.quotas().standing(ada, day(1), day(1)).await.unwrap();
        let row = standing.iter().find(|row| row.subject == ada && row.period == "day").unwrap();
        assert_eq!((row.reserved, row.settled), (20, 18));
        // What was used while there was no quota, of a period that had begun, is taken into it once.
        tx.quotas().open(&today).await.unwrap();
        assert_eq!(tx.quotas().reserve(&today, 0).await.unwrap(), 20);
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Metering).await;
        tx.usage().record(replica, 2, &[usage(key, 1, 10, 0)]).await.unwrap();
        for _ in 0..2 {
            tx.quotas().open(&today).await.unwrap();
            assert_eq!(tx.quotas().reserve(&today, 0).await.unwrap(), 26, "24 were used, and 2 are given out");
        }
        tx.commit().await.unwrap();
        let mut tx = world.begin_as(Service::Quota).await;
        assert!(tx.quotas().reserve(&today, -27).await.is_err());
        drop(tx);
        let mut tx = world.begin_as(Service::Retention).await;
        assert_eq!(tx.quotas().prune(day(3)).await.unwrap(), 5);
    }

    async fn replicas_that_reserve_at_once_wait_for_each_other(world) {
        let ada = next_id();
        let today = period(ada, ada, "requests", "day", 1);
        let takers: Vec<_> = (0..40).map(|_| {
            let (store, today) = (world.store.clone(), today.clone());
            tokio::spawn(async move {
                let mut tx = store.begin(Scope::Service(Service::Quota)).await.unwrap();
                tx.quotas().open(&today).await.unwrap();
                let before = tx.quotas().reserve(&today, 0).await.unwrap();
                let fits = before < 10;
                if fits {
                    tx.quotas().reserve(&today, 1).await.unwrap();
                }
                tx.commit().await.unwrap();
                fits
            })
        }).collect();
        let mut given = 0;
        for taker in takers {
            given += u32::from(taker.await.unwrap());
        }
        assert_eq!(given, 10);
    }
}
