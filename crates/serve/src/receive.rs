//! What clients send, before it is a request: a message draws on the process's memory before its
//! bytes are taken, by the length in its five bytes of gRPC framing, and is refused before the rest
//! of it is read. Small messages draw on nothing, so that large ones, however many wait for a
//! broker, keep no small read waiting.
//!
//! Two ways lead on. Calls of one message go through tonic's decoder ([`Counted`]); of the calls
//! that take a stream of messages, [`Messages`] decodes, since tonic's buffer would keep the bytes
//! of the largest message until the stream ends. What a message holds goes on with it
//! ([`Received`]). `runtime` puts [`ReceivingLayer`] around the service.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow_flight::FlightData;
use axum::http::{Extensions, Request, Response};
use bytes::{Buf, Bytes, BytesMut};
use forebay_core::limits::{MESSAGE_FREE_BYTES, REQUEST_DEADLINE_MAX_MS, REQUEST_MAX_BYTES};
use forebay_core::memory::{Budget, OutOfMemory, Part, Reservation};
use futures::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use prost::Message;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::error::ServeError;
use crate::ipc::message_too_large;

/// Envelope around the body of a message, bytes: the transport admits a little more than the limit,
/// so that the refusal can be in band.
pub(crate) const ENVELOPE_BYTES: usize = 1 << 20;
/// The largest message that is taken, bytes.
pub(crate) const MESSAGE_MAX_BYTES: usize = REQUEST_MAX_BYTES + ENVELOPE_BYTES;

/// Flag and length before each message.
const HEAD_BYTES: usize = 5;
/// The calls whose messages [`Messages`] decodes.
const STREAMING: [&str; 2] = ["/DoExchange", "/DoPut"];

/// The five bytes before a message, as they come.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; HEAD_BYTES],
    filled: usize,
}

impl Head {
    /// Take from `data` what is missing; flag and length once they are whole.
    fn fill(&mut self, data: &mut Bytes) -> Option<(u8, usize)> {
        let some = data.len().min(HEAD_BYTES - self.filled);
        data.copy_to_slice(&mut self.bytes[self.filled..self.filled + some]);
        self.filled += some;
        if self.filled < HEAD_BYTES {
            return None;
        }
        self.filled = 0;
        let [flag, a, b, c, d] = self.bytes;
        Some((flag, u32::from_be_bytes([a, b, c, d]) as usize))
    }
}

/// A message of a client, and what it holds of the process's memory; a small one nothing.
pub(crate) struct Received {
    pub(crate) data: FlightData,
    pub(crate) memory: Option<Reservation>,
}

/// A message whose length is known and whose bytes are on their way.
struct Partial {
    length: usize,
    bytes: BytesMut,
    memory: Option<Reservation>,
}

/// The messages of one stream of a client. Bytes are read when a message is asked for.
pub(crate) struct Messages {
    body: Body,
    budget: Arc<Budget>,
    /// What came after the message before, of one frame.
    rest: Bytes,
    head: Head,
    partial: Option<Partial>,
    /// How long a message may take from the first time that it is waited for.
    message_time: Duration,
    /// Runs while a message has begun and is not whole.
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Messages {
    fn new(body: Body, budget: Arc<Budget>, message_time: Duration) -> Self {
        Self {
            body,
            budget,
            rest: Bytes::new(),
            head: Head::default(),
            partial: None,
            message_time,
            deadline: None,
            ended: false,
        }
    }

    /// Those of a request that came through [`Receiving`].
    pub(crate) fn of(extensions: &mut Extensions) -> Result<Self, Status> {
        let found = extensions.remove::<Inlet>();
        found
            .and_then(|inlet| inlet.0.lock().take())
            .ok_or_else(|| Status::internal("the stream has no messages to read"))
    }

    /// The next message; None at the end. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Received>, Status> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, polled. After an error the stream has ended.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Received>, Status>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let next = ready!(self.advance(context));
        if !matches!(next, Ok(Some(_))) {
            self.ended = true;
            self.partial = None;
        }
        Poll::Ready(next)
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Received>, Status>> {
        let mut goes_on = false;
        loop {
            if let Some(message) = self.whole()? {
                self.deadline = None;
                return Poll::Ready(Ok(Some(message)));
            }
            // All of it is read: let go of the buffer that it lies in.
            self.rest = Bytes::new();
            let within = self.head.filled > 0 || self.partial.is_some();
            match Pin::new(&mut self.body).poll_frame(context) {
                // Trailers end the stream; they say nothing here.
                Poll::Ready(Some(Ok(frame))) => {
                    self.rest = frame.into_data().unwrap_or_default();
                    goes_on = true;
                }
                // The client is gone, and so is who would read an error.
                Poll::Ready(Some(Err(status))) if status.code() == Code::Cancelled => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
                Poll::Ready(None) if within => {
                    return Poll::Ready(Err(Status::invalid_argument(
                        "the stream ended within a message",
                    )));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                // Between two messages a client may say nothing for as long as it likes.
                Poll::Pending if !within => return Poll::Pending,
                Poll::Pending => {
                    // The time may have run while nobody read here.
                    if goes_on {
                        self.deadline.take_if(|deadline| deadline.is_elapsed());
                    }
                    ready!(self.poll_deadline(context));
                    return Poll::Ready(Err(too_slow()));
                }
            }
        }
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time = self.message_time;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        deadline.as_mut().poll(context)
    }

    /// The message whose last byte is in `rest`.
    fn whole(&mut self) -> Result<Option<Received>, Status> {
        if self.partial.is_none() {
            let Some((flag, length)) = self.head.fill(&mut self.rest) else {
                return Ok(None);
            };
            self.partial = Some(self.begin(flag, length)?);
        }
        let is_whole = self.partial.as_mut().is_some_and(|partial| {
            let missing = partial.length - partial.bytes.len();
            if partial.bytes.is_empty() && self.rest.len() >= missing {
                return true; // all in one frame: read where it lies
            }
            if partial.bytes.capacity() == 0 && !self.rest.is_empty() {
                partial.bytes = BytesMut::with_capacity(partial.length);
            }
            let some = self.rest.split_to(missing.min(self.rest.len()));
            partial.bytes.extend_from_slice(&some);
            partial.bytes.len() == partial.length
        });
        let Some(partial) = self.partial.take_if(|_| is_whole) else {
            return Ok(None);
        };
        let encoded = if partial.bytes.is_empty() {
            self.rest.split_to(partial.length)
        } else {
            partial.bytes.freeze()
        };
        let data = FlightData::decode(encoded)
            .map_err(|error| Status::invalid_argument(format!("not a FlightData: {error}")))?;
        Ok(Some(Received {
            data,
            memory: partial.memory,
        }))
    }

    fn begin(&self, flag: u8, length: usize) -> Result<Partial, Status> {
        if flag != 0 {
            return Err(ServeError::Request(
                "the message is compressed; send messages without gRPC compression".to_owned(),
            )
            .to_status());
        }
        if length > MESSAGE_MAX_BYTES {
            return Err(message_too_large().to_status());
        }
        let memory = (length > MESSAGE_FREE_BYTES)
            .then(|| self.budget.reserve(Part::Requests, length))
            .transpose()
            .map_err(refused)?;
        Ok(Partial {
            length,
            bytes: BytesMut::new(),
            memory,
        })
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

fn refused(full: OutOfMemory) -> Status {
    ServeError::from(full).to_status()
}

fn too_slow() -> Status {
    Status::deadline_exceeded(format!(
        "a message has begun and was not whole within {REQUEST_DEADLINE_MAX_MS} ms (REQUEST_DEADLINE_MAX_MS); send \
         its bytes at once"
    ))
}

/// How [`Messages`] get from the layer to their call: extensions are cloned, in theory.
#[derive(Clone)]
struct Inlet(Arc<Mutex<Option<Messages>>>);

/// The body of a call of one message: what its messages need is added to what the stream holds
/// until its answer has ended.
struct Counted {
    body: Body,
    head: Head,
    /// What is to come of the message under way, bytes.
    left: usize,
    memory: Arc<Mutex<Reservation>>,
}

impl Counted {
    /// Reserve what begins in `data`.
    fn count(&mut self, mut data: Bytes) -> Result<(), OutOfMemory> {
        loop {
            let some = self.left.min(data.len());
            self.left -= some;
            data.advance(some);
            let Some((_, length)) = self.head.fill(&mut data) else {
                return Ok(());
            };
            self.left = length;
            // What is too large is refused by the decoder, at its first byte.
            if length > MESSAGE_FREE_BYTES && length <= MESSAGE_MAX_BYTES {
                self.memory.lock().grow(length)?;
            }
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|f| f.as_ref().ok()?.data_ref())
            && let Err(full) = self.count(data.clone())
        {
            return Poll::Ready(Some(Err(refused(full))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that holds its stream's memory until it has ended or its client is gone.
struct Answer {
    body: Body,
    _memory: Arc<Mutex<Reservation>>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The layer that makes a [`Receiving`] of a service.
#[derive(Debug, Clone)]
pub(crate) struct ReceivingLayer(pub(crate) Arc<Budget>);

impl<S> Layer<S> for ReceivingLayer {
    type Service = Receiving<S>;

    fn layer(&self, within: S) -> Receiving<S> {
        let budget = Arc::clone(&self.0);
        Receiving { within, budget }
    }
}

/// The service within, its streams and messages drawing on `budget`.
#[derive(Debug, Clone)]
pub(crate) struct Receiving<S> {
    within: S,
    budget: Arc<Budget>,
}

impl<S> Receiving<S> {
    /// The request with what it holds counted, and what holds it.
    fn admit(&self, request: Request<Body>) -> (Request<Body>, Arc<Mutex<Reservation>>) {
        let memory = Arc::new(Mutex::new(self.budget.empty(Part::Requests)));
        let (mut head, body) = request.into_parts();
        let is_streaming = STREAMING.iter().any(|call| head.uri.path().ends_with(call));
        let body = if is_streaming {
            let time = Duration::from_millis(REQUEST_DEADLINE_MAX_MS);
            let messages = Messages::new(body, Arc::clone(&self.budget), time);
            head.extensions
                .insert(Inlet(Arc::new(Mutex::new(Some(messages)))));
            Body::empty()
        } else {
            Body::new(Counted {
                body,
                head: Head::default(),
                left: 0,
                memory: Arc::clone(&memory),
            })
        };
        (Request::from_parts(head, body), memory)
    }
}

impl<S> Service<Request<Body>> for Receiving<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.within.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (request, memory) = self.admit(request);
        let answer = self.within.call(request);
        Box::pin(async move {
            let holding = |body| {
                Body::new(Answer {
                    body,
                    _memory: memory,
                })
            };
            Ok(answer.await?.map(holding))
        })
    }
}

#[cfg(test)]
mod tests;
