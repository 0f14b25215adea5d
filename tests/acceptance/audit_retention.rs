//! The audit trail is kept for `AUDIT_RETENTION_DAYS` and no longer; what is under a legal hold stays, with its
//! account.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Person, Server, eventually, promise, sample};

const DAY: Duration = Duration::from_secs(86_400);
const HOLDS: &str = "/api/v1/admin/legal-holds";

#[track_caller]
fn number(server: &Server, sql: &str) -> i64 {
    let answer = server.world.sql(sql);
    answer.trim().parse().unwrap_or_else(|_| panic!("{sql}: {answer:?}"))
}

#[track_caller]
fn all_linked(server: &Server) {
    eventually("every event is linked and sealed", || {
        let open = "SELECT (SELECT count(*) FROM audit_pending) + (SELECT max(seq) FROM audit_links) - (SELECT max(seq) FROM audit_seals)";
        (number(server, open) == 0).then_some(())
    });
}

#[track_caller]
fn verified(server: &Server, arguments: &[&str]) {
    let found = server.cli(&[&["audit", "verify"], arguments].concat(), "");
    assert_eq!(found.code, Some(0), "{found:?}");
}

/// Waits until the trail was pruned so often.
#[track_caller]
fn pruned(server: &Server, times: usize) {
    eventually("it is pruned", || {
        (server.log().matches("the audit trail is pruned").count() == times).then_some(())
    });
}

promise! {
    fn what_is_old_is_pruned_and_what_is_held_stays(pair) {
        let server = Server::start(pair, &[("AUDIT_SEAL_EVENTS", "1"), ("AUDIT_RETENTION_DAYS", "30"), ("FILE_RETENTION_DAYS", "2")]);
        let admin = server.admin();
        server.person("ada").api.act("/api/v1/auth/logout").is(204);
        all_linked(&server);
        let head = server.world.folder().join("head.json");
        fs::write(&head, server.cli(&["audit", "head"], "").stdout).expect("a file");
        let head = head.display().to_string();
        // Where the last segment begins: whether it goes too depends on what comes first, the next login or the
        // pruning.
        let old = number(&server, "SELECT coalesce(max(seq), 0) + 1 FROM audit_seals WHERE seq < (SELECT max(seq) FROM audit_seals)");

        server.advance(31 * DAY);
        // One more event, for the chain begins at a seal and is never empty.
        let admin = server.log_in(&admin.email, &admin.password);
        pruned(&server, 1);
        all_linked(&server);
        assert_eq!(server.audited("audit.pruned", "success"), 1);
        // The newest seal that is old enough stays, and so may its links.
        assert!(number(&server, "SELECT min(seq) FROM audit_links") >= old);
        assert!(number(&server, "SELECT min(seq) FROM audit_seals") >= old - 1);
        let left = format!("SELECT count(*) FROM audit_events JOIN audit_links ON event_id = id WHERE seq < {old}");
        assert_eq!(number(&server, &left), 0);
        verified(&server, &["--head", &head]);

        let grace = server.person("grace");
        all_linked(&server);
        let path = format!("{HOLDS}/{}", grace.id);
        admin.api.put(&path, &json!({"reason": ""})).invalid(&["reason"]);
        admin.api.put(&format!("{HOLDS}/01890000-0000-7000-8000-000000000000"), &json!({"reason": "case 7"})).refused(404, "not_found");
        grace.api.put(&path, &json!({"reason": "mine"})).refused(403, "insufficient_permissions");
        for reason in ["case 6", "case 7", "case 7"] {
            admin.api.put(&path, &json!({"reason": reason})).is(204);
        }
        assert_eq!(server.audited("legal_hold.placed", "success"), 2, "another reason is told, the same one not");
        let holds = admin.api.get(HOLDS).is(200).items();
        assert_eq!((holds.len(), &holds[0]["account_id"], &holds[0]["reason"]), (1, &json!(grace.id), &json!("case 7")));
        admin.api.delete(&format!("/api/v1/admin/users/{}", grace.id)).refused(409, "legal_hold");
        grace.api.delete("/api/v1/me").refused(409, "legal_hold");
        let stored = |person: &Person| {
            let answer = person.api.send("POST", "/api/v1/files?name=one.png", Some("image/png"), &sample("1-1"));
            format!("/api/v1/files/{}", answer.is(201).member("id"))
        };
        let (held, free) = (stored(&grace), stored(&admin));
        grace.api.delete(&held).refused(409, "legal_hold");
        grace.api.act("/api/v1/auth/logout").is(204);
        let robot = admin.api.post("/api/v1/admin/service-accounts", &json!({"name": "robot", "role": "user"})).is(201).member("id");
        admin.api.put(&format!("{HOLDS}/{robot}"), &json!({"reason": "case 7"})).is(204);
        admin.api.delete(&format!("/api/v1/admin/service-accounts/{robot}")).refused(409, "legal_hold");
        admin.api.delete(&format!("{HOLDS}/{robot}")).is(204);
        all_linked(&server);

        server.advance(31 * DAY);
        let admin = server.log_in(&admin.email, &admin.password);
        pruned(&server, 2);
        all_linked(&server);
        let first = format!("SELECT min(seq) FROM audit_links JOIN audit_events ON id = event_id WHERE target = 'account:{}'", grace.id);
        assert!(number(&server, &first) > old, "what is told of her is there");
        let created: Vec<Value> = server.world.audit_events().into_iter().filter(|event| event["target"] == format!("account:{}", grace.id)).collect();
        assert!(created.iter().any(|event| event["action"] == "account.created"), "{created:?}");
        assert_eq!(number(&server, "SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL"), 1, "her session, not Ada's");
        let grace = server.log_in(&grace.email, &grace.password);
        eventually("what nobody holds is gone", || (admin.api.get(&free).status == 404).then_some(()));
        grace.api.get(&held).is(200);
        verified(&server, &[]);

        admin.api.delete(&path).is(204);
        admin.api.delete(&path).refused(404, "not_found");
        server.advance(Duration::from_secs(3601));
        pruned(&server, 3);
        let admin = server.log_in(&admin.email, &admin.password);
        admin.api.delete(&format!("/api/v1/admin/users/{}", grace.id)).is(204);
        all_linked(&server);
        verified(&server, &["--head", &head]);
    }
}
