//! The gRPC listeners: one thread a core, each with a current-thread runtime and a socket of its
//! own on the same port (`SO_REUSEPORT`), so that a hot read never crosses threads. The kernel
//! spreads connections over them.
//!
//! Shutting down goes in phases: `Draining` (no new connections, GOAWAY to the old ones, an
//! announcement on each exchange), then, after the grace time, `Stopping` (exchanges end), then the
//! threads end whatever is left.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::http::Response;
use forebay_core::limits::{
    CONNECTION_MAX_STREAMS, CONNECTIONS_MAX, HEADERS_MAX_BYTES, REQUEST_DEADLINE_MAX_MS,
    RESPONSE_MAX_BYTES, SERVING_THREADS_MAX,
};
use forebay_core::memory::Budget;
use forebay_core::{ErrorKind, PortError};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tonic::body::Body;
use tonic::transport::Server;
use tonic::{Code, Status};
use tower::util::MapResponseLayer;

use crate::accept::incoming;
use crate::error::{ServeError, ServeResult};
use crate::flight::{FeatureFlight, FlightServices};
use crate::ipc::message_too_large;
use crate::phase::{Phase, advance, reached};
use crate::receive::{ENVELOPE_BYTES, MESSAGE_MAX_BYTES, ReceivingLayer};

/// HTTP/2 flow-control windows, bytes: what a client may send that nobody has read yet, on one
/// stream and on all of a connection. A client that sends many requests before it reads answers,
/// or pushes that wait for a broker, must not stand in the way of the connection's other streams.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// HTTP/2 frames, bytes.
const FRAME_BYTES: u32 = 256 << 10;
/// Streams that a client may reset before they were accepted (rapid reset).
const PENDING_RESETS_MAX: usize = 20;
/// A connection that does not answer a ping within the second of these, sent after the first
/// without traffic, is dead.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time between `Stopping` and the end of the threads.
const STOPPING_TIME: Duration = Duration::from_millis(500);
/// Threads that large reads of one listener thread may use.
const BLOCKING_THREADS: usize = 4;
const BACKLOG: i32 = 1_024;

/// Where and how to listen.
#[derive(Debug, Clone, Copy)]
pub struct FlightServerConfig {
    /// Address; port 0 takes a free one. Loopback only, until there are TLS and credentials.
    pub address: SocketAddr,
    /// Threads that serve; 0 means one for each core.
    pub threads: usize,
    /// How long exchanges may go on after a shutdown has begun.
    pub grace: Duration,
    /// Connections at once, at most; further ones wait. No more than [`CONNECTIONS_MAX`].
    pub connections: usize,
}

impl FlightServerConfig {
    /// `address` with one thread for each core, a grace time of five seconds and
    /// [`CONNECTIONS_MAX`] connections.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            threads: 0,
            grace: Duration::from_secs(5),
            connections: CONNECTIONS_MAX,
        }
    }
}

/// A running gRPC server. Dropping it begins a shutdown; [`FlightServer::shutdown`] also waits for
/// its end.
pub struct FlightServer {
    local_address: SocketAddr,
    phase: Arc<watch::Sender<Phase>>,
    /// Yields None when the last thread has ended.
    threads: mpsc::Receiver<()>,
}

impl FlightServer {
    /// Bind and serve. Called on a runtime, administration and pushes run there and not on the
    /// serving threads.
    ///
    /// # Errors
    /// An address beyond loopback; an address that cannot be bound.
    pub fn start(config: FlightServerConfig, services: FlightServices) -> ServeResult<Self> {
        refuse_beyond_loopback(config.address)?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = if config.threads == 0 {
            cores
        } else {
            config.threads
        }
        .clamp(1, SERVING_THREADS_MAX);
        let (local_address, listeners) = bind_all(config.address, count)?;
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let (alive, threads) = mpsc::channel(1);
        // From here on an early return is a drop, which ends the threads that have started.
        let server = Self {
            local_address,
            phase: Arc::new(phase),
            threads,
        };
        let memory = Arc::clone(&services.memory);
        let connections = Arc::new(Semaphore::new(config.connections.clamp(1, CONNECTIONS_MAX)));
        let flight = FeatureFlight::new(services, phase_seen, Handle::try_current().ok());
        for (index, listener) in listeners.into_iter().enumerate() {
            let thread = ServingThread {
                listener,
                connections: Arc::clone(&connections),
                memory: Arc::clone(&memory),
                flight: flight.clone(),
                phase: Arc::clone(&server.phase),
                grace: config.grace,
                _alive: alive.clone(),
            };
            thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(move || thread.run())
                .map_err(|source| ServeError::Listen {
                    address: local_address,
                    source,
                })?;
        }
        tracing::info!(address = %local_address, threads = count, "serving Arrow Flight");
        Ok(server)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// Announce the end to every client, let exchanges go on for the grace time, and wait until all
    /// threads have ended.
    pub async fn shutdown(mut self) {
        self.begin_shutdown();
        while self.threads.recv().await.is_some() {}
    }

    fn begin_shutdown(&self) {
        advance(&self.phase, Phase::Draining);
    }
}

impl Drop for FlightServer {
    fn drop(&mut self) {
        self.begin_shutdown();
    }
}

impl fmt::Debug for FlightServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightServer")
            .field("address", &self.local_address)
            .finish_non_exhaustive()
    }
}

/// Refuse what others could reach.
pub(crate) fn refuse_beyond_loopback(address: SocketAddr) -> ServeResult<()> {
    if address.ip().is_loopback() {
        Ok(())
    } else {
        Err(ServeError::NotLoopback { address })
    }
}

/// One listening socket for each of `count` threads, all on one port.
fn bind_all(address: SocketAddr, count: usize) -> ServeResult<(SocketAddr, Vec<StdListener>)> {
    let cannot = |source| ServeError::Listen { address, source };
    if address.port() != 0 {
        // Sockets that share their port would share it with another server of the same user too:
        // one that does not share finds out.
        drop(bind(address, false).map_err(cannot)?);
    }
    let first = bind(address, true).map_err(cannot)?;
    let local_address = first.local_addr().map_err(cannot)?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(bind(local_address, true).map_err(cannot)?);
    }
    Ok((local_address, listeners))
}

/// A listening socket; with `shared` others may listen on the same port.
fn bind(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What one serving thread works with.
struct ServingThread {
    listener: StdListener,
    connections: Arc<Semaphore>,
    memory: Arc<Budget>,
    flight: FeatureFlight,
    phase: Arc<watch::Sender<Phase>>,
    grace: Duration,
    /// Dropped when the thread ends.
    _alive: mpsc::Sender<()>,
}

impl ServingThread {
    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build();
        match runtime {
            Ok(runtime) => {
                if let Err(error) = runtime.block_on(self.serve()) {
                    tracing::error!(error = %error.words(), "a serving thread ended");
                }
                // A large read that still runs has no one left to answer to.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!(%error, "a serving thread has no runtime"),
        }
    }

    async fn serve(self) -> ServeResult<()> {
        let listener = TcpListener::from_std(self.listener).map_err(|e| {
            PortError::with_source(
                ErrorKind::Internal,
                "the listening socket has no place in a runtime",
                e,
            )
        })?;
        let flight = FlightServiceServer::new(self.flight)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(RESPONSE_MAX_BYTES + ENVELOPE_BYTES);
        let server = Server::builder()
            .timeout(Duration::from_millis(REQUEST_DEADLINE_MAX_MS))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_streams(CONNECTION_MAX_STREAMS)
            .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
            .http2_max_header_list_size(HEADERS_MAX_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(MapResponseLayer::new(explain_refusal))
            .layer(ReceivingLayer(Arc::clone(&self.memory)))
            .add_service(flight);
        let draining = reached(&self.phase.subscribe(), Phase::Draining);
        let served =
            server.serve_with_incoming_shutdown(incoming(listener, self.connections), draining);
        tokio::select! {
            ended = served => ended.map_err(|e| {
                PortError::with_source(ErrorKind::Internal, "the gRPC listener ended", e).into()
            }),
            () = stopped(&self.phase, self.grace) => Ok(()),
        }
    }
}

/// Carries the phases on once a shutdown has begun; completes when what is left has had its time.
async fn stopped(phase: &watch::Sender<Phase>, grace: Duration) {
    reached(&phase.subscribe(), Phase::Draining).await;
    tokio::time::sleep(grace).await;
    advance(phase, Phase::Stopping);
    tokio::time::sleep(STOPPING_TIME).await;
}

/// The transport refuses a message above the cap before any of our code sees it; give its status
/// our words.
fn explain_refusal(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status)
            if status.code() == Code::OutOfRange
                && status.message().contains("message length too large") =>
        {
            message_too_large().to_status().into_http()
        }
        _ => response,
    }
}
