//! Alerts: each arrives at once, once, signed, and none is lost because a process died.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

use crate::harness::{Client, Hook, MailServer, Pair, Post, Server, World, eventually, promise};
use crate::openapi::PRODUCTION;
use crate::routes_matrix::NOBODY;

const ALERTS: &str = "/api/v1/admin/alerts";

const SECRET: &str = "hG7p2kLw9sXqVt5YbN8rEzD3mCuJ6aFq";

#[track_caller]
fn fail_logins(server: &Server, count: usize) {
    for _ in 0..count {
        server.try_log_in("ada@example.com", "Wrong-horse-9").is(401);
    }
}

/// Checks a signature by another implementation than the server's, and gives the message's id.
#[track_caller]
fn checked(post: &Post) -> String {
    let (id, at) = (&post.headers["webhook-id"], &post.headers["webhook-timestamp"]);
    let signed = format!("{id}.{at}.{}", post.body);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let expected =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    let expected = BASE64URL_NOPAD.decode(expected.as_bytes()).expect("base64");
    assert_eq!(post.headers["webhook-signature"], format!("v1,{}", BASE64.encode(&expected)));
    id.clone()
}

/// The delivery state is for callers with `incidents:manage`, and an alert that was given up is sent again on request.
fn alerts_are_listed_and_those_given_up_can_be_sent_again(server: &Server, hook: &Hook) {
    let (world, posts) = (&server.world, hook.posts("/webhook"));
    let admin = server.admin();
    let (mia, ada) = (server.person_with_role(&admin, "mia", "moderator"), server.person("bob"));
    let listed = mia.api.get(ALERTS).is(200);
    assert!(!listed.text().contains("127.0.0.1:") && !listed.text().contains("whsec"), "{}", listed.text());
    let of = |state: &str| mia.api.get(&format!("{ALERTS}?state={state}")).is(200).items();
    let sent = of("sent");
    assert_eq!((sent.len(), listed.items().len()), (6, 6), "two causes, three channels: {sent:?}");
    assert!(
        sent.iter().all(|alert| alert["sent_at"].is_string() && alert["next_attempt_at"].is_null()),
        "{sent:?}"
    );
    assert_eq!(mia.api.get(&format!("{ALERTS}?limit=1")).is(200).items().len(), 1);
    world.sql(
        "UPDATE alerts SET sent_at = NULL, failed_at = created_at, attempts = 15 WHERE channel = 'webhook'",
    );
    let given_up = of("given_up");
    assert_eq!((given_up.len(), given_up[0]["attempts"].as_i64()), (2, Some(15)), "{given_up:?}");
    let retry = |client: &Client, alert: &Value| {
        client.act(&format!("{ALERTS}/{}/retry", alert["id"].as_str().expect("an id")))
    };
    for nobody in [&ada.api, &server.key(&mia.make_key(&["models:read"]))] {
        nobody.get(ALERTS).refused(403, "insufficient_permissions");
        retry(nobody, &given_up[0]).refused(403, "insufficient_permissions");
    }
    retry(&mia.api, &given_up[0]).is(204);
    let again = hook.wait("/webhook", 4);
    assert!(posts.iter().any(|post| checked(post) == checked(&again)), "it is the same message");
    eventually("it was sent", || (of("sent").len() == 5).then_some(()));
    retry(&mia.api, &given_up[0]).refused(409, "alert_not_given_up");
    mia.api.act(&format!("{ALERTS}/{NOBODY}/retry")).refused(404, "not_found");
    mia.api.get(&format!("{ALERTS}?state=lost")).invalid(&["state"]);
    assert_eq!(server.audited("alert.retried", "success"), 1);
}

promise! {
    fn an_alert_arrives_once_signed_however_often_processes_and_receivers_fail(pair) {
        let hook = Hook::start();
        let world = World::new(pair);
        let (webhook, slack, sms) = (hook.url("/webhook"), hook.url("/slack"), hook.url("/sms"));
        let settings = [
            ("ALERT_WEBHOOK_URL", webhook.as_str()),
            ("ALERT_WEBHOOK_SECRET", SECRET),
            ("ALERT_SLACK_URL", &slack),
            ("ALERT_SMS_URL", &sms),
            ("ALERT_SMS_TO", "+491700000000"),
            ("ALERT_SMS_TOKEN", "of-the-gateway-0123456789"),
            ("ALERT_PRIVATE_TARGETS", "on"),
        ];
        world.remember(SECRET);
        world.remember("of-the-gateway-0123456789");
        let server = world.start(&settings);
        server.person("ada");
        hook.answer(302);
        fail_logins(&server, 6);
        let first = hook.wait("/webhook", 1);
        let failed = server.wait_for_log("an alert that was not sent", |entry| entry["channel"] == "webhook");
        assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("302")), "{failed}");
        // Killed: nobody writes anything down any more.
        drop(server);

        hook.answer(200);
        let server = world.start(&settings);
        world.advance(Duration::from_secs(61));
        let second = hook.wait("/webhook", 2);
        assert_eq!(checked(&first), checked(&second), "tried again, it is the same message");
        let alert: Value = serde_json::from_str(&second.body).expect("JSON");
        assert_eq!(alert["type"], "modelgate.incident");
        assert_eq!((&alert["data"]["severity"], &alert["data"]["detail"]["kind"]), (&"medium".into(), &"failed_logins".into()));
        let message = hook.wait("/slack", 2).body;
        assert!(message.contains("*MEDIUM* Intrusion detected: failed_logins"), "{message}");
        let message = hook.wait("/sms", 2);
        assert!(message.body.starts_with("to=%2B491700000000&message=MEDIUM%3A+Intrusion+detected"), "{}", message.body);
        assert_eq!(message.headers["authorization"], "Bearer of-the-gateway-0123456789");

        // The same again is no news for five minutes, and is afterwards.
        fail_logins(&server, 6);
        world.advance(Duration::from_secs(301));
        fail_logins(&server, 6);
        hook.wait("/webhook", 3);
        std::thread::sleep(Duration::from_millis(1500));
        let posts = hook.posts("/webhook");
        assert_eq!(posts.len(), 3, "{posts:?}");
        assert_eq!(posts.iter().map(checked).collect::<BTreeSet<_>>().len(), 2);
        assert!(hook.posts("/elsewhere").is_empty(), "a redirect is followed by nobody");

        alerts_are_listed_and_those_given_up_can_be_sent_again(&server, &hook);
    }
}

#[test]
fn a_test_says_which_channels_work_and_none_leads_inside_unless_allowed() {
    let (hook, mail) = (Hook::start(), MailServer::start());
    let world = World::new(Pair::Embedded);
    let none = world.run(&["alert", "test"], &[], "");
    assert!(none.code == Some(1) && none.stderr.contains("ALERT_"), "{none:?}");
    let own = mail.settings();
    let (webhook, slack) = (hook.url("/webhook"), hook.url("/slack"));
    let mut settings: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.extend([
        ("ALERT_WEBHOOK_URL", webhook.as_str()),
        ("ALERT_WEBHOOK_SECRET", SECRET),
        ("ALERT_SLACK_URL", &slack),
        // One who cannot be mailed keeps nothing from the others.
        ("ALERT_EMAIL_TO", "moved-away@example.com, Watch <watch@example.com>"),
    ]);
    let inside = world.run(&["alert", "test"], &settings, "");
    assert_eq!(inside.code, Some(1), "{inside:?}");
    assert!(inside.stderr.contains("webhook: its address is one inside"), "{inside:?}");
    assert!(inside.stdout.contains("email: sent") && hook.posts("/webhook").is_empty(), "{inside:?}");
    mail.take("watch@example.com", "a test of alerts");
    settings.push(("ALERT_PRIVATE_TARGETS", "on"));
    let sent = world.run(&["alert", "test"], &settings, "");
    assert_eq!(
        (sent.code, sent.stdout.as_str()),
        (Some(0), "webhook: sent\nslack: sent\nemail: sent\n"),
        "{sent:?}"
    );
    checked(&hook.wait("/webhook", 1));
    hook.answer(500);
    let refused = world.run(&["alert", "test"], &settings, "");
    assert!(refused.code == Some(1) && refused.stderr.contains("slack: it answered 500"), "{refused:?}");

    let url = ("ALERT_WEBHOOK_URL", "https://hooks.example.com/hush-hush-hush");
    for (settings, named) in [
        (vec![url], "ALERT_WEBHOOK_SECRET is required"),
        (vec![url, ("ALERT_WEBHOOK_SECRET", "too-short")], "ALERT_WEBHOOK_SECRET is weak"),
        (vec![("ALERT_SLACK_URL", "hush-hush-hush")], "ALERT_SLACK_URL is no address"),
        (vec![("ALERT_SLACK_URL", "file:///etc/passwd")], "ALERT_SLACK_URL is no address"),
        (vec![("ALERT_SMS_URL", "https://sms.example.com")], "ALERT_SMS_TO is required"),
        (vec![("ALERT_EMAIL_TO", "watch@example.com")], "ALERT_EMAIL_TO needs SMTP_URL"),
        (vec![("ALERT_EMAIL_TO", "nobody")], "ALERT_EMAIL_TO"),
        (
            [&PRODUCTION[..], &[("ALERT_SLACK_URL", "http://hooks.example.com/hush-hush-hush")]].concat(),
            "ALERT_SLACK_URL must begin with https://",
        ),
    ] {
        let refused = world.run(&["serve"], &settings, "");
        assert_ne!(refused.code, Some(0), "{settings:?}");
        assert!(refused.stderr.contains(named), "{settings:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
    }
}
