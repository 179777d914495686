//! One DoExchange stream as its client: requests go out with ids, answers come back in any order.
//! The two halves can be held together ([`FeatureExchange`], which bounds what is in flight) or
//! apart, by a task that sends and one that receives.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_schema::SchemaRef;
use forebay_core::ErrorKind;
use forebay_core::limits::EXCHANGE_MAX_IN_FLIGHT;
use forebay_core::time::whole_us;
use forebay_proto::v1;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::answer::{self, Answer};
use super::options::ReadOptions;
use super::unreadable::unreadable;
use crate::error::{ServeError, ServeResult};
use crate::ipc::{Encoder, MessageKind, schema_message};

/// Messages that wait for the connection: the opening, and a request with its schema for each one
/// in flight.
const OUTBOUND: usize = 2 * EXCHANGE_MAX_IN_FLIGHT + 1;

/// What comes back on an exchange.
#[derive(Debug)]
pub enum Reply {
    /// The answer to a request, or why it was refused; the stream goes on.
    Answer {
        /// As [`ExchangeSender::send`] gave it.
        request_id: u64,
        /// How it went.
        result: ServeResult<Answer>,
    },
    /// The server or the service's version goes away: open a new exchange. What was sent already is
    /// still answered.
    GoingAway(String),
}

/// The sending half. Dropping it ends the requests; answers still come.
#[derive(Debug)]
pub struct ExchangeSender {
    outbound: mpsc::Sender<FlightData>,
    encoder: Encoder,
    /// Schema that the server reads requests by; None before the first request.
    sent_schema: Option<SchemaRef>,
    next_id: u64,
}

/// The receiving half.
#[derive(Debug)]
pub struct ExchangeReceiver {
    answers: Streaming<FlightData>,
    schema: SchemaRef,
}

/// An open exchange with one service.
#[derive(Debug)]
pub struct FeatureExchange {
    sender: ExchangeSender,
    receiver: ExchangeReceiver,
    /// Requests without an answer yet.
    in_flight: usize,
    /// Replies that came while another one was waited for.
    early: VecDeque<Reply>,
}

impl FeatureExchange {
    pub(super) async fn open(
        mut flight: FlightServiceClient<Channel>,
        service: &str,
        options: &ReadOptions,
    ) -> ServeResult<Self> {
        let open = v1::ExchangeOpen {
            service: service.to_owned(),
            version: options.version,
            schema_fingerprint: options.fingerprint.clone(),
            with_status: options.with_status,
            with_event_time: options.with_event_time,
        };
        let (outbound, queue) = mpsc::channel(OUTBOUND);
        let opening =
            FlightData::new().with_descriptor(FlightDescriptor::new_cmd(open.encode_to_vec()));
        outbound
            .send(opening)
            .await
            .expect("the queue's other end is in this function");
        let answers = flight.do_exchange(ReceiverStream::new(queue)).await;
        let mut answers = answers
            .map_err(|status| ServeError::from_status(&status))?
            .into_inner();
        let first = answers
            .message()
            .await
            .map_err(|status| ServeError::from_status(&status))?;
        let first = first.ok_or_else(|| unreadable("the exchange ended before its schema"))?;
        let schema = answer::schema_of(&first)?;
        let sender = ExchangeSender {
            outbound,
            encoder: Encoder::new()?,
            sent_schema: None,
            next_id: 1,
        };
        let receiver = ExchangeReceiver { answers, schema };
        Ok(Self {
            sender,
            receiver,
            in_flight: 0,
            early: VecDeque::new(),
        })
    }

    /// Schema of the answers; its metadata names service, version and fingerprint.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.receiver.schema
    }

    /// Requests that were sent and are not answered yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Send a request and return its id; [`FeatureExchange::receive`] brings the answer.
    ///
    /// # Errors
    /// Too many requests in flight; the exchange has ended.
    pub async fn send(&mut self, rows: &RecordBatch, options: &ReadOptions) -> ServeResult<u64> {
        if self.in_flight >= EXCHANGE_MAX_IN_FLIGHT {
            return Err(ServeError::Limit {
                limit: "EXCHANGE_MAX_IN_FLIGHT",
                message: format!(
                    "{EXCHANGE_MAX_IN_FLIGHT} requests of this exchange are in flight; receive some first"
                ),
            });
        }
        let id = self.sender.send(rows, options).await?;
        self.in_flight += 1;
        Ok(id)
    }

    /// The next reply; None when the server has ended the stream in good order.
    ///
    /// # Errors
    /// The stream broke: nothing in flight on it will be answered.
    pub async fn receive(&mut self) -> ServeResult<Option<Reply>> {
        match self.early.pop_front() {
            Some(reply) => Ok(Some(reply)),
            None => self.receive_new().await,
        }
    }

    /// Send one request and wait for its answer; replies to others are kept for
    /// [`FeatureExchange::receive`].
    ///
    /// # Errors
    /// As the server refuses it; the stream broke.
    pub async fn read(&mut self, rows: &RecordBatch, options: &ReadOptions) -> ServeResult<Answer> {
        let id = self.send(rows, options).await?;
        loop {
            match self.receive_new().await? {
                Some(Reply::Answer { request_id, result }) if request_id == id => return result,
                Some(other) => self.early.push_back(other),
                None => return Err(ended()),
            }
        }
    }

    async fn receive_new(&mut self) -> ServeResult<Option<Reply>> {
        let reply = self.receiver.receive().await?;
        if let Some(Reply::Answer { .. }) = reply {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        Ok(reply)
    }

    /// Take the halves apart, for a task each. What is in flight is then the caller's to bound.
    #[must_use]
    pub fn split(self) -> (ExchangeSender, ExchangeReceiver) {
        (self.sender, self.receiver)
    }
}

impl ExchangeSender {
    /// Send a request and return its id. Waits while the connection takes no more.
    ///
    /// # Errors
    /// The exchange has ended: the receiver has the reason.
    pub async fn send(&mut self, rows: &RecordBatch, options: &ReadOptions) -> ServeResult<u64> {
        let schema = rows.schema_ref();
        let known = self
            .sent_schema
            .as_ref()
            .is_some_and(|sent| Arc::ptr_eq(sent, schema) || sent == schema);
        if !known {
            self.put(schema_message(schema)?).await?;
            self.sent_schema = Some(Arc::clone(schema));
        }
        let request_id = self.next_id;
        let flags = if options.full_applied {
            v1::RequestFlag::FullApplied as u32
        } else {
            0
        };
        let deadline_us = options.deadline.map(whole_us);
        let meta = v1::RequestMeta {
            request_id,
            at_us: options.at_us,
            deadline_us,
            flags,
        };
        let mut request = self.encoder.batch(rows)?;
        request.app_metadata = meta.encode_to_vec().into();
        self.put(request).await?;
        self.next_id += 1;
        Ok(request_id)
    }

    async fn put(&self, data: FlightData) -> ServeResult<()> {
        self.outbound.send(data).await.map_err(|_| ended())
    }
}

impl ExchangeReceiver {
    /// Schema of the answers.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next reply; None when the server has ended the stream in good order.
    ///
    /// # Errors
    /// The stream broke: nothing in flight on it will be answered.
    pub async fn receive(&mut self) -> ServeResult<Option<Reply>> {
        let data = self
            .answers
            .message()
            .await
            .map_err(|status| ServeError::from_status(&status))?;
        data.map(|data| self.reply(&data)).transpose()
    }

    fn reply(&self, data: &FlightData) -> ServeResult<Reply> {
        let meta = v1::ResponseMeta::decode(data.app_metadata.clone())
            .map_err(|error| unreadable(&format!("the metadata of an answer: {error}")))?;
        if meta.status == v1::AnswerStatus::GoingAway as i32 {
            return Ok(Reply::GoingAway(meta.message));
        }
        let request_id = meta.request_id;
        if let Err(error) = answer::in_band(meta.status, &meta.message) {
            return Ok(Reply::Answer {
                request_id,
                result: Err(error),
            });
        }
        let MessageKind::Batch { .. } = answer::kind(data)? else {
            return Err(unreadable("an answer has no record batch"));
        };
        let rows = answer::rows_of(data, &self.schema)?;
        Ok(Reply::Answer {
            request_id,
            result: answer::from_meta(meta, rows),
        })
    }
}

fn ended() -> ServeError {
    ServeError::Remote {
        kind: ErrorKind::Unavailable,
        message: "the exchange has ended; open a new one".to_owned(),
    }
}
