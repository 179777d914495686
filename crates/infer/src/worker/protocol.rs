//! What travels in one `DoExchange` between server and worker, as Flight messages:
//! `proto/forebay/v1/worker.proto` says what the metadata means; this file turns batches, scores
//! and errors into messages and back. Both ends use it.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, Float64Array, RecordBatch};
use arrow_flight::error::{FlightError, Result as FlightResult};
use arrow_flight::{FlightData, FlightDescriptor, SchemaAsIpc};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::ErrorKind;
use forebay_core::limits::WORKER_MESSAGE_MAX_BYTES;
use forebay_core::ports::Scores;
use forebay_proto::v1::{AnswerMeta, AnswerStatus, BatchMeta, WorkerOpen};
use prost::Message;

use crate::error::{InferError, Result};
use crate::ipc::check_header;
use crate::model::{ModelId, RawScores};

/// Path of the descriptor that opens the exchange.
pub(super) const EXCHANGE_PATH: &str = "worker";

/// Schema of every answer.
pub(super) static ANSWER_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let double = |name: &str| Field::new(name, DataType::Float64, false);
    Arc::new(Schema::new(vec![double("margin"), double("score")]))
});

/// What this end knows of a model version that a worker must agree with; empty where it is not
/// known.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// Of the service that the features come from.
    pub(super) fingerprint: String,
    /// Of the version's files.
    pub(super) digest: String,
}

/// The first message of a client: schema of the features, and the model.
pub(super) fn open_message(id: &ModelId, expected: &Expected, schema: &Schema) -> FlightData {
    let open = WorkerOpen {
        model: id.model.clone(),
        version: id.version,
        fingerprint: expected.fingerprint.clone(),
        digest: expected.digest.clone(),
    };
    schema_message(schema)
        .with_descriptor(FlightDescriptor::new_path(vec![EXCHANGE_PATH.to_owned()]))
        .with_app_metadata(open.encode_to_vec())
}

/// A schema as a Flight message.
pub(super) fn schema_message(schema: &Schema) -> FlightData {
    SchemaAsIpc::new(schema, &IpcWriteOptions::default()).into()
}

/// A batch to score. `schema` has no dictionary types: a stream of features never has them.
pub(super) fn batch_message(batch: &RecordBatch, meta: &BatchMeta) -> Result<FlightData> {
    Ok(record_message(batch)?.with_app_metadata(meta.encode_to_vec()))
}

/// A message from the other end that is safe to decode: refused before the decoder sees it
/// otherwise.
pub(super) fn checked(
    message: std::result::Result<FlightData, tonic::Status>,
) -> FlightResult<FlightData> {
    let message = message.map_err(explained)?;
    check_header(&message.data_header).map_err(FlightError::DecodeError)?;
    Ok(message)
}

fn record_message(batch: &RecordBatch) -> Result<FlightData> {
    let (dictionaries, encoded) = IpcDataGenerator::default()
        .encode(
            batch,
            &mut DictionaryTracker::new(false),
            &IpcWriteOptions::default(),
            &mut IpcWriteContext::default(),
        )
        .map_err(|e| {
            InferError::worker(ErrorKind::Internal, format!("encoding a batch failed: {e}"))
        })?;
    if dictionaries.is_empty() {
        Ok(encoded.into())
    } else {
        let text = "features of dictionary types cannot be sent to a worker; cast them to VARCHAR";
        Err(InferError::worker(ErrorKind::InvalidArgument, text))
    }
}

/// What a worker says of its load in each answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Load {
    pub(super) pending_rows: u64,
    pub(super) us_per_row: f64,
}

/// The answer to one batch by the version of `digest`: scores, or an error with zero rows.
pub(super) fn answer_message(
    batch_id: u64,
    digest: &str,
    scored: &Result<RawScores>,
    load: Load,
) -> Result<FlightData> {
    let (status, message, scores) = match scored {
        Ok(scores) => (AnswerStatus::Ok, String::new(), scores.clone()),
        Err(error) => (
            status_of(error.kind()),
            error.to_string(),
            RawScores::default(),
        ),
    };
    let column = |values: &[f32]| {
        Arc::new(
            values
                .iter()
                .map(|v| Some(f64::from(*v)))
                .collect::<Float64Array>(),
        )
    };
    let batch = RecordBatch::try_new(
        Arc::clone(&ANSWER_SCHEMA),
        vec![column(&scores.margin), column(&scores.score)],
    )
    .map_err(|e| {
        InferError::worker(
            ErrorKind::Internal,
            format!("building an answer failed: {e}"),
        )
    })?;
    let meta = AnswerMeta {
        batch_id,
        status: status.into(),
        message,
        pending_rows: load.pending_rows,
        us_per_row: load.us_per_row,
        digest: digest.to_owned(),
    };
    Ok(record_message(&batch)?.with_app_metadata(meta.encode_to_vec()))
}

/// The scores in an answer's batch, which must be as long as the question. None is NaN: a sum of
/// finite leaves is a number.
pub(super) fn read_scores(batch: &RecordBatch, rows: usize) -> std::result::Result<Scores, String> {
    let column = |name: &str| {
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| format!("the answer has no column {name}"))?;
        let values = column
            .as_primitive_opt::<Float64Type>()
            .filter(|values| values.null_count() == 0 && values.len() == rows)
            .ok_or_else(|| format!("column {name} of the answer is not {rows} doubles"))?;
        if values.values().iter().any(|value| value.is_nan()) {
            return Err(format!("column {name} of the answer has a NaN"));
        }
        Ok::<_, String>(values.values().to_vec())
    };
    Ok(Scores {
        margin: column("margin")?,
        score: column("score")?,
    })
}

fn status_of(kind: ErrorKind) -> AnswerStatus {
    AnswerStatus::try_from(kind.grpc_code())
        .expect("the proto has gRPC's numbers for every kind of error")
}

/// A status of the transport: it refuses a message above the limit before any of our code sees it,
/// and gives the sizes alone.
pub(super) fn explained(status: tonic::Status) -> tonic::Status {
    let words = status.message();
    if status.code() != tonic::Code::OutOfRange || !words.contains("message length too large") {
        return status;
    }
    let words = format!(
        "{words} (WORKER_MESSAGE_MAX_BYTES, {WORKER_MESSAGE_MAX_BYTES} bytes between server and \
         worker); give the model features of shorter text"
    );
    tonic::Status::out_of_range(words)
}

/// The kind of a status or gRPC code.
pub(super) fn kind_of(code: i32) -> ErrorKind {
    match code {
        3 => ErrorKind::InvalidArgument,
        4 => ErrorKind::DeadlineExceeded,
        5 => ErrorKind::NotFound,
        6 => ErrorKind::AlreadyExists,
        8 => ErrorKind::ResourceExhausted,
        9 => ErrorKind::FailedPrecondition,
        11 => ErrorKind::OutOfRange,
        15 => ErrorKind::DataLoss,
        // Unknown, cancelled, internal, unavailable: the transport's words for a worker that is
        // gone.
        _ => ErrorKind::Unavailable,
    }
}

/// An error as gRPC status.
pub(super) fn to_status(error: &InferError) -> tonic::Status {
    tonic::Status::new(
        tonic::Code::from(error.kind().grpc_code()),
        error.to_string(),
    )
}
