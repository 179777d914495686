//! Workers make themselves known by an action on the server's Flight port, and
//! are forgotten when they leave or die. The server here is its admin hook
//! alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use forebay_core::ErrorKind;
use forebay_core::ports::Scorer;
use forebay_infer::{
    ModelId, Registration, RegistrationTask, WorkerPool, WorkerRegistry, register_worker,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};

use crate::fixture::{MODEL, Worker, options, rows, runtime, store, wait_for};

type Items<T> = BoxStream<'static, Result<T, Status>>;

/// The admin hook of a server, and nothing else of one.
#[derive(Debug)]
struct AdminPort(Arc<WorkerRegistry>);

fn unserved<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl FlightService for AdminPort {
    type HandshakeStream = Items<HandshakeResponse>;
    type ListFlightsStream = Items<FlightInfo>;
    type DoGetStream = Items<FlightData>;
    type DoPutStream = Items<PutResult>;
    type DoActionStream = Items<arrow_flight::Result>;
    type ListActionsStream = Items<ActionType>;
    type DoExchangeStream = Items<FlightData>;

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let action = request.into_inner();
        let answer = self
            .0
            .handle_action(&action.r#type, &action.body, Instant::now())
            .map_err(|e| Status::new(e.kind().grpc_code().into(), e.message()))?;
        Ok(Response::new(
            stream::once(async { Ok(arrow_flight::Result { body: answer }) }).boxed(),
        ))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
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

/// Serves the admin hook of `registry`; its address.
async fn admin_port(registry: Arc<WorkerRegistry>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
    let address = listener.local_addr().expect("an address").to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder()
        .add_service(FlightServiceServer::new(AdminPort(registry)));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

#[test]
fn a_worker_registers_scores_and_leaves() {
    let runtime = runtime(2);
    let registry = Arc::new(WorkerRegistry::new());
    let server = runtime.block_on(admin_port(Arc::clone(&registry)));
    let models = store(&[MODEL]);
    let worker = Worker::start(Arc::clone(&models));
    let task = RegistrationTask::start(
        runtime.handle(),
        server,
        worker.address.to_string(),
        Arc::clone(&models),
        Duration::from_millis(200),
    );
    wait_for("the registration", || {
        registry.workers(Instant::now()).len() == 1
    });
    assert_eq!(
        registry.workers(Instant::now())[0].models,
        Some(vec![ModelId::new(MODEL, 1)])
    );
    let pool = WorkerPool::new(Arc::clone(&registry), runtime.handle().clone(), options());
    runtime
        .block_on(pool.score(MODEL, 1, rows(5, 1)))
        .expect("scored by the registered worker");

    // A model that becomes READY later is named by the next registration.
    models
        .load(&crate::fixture::golden("dart"), &ModelId::new("dart", 1))
        .expect("loads");
    wait_for("both models named", || {
        registry
            .workers(Instant::now())
            .first()
            .is_some_and(|w| w.models.as_ref().is_some_and(|m| m.len() == 2))
    });
    runtime.block_on(task.stop());
    assert!(
        registry.workers(Instant::now()).is_empty(),
        "it has said that it leaves"
    );
    let error = runtime
        .block_on(pool.score(MODEL, 1, rows(5, 1)))
        .expect_err("nobody is known");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn refusals_of_the_server_reach_the_worker() {
    let runtime = runtime(1);
    let server = runtime.block_on(admin_port(Arc::new(WorkerRegistry::new())));
    let register = |server: &str, address: &str| {
        let registration = Registration {
            address: address.to_owned(),
            models: Vec::new(),
            interval_ms: 1_000,
        };
        runtime.block_on(register_worker(server, &registration))
    };
    register(&server, "127.0.0.1:9").expect("taken");
    assert_eq!(
        register(&server, "no port").expect_err("malformed").kind(),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        register("127.0.0.1:1", "127.0.0.1:9")
            .expect_err("no server")
            .kind(),
        ErrorKind::Unavailable
    );
}
