//! What runs beside the requests: following changes, writing usage, asking after the stores, removing what is old.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::web;
use storage::{Scope, Service, Store, told};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::app::App;
use crate::lifecycle;
use crate::metering::FLUSH_INTERVAL;
use crate::middleware::{FORGET_INTERVAL, Guard};
use crate::pruning::Pruning;
use crate::sources;

/// How often the change feed is polled.
const FEED_INTERVAL: Duration = Duration::from_secs(1);
/// How often events of the audit trail get their links: within a second of being written, work included.
const AUDIT_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is asked whether a mail is due.
const MAIL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked whether an answer to an incident waits.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// How often what looked wrong is written down.
const SUSPICION_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked whether an alert is due.
const ALERT_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked whether the keys of other issuers are due.
const ISSUERS_INTERVAL: Duration = Duration::from_secs(1);
/// How often a replica says that it lives, and how long it is believed.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
const HEARTBEAT_BELIEVED: chrono::Duration = chrono::Duration::seconds(15);

/// Says that this replica lives; without Redis, Postgres refuses a second one, whose limits would be its own.
pub async fn announce(store: &Store, replica: Uuid, has_redis: bool) -> Result<(), String> {
    let result: storage::Result<i64> = async {
        let since = store.clock().now() - HEARTBEAT_BELIEVED;
        // Told before it is asked: of two that start at once, at least one sees the other.
        let mut tx = store.begin(Scope::Service(Service::Setup)).await?;
        tx.replicas().heartbeat(replica).await?;
        tx.commit().await?;
        let mut tx = store.read(Scope::Service(Service::Setup)).await?;
        tx.replicas().others_live(replica, since).await
    }
    .await;
    let others = result.map_err(|error| format!("database: {}", told(&error)))?;
    if store.is_postgres() && !has_redis && others > 0 {
        return Err(
            "another replica is live on this database; set REDIS_URL, or wait 15 s after one was killed"
                .into(),
        );
    }
    Ok(())
}

/// Says that this replica is gone, so that another may take its place at once.
pub async fn leave(store: &Store, replica: Uuid) -> storage::Result<()> {
    let mut tx = store.begin(Scope::Service(Service::Feed)).await?;
    tx.replicas().leave(replica).await?;
    tx.commit().await
}

/// The tasks, while they run.
pub struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    /// Ends them, wherever they are: one that outlived the runtime could not give its connection back.
    pub async fn stop(self) {
        for task in &self.0 {
            task.abort();
        }
        for task in self.0 {
            // Ended on purpose, which it reports as an error.
            let _ = task.await;
        }
    }
}

/// Starts the tasks.
pub fn spawn(app: &web::Data<App>) -> Tasks {
    let feed = every(FEED_INTERVAL, app.clone(), |app| async move {
        let followed = app.auth.follow_changes().await;
        app.standing.database_lost.store(followed.is_err(), Ordering::Relaxed);
        let turned = app.auth.turn_signing_keys().await;
        let redis_lost = app.ephemeral.is_redis() && app.ephemeral.ping().await.is_err();
        app.standing.redis_lost.store(redis_lost, Ordering::Relaxed);
        followed.and(turned).map_err(|error| told(&error))
    });
    let usage = every(FLUSH_INTERVAL, app.clone(), |app| async move {
        let given_back = app.auth.give_back_quota(false).await.map_err(|error| told(&error));
        app.metering.flush().await.map_err(|error| told(&error)).and(given_back)
    });
    let heartbeat = every(HEARTBEAT_INTERVAL, app.clone(), |app| async move {
        let beat: storage::Result<()> = async {
            let mut tx = app.store.begin(Scope::Service(Service::Feed)).await?;
            tx.replicas().heartbeat(app.metering.replica()).await?;
            tx.commit().await
        }
        .await;
        beat.map_err(|error| told(&error))
    });
    let pruning = Rc::new(Pruning::default());
    let pruning = every(FEED_INTERVAL, app.clone(), move |app| {
        let pruning = Rc::clone(&pruning);
        async move {
            if !pruning.when_due(&app.store).await.map_err(|error| told(&error))? {
                return Ok(());
            }
            // A bucket that is out of order keeps nothing else from being done.
            let swept = app.auth.sweep_files().await.and(app.auth.prune_incidents().await);
            let pruned = match app.settings.audit.kept_for() {
                Some(time) => app.auth.prune_audit(time).await,
                None => Ok(()),
            };
            swept.and(pruned).map_err(|error| told(&error))
        }
    });
    let models = every(FEED_INTERVAL, app.clone(), |app| async move { lifecycle::follow(&app).await });
    let verified = every(FEED_INTERVAL, app.clone(), |app| async move { lifecycle::verify(&app).await });
    let audit = every(AUDIT_INTERVAL, app.clone(), |app| async move {
        let watched = app.auth.watch_trail().await.map_err(|error| told(&error));
        app.seals.advance(app.auth.trail(), false).await.and(watched)
    });
    let fetched = every(FEED_INTERVAL, app.clone(), |app| async move { sources::follow(&app).await });
    let mut tasks = vec![audit, feed, usage, heartbeat, pruning, models, verified, fetched];
    if app.settings.models.model_poll_seconds > 0 {
        let interval = Duration::from_secs(app.settings.models.model_poll_seconds);
        tasks.push(every(interval, app.clone(), |app| async move { lifecycle::poll(&app).await }));
    }
    if app.mailer.is_some() {
        tasks.push(every(MAIL_INTERVAL, app.clone(), |app| async move {
            match &app.mailer {
                Some(mailer) => mailer.send_due(&app.auth).await,
                None => Ok(()),
            }
        }));
    }
    tasks.push(every(ANSWER_INTERVAL, app.clone(), |app| async move {
        app.auth.run_planned_answers().await.map_err(|error| told(&error))
    }));
    tasks.push(every(SUSPICION_INTERVAL, app.clone(), |app| async move {
        app.auth.report_suspicions().await.map_err(|error| told(&error))
    }));
    // One each: a receiver that is slow to answer holds up no other.
    tasks.extend(app.settings.alerts.channels().into_iter().map(|channel| {
        every(ALERT_INTERVAL, app.clone(), move |app| async move {
            app.alerter.send_due(channel, &app.auth, app.mailer.as_ref()).await
        })
    }));
    // One each: an issuer that is slow to answer holds up no other.
    tasks.extend((0..app.auth.issuers()).map(|number| {
        every(ISSUERS_INTERVAL, app.clone(), move |app| async move {
            app.auth.refresh_issuer(number).await;
            Ok(())
        })
    }));
    Tasks(tasks)
}

/// Keeps the guard's memory small.
pub fn forget_quiet_addresses(guard: Guard) {
    actix_web::rt::spawn(async move {
        let mut ticks = tokio::time::interval(FORGET_INTERVAL);
        loop {
            ticks.tick().await;
            guard.forget_quiet();
        }
    });
}

fn every<F, Work>(interval: Duration, app: web::Data<App>, work: F) -> JoinHandle<()>
where
    F: Fn(web::Data<App>) -> Work + 'static,
    Work: Future<Output = Result<(), String>> + 'static,
{
    actix_web::rt::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = work(app.clone()).await {
                tracing::warn!(error, "a background task failed and will be tried again");
            }
        }
    })
}
