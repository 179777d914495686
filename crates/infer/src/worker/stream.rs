//! The server's end of one exchange: batches go out with an id, answers come back in any order and
//! find their question by that id. When the stream ends or breaks, every open question gets
//! [`Outcome::Lost`], and the pool asks another worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_schema::Schema;
use forebay_core::ErrorKind;
use forebay_core::limits::{EXCHANGE_MAX_IN_FLIGHT, WORKER_MESSAGE_MAX_BYTES};
use forebay_core::ports::Scores;
use forebay_core::time::whole_us;
use forebay_proto::v1::{AnswerMeta, BatchMeta};
use futures::StreamExt;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::balance::Candidate;
use super::protocol::{Expected, batch_message, checked, kind_of, open_message, read_scores};
use crate::error::{InferError, Result};
use crate::model::ModelId;

/// Weight of the newest answer in the mean overhead of a batch.
const OVERHEAD_WEIGHT: f64 = 0.2;

/// What became of one batch on one worker.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was scored.
    Scored(Scores),
    /// The worker answered with an error.
    Refused(InferError),
    /// No answer will come: the stream is gone, and why.
    Lost(String),
}

#[derive(Debug)]
struct Question {
    rows: usize,
    sent: Instant,
    answer: oneshot::Sender<Outcome>,
}

#[derive(Debug, Default)]
struct Open {
    questions: HashMap<u64, Question>,
    /// Set once, when the stream is gone.
    lost: Option<String>,
}

/// What reader and askers share; the reader must not keep the sending half alive.
#[derive(Debug)]
struct Shared {
    expected: Expected,
    open: Mutex<Open>,
    in_flight_rows: AtomicU64,
    reported_pending_rows: AtomicU64,
    /// Bits of f64, as reported.
    us_per_row: AtomicU64,
    /// Bits of f64, as observed here.
    fixed_us: AtomicU64,
    /// When this worker last had a question: since then its figures fade.
    asked: Mutex<Instant>,
    /// Told whenever credit comes back or the stream is lost.
    freed: Arc<Notify>,
}

/// One exchange with one worker for one model version.
#[derive(Debug)]
pub(super) struct WorkerStream {
    outgoing: mpsc::Sender<FlightData>,
    next_id: AtomicU64,
    shared: Arc<Shared>,
}

impl WorkerStream {
    /// Open an exchange over `channel`; the worker has then accepted model, fingerprint and schema.
    /// Spawns the reader on the current runtime.
    pub(super) async fn open(
        channel: Channel,
        id: &ModelId,
        expected: Expected,
        schema: &Schema,
        freed: Arc<Notify>,
    ) -> Result<Self> {
        let (outgoing, messages) = mpsc::channel(EXCHANGE_MAX_IN_FLIGHT);
        // The channel is empty, so this does not wait.
        outgoing
            .send(open_message(id, &expected, schema))
            .await
            .ok();
        let mut client = FlightServiceClient::new(channel)
            .max_decoding_message_size(WORKER_MESSAGE_MAX_BYTES)
            .max_encoding_message_size(WORKER_MESSAGE_MAX_BYTES);
        let answers = client
            .do_exchange(ReceiverStream::new(messages))
            .await
            .map_err(|status| {
                InferError::worker(kind_of(status.code().into()), status.message())
            })?;
        let shared = Arc::new(Shared {
            expected,
            open: Mutex::default(),
            in_flight_rows: AtomicU64::new(0),
            reported_pending_rows: AtomicU64::new(0),
            us_per_row: AtomicU64::new(0),
            fixed_us: AtomicU64::new(0),
            asked: Mutex::new(Instant::now()),
            freed,
        });
        let decoder = FlightDataDecoder::new(answers.into_inner().map(checked));
        tokio::spawn(read_answers(Arc::clone(&shared), decoder));
        Ok(Self {
            outgoing,
            next_id: AtomicU64::new(1),
            shared,
        })
    }

    /// Whether answers can still come.
    pub(super) fn is_open(&self) -> bool {
        self.shared.open.lock().lost.is_none()
    }

    /// What the choice of a worker needs to know.
    pub(super) fn candidate(&self) -> Candidate {
        let shared = &self.shared;
        let in_flight_rows = shared.in_flight_rows.load(Ordering::Relaxed);
        let idle = if in_flight_rows == 0 {
            shared.asked.lock().elapsed()
        } else {
            Duration::ZERO
        };
        let measured = Candidate {
            pending_rows: in_flight_rows.max(shared.reported_pending_rows.load(Ordering::Relaxed)),
            in_flight_rows,
            us_per_row: f64::from_bits(shared.us_per_row.load(Ordering::Relaxed)),
            fixed_us: f64::from_bits(shared.fixed_us.load(Ordering::Relaxed)),
        };
        measured.faded(idle)
    }

    /// Send `batch` and wait for its answer, at most `patience`; after that the worker counts as
    /// lost for it.
    pub(super) async fn score(&self, batch: &RecordBatch, patience: Duration) -> Outcome {
        let rows = batch.num_rows();
        let batch_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let meta = BatchMeta {
            batch_id,
            deadline_us: Some(whole_us(patience)),
            rows: u32::try_from(rows).expect("a batch has at most WORKER_BATCH_MAX_ROWS"),
        };
        let message = match batch_message(batch, &meta) {
            Ok(message) => message,
            Err(error) => return Outcome::Refused(error),
        };
        let (sender, receiver) = oneshot::channel();
        let asked = match Asked::new(&self.shared, batch_id, rows, sender) {
            Ok(asked) => asked,
            Err(reason) => return Outcome::Lost(reason),
        };
        let exchange = async {
            match self.outgoing.send(message).await {
                Ok(()) => receiver
                    .await
                    .unwrap_or_else(|_| Outcome::Lost("the stream ended".to_owned())),
                Err(_) => Outcome::Lost("the stream ended".to_owned()),
            }
        };
        let outcome = timeout(patience, exchange).await;
        drop(asked);
        outcome.unwrap_or_else(|_| Outcome::Lost(format!("no answer in {patience:?}")))
    }
}

/// A question that is open; dropping it gives its credit back, also when the caller gives up.
struct Asked<'a> {
    shared: &'a Shared,
    batch_id: u64,
    rows: u64,
}

impl<'a> Asked<'a> {
    fn new(
        shared: &'a Shared,
        batch_id: u64,
        rows: usize,
        answer: oneshot::Sender<Outcome>,
    ) -> std::result::Result<Self, String> {
        let mut open = shared.open.lock();
        if let Some(reason) = &open.lost {
            return Err(reason.clone());
        }
        open.questions.insert(
            batch_id,
            Question {
                rows,
                sent: Instant::now(),
                answer,
            },
        );
        shared
            .in_flight_rows
            .fetch_add(rows as u64, Ordering::Relaxed);
        Ok(Self {
            shared,
            batch_id,
            rows: rows as u64,
        })
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.shared.open.lock().questions.remove(&self.batch_id);
        *self.shared.asked.lock() = Instant::now();
        self.shared
            .in_flight_rows
            .fetch_sub(self.rows, Ordering::Relaxed);
        self.shared.freed.notify_waiters();
    }
}

/// Hand answers to their questions until the stream is over, then tell the remaining ones.
async fn read_answers(shared: Arc<Shared>, mut decoder: FlightDataDecoder) {
    let reason = loop {
        match decoder.next().await {
            None => break "the worker ended the stream".to_owned(),
            Some(Err(error)) => break error.to_string(),
            Some(Ok(message)) => {
                let DecodedPayload::RecordBatch(batch) = message.payload else {
                    continue;
                };
                match AnswerMeta::decode(message.inner.app_metadata) {
                    Ok(meta) => shared.deliver(&meta, &batch),
                    Err(error) => {
                        break format!("app_metadata of an answer is no AnswerMeta: {error}");
                    }
                }
            }
        }
    };
    let mut open = shared.open.lock();
    for (_, question) in open.questions.drain() {
        // Ignore the send error: the pool has given the question up.
        question.answer.send(Outcome::Lost(reason.clone())).ok();
    }
    open.lost = Some(reason);
    drop(open);
    shared.freed.notify_waiters();
}

impl Shared {
    fn deliver(&self, meta: &AnswerMeta, batch: &RecordBatch) {
        self.reported_pending_rows
            .store(meta.pending_rows, Ordering::Relaxed);
        if meta.us_per_row.is_finite() && meta.us_per_row >= 0.0 {
            self.us_per_row
                .store(meta.us_per_row.to_bits(), Ordering::Relaxed);
        }
        // An answer that nobody waits for any more was scored elsewhere after a timeout: the same
        // numbers.
        let Some(question) = self.open.lock().questions.remove(&meta.batch_id) else {
            return;
        };
        let outcome = if meta.status == 0 {
            let read = self
                .check_digest(&meta.digest)
                .and_then(|()| read_scores(batch, question.rows));
            match read {
                Ok(scores) => {
                    self.observe(&question, meta.us_per_row);
                    Outcome::Scored(scores)
                }
                Err(what) => Outcome::Lost(what),
            }
        } else {
            let kind = status_kind(meta.status);
            Outcome::Refused(InferError::worker(kind, meta.message.as_str()))
        };
        question.answer.send(outcome).ok();
    }

    /// Scores of other files under the same version are another model's.
    fn check_digest(&self, answered: &str) -> std::result::Result<(), String> {
        let expected = self.expected.digest.as_str();
        if expected.is_empty() || answered == expected {
            return Ok(());
        }
        Err(format!(
            "it scored with the version of digest {answered:?}, and this server has {expected}: give both the same version directory"
        ))
    }

    /// The part of the round trip that the rows do not explain.
    fn observe(&self, question: &Question, us_per_row: f64) {
        let took_us = question.sent.elapsed().as_secs_f64() * 1e6;
        let overhead = (took_us - us_per_row * question.rows as f64).max(0.0);
        let before = f64::from_bits(self.fixed_us.load(Ordering::Relaxed));
        let mean = if before == 0.0 {
            overhead
        } else {
            before + OVERHEAD_WEIGHT * (overhead - before)
        };
        self.fixed_us.store(mean.to_bits(), Ordering::Relaxed);
    }
}

/// In an answer INTERNAL is the worker's own word, not the transport's.
fn status_kind(code: i32) -> ErrorKind {
    if code == ErrorKind::Internal.grpc_code() {
        ErrorKind::Internal
    } else {
        kind_of(code)
    }
}
