//! The HTTP listener: what people and probes ask. `/metrics` (Prometheus text), `/livez` (the
//! process answers; `/healthz` is its old name), `/readyz` (reads are answered), `/readyz/ingest`
//! (ingest moves, or has nothing to do). Everything else is a 404 in JSON.
//!
//! Loopback only, as the Flight listener. The `Host` header must name this machine, so that no web
//! page can reach it through a name of its own (DNS rebinding). Headers, bodies, connections and
//! time have limits.

mod failure;
mod guard;
mod readiness;

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use forebay_core::limits::{CONNECTIONS_MAX, HEADERS_MAX_BYTES, HEADERS_MAX_MS, REQUEST_MAX_BYTES};
use forebay_telemetry::Metrics;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tower_http::limit::RequestBodyLimitLayer;

use crate::accept::{Connection, accept};
use crate::error::{ServeError, ServeResult};
use crate::runtime::refuse_beyond_loopback;
use failure::failure;

pub use readiness::Readiness;

/// How long answers that are under way may take once a shutdown has begun.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Where to listen and what to tell.
#[derive(Clone)]
pub struct HttpConfig {
    /// Address; port 0 takes a free one. Loopback only.
    pub address: SocketAddr,
    /// What `/readyz` reports.
    pub readiness: Readiness,
    /// What `/readyz/ingest` reports.
    pub ingest: Readiness,
    /// What `/metrics` exposes.
    pub metrics: Arc<Metrics>,
    /// Connections at once, at most; further ones wait. No more than [`CONNECTIONS_MAX`].
    pub connections: usize,
}

impl HttpConfig {
    /// The built-in routes on `address`.
    #[must_use]
    pub fn new(address: SocketAddr, readiness: Readiness, metrics: Arc<Metrics>) -> Self {
        Self {
            address,
            readiness,
            ingest: Readiness::default(),
            metrics,
            connections: CONNECTIONS_MAX,
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A running HTTP server. Dropping it begins a shutdown; [`HttpServer::shutdown`] also waits for
/// its end.
#[derive(Debug)]
pub struct HttpServer {
    local_address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Yields None when the last connection has ended.
    connections: mpsc::Receiver<()>,
}

impl HttpServer {
    /// Bind, and serve on the runtime that this is called on.
    ///
    /// # Errors
    /// An address beyond loopback; an address that cannot be bound.
    pub async fn start(config: HttpConfig) -> ServeResult<Self> {
        let address = config.address;
        refuse_beyond_loopback(address)?;
        let cannot = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let local_address = listener.local_addr().map_err(cannot)?;
        let (stop, stopping) = watch::channel(false);
        let (alive, connections) = mpsc::channel(1);
        let permits = Arc::new(Semaphore::new(config.connections.clamp(1, CONNECTIONS_MAX)));
        tokio::spawn(serve(listener, permits, router(config), stopping, alive));
        tracing::info!(address = %local_address, "serving HTTP");
        Ok(Self {
            local_address,
            stop,
            connections,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// Take no more requests, let the answers under way end, and wait for that.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.connections.recv().await.is_some() {}
    }
}

/// Completes when the end is asked for, or the server's handle is gone.
async fn asked_to_stop(mut stopping: watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

/// Accept until the end is asked for; each connection is a task.
async fn serve(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    router: Router,
    stopping: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    loop {
        let connection = tokio::select! {
            connection = accept(&listener, &permits) => connection,
            () = asked_to_stop(stopping.clone()) => return,
        };
        tokio::spawn(converse(
            connection,
            router.clone(),
            stopping.clone(),
            alive.clone(),
        ));
    }
}

/// Serve one connection. `_alive` is dropped when it ends.
async fn converse(
    connection: Connection,
    router: Router,
    stopping: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEADERS_MAX_MS))
        .max_buf_size(HEADERS_MAX_BYTES as usize);
    let mut conversation =
        pin!(builder.serve_connection(TokioIo::new(connection), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = &mut conversation => Some(ended),
        () = asked_to_stop(stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            conversation.as_mut().graceful_shutdown();
            tokio::time::timeout(SHUTDOWN_TIME, conversation)
                .await
                .unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// What the handlers share: the conditions of both probes, and the metrics.
#[derive(Clone)]
struct HttpState {
    readiness: Readiness,
    ingest: Readiness,
    metrics: Arc<Metrics>,
}

fn router(config: HttpConfig) -> Router {
    let state = HttpState {
        readiness: config.readiness,
        ingest: config.ingest,
        metrics: config.metrics,
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(livez))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/ingest", get(readyz_ingest))
        .with_state(state)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(RequestBodyLimitLayer::new(REQUEST_MAX_BYTES))
        .layer(axum::middleware::from_fn(guard::within_time))
        .layer(axum::middleware::from_fn(guard::for_this_machine))
}

async fn metrics(State(state): State<HttpState>) -> Response {
    match state.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be exposed");
            failure(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                &error.to_string(),
            )
        }
    }
}

async fn livez() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

async fn readyz(State(state): State<HttpState>) -> Response {
    conditions(&state.readiness)
}

async fn readyz_ingest(State(state): State<HttpState>) -> Response {
    conditions(&state.ingest)
}

fn conditions(readiness: &Readiness) -> Response {
    let missing = readiness.missing();
    let status = if missing.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({"ready": missing.is_empty(), "missing": missing})),
    )
        .into_response()
}

async fn not_found(uri: Uri) -> Response {
    let message = format!(
        "there is nothing at {}; see /livez, /readyz, /readyz/ingest and /metrics",
        uri.path()
    );
    failure(StatusCode::NOT_FOUND, "not_found", &message)
}

async fn wrong_method(uri: Uri) -> Response {
    failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &format!("{} has no such method", uri.path()),
    )
}
