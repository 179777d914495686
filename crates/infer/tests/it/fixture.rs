//! What the tests share: golden models, rows, workers that can be killed, and waiting with a
//! deadline. Ports are chosen by the system and runtimes are per test, so that tests run side by
//! side.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use forebay_infer::{ModelId, ModelStore, PoolOptions, WorkerRegistry, WorkerService, serve};
use forebay_proto::v1::BatchMeta;
use futures::{Stream, StreamExt};
use prost::Message as _;
use tokio::runtime::{Builder, Runtime};
use tonic::{Request, Response, Status, Streaming};

/// The model that most tests use.
pub(crate) const MODEL: &str = "logistic";
/// Fingerprint in its manifest.
pub(crate) const FINGERPRINT: &str = "f1a9";

pub(crate) fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/infer")
        .join(name)
        .join("1")
}

pub(crate) fn store(names: &[&str]) -> Arc<ModelStore> {
    let store = ModelStore::new();
    for name in names {
        store
            .load(&golden(name), &ModelId::new(*name, 1))
            .expect("a golden model");
    }
    Arc::new(store)
}

/// Rows of the golden models' service; `seed` makes batches differ.
pub(crate) fn rows(count: usize, seed: u64) -> RecordBatch {
    let cell = |column: u64| {
        move |row: usize| {
            let mixed = (row as u64 + seed * 7_919 + column * 104_729)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                >> 40;
            (!mixed.is_multiple_of(9)).then_some(mixed % 1_000)
        }
    };
    let double = |column| -> ArrayRef {
        Arc::new(
            (0..count)
                .map(|r| cell(column)(r).map(|v| v as f64 / 200.0 - 2.5))
                .collect::<Float64Array>(),
        )
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", double(1)),
        ("b", double(2)),
        ("c", double(3)),
        (
            "count",
            Arc::new(
                (0..count)
                    .map(|r| cell(4)(r).map(|v| v as i64 % 40))
                    .collect::<Int64Array>(),
            ),
        ),
        (
            "small",
            Arc::new(
                (0..count)
                    .map(|r| cell(5)(r).map(|v| v as i32 % 9))
                    .collect::<Int32Array>(),
            ),
        ),
        (
            "flag",
            Arc::new(
                (0..count)
                    .map(|r| cell(6)(r).map(|v| v % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("one length")
}

pub(crate) fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Options with short waits.
pub(crate) fn options() -> PoolOptions {
    PoolOptions {
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(10),
        worker_timeout: Duration::from_millis(300),
        deadline: Duration::from_secs(20),
        ejection: Duration::from_millis(20),
        ..PoolOptions::default()
    }
}

/// A registry of these workers, as from the settings.
pub(crate) fn registry(workers: &[&Worker]) -> Arc<WorkerRegistry> {
    let registry = WorkerRegistry::new();
    for worker in workers {
        registry
            .add_static(&worker.address.to_string())
            .expect("an address");
    }
    Arc::new(registry)
}

/// A Flight service on a runtime of its own: killing the runtime is to its clients as killing the
/// process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) address: SocketAddr,
    pub(crate) service: Option<WorkerService>,
    runtime: Runtime,
}

impl Worker {
    /// The real one.
    pub(crate) fn start(store: Arc<ModelStore>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), store)
    }

    /// The real one, at an address that another one has left.
    pub(crate) fn start_at(address: SocketAddr, store: Arc<ModelStore>) -> Self {
        let runtime = runtime(2);
        let service = WorkerService::new(store);
        let handle = runtime
            .block_on(serve(address, service.clone()))
            .expect("listens");
        let address = handle.local_addr();
        // Held until the runtime goes, because a dropped handle stops the worker.
        runtime.spawn(async move { handle.join().await });
        Self {
            address,
            service: Some(service),
            runtime,
        }
    }

    /// Another Flight service in its place.
    pub(crate) fn start_with(service: impl FlightService) -> Self {
        let runtime = runtime(1);
        let address = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
                .await
                .expect("listens");
            let address = listener.local_addr().expect("an address");
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            let server =
                tonic::transport::Server::builder().add_service(FlightServiceServer::new(service));
            tokio::spawn(server.serve_with_incoming(incoming));
            address
        });
        Self {
            address,
            service: None,
            runtime,
        }
    }

    /// At once, with whatever it was doing; its sockets close.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// Poll until `condition` holds, at most thirty seconds.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::yield_now();
    }
}

/// Accepts every exchange, takes batches and never answers one, or as it is told; or refuses every
/// exchange.
#[derive(Debug, Default, Clone)]
pub(crate) struct Silent {
    /// What it answers to a batch, given its metadata; nothing where it is absent.
    pub(crate) answers: Option<fn(&BatchMeta) -> Vec<FlightData>>,
    /// Messages taken, the opening ones included.
    pub(crate) taken: Arc<AtomicUsize>,
    /// How it refuses to open an exchange.
    pub(crate) refuses: Option<tonic::Code>,
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn unserved<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl FlightService for Silent {
    type HandshakeStream = Items<HandshakeResponse>;
    type ListFlightsStream = Items<FlightInfo>;
    type DoGetStream = Items<FlightData>;
    type DoPutStream = Items<PutResult>;
    type DoActionStream = Items<arrow_flight::Result>;
    type ListActionsStream = Items<ActionType>;
    type DoExchangeStream = Items<FlightData>;

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        if let Some(code) = self.refuses {
            return Err(Status::new(code, "refused by the test"));
        }
        let (mut inbound, taken) = (request.into_inner(), Arc::clone(&self.taken));
        let (says, said) = futures::channel::mpsc::unbounded();
        let answers = self.answers;
        tokio::spawn(async move {
            // The first message opens the exchange.
            let mut is_open = false;
            while let Ok(Some(message)) = inbound.message().await {
                taken.fetch_add(1, Ordering::SeqCst);
                let meta = BatchMeta::decode(message.app_metadata);
                if let (true, Ok(meta), Some(answers)) = (is_open, meta, answers) {
                    for answer in answers(&meta) {
                        says.unbounded_send(Ok(answer)).ok();
                    }
                }
                is_open = true;
            }
        });
        Ok(Response::new(
            said.chain(futures::stream::pending()).boxed(),
        ))
    }

    async fn do_action(
        &self,
        _: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        unserved()
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        unserved()
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unserved()
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        unserved()
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        unserved()
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        unserved()
    }

    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        unserved()
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        unserved()
    }

    async fn do_put(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        unserved()
    }
}
