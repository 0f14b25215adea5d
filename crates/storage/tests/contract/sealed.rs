use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use storage::{
    Durable, Holder, NewApiKey, NewIdentity, NewSigningKey, OneTimeToken, RowKey, SealedColumn,
    SigningKeyState,
};
use uuid::Uuid;

use crate::world::{World, next_id, on_both_stores};

/// Columns of bytes that nobody has to seal.
const OPEN: [&str; 9] = [
    "api_key_secrets.hash",
    "audit_events.canonical",
    "audit_events.mac",
    "audit_links.mac",
    "audit_seals.head",
    "audit_seals.signature",
    "one_time_tokens.hash",
    "recovery_codes.hash",
    "signing_keys.public_key",
];

fn key(kid: &str, private_key: &[u8]) -> NewSigningKey {
    NewSigningKey {
        kid: kid.into(),
        algorithm: "EdDSA".into(),
        purpose: "access".into(),
        private_key: private_key.to_vec(),
        public_key: vec![8; 32],
        state: SigningKeyState::Active,
    }
}

fn token(world: &World, account: Uuid) -> OneTimeToken {
    OneTimeToken {
        hash: vec![1; 32],
        purpose: "door".into(),
        account_id: Some(account),
        email_lookup: None,
        payload: Some(b"old".to_vec()),
        attempts_left: 1,
        expires_at: world.in_hours(1),
    }
}

fn identity(account: Uuid) -> NewIdentity {
    NewIdentity {
        id: next_id(),
        account_id: account,
        issuer: "https://id.example.com".into(),
        subject: b"old".to_vec(),
        lookup: "ada".into(),
        ended_at: None,
        linker_lacked: None,
    }
}

fn signing_key(account: Uuid) -> NewApiKey {
    NewApiKey {
        id: next_id(),
        public_id: "a".into(),
        account_id: account,
        name: "a key".into(),
        scopes: Vec::new(),
        models: None,
        allowed_ips: None,
        limits: None,
        expires_at: None,
        require_signature: true,
        secret_hash: vec![1; 32],
        sealed_secret: Some(b"old".to_vec()),
    }
}

on_both_stores! {
    async fn sealed_values_are_found_by_how_they_do_not_begin(world) {
        let mut tx = world.begin().await;
        for (kid, sealed) in [("a", "new 1"), ("b", "old 2"), ("c", "old 3"), ("d", "ne"), ("e", "")] {
            tx.signing_keys().insert(&key(kid, sealed.as_bytes())).await.unwrap();
        }
        let column = SealedColumn::SigningKey;
        let mut after = None;
        let mut rows = Vec::new();
        loop {
            let batch = tx.sealed().unlike(column, b"new", after.as_ref(), 3).await.unwrap();
            let Some(last) = batch.last() else { break };
            after = Some(last.row.clone());
            rows.extend(batch.into_iter().map(|value| value.row.to_string()));
        }
        assert_eq!(rows, ["b", "c", "d", "e"]);
        assert_eq!(tx.sealed().count_unlike(column, b"new").await.unwrap(), 4);
        assert_eq!(tx.sealed().count_unlike(column, b"n").await.unwrap(), 3);
    }

    async fn a_value_is_replaced_only_where_it_is_still_the_one_that_was_read(world) {
        let ada = world.person("ada", "user").await;
        let mut tx = world.begin().await;
        let column = SealedColumn::PersonEmail;
        let read = tx.sealed().unlike(column, b"?", None, 10).await.unwrap();
        let [value] = &read[..] else { panic!("one person, one address") };
        assert_eq!((&value.row, value.sealed.as_slice()), (&RowKey::Id(ada.id), &b"ada@example.org"[..]));
        assert_eq!(column.place(&value.row), format!("people.email:{}", ada.id));
        assert!(tx.sealed().replace(column, value, b"sealed anew").await.unwrap());
        assert!(!tx.sealed().replace(column, value, b"too late").await.unwrap());
        assert_eq!(tx.users().find(ada.id).await.unwrap().unwrap().email, b"sealed anew");
    }

    async fn every_column_can_be_sealed_anew(world) {
        let ada = world.person("ada", "user").await;
        let mut tx = world.begin().await;
        tx.signing_keys().insert(&key("a", b"old")).await.unwrap();
        tx.one_time_tokens().create(&token(world, ada.id)).await.unwrap();
        tx.sessions().create(&world.new_session(ada.id)).await.unwrap();
        tx.identities().create(&identity(ada.id)).await.unwrap();
        tx.second_factors().begin_totp(next_id(), ada.id, b"old").await.unwrap();
        assert!(tx.outbox().add(next_id(), Holder::Address("of nobody"), b"old", 1).await.unwrap());
        tx.files().add(&crate::files::file(world, ada.id)).await.unwrap();
        tx.api_keys().create(&signing_key(ada.id)).await.unwrap();
        tx.secrets().keep("index", b"first").await.unwrap();
        tx.secrets().keep("index", b"second").await.unwrap();
        assert_eq!(tx.secrets().find("index").await.unwrap().as_deref(), Some(&b"first"[..]));
        assert_eq!(tx.secrets().find("another").await.unwrap(), None);
        for column in SealedColumn::ALL {
            assert_eq!(tx.sealed().count_unlike(*column, b"new").await.unwrap(), 1, "{column:?}");
            for value in tx.sealed().unlike(*column, b"new", None, 10).await.unwrap() {
                assert!(tx.sealed().replace(*column, &value, b"new").await.unwrap(), "{column:?}");
            }
            assert_eq!(tx.sealed().count_unlike(*column, b"new").await.unwrap(), 0, "{column:?}");
        }
    }
}

/// Whoever adds a column of bytes says whether it is sealed.
#[tokio::test]
async fn the_registry_of_sealed_columns_is_complete() {
    let world = World::postgres().await;
    let Durable::Postgres { url, .. } = world.durable() else { panic!("Postgres") };
    let mut connection = PgConnection::connect(url.expose_secret()).await.unwrap();
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT table_name || '.' || column_name FROM information_schema.columns \
         WHERE table_schema = 'public' AND data_type = 'bytea' AND table_name NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let known = SealedColumn::ALL.iter().map(|column| column.name()).chain(OPEN);
    assert_eq!(columns.iter().map(String::as_str).collect::<BTreeSet<_>>(), known.collect());
    world.end().await;
}
