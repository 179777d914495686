//! The other end of serving: a client of the Flight listener, for the command line, the benchmarks
//! and the tests. It speaks protobuf in tickets and metadata and reads what it gets as carefully as
//! the server reads requests.
//!
//! [`FlightClient`] holds one HTTP/2 connection: single calls, and [`FeatureExchange`]s (many
//! requests in flight on one stream). Rows come in as record batches, answers go out as [`Answer`]s
//! with what they say about their freshness.

mod answer;
mod exchange;
mod info;
mod options;
mod unreadable;

use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use forebay_core::ErrorKind;
use forebay_core::date;
use forebay_core::limits::{REQUEST_MAX_BYTES, RESPONSE_MAX_BYTES};
use forebay_core::value::Value;
use forebay_proto::v1;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::error::{ServeError, ServeResult};
use crate::ipc::{Encoder, schema_message};
use unreadable::unreadable;

pub use answer::{Answer, AppliedShard};
pub use exchange::{ExchangeReceiver, ExchangeSender, FeatureExchange, Reply};
pub use info::{ServiceInfo, ViewInfo};
pub use options::ReadOptions;

/// How long to wait for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 flow-control windows, bytes; see the server's.
const WINDOW_BYTES: u32 = 4 << 20;
/// Envelope around the body of a message, bytes.
const ENVELOPE_BYTES: usize = 1 << 20;

/// The acknowledgement of one pushed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushOutcome {
    /// Rows that the broker has.
    pub rows: u64,
    /// Rows that the source's schema refuses, with the reason.
    pub refused: Vec<(u64, String)>,
    /// For each partition written to: topic, partition, one past the last record.
    pub next_offsets: Vec<(String, i32, i64)>,
}

/// A client of one server. Clones share the connection.
#[derive(Debug, Clone)]
pub struct FlightClient {
    flight: FlightServiceClient<Channel>,
    address: String,
}

impl FlightClient {
    /// Connect to `address` (`host:port`).
    ///
    /// # Errors
    /// An address that is none, or nobody who listens there.
    pub async fn connect(address: &str) -> ServeResult<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| {
            ServeError::Request(format!(
                "{address:?} is not an address; write host:port such as 127.0.0.1:8815"
            ))
        })?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let channel = endpoint.connect().await.map_err(|error| ServeError::Remote {
            kind: ErrorKind::Unavailable,
            message: format!(
                "no server answers at {address}; start `forebay server`, or give its address: {}",
                chain(&error)
            ),
        })?;
        let flight = FlightServiceClient::new(channel)
            .max_decoding_message_size(RESPONSE_MAX_BYTES + ENVELOPE_BYTES)
            .max_encoding_message_size(REQUEST_MAX_BYTES + ENVELOPE_BYTES);
        Ok(Self {
            flight,
            address: address.to_owned(),
        })
    }

    /// The services that the server has.
    ///
    /// # Errors
    /// The server does not answer, or with something else.
    pub async fn services(&self) -> ServeResult<Vec<ServiceInfo>> {
        info::parse_services(&self.action("services", Bytes::new()).await?)
    }

    /// One service by name.
    ///
    /// # Errors
    /// There is none of that name: the text lists those there are.
    pub async fn service(&self, name: &str) -> ServeResult<ServiceInfo> {
        let services = self.services().await?;
        let known = services
            .iter()
            .map(|s| s.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        services
            .into_iter()
            .find(|s| s.name == name)
            .ok_or_else(|| {
                let known = if known.is_empty() { "none yet" } else { &known };
                ServeError::NotFound(format!(
                    "there is no feature service {name}; known services: {known}"
                ))
            })
    }

    /// Carry out an action of the server and return its whole answer.
    ///
    /// # Errors
    /// What the server says.
    pub async fn action(&self, name: &str, body: impl Into<Bytes>) -> ServeResult<Vec<u8>> {
        let action = Action::new(name, body.into());
        let results = self
            .flight
            .clone()
            .do_action(action)
            .await
            .map_err(|status| self.failed(&status))?;
        let mut results = results.into_inner();
        let mut answer = Vec::new();
        while let Some(part) = results
            .message()
            .await
            .map_err(|status| self.failed(&status))?
        {
            answer.extend_from_slice(&part.body);
        }
        Ok(answer)
    }

    /// Read features of `rows` (the service's request columns) by DoGet: one call, one answer.
    ///
    /// # Errors
    /// What the server says; a column of a type that no request column has.
    pub async fn get(
        &self,
        service: &str,
        rows: &RecordBatch,
        options: &ReadOptions,
    ) -> ServeResult<Answer> {
        let ticket = v1::FeatureRequest {
            service: service.to_owned(),
            version: options.version,
            columns: request_columns(rows)?,
            at_us: options.at_us,
            with_status: options.with_status,
            with_event_time: options.with_event_time,
            schema_fingerprint: options.fingerprint.clone(),
        };
        let mut request = Request::new(Ticket::new(ticket.encode_to_vec()));
        if let Some(deadline) = options.deadline {
            request.set_timeout(deadline);
        }
        let messages = self
            .flight
            .clone()
            .do_get(request)
            .await
            .map_err(|status| self.failed(&status))?;
        answer::collect(messages.into_inner()).await
    }

    /// Open an exchange with `service`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn exchange(
        &self,
        service: &str,
        options: &ReadOptions,
    ) -> ServeResult<FeatureExchange> {
        FeatureExchange::open(self.flight.clone(), service, options).await
    }

    /// Push `rows` into `source` and wait until the broker has them.
    ///
    /// # Errors
    /// What the server says; rows that the schema refuses are no error, the outcome names them.
    pub async fn push(&self, source: &str, rows: &RecordBatch) -> ServeResult<PushOutcome> {
        let mut schema = schema_message(rows.schema_ref())?;
        schema.flight_descriptor = Some(FlightDescriptor::new_path(vec![
            "source".to_owned(),
            source.to_owned(),
        ]));
        let mut batch: FlightData = Encoder::new()?.batch(rows)?;
        batch.app_metadata = v1::PushMeta { batch_id: 1 }.encode_to_vec().into();
        let messages = futures::stream::iter([schema, batch]);
        let acks = self
            .flight
            .clone()
            .do_put(messages)
            .await
            .map_err(|status| self.failed(&status))?;
        let ack = acks
            .into_inner()
            .message()
            .await
            .map_err(|status| self.failed(&status))?;
        let ack = ack.ok_or_else(|| unreadable("the push was not acknowledged"))?;
        let ack = v1::PushAck::decode(ack.app_metadata)
            .map_err(|e| unreadable(&format!("the acknowledgement: {e}")))?;
        answer::in_band(ack.status, &ack.message)?;
        Ok(PushOutcome {
            rows: ack.rows,
            refused: ack.refused.into_iter().map(|r| (r.row, r.reason)).collect(),
            next_offsets: ack
                .offsets
                .into_iter()
                .map(|o| (o.topic, o.partition, o.next_offset))
                .collect(),
        })
    }

    /// The error of a call. A status with a cause comes from the transport and not from a server:
    /// the peer does not speak Flight, or it closed the connection.
    fn failed(&self, status: &Status) -> ServeError {
        let error = ServeError::from_status(status);
        if std::error::Error::source(status).is_none()
            || error.kind() == ErrorKind::DeadlineExceeded
        {
            return error;
        }
        ServeError::Remote {
            kind: ErrorKind::Unavailable,
            message: format!(
                "{} gives no answer of Arrow Flight: check that the server still runs, and that this is its Flight address \
                 (by default 8815 is Flight and 8080 is HTTP): {}",
                self.address,
                status.message()
            ),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

/// Request rows as a protobuf ticket carries them.
fn request_columns(rows: &RecordBatch) -> ServeResult<Vec<v1::RequestColumn>> {
    let column = |(field, array): (&arrow_schema::FieldRef, &arrow_array::ArrayRef)| {
        let values = (0..array.len()).map(|row| {
            let value = Value::from_array(array.as_ref(), row).map_err(|error| {
                ServeError::Request(format!("request column {}: {error}", field.name()))
            })?;
            Ok(v1::RequestValue {
                kind: request_kind(value),
            })
        });
        Ok(v1::RequestColumn {
            name: field.name().clone(),
            values: values.collect::<ServeResult<_>>()?,
        })
    };
    rows.schema_ref()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(column)
        .collect()
}

fn request_kind(value: Value) -> Option<v1::request_value::Kind> {
    use v1::request_value::Kind;
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(Kind::Boolean(value)),
        Value::Int(value) => Some(Kind::Integer(value)),
        Value::Float(value) => Some(Kind::Real(value)),
        Value::Text(text) => Some(Kind::Text(text.to_string())),
        Value::Date(days) => Some(Kind::Text(date::format(days))),
        Value::Timestamp(at) => Some(Kind::TimestampUs(at)),
        // A request has no arrays: a service declares none.
        Value::List(_) => None,
    }
}
