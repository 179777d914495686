//! The state of one exchange, without its transport: each message of the client becomes a step.
//! Failures of one request are answered in band, so that they never end the requests beside it;
//! only what makes all further messages unreadable (a malformed schema) fails the stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_schema::SchemaRef;
use forebay_core::PortError;
use forebay_core::limits::SOURCE_MAX_COLUMNS;
use forebay_core::memory::Reservation;
use forebay_core::ports::CompiledService;
use forebay_core::time::Micros;
use forebay_proto::v1;
use tokio::task::JoinHandle;

use super::get::{check_answer_size, too_many_large_reads};
use super::shared::{INLINE_MAX_ROWS, Shared};
use crate::answer::{Answered, Answerer};
use crate::error::{RETRY_AFTER_MS, ServeError, ServeResult};
use crate::ipc::{
    Encoder, MessageKind, check_request_size, decode_batch, decode_schema, is_flat, kind_of,
    schema_message,
};
use crate::read::request_schema;
use crate::receive::Received;
use crate::recorder::Recorder;
use crate::ticket::{
    Encoding, Open, RequestHead, encode_response_meta, parse_request_meta, status_of,
};

/// What one message of the client leads to.
pub(super) enum Step {
    /// Nothing to send.
    Nothing,
    /// An answer.
    Answer(Outgoing),
    /// An answer that is being made off the serving thread, and what to send if that thread gives
    /// up.
    Later(JoinHandle<Outgoing>, FlightData),
    /// The stream ends.
    Fail(ServeError),
}

/// A message to send, and what it holds of the process's memory until then.
pub(super) struct Outgoing {
    pub(super) data: FlightData,
    _memory: Option<Reservation>,
}

impl From<FlightData> for Outgoing {
    fn from(data: FlightData) -> Self {
        Self {
            data,
            _memory: None,
        }
    }
}

/// Context of one exchange for its service: answerer, recorder, empty batch. Swapped as a whole
/// when the service is recompiled.
struct ExchangeContext {
    shared: Arc<Shared>,
    answerer: Answerer,
    recorder: Recorder,
    /// A batch of zero rows, for answers that are errors.
    empty: FlightData,
}

/// One request, taken apart but for its rows.
struct Job {
    head: RequestHead,
    data: FlightData,
    /// What `data` holds of the process's memory.
    _memory: Option<Reservation>,
    schema: SchemaRef,
    at_us: Micros,
    arrived: Instant,
}

/// One exchange.
pub(super) struct Session {
    context: Arc<ExchangeContext>,
    encoding: Encoding,
    request_schema: SchemaRef,
    /// Request id of the next request without metadata.
    next_id: u64,
    encoder: Encoder,
    /// The client has been told that its service version goes away.
    told_to_leave: bool,
}

impl Session {
    pub(super) fn new(
        shared: &Arc<Shared>,
        service: Arc<dyn CompiledService>,
        open: &Open,
    ) -> ServeResult<Self> {
        let request_schema = request_schema(service.spec());
        let answerer = shared.answerer(service, open.options);
        let mut encoder = Encoder::new()?;
        let context = Arc::new(ExchangeContext::new(shared, answerer, &mut encoder)?);
        Ok(Self {
            context,
            encoding: open.encoding,
            request_schema,
            next_id: 0,
            encoder,
            told_to_leave: false,
        })
    }

    /// The schema message that the stream opens with.
    pub(super) fn schema(&self) -> ServeResult<FlightData> {
        schema_message(self.context.answerer.schema())
    }

    /// Take one message of the client.
    pub(super) fn handle(&mut self, message: Received) -> Step {
        let arrived = Instant::now();
        let Received { mut data, memory } = message;
        // Nobody reads it beyond the opening, and its parts can be larger than what was sent.
        data.flight_descriptor = None;
        let kind = kind_of(&data).and_then(|kind| check_request_size(&data).map(|()| kind));
        if let Ok(MessageKind::Schema) = kind {
            return match decode_schema(&data, SOURCE_MAX_COLUMNS, is_flat) {
                Ok(schema) => {
                    self.request_schema = schema;
                    Step::Nothing
                }
                Err(error) => Step::Fail(error),
            };
        }
        let head = match parse_request_meta(&data.app_metadata, self.next_id, self.encoding) {
            Ok(head) => head,
            Err(error) => {
                let encoding = self.encoding;
                let request_id = self.next_id;
                let head = RequestHead {
                    request_id,
                    at_us: None,
                    deadline_us: None,
                    full_applied: false,
                    encoding,
                };
                self.next_id = self.next_id.wrapping_add(1);
                return self.context.refuse(&head, arrived, &error);
            }
        };
        self.next_id = head.request_id.wrapping_add(1);
        let rows = match kind {
            Ok(MessageKind::Batch { rows }) => rows,
            Ok(MessageKind::Empty | MessageKind::Schema) => {
                let error = ServeError::Request("the request has no record batch".to_owned());
                return self.context.refuse(&head, arrived, &error);
            }
            Err(error) => return self.context.refuse(&head, arrived, &error),
        };
        // One instant for all rows, read once, when the request is admitted.
        let at_us = head
            .at_us
            .unwrap_or_else(|| self.context.shared.services.clock.now_us());
        let job = Job {
            head,
            data,
            _memory: memory,
            schema: Arc::clone(&self.request_schema),
            at_us,
            arrived,
        };
        if rows <= INLINE_MAX_ROWS {
            return Step::Answer(self.context.answer(&job, &mut self.encoder));
        }
        self.answer_elsewhere(job)
    }

    fn answer_elsewhere(&self, job: Job) -> Step {
        let context = Arc::clone(&self.context);
        let Ok(permit) = Arc::clone(&context.shared.large_reads).try_acquire_owned() else {
            return context.refuse(&job.head, job.arrived, &too_many_large_reads());
        };
        let gave_up = ServeError::Port(PortError::internal(
            "the request was given up; see the server's log",
        ));
        let fallback = context.refusal(&job.head, &gave_up);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match Encoder::new() {
                Ok(mut encoder) => context.answer(&job, &mut encoder),
                Err(error) => context.refused(&job.head, job.arrived, &error).into(),
            }
        });
        Step::Later(task, fallback)
    }

    /// Follow the service: a new compilation of the same version is taken up silently; another
    /// version, or none, is announced once, and this stream goes on with what it was opened for.
    pub(super) fn follow_service(&mut self) -> Option<FlightData> {
        let current = self.context.answerer.service();
        let spec = current.spec();
        let newest = self.context.shared.services.reader.service(&spec.name).ok();
        match newest {
            Some(newest) if std::ptr::addr_eq(Arc::as_ptr(&newest), Arc::as_ptr(current)) => None,
            Some(newest)
                if newest.spec().fingerprint == spec.fingerprint
                    && newest.spec().version == spec.version =>
            {
                let answerer = self
                    .context
                    .shared
                    .answerer(newest, self.context.answerer.options());
                if let Ok(context) =
                    ExchangeContext::new(&self.context.shared, answerer, &mut self.encoder)
                {
                    self.context = Arc::new(context);
                }
                None
            }
            _ if self.told_to_leave => None,
            _ => {
                self.told_to_leave = true;
                let message = format!(
                    "version {} of service {} is no longer the one that is served; open a new stream",
                    spec.version, spec.name
                );
                Some(self.going_away(message))
            }
        }
    }

    /// The announcement that the server shuts down.
    pub(super) fn shutting_down(&self) -> FlightData {
        self.going_away(
            "the server is shutting down; open a new stream elsewhere or later".to_owned(),
        )
    }

    fn going_away(&self, message: String) -> FlightData {
        let status = v1::AnswerStatus::GoingAway.into();
        let meta = v1::ResponseMeta {
            status,
            message,
            ..v1::ResponseMeta::default()
        };
        FlightData {
            app_metadata: encode_response_meta(&meta, self.encoding),
            ..self.context.empty.clone()
        }
    }
}

impl ExchangeContext {
    fn new(shared: &Arc<Shared>, answerer: Answerer, encoder: &mut Encoder) -> ServeResult<Self> {
        let empty = encoder.batch(&RecordBatch::new_empty(Arc::clone(answerer.schema())))?;
        let recorder = Recorder::new(
            &shared.services.metrics,
            "DoExchange",
            &answerer.service().spec().name,
        );
        Ok(Self {
            shared: Arc::clone(shared),
            answerer,
            recorder,
            empty,
        })
    }

    /// Answer a request, whatever happens.
    fn answer(&self, job: &Job, encoder: &mut Encoder) -> Outgoing {
        let _in_flight = self.recorder.enter();
        match self.try_answer(job, encoder) {
            Ok((answer, rows)) => {
                self.recorder.answered(job.arrived, rows);
                answer
            }
            Err(error) => self.refused(&job.head, job.arrived, &error).into(),
        }
    }

    fn try_answer(&self, job: &Job, encoder: &mut Encoder) -> ServeResult<(Outgoing, usize)> {
        job.check_deadline()?;
        let offsets = match (job.head.full_applied, &self.shared.services.store) {
            (false, _) => None,
            (true, Some(store)) => Some(store.as_ref()),
            (true, None) => {
                return Err(ServeError::Precondition(
                    "this server cannot resolve epochs to offsets; ask without FULL_APPLIED"
                        .to_owned(),
                ));
            }
        };
        let started = Instant::now();
        let request = decode_batch(&job.data, &job.schema)?;
        let decoded = Instant::now();
        let reader = self.shared.services.reader.as_ref();
        let Answered {
            batch,
            provenance,
            mut memory,
        } = self
            .answerer
            .read(reader, &self.recorder, &request, job.at_us)?;
        let read = Instant::now();
        job.check_deadline()?;
        let meta = provenance.to_meta(job.head.request_id, offsets)?;
        // The message is a copy.
        memory.grow(batch.get_array_memory_size())?;
        let mut answer = encoder.batch(&batch)?;
        check_answer_size(answer.data_body.len())?;
        answer.app_metadata = encode_response_meta(&meta, job.head.encoding);
        let stages = &self.shared.stages;
        stages.decode.observe_duration(decoded - started);
        stages.lookup.observe_duration(read - decoded);
        stages.encode.observe_duration(read.elapsed());
        let rows = batch.num_rows();
        drop(batch);
        memory.shrink_to(answer.data_body.len());
        let answer = Outgoing {
            data: answer,
            _memory: Some(memory),
        };
        Ok((answer, rows))
    }

    /// Refuse a request in band, and record it.
    fn refuse(&self, head: &RequestHead, arrived: Instant, error: &ServeError) -> Step {
        Step::Answer(self.refused(head, arrived, error).into())
    }

    fn refused(&self, head: &RequestHead, arrived: Instant, error: &ServeError) -> FlightData {
        self.recorder.failed(arrived, error);
        self.refusal(head, error)
    }

    fn refusal(&self, head: &RequestHead, error: &ServeError) -> FlightData {
        let meta = v1::ResponseMeta {
            request_id: head.request_id,
            status: status_of(error).into(),
            message: error.words(),
            retry_after_ms: matches!(error, ServeError::Overload { .. }).then_some(RETRY_AFTER_MS),
            ..v1::ResponseMeta::default()
        };
        FlightData {
            app_metadata: encode_response_meta(&meta, head.encoding),
            ..self.empty.clone()
        }
    }
}

impl Job {
    fn check_deadline(&self) -> ServeResult<()> {
        match self.head.deadline_us {
            Some(deadline_us) if self.arrived.elapsed() >= Duration::from_micros(deadline_us) => {
                Err(ServeError::Deadline { deadline_us })
            }
            _ => Ok(()),
        }
    }
}
