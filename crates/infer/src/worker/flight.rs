//! The Flight trait on the worker: `DoExchange` is `service.rs`; `DoAction` `worker_status` tells
//! what is loaded, on what devices, and how much waits, as JSON. Everything else is not served
//! here.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use super::service::{AnswerStream, WorkerService};

/// Action that answers what the worker is and does.
const STATUS_ACTION: &str = "worker_status";

type Items<T> = BoxStream<'static, Result<T, Status>>;

fn not_here<T>(call: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!(
        "{call} is not served by a worker; it scores batches by DoExchange"
    )))
}

#[tonic::async_trait]
impl FlightService for WorkerService {
    type HandshakeStream = Items<HandshakeResponse>;
    type ListFlightsStream = Items<FlightInfo>;
    type DoGetStream = Items<FlightData>;
    type DoPutStream = Items<PutResult>;
    type DoActionStream = Items<arrow_flight::Result>;
    type ListActionsStream = Items<ActionType>;
    type DoExchangeStream = AnswerStream;

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Ok(Response::new(
            self.open_exchange(request.into_inner()).await?,
        ))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let action = request.into_inner();
        if action.r#type != STATUS_ACTION {
            return Err(Status::invalid_argument(format!(
                "unknown action {:?}; known: {STATUS_ACTION}",
                action.r#type
            )));
        }
        let answer = arrow_flight::Result {
            body: self.status_json().into(),
        };
        Ok(Response::new(stream::once(async { Ok(answer) }).boxed()))
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let description = "models with their states, devices, load; JSON".to_owned();
        let action = ActionType {
            r#type: STATUS_ACTION.to_owned(),
            description,
        };
        Ok(Response::new(stream::once(async { Ok(action) }).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        not_here("Handshake")
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        not_here("ListFlights")
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        not_here("GetFlightInfo")
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        not_here("PollFlightInfo")
    }

    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        not_here("GetSchema")
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        not_here("DoGet")
    }

    async fn do_put(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        not_here("DoPut")
    }
}
