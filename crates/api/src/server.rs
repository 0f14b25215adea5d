//! The server: built, run, stopped.

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::{self, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App as Application, HttpServer, web};
use auth::Auth;
use inference::Registry;
use storage::{Ephemeral, Store};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::app::{App, KnownHealth};
use crate::background;
use crate::error::TickResult;
use crate::lifecycle::{self, Lifecycle, ended};
use crate::metering::Metering;
use crate::middleware::AddressLimit;
use crate::openapi::documentation;
use crate::outgoing::{Alerter, Challenge, Mailer};
use crate::seals::KeptSeals;
use crate::settings::Settings;
use crate::telemetry::access_log;
use crate::transport::{Bodies, connections};
use crate::{grpc, metrics, middleware, routes, start};

/// How long the rest of a body is read and thrown away after its request was refused. Many clients read the answer only
/// when they have sent everything, and would lose it with the connection. It costs the connection and one buffer.
const LINGER: Duration = Duration::from_secs(5);
/// How long each of the last writes may take.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// How often each is tried: connections that a worker opened end with it, perhaps in the middle of a write.
const LAST_TRIES: u32 = 3;
/// How long before it is tried again: longer than workers take to end after their last answer.
const LAST_PAUSE: Duration = Duration::from_millis(200);
/// Connections open at a time for each worker.
const MAX_CONNECTIONS: usize = 10_000;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    grpc: Option<TcpListener>,
    app: web::Data<App>,
    /// Held until the last write.
    _data: Option<File>,
}

impl Server {
    /// Opens the stores, loads the models and listens; nothing is answered yet.
    pub async fn build(settings: Settings) -> Result<Self, String> {
        start::check(&settings).map_err(|error| error.to_string())?;
        let data = start::lock_data(&settings)?;
        let store = start::store(&settings).await?;
        let ephemeral = start::ephemeral(&settings)
            .map_err(|error| format!("redis: {}", storage::with_causes(&error)))?;
        let listener = bind(&settings, settings.program.port)?;
        let grpc = settings.program.grpc_port.map(|port| bind(&settings, port)).transpose()?;
        let replica = Uuid::now_v7();
        match assemble(settings, store.clone(), ephemeral, replica).await {
            Ok(app) => Ok(Self { listener, grpc, app, _data: data }),
            Err(error) => {
                // One that failed must not be in its successor's way.
                deregister(&store, replica).await;
                Err(storage::with_causes(&*error))
            }
        }
    }

    /// Answers until told to stop, then lets what is running finish.
    pub async fn run(self) -> io::Result<()> {
        let Self { listener, grpc, app, _data } = self;
        let tasks = background::spawn(&app);
        let address_limit = AddressLimit::new(app.settings.limits.guard_per_second)
            .ok_or_else(|| io::Error::other("GUARD_PER_SECOND is too large"))?;
        background::forget_quiet_addresses(address_limit.clone());
        let grpc = grpc
            .map(|listener| grpc::Server::start(listener, app.clone(), address_limit.clone()))
            .transpose()?;
        let doors = grpc.as_ref().map(|grpc| (grpc.address(), grpc.stopper()));
        let time = Duration::from_secs(app.settings.program.shutdown_timeout_seconds);
        let answered = async {
            match grpc {
                Some(grpc) => Some(grpc.answer(time).await),
                None => None,
            }
        };
        let (served, runtime) = tokio::join!(serve(listener, doors, app.clone(), address_limit), answered);
        tasks.stop().await;
        finish(&app).await;
        access_log::flush();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
        served
    }
}

fn bind(settings: &Settings, port: u16) -> Result<TcpListener, String> {
    let address = SocketAddr::new(settings.program.host, port);
    TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))
}

async fn serve(
    listener: TcpListener,
    grpc: Option<(SocketAddr, watch::Sender<bool>)>,
    app: web::Data<App>,
    address_limit: AddressLimit,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let server = http_server(listener, &app, address_limit)?;
    let (grpc_address, stop_grpc) = grpc.unzip();
    stop_on_signal(server.handle(), stop_grpc.clone(), app)?;
    // Only now: whoever reads this may already send SIGTERM.
    let grpc = grpc_address.map(tracing::field::display);
    tracing::info!(%address, grpc, version = env!("CARGO_PKG_VERSION"), "listening");
    let served = server.await;
    if let Some(stop_grpc) = stop_grpc {
        stop_grpc.send_replace(true);
    }
    served
}

/// The server for HTTP, already accepting connections.
fn http_server(
    listener: TcpListener,
    app: &web::Data<App>,
    address_limit: AddressLimit,
) -> io::Result<dev::Server> {
    let table = routes::table();
    let program = app.settings.program.clone();
    let document = program.serves_docs().then(|| documentation::document(&table)).transpose()?;
    // The document is a hundredth of what making it takes.
    inference::give_memory_back();
    let state = app.clone();
    let (head_timeout, keep_alive) = (program.head_timeout(), program.keep_alive());
    let server = HttpServer::new(move || {
        let program = &state.settings.program;
        let (table, document) = (Arc::clone(&table), document.clone());
        // The last one wrapped runs first.
        Application::new()
            .app_data(state.clone())
            .wrap(address_limit.middleware())
            .wrap(Condition::new(
                !program.allowed_origins.0.is_empty(),
                middleware::cors(&program.allowed_origins),
            ))
            .wrap(from_fn(middleware::surround))
            .configure(|config| table.configure(config))
            .configure(|config| documentation::configure(config, document))
    })
    // Who keeps the rules is either closed after `keep_alive` or sends the next head within `head_timeout`.
    .on_connect(connections::watch(keep_alive + head_timeout))
    .client_request_timeout(head_timeout)
    .keep_alive(keep_alive)
    .client_disconnect_timeout(LINGER)
    .max_connections(MAX_CONNECTIONS)
    .shutdown_timeout(program.shutdown_timeout_seconds)
    .disable_signals();
    let server = match program.workers {
        Some(workers) => server.workers(workers.get()),
        None => server,
    };
    Ok(server.listen(listener)?.run())
}

/// Announces the replica first; whatever fails afterwards, the caller must take it off the list again.
async fn assemble(
    settings: Settings,
    store: Store,
    ephemeral: Ephemeral,
    replica: Uuid,
) -> Result<web::Data<App>, Box<dyn Error>> {
    background::announce(&store, replica, ephemeral.is_redis()).await?;
    let auth = start::auth(&settings, store.clone(), ephemeral.clone()).await?;
    auth.trail().open().await?;
    auth.prepare_signing_keys().await?;
    let lifecycle = Lifecycle::new(&auth);
    ended::unload_what_ended(&settings, &auth).await?;
    let registry = load_models(&settings, &auth).await?;
    Ok(web::Data::new(App {
        auth,
        metering: Metering::new(replica, store.clone()),
        metrics: metrics::install()?,
        audit_readers: Arc::new(Semaphore::new(settings.audit.audit_readers)),
        seals: KeptSeals::new(&settings)?,
        mailer: Mailer::new(&settings.mail)?,
        alerter: Alerter::new(&settings.alerts),
        challenge: Challenge::new(&settings.challenge),
        known_health: KnownHealth::default(),
        bodies: Bodies::new(settings.sizes.max_bodies_in_memory_mb),
        store,
        ephemeral,
        registry,
        lifecycle,
        settings,
    }))
}

async fn load_models(settings: &Settings, auth: &Auth) -> Result<Registry, Box<dyn Error>> {
    let (wanted, at) = lifecycle::desired_states(auth).await?;
    let settings = start::inference(settings);
    let known = lifecycle::known_files(auth).await?;
    let open = move || Registry::open_as(settings, &wanted, at, known);
    Ok(tokio::task::spawn_blocking(open).await?)
}

/// SIGTERM or SIGINT: readiness fails at once; after `DRAIN_SECONDS` new connections are refused and running requests
/// answered.
fn stop_on_signal(
    handle: ServerHandle,
    grpc: Option<watch::Sender<bool>>,
    app: web::Data<App>,
) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    actix_web::rt::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        app.known_health.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(app.settings.program.drain_seconds)).await;
        if let Some(grpc) = grpc {
            grpc.send_replace(true);
        }
        handle.stop(true).await;
    });
    Ok(())
}

/// After the last answer: usage is written, quotas go back, the audit trail is sealed, the models' threads end.
async fn finish(app: &web::Data<App>) {
    let usage = async || Ok(app.metering.flush().await?);
    in_time("writing the last usage", usage).await;
    let quotas = async || Ok(app.auth.give_back_quota(true).await?);
    in_time("giving quotas back", quotas).await;
    let seal = async || app.seals.advance(app.auth.trail(), true).await;
    in_time("sealing the end of the audit trail", seal).await;
    let leave = async || Ok(background::leave(&app.store, app.metering.replica()).await?);
    in_time("saying that this replica leaves", leave).await;
    // Their connections are given back while the runtime still lives.
    let closed = async || {
        app.store.close().await;
        Ok(())
    };
    in_time("closing the store", closed).await;
    let registry = app.registry.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || registry.shutdown()).await {
        tracing::error!(%error, "the models' threads could not be ended");
    }
    tracing::info!("stopped");
}

/// Does one last thing; that it failed, or took too long, is told and holds nothing else up.
async fn in_time(what: &str, work: impl AsyncFn() -> TickResult) {
    let tries = async {
        for _ in 1..LAST_TRIES {
            if work().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LAST_PAUSE).await;
        }
        work().await
    };
    match tokio::time::timeout(LAST_WRITE, tries).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(what, error = storage::with_causes(&*error), "the last of it could not be done")
        }
        Err(_) => tracing::error!(what, "the last of it could not be done in time"),
    }
}

async fn deregister(store: &Store, replica: Uuid) {
    if let Err(error) = background::leave(store, replica).await {
        tracing::warn!(%error, "this replica could not say that it leaves");
    }
}
