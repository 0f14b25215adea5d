use storage::{DesiredModel, Error, GrantSubject, ModelAccess, ModelFile, ModelSource};

use crate::world::{next_id, on_both_stores};

on_both_stores! {
    async fn the_generation_counts_real_changes(world) {
        let mut tx = world.begin().await;
        let (everyone, granted) = (Some(ModelAccess::Everyone), Some(ModelAccess::Granted));
        let steps = [(everyone, 1), (everyone, 1), (granted, 2), (None, 3), (None, 3), (granted, 4)];
        for (access, generation) in steps {
            tx.models().set_access("digits", access).await.unwrap();
            let model = tx.models().find("digits").await.unwrap().unwrap();
            assert_eq!((model.access(), model.generation), (access, generation));
        }
        for name in ["digits", "another"] {
            tx.models().add(name).await.unwrap();
        }
        let [digits, another] = ["digits", "another"];
        assert_eq!(tx.models().find(digits).await.unwrap().unwrap().access(), granted, "as it was");
        assert_eq!(tx.models().find(another).await.unwrap().unwrap().access(), None);
        let names: Vec<_> = tx.models().list().await.unwrap().into_iter().map(|model| model.name).collect();
        assert_eq!(names, ["another", "digits"]);
        assert_eq!(tx.models().find("none").await.unwrap(), None);
    }

    async fn what_is_wanted_of_a_model_is_kept_whole(world) {
        let mut tx = world.begin().await;
        tx.changes().append("model", "digits").await.unwrap();
        assert_eq!(tx.models().desired().await.unwrap(), (vec![], 0));
        assert_eq!(tx.models().desired_of("digits").await.unwrap(), None);
        let first = DesiredModel {
            name: "digits".into(),
            unloaded: false,
            active_version: Some("2".into()),
            previous_version: Some("1".into()),
            loads: 3,
            waiting: ["3".to_owned()].into(),
        };
        let then = DesiredModel { unloaded: true, active_version: None, loads: 4, ..first.clone() };
        let other = DesiredModel { name: "another".into(), ..DesiredModel::default() };
        for wanted in [&first, &then, &other] {
            tx.models().desire(wanted).await.unwrap();
            assert_eq!(tx.models().desired_of(&wanted.name).await.unwrap().as_ref(), Some(wanted));
        }
        assert_eq!(tx.models().desired().await.unwrap(), (vec![other, then], 1), "as of the last change");
    }

    async fn files_stay_as_they_were_first_seen_until_they_are_forgotten(world) {
        let mut tx = world.begin().await;
        let file = |version: &str, file: &str, digit: &str| ModelFile {
            name: "digits".into(),
            version: version.into(),
            file: file.into(),
            sha256: digit.repeat(64),
        };
        let (model, data) = (file("1", "model.onnx", "a"), file("1", "model.data", "b"));
        let other = file("2", "model.onnx", "c");
        for file in [&model, &data, &other] {
            assert!(tx.models().remember_file(file).await.unwrap());
        }
        let changed = file("1", "model.onnx", "d");
        assert!(!tx.models().remember_file(&changed).await.unwrap());
        assert_eq!(tx.models().files().await.unwrap(), [data, model, other.clone()]);
        assert_eq!(tx.models().forget_files("digits", "1").await.unwrap(), 2);
        assert!(tx.models().remember_file(&changed).await.unwrap());
        assert_eq!(tx.models().files().await.unwrap(), [changed, other]);
    }

    async fn where_a_version_comes_from_is_said_last_and_forgotten_as_a_whole(world) {
        let mut tx = world.begin().await;
        let source = |version: &str, file: &str, url: &str, size| ModelSource {
            name: "digits".into(),
            version: version.into(),
            file: file.into(),
            url: url.into(),
            sha256: "a".repeat(64),
            size,
        };
        let (model, data) = (source("1", "model.onnx", "https://x/m", Some(i64::MAX)), source("1", "w.bin", "s3://b/w", None));
        let other = source("2", "model.onnx", "https://x/n", None);
        for source in [&other, &model, &data, &source("1", "model.onnx", "https://x/old", None), &model] {
            tx.model_sources().remember(source).await.unwrap();
        }
        assert_eq!(tx.model_sources().list().await.unwrap(), [model, data, other.clone()]);
        assert_eq!(tx.model_sources().forget("digits", "1").await.unwrap(), 2);
        assert_eq!(tx.model_sources().list().await.unwrap(), [other]);
    }

    async fn a_grant_reaches_an_account_or_a_role(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let mut tx = world.begin().await;
        tx.models().add("digits").await.unwrap();

        let (to_ada, to_role) = (GrantSubject::Account(ada), GrantSubject::Role("admin".into()));
        assert!(tx.models().grant("digits", &to_ada).await.unwrap());
        assert!(!tx.models().grant("digits", &to_ada).await.unwrap());
        assert!(tx.models().grant("digits", &to_role).await.unwrap());
        assert_eq!(tx.models().grants("digits").await.unwrap(), [to_ada.clone(), to_role]);
        assert_eq!(tx.models().granted_to(ada, "user").await.unwrap(), ["digits"]);
        assert_eq!(tx.models().granted_to(eve, "user").await.unwrap(), Vec::<String>::new());
        assert_eq!(tx.models().granted_to(ada, "admin").await.unwrap(), ["digits"], "once, though granted twice");
        assert!(tx.models().revoke_grant("digits", &to_ada).await.unwrap());
        assert!(!tx.models().revoke_grant("digits", &to_ada).await.unwrap());
        assert_eq!(tx.models().granted_to(ada, "user").await.unwrap(), Vec::<String>::new());
        let to_somebody = GrantSubject::Account(next_id());
        assert!(matches!(tx.models().grant("none", &to_somebody).await, Err(Error::Refused(_))));
    }
}
