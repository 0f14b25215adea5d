//! Background tasks: following changes, writing usage, probing the stores, sealing the audit trail, pruning.

mod pruning;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::web;
use futures_util::FutureExt;
use storage::{Scope, Service, Store, with_causes};
use tokio::task::JoinHandle;
use uuid::Uuid;

use self::pruning::Pruning;
use crate::app::App;
use crate::error::TickResult;
use crate::metering::FLUSH_INTERVAL;
use crate::middleware::{AddressLimit, FORGET_INTERVAL};
use crate::model_sources::{self, Sources};

/// How often the change feed is polled, and due work is looked for: mails, alerts, answers to incidents, keys of other
/// issuers.
const TICK: Duration = Duration::from_secs(1);
/// How often events of the audit trail get their links: within a second of being written, work included.
const AUDIT_INTERVAL: Duration = Duration::from_millis(500);
/// How often a replica records that it lives, and how long that counts.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
const HEARTBEAT_BELIEVED: chrono::Duration = chrono::Duration::seconds(15);

/// How often what was measured is added up: until then every single time that was taken is kept in memory.
const MEASURED_INTERVAL: Duration = Duration::from_secs(1);

/// Records that this replica lives. With Postgres and without Redis a second one is refused: its limits would be its
/// own.
pub async fn announce(store: &Store, replica: Uuid, has_redis: bool) -> Result<(), String> {
    let result: storage::Result<i64> = async {
        let since = store.clock().now() - HEARTBEAT_BELIEVED;
        // Recorded before the others are counted: of two that start at once, at least one sees the other.
        beat(store, replica).await?;
        let mut tx = store.read(Scope::Service(Service::Setup)).await?;
        tx.replicas().others_live(replica, since).await
    }
    .await;
    let others = result.map_err(|error| format!("database: {}", with_causes(&error)))?;
    if store.is_postgres() && !has_redis && others > 0 {
        let believed = HEARTBEAT_BELIEVED.num_seconds();
        return Err(format!(
            "another replica is live on this database; set REDIS_URL, or wait {believed} s after one was killed"
        ));
    }
    Ok(())
}

async fn beat(store: &Store, replica: Uuid) -> storage::Result<()> {
    let mut tx = store.begin(Scope::Service(Service::Upkeep)).await?;
    tx.replicas().heartbeat(replica).await?;
    tx.commit().await
}

/// Records that this replica is gone, so that another may take its place at once.
pub async fn leave(store: &Store, replica: Uuid) -> storage::Result<()> {
    let mut tx = store.begin(Scope::Service(Service::Upkeep)).await?;
    tx.replicas().leave(replica).await?;
    tx.commit().await
}

/// The tasks, while they run.
pub struct Tasks {
    app: web::Data<App>,
    running: Vec<JoinHandle<()>>,
}

impl Tasks {
    /// Does something again and again, the next time an interval after it is done.
    fn every(&mut self, interval: Duration, work: impl AsyncFn(web::Data<App>) -> TickResult + 'static) {
        let app = self.app.clone();
        self.running.push(actix_web::rt::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A fault costs one turn, not the task.
                let turn = AssertUnwindSafe(work(app.clone())).catch_unwind().await;
                if let Err(error) = turn.unwrap_or_else(|_| Err("it panicked".into())) {
                    let error = with_causes(&*error);
                    tracing::warn!(error, "a background task failed and will be tried again");
                }
            }
        }));
    }

    /// Ends them, wherever they are: one that outlived the runtime could not give its connection back.
    pub async fn stop(self) {
        for task in &self.running {
            task.abort();
        }
        for task in self.running {
            // Ended on purpose, which it reports as an error.
            let _ = task.await;
        }
    }
}

/// Starts the tasks.
pub fn spawn(app: &web::Data<App>) -> Tasks {
    let mut tasks = Tasks { app: app.clone(), running: Vec::new() };
    tasks.every(AUDIT_INTERVAL, link_audit_trail);
    tasks.every(TICK, follow_feed);
    tasks.every(FLUSH_INTERVAL, write_usage);
    tasks.every(HEARTBEAT_INTERVAL, async |app| Ok(beat(&app.store, app.metering.replica()).await?));
    tasks.every(MEASURED_INTERVAL, async |app| {
        app.metrics.run_upkeep();
        Ok(())
    });
    let pruning = Rc::new(Pruning::default());
    tasks.every(TICK, move |app| prune(app, Rc::clone(&pruning)));
    tasks.every(TICK, async |app| app.lifecycle.follow(&app.auth, &app.registry).await);
    tasks.every(TICK, verify_models);
    let sources = Rc::new(Sources::new(&app.settings));
    tasks.every(TICK, async move |app| model_sources::follow(&app, &sources).await);
    if app.settings.models.model_poll_seconds > 0 {
        let interval = Duration::from_secs(app.settings.models.model_poll_seconds);
        tasks.every(interval, async |app| app.lifecycle.poll(&app.auth, &app.registry).await);
    }
    tasks.every(TICK, send_mail);
    tasks.every(TICK, async |app| Ok(app.auth.run_planned_answers().await?));
    tasks.every(TICK, async |app| Ok(app.auth.report_noticed().await?));
    // One for each: a receiver or an issuer that is slow to answer holds up no other.
    for channel in app.settings.alerts.channels() {
        tasks.every(TICK, async move |app| {
            app.alerter.send_due(channel, &app.auth, app.mailer.as_ref()).await
        });
    }
    for number in 0..app.auth.issuers() {
        tasks.every(TICK, async move |app| {
            app.auth.refresh_issuer(number).await;
            Ok(())
        });
    }
    tasks
}

async fn link_audit_trail(app: web::Data<App>) -> TickResult {
    let watched = app.auth.watch_trail().await;
    app.seals.advance(app.auth.trail(), false).await?;
    Ok(watched?)
}

async fn follow_feed(app: web::Data<App>) -> TickResult {
    let followed = app.auth.follow_changes().await;
    app.known_health.database_lost.store(followed.is_err(), Ordering::Relaxed);
    let turned = app.auth.advance_signing_keys().await;
    let redis_lost = app.ephemeral.is_redis() && app.ephemeral.ping().await.is_err();
    app.known_health.redis_lost.store(redis_lost, Ordering::Relaxed);
    Ok(followed.and(turned)?)
}

async fn verify_models(app: web::Data<App>) -> TickResult {
    let seconds = app.settings.models.model_verify_interval_seconds;
    let interval = chrono::Duration::seconds(seconds.into());
    app.lifecycle.verify(&app.auth, &app.registry, interval).await
}

async fn write_usage(app: web::Data<App>) -> TickResult {
    let given_back = app.auth.give_back_quota(false).await;
    app.metering.flush().await?;
    Ok(given_back?)
}

async fn send_mail(app: web::Data<App>) -> TickResult {
    match &app.mailer {
        Some(mailer) => mailer.send_due(&app.auth).await,
        None => Ok(()),
    }
}

async fn prune(app: web::Data<App>, pruning: Rc<Pruning>) -> TickResult {
    Ok(pruning.when_due(&app).await?)
}

/// Keeps the memory of the limit on addresses small.
pub fn forget_quiet_addresses(limit: AddressLimit) {
    actix_web::rt::spawn(async move {
        let mut ticks = tokio::time::interval(FORGET_INTERVAL);
        loop {
            ticks.tick().await;
            limit.forget_quiet();
        }
    });
}
