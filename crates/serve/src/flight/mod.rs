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
mod shared;

use std::fmt;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use forebay_core::limits::LARGE_READS_MAX;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::phase::Phase;
use crate::receive::Messages;
use crate::recorder::Stages;
use shared::{Answers, Shared};

pub use shared::FlightServices;

/// The Flight service over [`FlightServices`].
#[derive(Clone)]
pub(crate) struct FeatureFlight {
    shared: Arc<Shared>,
}

impl FeatureFlight {
    pub(crate) fn new(
        services: FlightServices,
        phase: watch::Receiver<Phase>,
        control: Option<Handle>,
    ) -> Self {
        let stages = Stages::new(&services.metrics);
        let large_reads = Arc::new(Semaphore::new(LARGE_READS_MAX));
        Self {
            shared: Arc::new(Shared {
                services,
                stages,
                large_reads,
                phase,
                control,
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
        mut request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let messages = Messages::of(request.extensions_mut())?;
        put::do_put(Arc::clone(&self.shared), messages)
            .await
            .map(Response::new)
    }

    async fn do_exchange(
        &self,
        mut request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let messages = Messages::of(request.extensions_mut())?;
        exchange::do_exchange(Arc::clone(&self.shared), messages)
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
