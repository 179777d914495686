//! DoPut: events pushed into a source. Rows are checked against the source's schema, handed to the
//! sink (which produces them to the source's topic) and acknowledged batch by batch, after the
//! broker has them. A row that the schema refuses is named in the acknowledgement and not produced;
//! the other rows of its batch are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use arrow_schema::SchemaRef;
use forebay_core::domain::Domain;
use forebay_core::limits::SOURCE_MAX_COLUMNS;
use forebay_core::source::SourceDef;
use forebay_core::value::Value;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_proto::v1;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::exchange::{first_message, shut_down};
use super::shared::{Answers, Shared};
use crate::columns::{Owner, declared};
use crate::error::{ServeError, ServeResult};
use crate::ipc::{
    MessageKind, check_request_size, decode_batch, decode_schema, is_flat_or_array, kind_of,
};
use crate::phase::{Phase, reached};
use crate::ports::{EventSink, PushReceipt};
use crate::receive::{Messages, Received};
use crate::recorder::Recorder;
use crate::ticket::{Encoding, encode_push_ack, parse_json, parse_push_meta, status_of};

/// Acknowledgements that wait for a client that does not read them; then its batches are not read
/// either.
const ACKS_QUEUED: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPushRequest {
    source: String,
}

/// One push.
struct Push {
    shared: Arc<Shared>,
    sink: Arc<dyn EventSink>,
    source: Arc<SourceDef>,
    recorder: Recorder,
    schema: Option<SchemaRef>,
    encoding: Encoding,
    next_id: u64,
}

/// Take a stream of batches; the answers are one acknowledgement a batch.
pub(super) async fn do_put(
    shared: Arc<Shared>,
    mut input: Messages,
) -> Result<Answers<PutResult>, Status> {
    let mut first = first_message(&mut input).await?;
    let mut push = Push::open(&shared, first.data.flight_descriptor.take())?;
    let (acks, queue) = mpsc::channel(ACKS_QUEUED);
    let mut stopping = Box::pin(reached(&shared.phase, Phase::Stopping));
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(message) = next {
            // Its memory is held until its rows are with the broker.
            let Received { mut data, memory } = message;
            data.flight_descriptor = None;
            let taken = push.take(data).await;
            drop(memory);
            match taken {
                Ok(None) => {}
                Ok(Some(ack)) => {
                    if acks.send(Ok(ack)).await.is_err() {
                        return; // the client went away; what was produced stays produced
                    }
                }
                Err(error) => {
                    drop(acks.send(Err(error.to_status())).await);
                    return;
                }
            }
            let message = tokio::select! {
                message = input.next() => message,
                () = &mut stopping => Err(shut_down()),
            };
            next = match message {
                Ok(next) => next,
                Err(status) => {
                    drop(acks.send(Err(status)).await);
                    return;
                }
            };
        }
    });
    Ok(Box::pin(ReceiverStream::new(queue)))
}

impl Push {
    fn open(shared: &Arc<Shared>, descriptor: Option<FlightDescriptor>) -> ServeResult<Self> {
        let descriptor = descriptor.ok_or_else(|| {
            ServeError::Request(
                "the first message of a push has no descriptor; use the path [source, NAME]"
                    .to_owned(),
            )
        })?;
        let (name, encoding) = match (descriptor.r#type(), descriptor.path.as_slice()) {
            (DescriptorType::Path, [kind, name]) if kind == "source" => {
                (name.clone(), Encoding::Json)
            }
            (DescriptorType::Cmd, _) if Encoding::of(&descriptor.cmd) == Encoding::Json => {
                let request: JsonPushRequest =
                    parse_json("descriptor command", "a push request", &descriptor.cmd)?;
                (request.source, Encoding::Json)
            }
            _ => {
                return Err(ServeError::Request(
                    "a push names its source by the path [source, NAME] or the command {\"source\": NAME}".to_owned(),
                ));
            }
        };
        let sink = shared.services.sink.as_ref().ok_or_else(|| {
            ServeError::Precondition(
                "this server takes no pushed events; produce them to the source's topic".to_owned(),
            )
        })?;
        let source = sink.source(&name)?;
        let recorder = Recorder::new(&shared.services.metrics, "DoPut", &source.name);
        Ok(Self {
            shared: Arc::clone(shared),
            sink: Arc::clone(sink),
            source,
            recorder,
            schema: None,
            encoding,
            next_id: 0,
        })
    }

    /// Take one message; an acknowledgement for each batch. An error ends the push.
    async fn take(&mut self, data: FlightData) -> ServeResult<Option<PutResult>> {
        let arrived = Instant::now();
        match kind_of(&data)? {
            MessageKind::Empty => return Ok(None),
            MessageKind::Schema => {
                self.schema = Some(decode_schema(&data, SOURCE_MAX_COLUMNS, is_flat_or_array)?);
                return Ok(None);
            }
            MessageKind::Batch { .. } => {}
        }
        let meta = parse_push_meta(&data.app_metadata)?;
        let (batch_id, encoding) = meta.unwrap_or((self.next_id, self.encoding));
        self.next_id = batch_id.wrapping_add(1);
        let ack = match self.produce(&data).await {
            Ok(ack) => {
                let rows = usize::try_from(ack.rows).expect("they were in memory");
                self.recorder.answered(arrived, rows);
                v1::PushAck { batch_id, ..ack }
            }
            Err(error) => {
                self.recorder.failed(arrived, &error);
                let status = status_of(&error).into();
                v1::PushAck {
                    batch_id,
                    status,
                    message: error.words(),
                    ..v1::PushAck::default()
                }
            }
        };
        Ok(Some(PutResult {
            app_metadata: encode_push_ack(&ack, encoding),
        }))
    }

    async fn produce(&self, data: &FlightData) -> ServeResult<v1::PushAck> {
        check_request_size(data)?;
        let schema = self.schema.as_ref().ok_or_else(|| {
            ServeError::Request(
                "a batch came before the schema; send the schema message first".to_owned(),
            )
        })?;
        let rows = decode_batch(data, schema)?;
        let conform = || conform(&rows, &self.source);
        let (rows, refused) = catch_unwind(AssertUnwindSafe(conform)).map_err(|_| {
            self.recorder.panicked();
            ServeError::Port(PortError::internal(
                "checking the rows panicked; see the server's log",
            ))
        })??;
        let produced = rows.num_rows() as u64;
        let receipt = if produced == 0 {
            PushReceipt::default()
        } else {
            self.push(rows).await?
        };
        let offsets = receipt
            .next_offsets
            .into_iter()
            .map(|(partition, next_offset)| v1::AppliedPartition {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                next_offset,
            });
        Ok(v1::PushAck {
            rows: produced,
            offsets: offsets.collect(),
            refused,
            ..v1::PushAck::default()
        })
    }

    async fn push(&self, rows: RecordBatch) -> PortResult<PushReceipt> {
        let (sink, source) = (Arc::clone(&self.sink), Arc::clone(&self.source));
        let receipt = self
            .shared
            .on_control(async move { sink.push(&source, rows).await });
        let words = tokio::select! {
            receipt = receipt => match receipt {
                Some(receipt) => return receipt,
                None => {
                    self.recorder.panicked();
                    "the push was given up: whether the rows were produced is unknown; see the \
                     server's log"
                }
            },
            // A connection that is cut would look as if nothing had been sent.
            () = reached(&self.shared.phase, Phase::Stopping) => {
                "the server stops before the brokers have answered: whether the rows were produced \
                 is unknown; look before they are sent again"
            }
        };
        Err(PortError::new(ErrorKind::MaybeWritten, words))
    }
}

/// Refuse the rows whose value `domain`, the declared type of column `name`, does not admit: as a
/// record each would be a dead letter.
fn refuse_outside(
    domain: Domain,
    name: &str,
    array: &ArrayRef,
    refused: &mut [Option<String>],
) -> ServeResult<()> {
    for (row, refusal) in refused.iter_mut().enumerate() {
        let value = Value::from_array(array, row)?;
        if let Err(found) = domain.admit(value) {
            refusal.get_or_insert_with(|| format!("column {name} is {domain}, but has {found}"));
        }
    }
    Ok(())
}

/// The rows in the source's schema without those that it refuses, and which those are.
fn conform(
    rows: &RecordBatch,
    source: &SourceDef,
) -> ServeResult<(RecordBatch, Vec<v1::RefusedRow>)> {
    let owner = Owner::Source(&source.name);
    if let Some(field) = rows
        .schema_ref()
        .fields()
        .iter()
        .find(|f| !source.columns.iter().any(|c| c.name == *f.name()))
    {
        return Err(ServeError::Request(format!(
            "{owner} has no column {}",
            field.name()
        )));
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(source.columns.len());
    let mut refused: Vec<Option<String>> = vec![None; rows.num_rows()];
    for column in &source.columns {
        let absent = column.nullable && rows.column_by_name(&column.name).is_none();
        let array = if absent {
            new_null_array(&column.data_type, rows.num_rows())
        } else {
            declared(rows, column, owner)?
        };
        if !column.nullable && array.null_count() > 0 {
            for (row, refusal) in refused.iter_mut().enumerate() {
                if array.is_null(row) {
                    let name = &column.name;
                    refusal.get_or_insert_with(|| {
                        format!("column {name} is NULL, but is declared NOT NULL")
                    });
                }
            }
        }
        if let Some(domain) = source.domains.get(&column.name) {
            refuse_outside(*domain, &column.name, &array, &mut refused)?;
        }
        columns.push(array);
    }
    let kept: BooleanArray = refused
        .iter()
        .map(|refusal| Some(refusal.is_none()))
        .collect();
    let kept_columns: Vec<ArrayRef> = columns
        .iter()
        .map(|array| arrow_select::filter::filter(array, &kept))
        .collect::<Result<_, _>>()
        .map_err(|source| ServeError::Arrow {
            what: "the rows to produce",
            source,
        })?;
    let rows = RecordBatch::try_new(source.schema(), kept_columns).map_err(|source| {
        ServeError::Arrow {
            what: "the rows to produce",
            source,
        }
    })?;
    let refused = refused
        .into_iter()
        .enumerate()
        .filter_map(|(row, refusal)| {
            refusal.map(|reason| v1::RefusedRow {
                row: row as u64,
                reason,
            })
        });
    Ok((rows, refused.collect()))
}
