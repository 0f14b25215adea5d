use storage::{Error, GrantSubject, ModelAccess, VersionState};

use crate::world::{next_id, on_both_stores};

on_both_stores! {
    async fn the_generation_counts_real_changes(world) {
        let mut tx = world.begin().await;
        for (access, generation) in
            [(ModelAccess::Everyone, 1), (ModelAccess::Everyone, 1), (ModelAccess::Granted, 2)]
        {
            tx.models().upsert("digits", access).await.unwrap();
            let model = tx.models().find("digits").await.unwrap().unwrap();
            assert_eq!((model.access, model.generation), (access, generation));
        }
        tx.models().upsert("another", ModelAccess::Everyone).await.unwrap();
        let names: Vec<_> = tx.models().list().await.unwrap().into_iter().map(|model| model.name).collect();
        assert_eq!(names, ["another", "digits"]);
        assert_eq!(tx.models().find("none").await.unwrap(), None);
    }

    async fn versions_are_known_by_their_files(world) {
        let mut tx = world.begin().await;
        tx.models().upsert("digits", ModelAccess::Everyone).await.unwrap();
        let (old, new) = ("a".repeat(64), "b".repeat(64));
        tx.models().record_version("digits", "1", &old).await.unwrap();
        tx.models().record_version("digits", "1", &old).await.unwrap();
        assert!(tx.models().set_version_state("digits", "1", VersionState::Stopped).await.unwrap());
        assert!(!tx.models().set_version_state("digits", "1", VersionState::Stopped).await.unwrap());
        assert!(!tx.models().set_version_state("digits", "9", VersionState::Stopped).await.unwrap());
        tx.models().record_version("digits", "1", &new).await.unwrap();
        let versions = tx.models().versions("digits").await.unwrap();
        assert_eq!(versions.len(), 1);
        assert_eq!((versions[0].sha256.as_str(), versions[0].state), (new.as_str(), VersionState::Stopped));
        assert_eq!(tx.models().find("digits").await.unwrap().unwrap().generation, 4);
        assert!(matches!(tx.models().record_version("none", "1", &old).await, Err(Error::Refused(_))));
    }

    async fn a_grant_reaches_an_account_or_a_role(world) {
        let (ada, eve) = (world.person("ada", "user").await.id, world.person("eve", "user").await.id);
        let mut tx = world.begin().await;
        assert!(!tx.models().is_granted("digits", ada, "user").await.unwrap(), "no such model");
        tx.models().upsert("digits", ModelAccess::Everyone).await.unwrap();
        assert!(tx.models().is_granted("digits", ada, "user").await.unwrap());
        tx.models().upsert("digits", ModelAccess::Granted).await.unwrap();
        assert!(!tx.models().is_granted("digits", ada, "user").await.unwrap());

        let (to_ada, to_role) = (GrantSubject::Account(ada), GrantSubject::Role("admin".into()));
        assert!(tx.models().grant("digits", &to_ada).await.unwrap());
        assert!(!tx.models().grant("digits", &to_ada).await.unwrap());
        assert!(tx.models().grant("digits", &to_role).await.unwrap());
        assert_eq!(tx.models().grants("digits").await.unwrap(), [to_ada.clone(), to_role]);
        assert!(tx.models().is_granted("digits", ada, "user").await.unwrap());
        assert!(!tx.models().is_granted("digits", eve, "user").await.unwrap());
        assert!(tx.models().is_granted("digits", eve, "admin").await.unwrap());
        assert_eq!(tx.models().granted_to(ada, "user").await.unwrap(), ["digits"]);
        assert_eq!(tx.models().granted_to(eve, "user").await.unwrap(), Vec::<String>::new());
        assert_eq!(tx.models().granted_to(ada, "admin").await.unwrap(), ["digits"], "once, though granted twice");
        assert!(tx.models().revoke_grant("digits", &to_ada).await.unwrap());
        assert!(!tx.models().revoke_grant("digits", &to_ada).await.unwrap());
        assert!(!tx.models().is_granted("digits", ada, "user").await.unwrap());
        let to_somebody = GrantSubject::Account(next_id());
        assert!(matches!(tx.models().grant("none", &to_somebody).await, Err(Error::Refused(_))));
    }
}
