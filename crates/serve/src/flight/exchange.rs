//! DoExchange: the transport of a [`Session`]. Small requests are answered where they are read,
//! without a hop or a queue; large ones on blocking threads, a few at a time. At the bound the
//! stream is not read, so that HTTP/2 flow control pushes back. The order of answers is free; rows
//! inside an answer keep the request's order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow_flight::FlightData;
use arrow_flight::flight_descriptor::DescriptorType;
use forebay_core::limits::{
    EXCHANGE_MAX_IN_FLIGHT, EXCHANGE_MAX_LARGE_IN_FLIGHT, FIRST_MESSAGE_MAX_MS,
};
use futures::future::BoxFuture;
use futures::stream::{Fuse, FuturesUnordered};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

use super::session::{Outgoing, Session, Step};
use super::shared::{Answers, Shared};
use crate::answer::resolve;
use crate::error::ServeError;
use crate::ipc::{MessageKind, kind_of};
use crate::phase::Phase;
use crate::receive::{Messages, Received};
use crate::recorder::{Recorder, UNKNOWN_SERVICE};
use crate::ticket::parse_open;

/// Requests answered in a row before other connections of the same core get a turn.
const INLINE_BURST: u32 = 32;

/// Open an exchange and answer its first message.
pub(super) async fn do_exchange(
    shared: Arc<Shared>,
    mut input: Messages,
) -> Result<Answers<FlightData>, Status> {
    let arrived = Instant::now();
    let first = first_message(&mut input).await?;
    if first.data.flight_descriptor.is_none() {
        return Err(ServeError::Request(
            "the first message of an exchange has no descriptor; set its command to an ExchangeOpen".to_owned(),
        )
        .to_status());
    }
    let opened = open(&shared, first);
    let (session, pending) = opened.map_err(|error| {
        Recorder::new(&shared.services.metrics, "DoExchange", UNKNOWN_SERVICE)
            .failed(arrived, &error);
        error.to_status()
    })?;
    let mut stream = ExchangeStream::new(session, input, &shared.phase);
    stream
        .ready
        .push_back(stream.session.schema().map_err(|e| e.to_status())?.into());
    if let Some(message) = pending {
        stream.admit(message);
    }
    Ok(Box::pin(stream))
}

/// The first message of a client stream, within a bounded time.
pub(super) async fn first_message(input: &mut Messages) -> Result<Received, Status> {
    let time = Duration::from_millis(FIRST_MESSAGE_MAX_MS);
    match tokio::time::timeout(time, input.next()).await {
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no message came within {FIRST_MESSAGE_MAX_MS} ms (FIRST_MESSAGE_MAX_MS); open the stream when it is needed"
        ))),
        Ok(Err(status)) => Err(status),
        Ok(Ok(None)) => Err(Status::invalid_argument(
            "the stream ended before its first message",
        )),
        Ok(Ok(Some(first))) => Ok(first),
    }
}

/// Open a session; what is left of the first message goes on as a message of its own (a schema, as
/// pyarrow sends it).
fn open(
    shared: &Arc<Shared>,
    mut first: Received,
) -> Result<(Session, Option<Received>), ServeError> {
    let descriptor = first.data.flight_descriptor.take().unwrap_or_default();
    if descriptor.r#type() != DescriptorType::Cmd {
        return Err(ServeError::Request(
            "an exchange opens with a descriptor of type CMD whose command is an ExchangeOpen, in protobuf or JSON"
                .to_owned(),
        ));
    }
    let open = parse_open(&descriptor.cmd)?;
    let service = resolve(shared.services.reader.as_ref(), &open.service)?;
    let session = Session::new(shared, service, &open)?;
    let rest = kind_of(&first.data)? != MessageKind::Empty;
    Ok((session, rest.then_some(first)))
}

/// A large request on its way: its task, and what to send if the task gives up.
type Running = BoxFuture<'static, Outgoing>;

struct ExchangeStream {
    session: Session,
    input: Messages,
    input_open: bool,
    /// Answers to be sent, oldest first.
    ready: VecDeque<Outgoing>,
    /// Large requests under way.
    running: FuturesUnordered<Running>,
    /// Ends the stream once everything else is sent.
    failure: Option<Status>,
    finished: bool,
    /// The phases of the server, the present one first.
    phases: Fuse<WatchStream<Phase>>,
    /// The client has been told that the server goes away.
    told_to_leave: bool,
    /// Requests answered since the last time that others had a turn.
    burst: u32,
}

impl ExchangeStream {
    fn new(session: Session, input: Messages, phase: &watch::Receiver<Phase>) -> Self {
        Self {
            session,
            input,
            input_open: true,
            ready: VecDeque::new(),
            running: FuturesUnordered::new(),
            failure: None,
            finished: false,
            phases: WatchStream::new(phase.clone()).fuse(),
            told_to_leave: false,
            burst: 0,
        }
    }

    /// Take one message of the client.
    fn admit(&mut self, message: Received) {
        if let Some(announcement) = self.session.follow_service() {
            self.ready.push_back(announcement.into());
        }
        match self.session.handle(message) {
            Step::Nothing => {}
            Step::Answer(answer) => self.ready.push_back(answer),
            Step::Later(task, fallback) => {
                self.running
                    .push(async move { task.await.unwrap_or_else(|_| fallback.into()) }.boxed());
            }
            Step::Fail(error) => {
                self.input_open = false;
                self.failure = Some(error.to_status());
            }
        }
    }

    fn may_read(&self) -> bool {
        self.input_open
            && self.running.len() < EXCHANGE_MAX_LARGE_IN_FLIGHT
            && self.running.len() + self.ready.len() < EXCHANGE_MAX_IN_FLIGHT
    }

    fn poll_phase(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(phase) = self.phases.poll_next_unpin(context) {
            // A server that is gone without a word counts as stopped.
            let now = phase.unwrap_or(Phase::Stopping);
            if now >= Phase::Draining && !self.told_to_leave {
                self.told_to_leave = true;
                self.ready.push_back(self.session.shutting_down().into());
            }
            if now == Phase::Stopping && self.input_open {
                self.input_open = false;
                self.failure = Some(shut_down());
            }
            if phase.is_none() {
                return;
            }
        }
    }
}

/// The status that ends a stream when the grace time is over.
pub(super) fn shut_down() -> Status {
    Status::unavailable("the server is shutting down; open a new stream")
}

impl Stream for ExchangeStream {
    type Item = Result<FlightData, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.finished {
            return Poll::Ready(None);
        }
        this.poll_phase(context);
        loop {
            if let Some(answer) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(answer.data)));
            }
            if let Poll::Ready(Some(answer)) = this.running.poll_next_unpin(context) {
                return Poll::Ready(Some(Ok(answer.data)));
            }
            if !this.input_open && this.running.is_empty() {
                this.finished = true;
                return Poll::Ready(this.failure.take().map(Err));
            }
            if !this.may_read() {
                return Poll::Pending; // woken by a large request that ends
            }
            if this.burst >= INLINE_BURST {
                this.burst = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match this.input.poll_next(context) {
                Poll::Ready(Ok(Some(message))) => {
                    this.burst += 1;
                    this.admit(message);
                }
                Poll::Ready(Err(status)) => {
                    this.input_open = false;
                    this.failure = Some(status);
                }
                Poll::Ready(Ok(None)) => this.input_open = false,
                Poll::Pending => {
                    this.burst = 0;
                    return Poll::Pending;
                }
            }
        }
    }
}
