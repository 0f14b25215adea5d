//! The audit trail is a chain: whoever writes to the database behind the program's back is found out, by name of the
//! row.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::harness::{Finished, Pair, Server, World, at_once, eventually, promise};

const VERIFY: [&str; 2] = ["audit", "verify"];
/// Each batch of links gets its seal.
const SEALED: (&str, &str) = ("AUDIT_SEAL_EVENTS", "1");

#[track_caller]
fn verified(found: &Finished) {
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.stdout.contains(" events and ") && found.stderr.is_empty(), "{found:?}");
}

/// Insists that it is found, and that what is told has all of these words.
#[track_caller]
fn found_out(found: &Finished, words: &[&str], how: &str) {
    assert_eq!(found.code, Some(1), "{how}: {found:?}");
    assert!(found.stderr.contains("not as it was written"), "{how}: {found:?}");
    for word in words {
        assert!(found.stdout.contains(word), "{how}: {word:?} is not told: {found:?}");
    }
}

/// Waits until every event has its link and the last one its seal.
#[track_caller]
fn all_linked(server: &Server) {
    eventually("every event is linked and sealed", || {
        let settled = "SELECT (SELECT count(*) FROM audit_pending) = 0 AND \
            (SELECT max(seq) FROM audit_links) = (SELECT max(seq) FROM audit_seals)";
        matches!(server.world.sql(settled).trim(), "t" | "1").then_some(())
    });
}

fn is_postgres(world: &World) -> bool {
    world.database_url().is_some()
}

/// Writes as one who owns the database does: no trigger and no reference stands in the way.
#[track_caller]
fn tamper(world: &World, sql: &str) {
    let prefix = if is_postgres(world) { "SET session_replication_role = replica; " } else { "" };
    world.sql(&format!("{prefix}{sql}"));
}

/// Takes the triggers of SQLite away, and keeps a copy of everything.
#[track_caller]
fn prepare(world: &World) {
    if !is_postgres(world) {
        let triggers =
            world.sql("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit_%'");
        triggers.lines().for_each(|name| drop(world.sql(&format!("DROP TRIGGER {name}"))));
    }
    for table in ["audit_events", "audit_links", "audit_seals"] {
        world.sql(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"));
    }
}

/// Puts everything back.
#[track_caller]
fn undo(world: &World) {
    let back = |table: &str| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table};");
    tamper(world, &["audit_seals", "audit_links", "audit_events"].map(back).join(" "));
}

/// A key of these tests, in the form of the settings.
fn key(world: &World, number: u8) -> String {
    let bytes: Vec<u8> = (0..32).map(|index| index ^ number).collect();
    let key = BASE64.encode(&bytes);
    world.remember(&key);
    key
}

/// Events that nobody vouches for.
#[track_caller]
fn put_there(world: &World, count: u32) {
    world.sql(&if is_postgres(world) {
        format!(
            "INSERT INTO audit_events (id, occurred_at, action, outcome, canonical) \
             SELECT gen_random_uuid(), now(), 'old', 'success', '{{}}' FROM generate_series(1, {count})"
        )
    } else {
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
             INSERT INTO audit_events (id, occurred_at, action, outcome, canonical) \
             SELECT randomblob(16), '2026-01-01T00:00:00+00:00', 'old', 'success', CAST('{{}}' AS BLOB) FROM numbers"
        )
    });
}

/// What can be done to each column of one row: on Postgres, on SQLite.
const EDITS: [(&str, &str, &str, &str); 19] = [
    ("audit_events", "id", "gen_random_uuid()", "randomblob(16)"),
    ("audit_events", "occurred_at", "occurred_at - interval '1 year'", "'2001' || substr(occurred_at, 5)"),
    ("audit_events", "action", "'nothing'", "'nothing'"),
    ("audit_events", "outcome", "'failure'", "'failure'"),
    ("audit_events", "actor", "NULL", "NULL"),
    ("audit_events", "target", "NULL", "NULL"),
    ("audit_events", "request_id", "NULL", "NULL"),
    ("audit_events", "canonical", "canonical || '\\x20'::bytea", "CAST(canonical || ' ' AS BLOB)"),
    ("audit_events", "mac", "NULL", "NULL"),
    ("audit_events", "mac", "decode(repeat('07', 40), 'hex')", "randomblob(40)"),
    ("audit_links", "seq", "seq + 100000", "seq + 100000"),
    ("audit_links", "event_id", "gen_random_uuid()", "randomblob(16)"),
    ("audit_links", "mac", "decode(repeat('07', 32), 'hex')", "randomblob(32)"),
    ("audit_links", "key_id", "'0000000000000000'", "'0000000000000000'"),
    ("audit_seals", "seq", "seq + 100000", "seq + 100000"),
    ("audit_seals", "head", "'{}'", "CAST('{}' AS BLOB)"),
    ("audit_seals", "signature", "decode(repeat('07', 64), 'hex')", "randomblob(64)"),
    ("audit_seals", "key_id", "'0000000000000000'", "'0000000000000000'"),
    ("audit_seals", "sealed_at", "sealed_at - interval '1 year'", "'2001' || substr(sealed_at, 5)"),
];

promise! {
    fn every_column_that_is_touched_is_found_and_its_row_named(pair) {
        let mut server = Server::start(pair, &[SEALED]);
        let ada = server.person("ada");
        all_linked(&server);
        server.log_in(&ada.email, &ada.password);
        all_linked(&server);
        server.try_log_in(&ada.email, "Wrong-horse-battery-9").is(401);
        all_linked(&server);
        verified(&server.cli(&VERIFY, ""));
        // Erasing a person takes nothing from the chain.
        ada.api.delete("/api/v1/me").is(204);
        all_linked(&server);
        verified(&server.cli(&VERIFY, ""));
        assert_eq!(server.metric("audit_lag_seconds"), 0.0);
        assert!(server.metric("audit_last_sealed_link") >= 5.0);
        let gaps = "SELECT max(seq) - count(*) FROM audit_links";
        assert_eq!(server.world.sql(gaps).trim(), "0", "numbers without gaps");
        assert_eq!(server.stop(), Some(0));

        let world = Arc::clone(&server.world);
        prepare(&world);
        let target = "SELECT max(seq) FROM audit_links JOIN audit_events ON id = event_id WHERE action = 'LOGIN_SUCCESS'";
        let seq = world.sql(target).trim().to_owned();
        let n: u32 = seq.parse().expect("a number");
        let event = world.sql(&format!("SELECT event_id FROM audit_links WHERE seq = {seq}"));
        let verify = || server.cli(&VERIFY, "");
        for (table, column, postgres, sqlite) in EDITS {
            let value = if is_postgres(&world) { postgres } else { sqlite };
            let row = match table {
                "audit_events" => format!("id = (SELECT event_id FROM audit_links WHERE seq = {seq})"),
                _ => format!("seq = {seq}"),
            };
            tamper(&world, &format!("UPDATE {table} SET {column} = {value} WHERE {row}"));
            let how = format!("{table}.{column} = {value}");
            let found = verify();
            // A seal that says it is another one's is named by what it says.
            let named = if (table, column) == ("audit_seals", "seq") { n + 100_000 } else { n };
            found_out(&found, &[&format!("link {named}: ")], &how);
            if table == "audit_events" && is_postgres(&world) {
                found_out(&found, &[event.trim()], &how);
            }
            undo(&world);
        }
        verified(&verify());

        for (how, sql, words) in [
            ("an event is deleted", format!("DELETE FROM audit_events WHERE id = (SELECT event_id FROM audit_links WHERE seq = {n})"), vec![format!("link {n}: "), "the event is gone".into()]),
            ("a link is deleted", format!("DELETE FROM audit_links WHERE seq = {n}"), vec![format!("link {n}: "), "gone".into(), "taken out of the chain".into()]),
            ("event and link are deleted", format!("DELETE FROM audit_events WHERE id = (SELECT event_id FROM audit_links WHERE seq = {n}); DELETE FROM audit_links WHERE seq = {n}"), vec![format!("link {n}: ")]),
            ("and the others move up", format!("DELETE FROM audit_links WHERE seq = {n}; UPDATE audit_links SET seq = {n} WHERE seq = {n} + 1"), vec![format!("link {n}: ")]),
            ("the beginning is deleted", format!("DELETE FROM audit_links WHERE seq < {n}; DELETE FROM audit_seals WHERE seq < {n}"), vec!["link 1: ".into()]),
            ("the beginning is pruned without a word", "INSERT INTO audit_prunings SELECT seq, sealed_at FROM audit_seals WHERE seq = (SELECT min(seq) FROM audit_seals); DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_links WHERE seq <= (SELECT min(seq) FROM audit_seals)); DELETE FROM audit_links WHERE seq <= (SELECT min(seq) FROM audit_seals)".to_owned(), vec!["no event tells that they were pruned".into()]),
        ] {
            tamper(&world, &sql);
            found_out(&verify(), &words.iter().map(String::as_str).collect::<Vec<_>>(), how);
            tamper(&world, "DELETE FROM audit_prunings");
            undo(&world);
        }
        // Two events change their places.
        let swap = format!("UPDATE audit_links SET event_id = CASE seq WHEN {n} THEN (SELECT event_id FROM kept_audit_links WHERE seq = {n} - 1) \
            ELSE (SELECT event_id FROM kept_audit_links WHERE seq = {n}) END WHERE seq IN ({n}, {n} - 1)");
        let swap = if is_postgres(&world) { format!("ALTER TABLE audit_links DROP CONSTRAINT audit_links_event_id_key; {swap}") } else {
            format!("DELETE FROM audit_links WHERE seq IN ({n}, {n} - 1); INSERT INTO audit_links SELECT seq, (SELECT event_id FROM kept_audit_links AS other \
                WHERE other.seq = 2 * {n} - 1 - kept_audit_links.seq), mac, key_id FROM kept_audit_links WHERE seq IN ({n}, {n} - 1)")
        };
        tamper(&world, &swap);
        found_out(&verify(), &[&format!("link {n}: "), &format!("link {}: ", n - 1), "another order"], "two change places");
        undo(&world);
        verified(&verify());
    }

    fn a_head_kept_elsewhere_finds_a_cut_tail_and_an_old_copy(pair) {
        let mut server = Server::start(pair, &[SEALED]);
        let ada = server.person("ada");
        all_linked(&server);
        server.log_in(&ada.email, &ada.password);
        all_linked(&server);
        let world = Arc::clone(&server.world);
        let head = server.cli(&["audit", "head"], "");
        assert_eq!(head.code, Some(0), "{head:?}");
        let line: Value = serde_json::from_str(&head.stdout).expect("a line of JSON");
        let stated: Value = serde_json::from_str(line["head"].as_str().expect("what was signed")).expect("JSON");
        assert_eq!(stated["seq"], json!(world.sql("SELECT max(seq) FROM audit_links").trim().parse::<i64>().expect("a number")));
        let public = server.cli(&["audit", "key"], "").stdout;
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"), "{public}");
        let (elsewhere, kept) = (world.folder().join("elsewhere.json"), world.folder().join("data/audit-head.json"));
        fs::write(&elsewhere, &head.stdout).expect("a file");
        let elsewhere = elsewhere.display().to_string();
        let with_head = ["audit", "verify", "--head", &elsewhere];
        verified(&server.cli(&with_head, ""));
        eventually("the last seal is kept in DATA_DIR", || (fs::read_to_string(&kept).ok()? == head.stdout).then_some(()));
        assert_eq!(server.stop(), Some(0));

        prepare(&world);
        let before = world.sql("SELECT max(seq) FROM audit_seals WHERE seq < (SELECT max(seq) FROM audit_seals)");
        let before = before.trim();
        let cut = format!("DELETE FROM audit_events WHERE id IN (SELECT event_id FROM audit_links WHERE seq > {before}); \
            DELETE FROM audit_links WHERE seq > {before}");
        tamper(&world, &cut);
        fs::rename(&kept, world.folder().join("aside.json")).expect("it can be moved");
        found_out(&server.cli(&VERIFY, ""), &["its tail was cut off"], "its own seal tells of it");
        tamper(&world, &format!("DELETE FROM audit_seals WHERE seq > {before}"));
        verified(&server.cli(&VERIFY, ""));
        found_out(&server.cli(&with_head, ""), &["its tail was cut off, or an old copy"], "the head that was kept elsewhere");
        fs::rename(world.folder().join("aside.json"), &kept).expect("it can be moved");
        found_out(&server.cli(&VERIFY, ""), &["its tail was cut off, or an old copy"], "the head in DATA_DIR");

        // The old copy goes on: a server on it says so, keeps the evidence, and its history is another one.
        if is_postgres(&world) {
            let server = world.start(&[SEALED]);
            server.wait_for_log("old copy", |entry| entry["error"].as_str().is_some_and(|told| told.contains("truncated or rolled back")));
            for _ in 0..4 {
                server.try_log_in(&ada.email, "Wrong-horse-battery-9").is(401);
            }
            eventually("the chain is longer than it was", || {
                let longer = format!("SELECT max(seq) > {} FROM audit_links", stated["seq"]);
                matches!(world.sql(&longer).trim(), "t" | "1").then_some(())
            });
            found_out(&server.cli(&with_head, ""), &["another history"], "what was put in its place");
            assert_eq!(fs::read_to_string(&kept).expect("it is kept"), head.stdout);
        }
    }

    fn a_tail_that_is_cut_before_its_seal_is_told_by_who_saw_it_and_a_stop_seals(pair) {
        let mut server = Server::start(pair, &[("AUDIT_SEAL_SECONDS", "3600")]);
        let ada = server.person("ada");
        let world = Arc::clone(&server.world);
        let linked = || eventually("all is linked", || (world.sql("SELECT count(*) FROM audit_pending").trim() == "0").then_some(()));
        linked();
        prepare(&world);
        let last = || world.sql("SELECT max(seq) FROM audit_links").trim().parse::<i64>().expect("a number");
        // Two looks of the linker: it has seen the end.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let seen = last();
        tamper(&world, &format!("DELETE FROM audit_events WHERE id = (SELECT event_id FROM audit_links WHERE seq = {seen}); \
            DELETE FROM audit_links WHERE seq = {seen}"));
        // Others take its place at once.
        for _ in 0..3 {
            server.try_log_in(&ada.email, "Wrong-horse-battery-9").is(401);
        }
        eventually("it is told", || (server.audited("audit.cut_off", "failure") == 1).then_some(()));
        let told = world.audit_events().into_iter().find(|event| event["action"] == "audit.cut_off").expect("it");
        assert_eq!(told["detail"]["link"], json!(seen));
        linked();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(server.audited("audit.cut_off", "failure"), 1, "once");

        let sealed = || world.sql("SELECT max(seq) FROM audit_seals").trim().parse::<i64>().expect("a number");
        assert!(sealed() < last(), "nothing is due");
        assert_eq!(server.stop(), Some(0));
        assert_eq!(sealed(), last());
        let end = last();
        tamper(&world, &format!("DELETE FROM audit_events WHERE id = (SELECT event_id FROM audit_links WHERE seq = {end}); \
            DELETE FROM audit_links WHERE seq = {end}; DELETE FROM audit_seals WHERE seq = {end}"));
        found_out(&server.cli(&VERIFY, ""), &["its tail was cut off"], "what was sealed at the stop");
    }

    fn nobody_else_writes_events_and_old_ones_are_taken_over(pair) {
        let world = World::new(pair);
        assert_eq!(world.run(&["migrate"], &[], "").code, Some(0));
        put_there(&world, 1200);
        let server = world.start(&[SEALED]);
        all_linked(&server);
        verified(&server.cli(&VERIFY, ""));
        // From the first event of this program on there are no others.
        server.person("ada");
        all_linked(&server);
        put_there(&world, 1);
        eventually("it is refused", || (world.sql("SELECT count(*) FROM audit_pending WHERE refused").trim() == "1").then_some(()));
        server.person("grace");
        eventually("the others are linked", || {
            (world.sql("SELECT count(*) FROM audit_pending").trim() == "1").then_some(())
        });
        found_out(&server.cli(&VERIFY, ""), &["event ", "something else than this program wrote"], "an insertion");
    }

    fn the_key_can_be_replaced_and_not_be_forgotten(pair) {
        let world = World::new(pair);
        let (old, new) = (key(&world, 1), key(&world, 2));
        let mut server = world.start(&[("AUDIT_KEY", &old), SEALED]);
        server.person("ada");
        all_linked(&server);
        assert_eq!(server.stop(), Some(0));
        let refused = world.run(&["serve"], &[("AUDIT_KEY", &new)], "");
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("AUDIT_KEYS_PREVIOUS"), "{refused:?}");
        let both = [("AUDIT_KEY", new.as_str()), ("AUDIT_KEYS_PREVIOUS", &old), SEALED];
        let server = world.start(&both);
        server.person("grace");
        all_linked(&server);
        verified(&server.cli(&VERIFY, ""));
        let keys = world.sql("SELECT count(DISTINCT key_id) FROM audit_links");
        assert_eq!(keys.trim(), "2");
        found_out(&world.run(&VERIFY, &[("AUDIT_KEY", &new)], ""), &["AUDIT_KEYS_PREVIOUS"], "without the key before");
    }
}

#[test]
fn two_replicas_that_write_at_once_make_one_chain() {
    let world = World::new(Pair::Shared);
    let servers = [world.start(&[SEALED]), world.start(&[SEALED])];
    let people: Vec<_> = ["ada", "grace"].map(|name| servers[0].person(name)).into();
    at_once(8, |number| {
        for _ in 0..5 {
            let person = &people[number % 2];
            servers[number / 4].try_log_in(&person.email, "Wrong-horse-battery-9");
        }
    });
    all_linked(&servers[0]);
    verified(&servers[1].cli(&VERIFY, ""));
    let counted =
        world.sql("SELECT count(*), max(seq), (SELECT count(*) FROM audit_events) FROM audit_links");
    let counted: BTreeSet<&str> = counted.trim().split('|').collect();
    assert_eq!(counted.len(), 1, "each event has its link, and no number is missing: {counted:?}");
}
