//! The listener, its runtime and its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::time::Duration;

use actix_web::web;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection::incoming;
use super::interceptor::Interceptor;
use crate::app::App;
use crate::middleware::AddressLimit;

/// How often a silent client is pinged, and how long it may take to answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection takes new calls; then its client opens another one, wherever that leads.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// Most bytes of a call's metadata, as HTTP/2 counts them.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Calls that a client gave up before they were looked at, and calls that broke a rule of HTTP/2: more end the
/// connection.
const MAX_RESETS: usize = 20;
const MAX_FAULTS: usize = 64;
/// What a client may send before it is read: of one call, and of all calls of a connection together.
const CALL_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// The gRPC server, on a runtime of its own.
pub struct Server {
    runtime: Runtime,
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Answers on this listener.
    pub fn start(
        listener: TcpListener,
        app: web::Data<App>,
        address_limit: AddressLimit,
    ) -> io::Result<Self> {
        let threads = app.settings.program.workers.or_else(|| std::thread::available_parallelism().ok());
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.map_or(1, NonZeroUsize::get))
            .thread_name("grpc")
            .enable_all()
            .build()?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stopping, stopped) = watch::channel(false);
        let serving = runtime.spawn(serve(listener, app, address_limit, stopped));
        Ok(Self { runtime, address, stopping, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says when no new calls are to be taken.
    pub fn stopper(&self) -> watch::Sender<bool> {
        self.stopping.clone()
    }

    /// Answers until the stop, and then what has begun, for no longer than `time`. The runtime is given back:
    /// connections to the stores were made on it and live no longer than it does.
    pub async fn answer(self, time: Duration) -> Runtime {
        let mut stopping = self.stopping.subscribe();
        // The sender is our own, so that it cannot be gone.
        let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
        if tokio::time::timeout(time, self.serving).await.is_err() {
            tracing::warn!("some calls over gRPC did not end in time");
        }
        self.runtime
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    app: web::Data<App>,
    address_limit: AddressLimit,
    stopped: watch::Receiver<bool>,
) {
    let bounds = &app.settings.limits;
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_connection_age(MAX_CONNECTION_AGE)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_FAULTS))
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(bounds.grpc_max_calls_per_connection);
    let patience = app.settings.sizes.body_timeout();
    let connections = incoming(listener, bounds.grpc_max_connections, patience);
    let mut stop = stopped.clone();
    let interceptor = Interceptor::new(app.clone(), address_limit, stopped);
    let served = server.serve_with_incoming_shutdown(interceptor, connections, async move {
        // A sender that is gone will not say anything else either.
        let _ = stop.wait_for(|stopping| *stopping).await;
    });
    if let Err(error) = served.await {
        tracing::error!(%error, "the gRPC server ended");
    }
}
