use serde_json::json;
use storage::{IncidentUpdate, NewIncident, PageRequest};
use uuid::Uuid;

use crate::world::{next_id, on_both_stores};

fn incident(subject: Option<&str>) -> NewIncident {
    NewIncident {
        id: next_id(),
        kind: "test".into(),
        severity: "low".into(),
        title: "a title".into(),
        subject: subject.map(str::to_owned),
        opened_by: None,
    }
}

fn closed() -> IncidentUpdate {
    IncidentUpdate { status: Some("closed".into()), resolution: Some("done".into()), severity: None }
}

on_both_stores! {
    async fn of_one_subject_one_incident_is_open_at_a_time(world) {
        let open = async |subject: Option<&str>| {
            let mut tx = world.begin().await;
            let opened = tx.incidents().open(&incident(subject)).await.unwrap();
            tx.commit().await.unwrap();
            opened
        };
        let (one, other) = tokio::join!(open(Some("a")), open(Some("a")));
        assert_eq!((one.id, one.occurrences + other.occurrences), (other.id, 3));
        assert_ne!(open(Some("b")).await.id, one.id);
        assert_ne!(open(None).await.id, open(None).await.id, "without a subject each stands alone");
        let mut tx = world.begin().await;
        assert!(tx.incidents().is_open("test", "a").await.unwrap());
        assert!(!tx.incidents().is_open("other", "a").await.unwrap());
        assert_eq!(tx.incidents().count_open("test").await.unwrap(), 2, "those about something");
        drop(tx);
        let mut tx = world.begin().await;
        let after = tx.incidents().update(one.id, &closed()).await.unwrap().unwrap();
        assert_eq!((after.status.as_str(), after.closed_at), ("closed", Some(after.updated_at)));
        assert_eq!(tx.incidents().update(one.id, &closed()).await.unwrap(), None, "closed for good");
        assert!(!tx.incidents().is_open("test", "a").await.unwrap());
        tx.commit().await.unwrap();
        assert_ne!(open(Some("a")).await.id, one.id, "a new one after the old");
        let mut tx = world.begin().await;
        let page = PageRequest::default();
        assert_eq!(tx.incidents().list(&page, Some("closed"), Some("test")).await.unwrap().items.len(), 1);
        assert_eq!(tx.incidents().list(&page, Some("open"), None).await.unwrap().items.len(), 4);
        let nil = Uuid::nil();
        assert_eq!(tx.incidents().closed_before(world.in_hours(1), nil, 9).await.unwrap(), [one.id]);
        assert!(tx.incidents().closed_before(world.in_hours(1), one.id, 9).await.unwrap().is_empty());
        assert!(tx.incidents().closed_before(world.in_hours(-1), nil, 9).await.unwrap().is_empty());
        assert!(tx.incidents().remove(one.id).await.unwrap());
        assert!(!tx.incidents().remove(one.id).await.unwrap());
    }

    async fn what_is_planned_is_settled_once_and_undone_once(world) {
        let mut tx = world.begin().await;
        let opened = tx.incidents().open(&incident(None)).await.unwrap();
        let entry = tx.incidents().note(next_id(), opened.id, "planned", None, &json!({"a": 1})).await.unwrap();
        tx.commit().await.unwrap();
        let settle = async || {
            let mut tx = world.begin().await;
            let found = tx.incidents().next_of_kind("planned").await.unwrap();
            if let Some(entry) = &found {
                tx.incidents().settle(entry.id, "answer", &json!({"a": 2})).await.unwrap();
            }
            tx.commit().await.unwrap();
            found.is_some()
        };
        let (one, other) = tokio::join!(settle(), settle());
        assert!(one != other, "one of the two");
        let mut tx = world.begin().await;
        assert!(!tx.incidents().has_kind("planned").await.unwrap());
        let found = tx.incidents().entry(opened.id, entry.id).await.unwrap().unwrap();
        assert_eq!((found.kind.as_str(), &found.detail), ("answer", &json!({"a": 2})));
        assert_eq!(tx.incidents().entry(next_id(), entry.id).await.unwrap(), None, "of another incident");
        assert!(tx.incidents().undo(entry.id).await.unwrap());
        assert!(!tx.incidents().undo(entry.id).await.unwrap());
        let named = next_id();
        let detail = json!({"bundle": [{"account": named}]});
        let naming = tx.incidents().note(next_id(), opened.id, "answer", None, &detail).await.unwrap();
        let found = tx.incidents().entries_naming(&named.to_string(), Uuid::nil(), 9).await.unwrap();
        assert_eq!((found.len(), found[0].id), (1, naming.id));
        assert!(tx.incidents().entries_naming(&named.to_string(), naming.id, 9).await.unwrap().is_empty());
        assert_eq!(tx.incidents().count_entries(opened.id).await.unwrap(), 2);
    }

    async fn what_several_answers_hold_is_let_go_with_the_last(world) {
        let mut tx = world.begin().await;
        let (mut answers, mut incidents) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let opened = tx.incidents().open(&incident(None)).await.unwrap();
            answers.push(tx.incidents().note(next_id(), opened.id, "answer", None, &json!({})).await.unwrap());
            incidents.push(opened.id);
        }
        for answer in &answers {
            tx.incident_holds().hold(answer.id, "account:a").await.unwrap();
        }
        tx.incident_holds().hold(answers[0].id, "account:a").await.unwrap();
        tx.incident_holds().hold(answers[0].id, "account:b").await.unwrap();
        let mut newest_first = answers.clone();
        newest_first.reverse();
        assert_eq!(tx.incident_holds().holders("account:a").await.unwrap(), newest_first);
        let mut released = tx.incident_holds().release(answers[0].id).await.unwrap();
        released.sort();
        assert_eq!(released, ["account:a", "account:b"]);
        assert!(tx.incident_holds().release(answers[0].id).await.unwrap().is_empty());
        assert!(tx.incident_holds().holders("account:b").await.unwrap().is_empty());
        assert!(tx.incidents().remove(incidents[1]).await.unwrap());
        assert_eq!(tx.incident_holds().holders("account:a").await.unwrap(), [answers[2].clone()]);
        tx.incident_holds().dissolve("account:a").await.unwrap();
        assert!(tx.incident_holds().release(answers[2].id).await.unwrap().is_empty());
    }
}
