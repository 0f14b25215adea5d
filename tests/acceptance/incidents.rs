//! Incidents are opened, alerted, answered and undone by detectors and people, and by nobody beyond their permissions.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Hook, Person, Server, Tokens, eventually, promise};
use crate::routes_matrix::NOBODY;

const INCIDENTS: &str = "/api/v1/admin/incidents";
const USERS: &str = "/api/v1/admin/users";
const MAINTENANCE: &str = "/api/v1/admin/maintenance";
const DAY: Duration = Duration::from_secs(86_400);

#[track_caller]
fn open(person: &Person, body: &Value) -> String {
    person.api.post(INCIDENTS, body).is(201).member("id")
}

/// The entries of a kind in a timeline, oldest first.
#[track_caller]
fn entries(client: &Client, id: &str, kind: &str) -> Vec<Value> {
    let items = client.get(&format!("{INCIDENTS}/{id}/timeline?limit=100")).is(200).items();
    items.into_iter().rev().filter(|entry| entry["kind"] == kind).collect()
}

#[track_caller]
fn answer(person: &Person, id: &str, body: &Value) -> Value {
    person.api.post(&format!("{INCIDENTS}/{id}/answers"), body).is(201).json()
}

fn undo(person: &Person, id: &str, entry: &Value) -> crate::harness::Reply {
    person.api.delete(&format!("{INCIDENTS}/{id}/answers/{}", entry["id"].as_str().expect("an id")))
}

fn of_kind(client: &Client, kind: &str) -> Vec<Value> {
    client.get(&format!("{INCIDENTS}?kind={kind}")).is(200).items()
}

fn fail_logins(server: &Server, count: usize) {
    for _ in 0..count {
        server.try_log_in("ada@example.com", "Wrong-horse-9").is(401);
    }
}

/// The incidents for whose sake something stays as it is.
fn stays(undone: &Value) -> Vec<&str> {
    let stays = undone["detail"]["stays"].as_array().expect("what stays");
    stays.iter().flat_map(|one| one["incidents"].as_array()).flatten().filter_map(Value::as_str).collect()
}

fn accounts_stay_off_for_the_last_incident_that_wants_it(
    server: &Server,
    admin: &Person,
    [first, second]: [&str; 2],
) {
    let (eve, bob) = (server.person("eve"), server.person("bob"));
    let is_active =
        |person: &Person| admin.api.get(&format!("{USERS}/{}", person.id)).is(200).json()["active"].clone();
    let set = |person: &Person, active: bool| {
        admin.api.put(&format!("{USERS}/{}", person.id), &json!({"active": active})).is(200);
    };
    set(&bob, false);
    let disable = json!({"answer": "disable_accounts", "accounts": [eve.id, bob.id]});
    let one = answer(admin, first, &disable);
    assert_eq!(one["detail"]["skipped"][0]["reason"], "it was switched off already", "by hand");
    let again = answer(admin, first, &disable);
    assert_eq!(again["detail"]["accounts"], json!([]), "for the same incident");
    let other = answer(admin, second, &disable);
    assert_eq!(other["detail"]["accounts"], json!([eve.id]));
    assert_eq!(other["detail"]["off_before"], json!([eve.id]));
    let undone = undo(admin, first, &one).is(200).json();
    assert_eq!((stays(&undone), is_active(&eve)), (vec![second], json!(false)));
    server.try_log_in(&eve.email, &eve.password).is(401);
    assert_eq!(stays(&undo(admin, second, &other).is(200).json()), [""; 0]);
    server.log_in(&eve.email, &eve.password);
    assert_eq!(is_active(&bob), json!(false), "what was done by hand");

    // What somebody says by hand goes before what incidents want, and no undoing takes it back.
    let one = answer(admin, first, &disable);
    let other = answer(admin, second, &disable);
    set(&eve, true);
    set(&eve, false);
    for (incident, done) in [(second, &other), (first, &one)] {
        let undone = undo(admin, incident, done).is(200).json();
        assert_eq!(undone["detail"]["stays"][0]["reason"], "somebody switched it on or off since");
        assert_eq!(is_active(&eve), json!(false));
    }
}

/// A data breach about ada that mia, a moderator, opened.
struct Breach {
    server: Server,
    admin: Person,
    mia: Person,
    ada: Person,
    id: String,
    /// The route of the evidence that was collected when it was opened.
    evidence: String,
}

impl Breach {
    fn open(server: Server) -> Self {
        let admin = server.admin();
        let (mia, ada) = (server.person_with_role(&admin, "mia", "moderator"), server.person("ada"));
        let id =
            open(&mia, &json!({"kind": "data_breach", "title": "Labels for sale", "accounts": [ada.id]}));
        let collected = eventually("evidence", || entries(&mia.api, &id, "answer").pop());
        assert_eq!(collected["detail"]["answer"], "collect_evidence");
        assert_eq!(collected["detail"].get("bundle"), None, "it is long");
        let evidence = format!("{INCIDENTS}/{id}/answers/{}", collected["id"].as_str().expect("an id"));
        Self { server, admin, mia, ada, id, evidence }
    }

    fn log_ada_in_again(&mut self) {
        self.ada = self.server.log_in(&self.ada.email, &self.ada.password);
    }

    fn evidence_is_what_is_known(&self) {
        let before = self.server.audited("audit.read", "success");
        let bundle = self.mia.api.get(&self.evidence).is(200).json();
        assert_eq!(
            self.server.audited("audit.read", "success"),
            before + 1,
            "whoever reads events is in the trail"
        );
        assert_eq!(bundle["accounts"][0]["account"], json!(self.ada.id));
        let sessions = bundle["accounts"][0]["sessions"].as_array();
        assert!(sessions.is_some_and(|sessions| sessions.len() == 1), "{bundle}");
        assert!(bundle["latest_events"].as_array().is_some_and(|events| events.len() > 3), "{bundle}");
    }

    /// What mia may not do herself, no incident does for her.
    fn it_gives_nobody_more_rights(&self) {
        let refused = entries(&self.mia.api, &self.id, "failed");
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert_eq!(refused[0]["detail"]["reason"], "whoever opened it lacks users:manage");
        self.ada.api.get("/api/v1/me").is(200);
        for wish in ["disable_accounts", "end_sessions", "block_address", "maintenance"] {
            let body = json!({"answer": wish, "accounts": [self.ada.id], "address": "203.0.113.9"});
            let path = format!("{INCIDENTS}/{}/answers", self.id);
            self.mia.api.post(&path, &body).refused(403, "insufficient_permissions");
        }
    }

    fn accounts_are_disabled_and_enabled_again(&mut self) {
        let all = json!({"answer": "disable_accounts", "accounts": [self.ada.id, self.admin.id, NOBODY]});
        let done = answer(&self.admin, &self.id, &all);
        assert_eq!(done["detail"]["accounts"], json!([self.ada.id]));
        assert_eq!(done["detail"]["skipped"][0]["reason"], "it is the last administrator");
        assert_eq!(done["detail"]["skipped"][1]["reason"], "there is no such account");
        self.ada.api.get("/api/v1/me").refused(401, "invalid_token");
        self.server.try_log_in(&self.ada.email, &self.ada.password).is(401);
        undo(&self.mia, &self.id, &done).refused(403, "insufficient_permissions");
        undo(&self.admin, &self.id, &done).is(200);
        undo(&self.admin, &self.id, &done).refused(409, "nothing_to_undo");
        self.log_ada_in_again();
    }

    /// An answer without accounts is to those that the incident is about.
    fn ended_sessions_stay_ended(&mut self) {
        let done = answer(&self.admin, &self.id, &json!({"answer": "end_sessions"}));
        assert_eq!(done["detail"]["accounts"], json!([self.ada.id]));
        self.ada.api.get("/api/v1/me").refused(401, "invalid_token");
        undo(&self.admin, &self.id, &done).refused(409, "nothing_to_undo");
        self.log_ada_in_again();
    }

    fn status_from(&self, address: &str) -> u16 {
        let caller = self.server.user(&self.ada.tokens.access).with("X-Forwarded-Proto", "https");
        caller.with("X-Forwarded-For", address).get("/api/v1/me").status
    }

    /// What another incident blocked as well stays blocked, until the end of that block.
    fn an_address_is_blocked_until_the_last_incident_lets_it_go(&self, second: &str) {
        let admin = &self.admin;
        let done = answer(admin, &self.id, &json!({"answer": "block_address", "address": "203.0.113.9"}));
        assert_eq!((self.status_from("203.0.113.9"), self.status_from("203.0.113.8")), (403, 200));
        let other = answer(admin, second, &json!({"answer": "block_address"}));
        let undone = undo(admin, second, &other).is(200).json();
        assert_eq!(self.status_from("203.0.113.9"), 403);
        assert_eq!(undone["detail"]["stays"][0]["until"], done["detail"]["until"]);
        assert_eq!(stays(&undone), [&*self.id]);
        assert_eq!(stays(&undo(admin, &self.id, &done).is(200).json()), [""; 0]);
        assert_eq!(self.status_from("203.0.113.9"), 200);
        // A block that was removed by hand holds nothing any more.
        let block = json!({"answer": "block_address", "address": "203.0.113.9"});
        answer(admin, &self.id, &block);
        let rules = admin.api.get("/api/v1/admin/ip-rules").is(200).items();
        let rule = rules.iter().find(|rule| rule["cidr"] == "203.0.113.9/32").expect("the block");
        admin.api.delete(&format!("/api/v1/admin/ip-rules/{}", rule["id"].as_str().expect("an id"))).is(204);
        let other = answer(admin, second, &block);
        assert_eq!(stays(&undo(admin, second, &other).is(200).json()), [""; 0]);
        assert_eq!(self.status_from("203.0.113.9"), 200);
        let home = answer(admin, &self.id, &json!({"answer": "block_address", "address": "127.0.0.1"}));
        assert!(home["detail"]["skipped"].is_string(), "{home}");
    }

    /// Nothing is opened again that another incident still holds closed, in whichever order they are undone.
    fn the_service_is_closed_until_the_last_incident_opens_it(&self, second: &str) {
        let (admin, id) = (&self.admin, &*self.id);
        let (close, is_closed) = (json!({"answer": "maintenance"}), || {
            self.ada.api.get("/api/v1/me").refused(503, "maintenance");
        });
        let done = answer(admin, id, &close);
        is_closed();
        let again = answer(admin, id, &close);
        assert_eq!(again["detail"]["skipped"], "the service is closed already");
        undo(admin, id, &again).refused(409, "nothing_to_undo");
        let other = answer(admin, second, &close);
        assert_eq!(stays(&undo(admin, id, &done).is(200).json()), [second]);
        is_closed();
        let done = answer(admin, id, &close);
        assert_eq!(stays(&undo(admin, second, &other).is(200).json()), [id]);
        is_closed();
        assert_eq!(stays(&undo(admin, id, &done).is(200).json()), [""; 0]);
        self.ada.api.get("/api/v1/me").is(200);
        assert_eq!(admin.api.get(MAINTENANCE).is(200).member("mode"), "off");
    }

    fn closing_is_for_good(&self, second: &str) {
        let (mia, path) = (&self.mia.api, format!("{INCIDENTS}/{}", self.id));
        mia.post(&format!("{path}/notes"), &json!({"text": "Ada knows."})).is(201);
        mia.post(&format!("{path}/events"), &json!({"event_id": NOBODY})).invalid(&["event_id"]);
        mia.put(&path, &json!({"status": "contained", "severity": "low"})).is(200);
        mia.put(&path, &json!({"status": "closed"})).invalid(&["resolution"]);
        mia.put(&path, &json!({"status": "closed", "resolution": " \n"})).invalid(&["resolution"]);
        mia.post(INCIDENTS, &json!({"kind": "other", "title": "two\nlines"})).invalid(&["title"]);
        mia.put(&path, &json!({"status": "shut"})).invalid(&["status"]);
        let closed =
            mia.put(&path, &json!({"status": "closed", "resolution": "They were ours."})).is(200).json();
        assert!(closed["closed_at"].is_string(), "{closed}");
        mia.put(&path, &json!({"status": "open"})).refused(409, "incident_closed");
        let body = json!({"answer": "maintenance"});
        self.admin.api.post(&format!("{path}/answers"), &body).refused(409, "incident_closed");
        let still_open = mia.get(&format!("{INCIDENTS}?status=open")).is(200).items();
        assert_eq!((still_open.len(), &still_open[0]["id"]), (1, &json!(second)));
        assert_eq!(mia.get(&format!("{INCIDENTS}?status=closed")).is(200).items().len(), 1);
    }

    /// Where an erased person was goes with their account; what happened stays, and so does where others were.
    fn erasure_takes_a_persons_addresses_out_of_the_evidence(&self) {
        let (mia, ada) = (&self.mia.api, &self.ada);
        let before = mia.get(&self.evidence).is(200).text();
        assert!(before.contains(&ada.id) && before.contains("\"user_agent\":\""), "{before}");
        self.admin.api.delete(&format!("{USERS}/{}", ada.id)).is(204);
        let bundle = mia.get(&self.evidence).is(200).json();
        let theirs = &bundle["accounts"][0];
        assert_eq!(theirs["account"], json!(ada.id));
        let session = &theirs["sessions"][0];
        assert_eq!((&session["address"], &session["user_agent"]), (&Value::Null, &Value::Null));
        let events =
            theirs["events"].as_array().into_iter().chain(bundle["latest_events"].as_array()).flatten();
        for found in events {
            let is_hers = found["event"]["actor"] == json!(ada.id);
            assert!(!is_hers || found["address"].is_null(), "{found}");
        }
        assert!(bundle["latest_events"].to_string().contains("127.0.0.1"), "{bundle}");
    }
}

promise! {
    fn an_incident_is_answered_and_undone_by_those_who_may_and_closed_for_good(pair) {
        let hook = Hook::start();
        let slack = hook.url("/slack");
        let mut breach = Breach::open(Server::start(pair, &[
            ("ALERT_SLACK_URL", &slack),
            ("ALERT_PRIVATE_TARGETS", "on"),
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("INCIDENT_ANSWERS", "data_breach:collect_evidence,data_breach:disable_accounts,data_breach:maintenance"),
        ]));
        hook.wait("/slack", 1);
        assert!(hook.posts("/slack")[0].body.contains("*CRITICAL* Modelgate: incident: Labels for sale"));
        breach.evidence_is_what_is_known();
        breach.it_gives_nobody_more_rights();
        breach.accounts_are_disabled_and_enabled_again();
        breach.ended_sessions_stay_ended();

        let second = open(&breach.admin, &json!({"kind": "other", "address": "203.0.113.9"}));
        let nobody = json!({"answer": "end_sessions"});
        breach.admin.api.post(&format!("{INCIDENTS}/{second}/answers"), &nobody).invalid(&["accounts"]);
        breach.an_address_is_blocked_until_the_last_incident_lets_it_go(&second);
        breach.the_service_is_closed_until_the_last_incident_opens_it(&second);
        accounts_stay_off_for_the_last_incident_that_wants_it(&breach.server, &breach.admin, [&breach.id, &second]);

        breach.closing_is_for_good(&second);
        breach.erasure_takes_a_persons_addresses_out_of_the_evidence();
    }

    /// Whoever may open incidents and change accounts has no incident change those that may do more.
    fn answers_by_themselves_reach_no_further_than_whoever_opened_the_incident(pair) {
        let answers = ("INCIDENT_ANSWERS", "data_breach:disable_accounts,data_breach:end_sessions");
        let server = Server::start(pair, &[answers]);
        let (admin, adam, ada) = (server.admin(), server.admin_called("adam"), server.person("ada"));
        let names = ["models:read", "models:infer", "files:write", "users:read", "users:manage", "incidents:manage"];
        admin.api.post("/api/v1/admin/roles", &json!({"name": "helpdesk", "permissions": names})).is(201);
        let hella = server.person_with_role(&admin, "hella", "helpdesk");
        hella.api.put(&format!("{USERS}/{}", adam.id), &json!({"active": false})).refused(403, "forbidden");
        let breach = json!({"kind": "data_breach", "accounts": [adam.id, ada.id]});
        let id = open(&hella, &breach);
        let done = eventually("both answers", || {
            let done = entries(&hella.api, &id, "answer");
            (done.len() == 2).then_some(done)
        });
        let reason = "it may do more than whoever opened the incident";
        for answer in done {
            assert_eq!(answer["detail"]["accounts"], json!([ada.id]), "{answer}");
            assert_eq!(answer["detail"]["skipped"], json!([{"account": adam.id, "reason": reason}]));
        }
        ada.api.get("/api/v1/me").refused(401, "invalid_token");
        adam.api.get("/api/v1/me").is(200);
        // An administrator's incident reaches both.
        open(&admin, &breach);
        eventually("he is off", || (adam.api.get("/api/v1/me").status == 401).then_some(()));
    }

    fn detectors_open_one_incident_for_each_subject_and_answers_run_once(pair) {
        let server = Server::start(pair, &[("MAX_OPEN_INCIDENTS", "2")]);
        let admin = server.admin();
        let ada = server.person("ada");
        fail_logins(&server, 12);
        let found = eventually("incidents", || {
            let found = of_kind(&admin.api, "failed_logins");
            (found.len() == 2).then_some(found)
        });
        let subjects: Vec<&str> = found.iter().filter_map(|incident| incident["subject"].as_str()).collect();
        assert!(subjects.contains(&format!("account:{}", ada.id).as_str()), "{subjects:?}");
        assert!(subjects.contains(&"address:127.0.0.1"), "{subjects:?}");
        // Two may be open: whoever comes next counts with all others.
        let grace = server.person("grace");
        for _ in 0..12 {
            server.try_log_in(&grace.email, "Wrong-horse-9").is(401);
        }
        let others = eventually("the others", || {
            let found = of_kind(&admin.api, "failed_logins");
            assert!(found.len() <= 3, "{found:?}");
            found.into_iter().find(|incident| incident["subject"] == "others")
        });
        let linked = entries(&admin.api, others["id"].as_str().expect("an id"), "event");
        assert!(!linked.is_empty(), "{others}");
        let id = found[0]["id"].as_str().expect("an id").to_owned();
        let event = entries(&admin.api, &id, "event").remove(0)["detail"]["event_id"].clone();
        let next = Tokens::of(&server.refresh(&ada.tokens.refresh).is(200));
        server.refresh(&next.refresh).is(200);
        server.refresh(&ada.tokens.refresh).is(401);
        let stolen = of_kind(&admin.api, "stolen_token").remove(0);
        assert_eq!((&stolen["severity"], &stolen["occurrences"]), (&json!("high"), &json!(1)));
        let stolen = stolen["id"].as_str().expect("an id");
        admin.api.post(&format!("{INCIDENTS}/{stolen}/events"), &json!({"event_id": event})).is(201);
        eventually("evidence", || (entries(&admin.api, stolen, "answer").len() == 1).then_some(()));

        // The command line: what it opens is answered by the servers.
        let victim = server.person("victim");
        let cli = |arguments: &[&str]| {
            let finished = server.cli(&[&["incident"], arguments].concat(), "");
            assert_eq!(finished.code, Some(0), "{finished:?}");
            finished.stdout
        };
        let opened = cli(&["open", "data_breach", "--account", &victim.id]);
        let opened = opened.trim();
        eventually("the account is off", || (victim.api.get("/api/v1/me").status == 401).then_some(()));
        eventually("both answers", || (entries(&admin.api, opened, "answer").len() == 2).then_some(()));
        assert!(cli(&["show", opened]).contains("disable_accounts"));
        assert!(cli(&["list", "--status", "open"]).contains("stolen_token"));
        for (wrong, option) in [(["close", opened, "--resolution", " "], "--resolution"), (["open", "other", "--title", "a\nb"], "--title")] {
            let refused = server.cli(&[&["incident"], &wrong[..]].concat(), "");
            assert!(refused.code == Some(1) && refused.stderr.contains(option), "{refused:?}");
        }
        cli(&["close", opened, "--resolution", "A drill."]);
        assert_ne!(server.cli(&["incident", "close", opened, "--resolution", "Again."], "").code, Some(0));

        // What is closed goes after a year, what is open stays, and so does what is about somebody who is held.
        admin.api.put(&format!("/api/v1/admin/legal-holds/{}", victim.id), &json!({"reason": "case 7"})).is(204);
        let other = cli(&["open", "other"]).trim().to_owned();
        cli(&["close", &other, "--resolution", "Nothing."]);
        server.advance(366 * DAY);
        let gone = |id: &str| eventually("the closed one is gone", || (!cli(&["list"]).contains(id)).then_some(()));
        gone(&other);
        assert!(cli(&["list"]).contains("stolen_token") && cli(&["list"]).contains(opened));
        let admin = server.log_in(&admin.email, &admin.password);
        admin.api.delete(&format!("/api/v1/admin/legal-holds/{}", victim.id)).is(204);
        server.advance(Duration::from_secs(3601));
        gone(opened);
        assert!(server.audited("incident.pruned", "success") >= 2);
    }
}
