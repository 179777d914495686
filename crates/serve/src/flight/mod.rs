//! The Flight service: which call goes where. The calls are in modules of their own: [`get`]
//! (DoGet, GetFlightInfo, GetSchema, ListFlights), [`exchange`] (DoExchange), [`put`] (DoPut),
//! [`action`] (DoAction). What Flight has and we do not is refused as UNIMPLEMENTED, by name.
//!
//! One value serves all threads; it holds ports and handles, never a connection's state.

mod action;
mod exchange;
mod get;
mod put;
mod session;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use forebay_core::limits::LARGE_READS_MAX;
use forebay_core::ports::{FeatureReader, OnlineStore};
use forebay_core::time::Clock;
use forebay_telemetry::Metrics;
use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::ports::{AdminPort, EventSink, ExchangeHook};
use crate::recorder::Stages;
use crate::runtime::Phase;

pub(crate) use exchange::explained;

/// Rows above which a read leaves the serving thread, so that it does not hold up the small ones on
/// that core.
pub(crate) const INLINE_MAX_ROWS: usize = 128;
/// What a refused caller is told to wait, milliseconds.
pub(crate) const RETRY_AFTER_MS: u64 = 20;

/// What the Flight service works with; the binary fills it in.
#[derive(Clone)]
pub struct FlightServices {
    /// Reads features.
    pub reader: Arc<dyn FeatureReader>,
    /// The present, for requests that name no instant.
    pub clock: Arc<dyn Clock>,
    /// Where to record.
    pub metrics: Arc<Metrics>,
    /// Resolves epochs to offsets, for requests with FULL_APPLIED; without it they are refused.
    pub store: Option<Arc<dyn OnlineStore>>,
    /// Where pushed events go; without it DoPut is refused.
    pub sink: Option<Arc<dyn EventSink>>,
    /// Who carries out administration; without it only `health` and `services` are there.
    pub admin: Option<Arc<dyn AdminPort>>,
    /// Protocols over DoExchange that are not ours; the first that claims a descriptor gets it.
    pub exchange_hooks: Vec<Arc<dyn ExchangeHook>>,
    /// gRPC services mounted beside Flight on the same listener.
    pub routes: Routes,
}

impl FlightServices {
    /// Features alone; fill in the rest by field.
    #[must_use]
    pub fn new(
        reader: Arc<dyn FeatureReader>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            reader,
            clock,
            metrics,
            store: None,
            sink: None,
            admin: None,
            exchange_hooks: Vec::new(),
            routes: Routes::default(),
        }
    }
}

impl fmt::Debug for FlightServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightServices")
            .field("sink", &self.sink.is_some())
            .field("admin", &self.admin.is_some())
            .field("exchange_hooks", &self.exchange_hooks.len())
            .finish_non_exhaustive()
    }
}

/// The Flight service over [`FlightServices`].
#[derive(Clone)]
pub(crate) struct FeatureFlight {
    shared: Arc<Shared>,
}

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) services: FlightServices,
    pub(crate) stages: Stages,
    /// One permit for each read off the serving threads.
    pub(crate) large_reads: Arc<Semaphore>,
    /// Whether the server is going away.
    pub(crate) phase: watch::Receiver<Phase>,
    /// Where administration and pushes run, so that they do not hold up reads; None: on the serving
    /// threads.
    pub(crate) home: Option<Handle>,
}

impl Shared {
    /// Run `work` at home. None when it panicked, or when home is gone.
    pub(crate) async fn at_home<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        match &self.home {
            Some(home) => home.spawn(work).await.ok(),
            None => Some(work.await),
        }
    }
}

impl FeatureFlight {
    pub(crate) fn new(
        services: FlightServices,
        phase: watch::Receiver<Phase>,
        home: Option<Handle>,
    ) -> Self {
        let stages = Stages::new(&services.metrics);
        let large_reads = Arc::new(Semaphore::new(LARGE_READS_MAX));
        Self {
            shared: Arc::new(Shared {
                services,
                stages,
                large_reads,
                phase,
                home,
            }),
        }
    }
}

impl fmt::Debug for FeatureFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureFlight")
            .field("services", &self.shared.services)
            .finish()
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

fn not_offered(call: &str, instead: &str) -> Status {
    Status::unimplemented(format!("{call} is not offered; {instead}"))
}

#[tonic::async_trait]
impl FlightService for FeatureFlight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(not_offered(
            "Handshake",
            "on loopback no authentication is needed",
        ))
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let infos = get::list_flights(&self.shared, &request.into_inner())?;
        Ok(Response::new(Box::pin(futures::stream::iter(
            infos.into_iter().map(Ok),
        ))))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Ok(Response::new(get::flight_info(
            &self.shared,
            request.into_inner(),
        )?))
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(not_offered(
            "PollFlightInfo",
            "answers are ready at once: use GetFlightInfo and DoGet",
        ))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        Ok(Response::new(SchemaResult {
            schema: get::flight_info(&self.shared, request.into_inner())?.schema,
        }))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let messages = get::do_get(&self.shared, request.into_inner().ticket).await?;
        Ok(Response::new(Box::pin(messages)))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        put::do_put(Arc::clone(&self.shared), request.into_inner())
            .await
            .map(Response::new)
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        exchange::do_exchange(Arc::clone(&self.shared), request.into_inner())
            .await
            .map(Response::new)
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let peer = request.remote_addr();
        Ok(Response::new(action::do_action(
            Arc::clone(&self.shared),
            peer,
            request.into_inner(),
        )))
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = action::list(&self.shared);
        Ok(Response::new(Box::pin(futures::stream::iter(
            actions.into_iter().map(Ok),
        ))))
    }
}
