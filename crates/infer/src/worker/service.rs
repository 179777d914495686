//! The worker process's Flight service: `DoExchange` only. A stream is opened for one model
//! version; then batches come, are scored on blocking threads, as many at a time as there are
//! cores, and are answered in any order. The service keeps nothing of a batch once it is answered:
//! killing it loses nothing, because the server sends unanswered batches to another worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_flight::decode::{DecodedFlightData, DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::{FlightData, FlightDescriptor};
use forebay_core::ErrorKind;
use forebay_core::limits::{
    CONNECTION_MAX_STREAMS, EXCHANGE_MAX_IN_FLIGHT, WORKER_BATCH_MAX_ROWS, WORKER_MESSAGE_MAX_BYTES,
};
use forebay_proto::v1::{BatchMeta, WorkerOpen};
use forebay_telemetry::Metrics;
use futures::{Stream, StreamExt, stream};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, Streaming};

use super::protocol::{
    ANSWER_SCHEMA, EXCHANGE_PATH, Load, answer_message, checked, explained, schema_message,
    to_status,
};
use crate::device::probe_devices;
use crate::error::{InferError, Result};
use crate::model::{ModelState, ModelStore, ModelVersion, RawScores};
use crate::recorder::Recorder;

/// How long a client may take to say what the stream is for.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a leaving worker may finish what it has begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 flow-control windows.
const WINDOW_BYTES: u32 = 4 << 20;
/// Weight of the newest batch in the mean cost of a row.
const COST_WEIGHT: f64 = 0.2;

type Answers = mpsc::Sender<std::result::Result<FlightData, Status>>;

/// What a worker has to do at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkerLoad {
    /// Rows received and not yet answered.
    pub pending_rows: u64,
    /// Rows scored since the start.
    pub scored_rows: u64,
    /// Batches answered since the start, errors included.
    pub answered_batches: u64,
}

#[derive(Debug)]
struct Shared {
    store: Arc<ModelStore>,
    pending_rows: AtomicU64,
    scored_rows: AtomicU64,
    answered_batches: AtomicU64,
    /// One permit for each batch that may be scored at a time.
    scoring: Semaphore,
    draining: watch::Sender<bool>,
    recorder: Recorder,
}

/// The service, to be mounted on a listener or run by [`serve`].
#[derive(Debug, Clone)]
pub struct WorkerService {
    shared: Arc<Shared>,
}

impl WorkerService {
    /// Serves the READY models of `store`.
    #[must_use]
    pub fn new(store: Arc<ModelStore>) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            store,
            pending_rows: AtomicU64::new(0),
            scored_rows: AtomicU64::new(0),
            answered_batches: AtomicU64::new(0),
            scoring: Semaphore::new(cores),
            draining: watch::Sender::new(false),
            recorder: Recorder::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Tell `metrics` what is scored, from now on.
    pub fn record_to(&self, metrics: Arc<Metrics>) {
        self.shared.recorder.record_to(metrics);
    }

    /// Its load.
    #[must_use]
    pub fn load(&self) -> WorkerLoad {
        WorkerLoad {
            pending_rows: self.shared.pending_rows.load(Ordering::Relaxed),
            scored_rows: self.shared.scored_rows.load(Ordering::Relaxed),
            answered_batches: self.shared.answered_batches.load(Ordering::Relaxed),
        }
    }

    /// Models with states and reasons, devices, and load, as JSON.
    pub(super) fn status_json(&self) -> Vec<u8> {
        let models: Vec<_> = self
            .shared
            .store
            .states()
            .into_iter()
            .map(|(id, state)| {
                let reason = if let ModelState::Unavailable(reason) = &state { reason.as_str() } else { "" };
                serde_json::json!({"model": id.model, "version": id.version, "state": state.label(), "reason": reason})
            })
            .collect();
        let devices: Vec<_> = probe_devices()
            .into_iter()
            .map(|d| serde_json::json!({"device": d.device, "available": d.available, "reason": d.reason}))
            .collect();
        let load = self.load();
        let status = serde_json::json!({
            "models": models,
            "devices": devices,
            "pending_rows": load.pending_rows,
            "scored_rows": load.scored_rows,
            "answered_batches": load.answered_batches,
        });
        status.to_string().into_bytes()
    }

    /// Take no further batches; those that were begun are finished and their streams then end.
    pub fn drain(&self) {
        self.shared.draining.send_replace(true);
    }

    /// Check what a stream is opened for and start to answer it.
    async fn exchange(
        &self,
        mut inbound: Streaming<FlightData>,
    ) -> Result<ReceiverStream<StreamItem>> {
        let invalid = |what: String| InferError::worker(ErrorKind::InvalidArgument, what);
        if *self.shared.draining.borrow() {
            return Err(InferError::worker(
                ErrorKind::Unavailable,
                "this worker is draining; use another one",
            ));
        }
        let first = timeout(OPEN_TIMEOUT, inbound.message())
            .await
            .map_err(|_| {
                InferError::worker(
                    ErrorKind::DeadlineExceeded,
                    "the stream was not opened in 10 s",
                )
            })?
            .map_err(|status| {
                let words = explained(status).message().to_owned();
                invalid(format!("the opening message cannot be read: {words}"))
            })?
            .ok_or_else(|| invalid("the stream ended before it was opened".to_owned()))?;
        if !is_worker_path(first.flight_descriptor.as_ref()) {
            return Err(invalid(format!(
                "open the stream with a descriptor of type PATH and path [{EXCHANGE_PATH:?}]"
            )));
        }
        let open = WorkerOpen::decode(first.app_metadata.clone()).map_err(|e| {
            invalid(format!(
                "app_metadata of the first message is no WorkerOpen: {e}"
            ))
        })?;
        let version = self.shared.store.get(&open.model, open.version)?;
        version.check_fingerprint(&open.fingerprint)?;
        version.check_digest(&open.digest)?;
        let messages = stream::once(async { Ok(first) })
            .chain(inbound)
            .map(checked);
        let mut decoder = FlightDataDecoder::new(messages);
        match decoder.next().await {
            Some(Ok(DecodedFlightData {
                payload: DecodedPayload::Schema(schema),
                ..
            })) => version.check_schema(&schema)?,
            Some(Err(error)) => {
                return Err(invalid(format!(
                    "the schema of the features cannot be read: {error}"
                )));
            }
            _ => return Err(invalid("the first message carries no schema".to_owned())),
        }
        let (answers, outbound) = mpsc::channel(EXCHANGE_MAX_IN_FLIGHT);
        // The channel is empty, so this does not wait; a client that is gone already is noticed by
        // the loop.
        answers.send(Ok(schema_message(&ANSWER_SCHEMA))).await.ok();
        let stream = ExchangeStream {
            shared: Arc::clone(&self.shared),
            version,
            answers,
            us_per_row: Arc::new(AtomicU64::new(0)),
        };
        tokio::spawn(stream.run(decoder));
        Ok(ReceiverStream::new(outbound))
    }
}

type StreamItem = std::result::Result<FlightData, Status>;

fn is_worker_path(descriptor: Option<&FlightDescriptor>) -> bool {
    descriptor.is_some_and(|d| d.r#type() == DescriptorType::Path && d.path == [EXCHANGE_PATH])
}

/// One open stream.
#[derive(Debug, Clone)]
struct ExchangeStream {
    shared: Arc<Shared>,
    version: Arc<ModelVersion>,
    answers: Answers,
    /// Mean cost of a row of this model, the bits of an f64; 0 before the first batch.
    us_per_row: Arc<AtomicU64>,
}

impl ExchangeStream {
    /// Read batches until the client ends, breaks the protocol or is gone, or until the worker
    /// drains.
    async fn run(self, mut decoder: FlightDataDecoder) {
        let in_flight = Arc::new(Semaphore::new(EXCHANGE_MAX_IN_FLIGHT));
        let mut draining = self.shared.draining.subscribe();
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else {
                break;
            };
            let message = tokio::select! {
                message = decoder.next() => message,
                _ = draining.wait_for(|draining| *draining) => break,
                () = self.answers.closed() => break,
            };
            let arrived = Instant::now();
            let (meta, batch) = match message.map(read_batch) {
                Some(Ok(read)) => read,
                Some(Err(error)) => {
                    // Ignore the send error: the client disconnected.
                    self.answers.send(Err(to_status(&error))).await.ok();
                    break;
                }
                None => break,
            };
            let stream = self.clone();
            let rows = batch.num_rows() as u64;
            stream
                .shared
                .pending_rows
                .fetch_add(rows, Ordering::Relaxed);
            tokio::spawn(async move {
                let scored = stream.score(&meta, batch, arrived).await;
                stream
                    .shared
                    .pending_rows
                    .fetch_sub(rows, Ordering::Relaxed);
                stream.answer(meta.batch_id, &scored).await;
                drop(permit);
            });
        }
    }

    async fn score(
        &self,
        meta: &BatchMeta,
        batch: RecordBatch,
        arrived: Instant,
    ) -> Result<RawScores> {
        let rows = batch.num_rows();
        if rows > WORKER_BATCH_MAX_ROWS {
            let what = format!("a batch of {rows} rows");
            return Err(InferError::limit(
                what,
                "WORKER_BATCH_MAX_ROWS",
                WORKER_BATCH_MAX_ROWS,
            ));
        }
        let internal = |what: &str| InferError::worker(ErrorKind::Internal, what);
        let turn = self
            .shared
            .scoring
            .acquire()
            .await
            .map_err(|_| internal("the scoring queue is closed"))?;
        let wanted_for = Duration::from_micros(meta.deadline_us.unwrap_or(u64::MAX));
        if arrived.elapsed() >= wanted_for {
            let what = format!(
                "batch {} waited longer than its deadline of {wanted_for:?}",
                meta.batch_id
            );
            return Err(InferError::worker(ErrorKind::DeadlineExceeded, what));
        }
        self.shared.recorder.queued(arrived.elapsed());
        let version = Arc::clone(&self.version);
        let work = tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            let scored = version.score(&batch, 1);
            (scored, start.elapsed())
        });
        let (scored, took) = work
            .await
            .map_err(|_| internal("scoring failed; see the worker's log"))?;
        drop(turn);
        if rows > 0 && scored.is_ok() {
            self.shared
                .scored_rows
                .fetch_add(rows as u64, Ordering::Relaxed);
            self.shared
                .recorder
                .scored(&self.version.manifest().model, rows, took);
            self.observe(took.as_secs_f64() * 1e6 / rows as f64);
        }
        scored
    }

    fn observe(&self, us_per_row: f64) {
        let mean = |bits: u64| match f64::from_bits(bits) {
            0.0 => us_per_row,
            before => before + COST_WEIGHT * (us_per_row - before),
        };
        // Always Some, so it cannot fail.
        self.us_per_row
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
                Some(mean(bits).to_bits())
            })
            .ok();
    }

    async fn answer(&self, batch_id: u64, scored: &Result<RawScores>) {
        let load = Load {
            pending_rows: self.shared.pending_rows.load(Ordering::Relaxed),
            us_per_row: f64::from_bits(self.us_per_row.load(Ordering::Relaxed)),
        };
        let digest = self.version.digest();
        let message =
            answer_message(batch_id, digest, scored, load).map_err(|error| to_status(&error));
        self.shared.answered_batches.fetch_add(1, Ordering::Relaxed);
        // A client that is gone sends the batch to another worker.
        self.answers.send(message).await.ok();
    }
}

/// Metadata and rows of a batch message.
fn read_batch(
    message: std::result::Result<DecodedFlightData, FlightError>,
) -> Result<(BatchMeta, RecordBatch)> {
    let invalid = |what: String| InferError::worker(ErrorKind::InvalidArgument, what);
    let message = message.map_err(|e| invalid(format!("a message cannot be read: {e}")))?;
    let meta = BatchMeta::decode(message.inner.app_metadata)
        .map_err(|e| invalid(format!("app_metadata of a batch is no BatchMeta: {e}")))?;
    let DecodedPayload::RecordBatch(batch) = message.payload else {
        return Err(invalid(
            "after the first message only batches are expected".to_owned(),
        ));
    };
    if batch.num_rows() as u64 != u64::from(meta.rows) {
        return Err(invalid(format!(
            "batch {} says {} rows and has {}",
            meta.batch_id,
            meta.rows,
            batch.num_rows()
        )));
    }
    Ok((meta, batch))
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    address: SocketAddr,
    service: WorkerService,
    stop: watch::Sender<bool>,
    task: JoinHandle<std::result::Result<(), tonic::transport::Error>>,
}

impl WorkerHandle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The service, for its load.
    #[must_use]
    pub fn service(&self) -> &WorkerService {
        &self.service
    }

    /// Drain, then stop: batches that were begun are answered, at most for 30 s.
    ///
    /// # Errors
    /// The listener had failed.
    pub async fn shutdown(mut self) -> Result<()> {
        self.service.drain();
        self.stop.send_replace(true);
        let failed = |what: String| {
            InferError::worker(
                ErrorKind::Internal,
                format!("worker {}: {what}", self.address),
            )
        };
        match timeout(DRAIN_TIMEOUT, &mut self.task).await {
            Ok(Ok(result)) => result.map_err(|e| failed(e.to_string())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => {
                self.task.abort();
                Ok(())
            }
        }
    }

    /// Wait until it ends by itself, which is an error.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn join(self) -> Result<()> {
        let failed = |what: String| {
            InferError::worker(
                ErrorKind::Internal,
                format!("worker {}: {what}", self.address),
            )
        };
        self.task
            .await
            .map_err(|e| failed(e.to_string()))?
            .map_err(|e| failed(e.to_string()))
    }
}

/// Listen on `address` (port 0: any free one) and serve until the handle says stop or is dropped.
/// Call it inside a tokio runtime.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(address: SocketAddr, service: WorkerService) -> Result<WorkerHandle> {
    let failed = |source: std::io::Error| {
        InferError::worker(
            ErrorKind::Unavailable,
            format!(
                "cannot listen on {address}; choose a free port, or stop what uses it: {source}"
            ),
        )
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let flight = FlightServiceServer::new(service.clone())
        .max_decoding_message_size(WORKER_MESSAGE_MAX_BYTES)
        .max_encoding_message_size(WORKER_MESSAGE_MAX_BYTES);
    let (stop, mut stopped) = watch::channel(false);
    let server = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(CONNECTION_MAX_STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .add_service(flight);
    let task = tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
        // An error means that the handle was dropped: stop as well.
        stopped.wait_for(|stop| *stop).await.ok();
    }));
    tracing::info!(%address, "worker serves");
    Ok(WorkerHandle {
        address,
        service,
        stop,
        task,
    })
}

/// The answers of one stream, as the Flight trait wants them.
pub(super) type AnswerStream = std::pin::Pin<Box<dyn Stream<Item = StreamItem> + Send>>;

impl WorkerService {
    /// `DoExchange` for `flight.rs`.
    pub(super) async fn open_exchange(
        &self,
        inbound: Streaming<FlightData>,
    ) -> std::result::Result<AnswerStream, Status> {
        match self.exchange(inbound).await {
            Ok(answers) => Ok(answers.boxed()),
            Err(error) => Err(to_status(&error)),
        }
    }
}
