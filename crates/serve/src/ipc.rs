//! Arrow IPC messages inside FlightData: hostile ones in, ours out.
//!
//! In: a message is looked at before it is decoded (kind, rows, columns, types, compression),
//! decoded behind a panic boundary (arrow 59 panics on some malformed schemas) and validated by
//! arrow. Dictionaries, nested types and compressed bodies are refused: a request row needs none of
//! them, and each can ask for more memory than it sends. Out: the plain encoder, 8-byte alignment,
//! one context a stream.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::{FlightData, SchemaAsIpc};
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_ipc::{MessageHeader, MetadataVersion, root_as_message};
use arrow_schema::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use forebay_core::limits::{REQUEST_MAX_BYTES, REQUEST_MAX_ROWS, RESPONSE_MAX_BYTES};

use crate::cells::too_many_rows;
use crate::error::{ServeError, ServeResult};

/// What a message is, from its header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// Nothing: a descriptor or metadata alone.
    Empty,
    /// A schema.
    Schema,
    /// A record batch with so many rows.
    Batch {
        /// As its header says.
        rows: usize,
    },
}

/// Look at a message's header.
pub(crate) fn kind_of(data: &FlightData) -> ServeResult<MessageKind> {
    if data.data_header.is_empty() {
        return Ok(MessageKind::Empty);
    }
    let message = root_as_message(&data.data_header)
        .map_err(|error| ServeError::Request(format!("the message is not Arrow IPC: {error}")))?;
    match message.header_type() {
        MessageHeader::Schema => Ok(MessageKind::Schema),
        MessageHeader::RecordBatch => {
            let batch = message
                .header_as_record_batch()
                .ok_or_else(|| ServeError::Request("the record batch has no header".to_owned()))?;
            if batch.compression().is_some() {
                return Err(ServeError::Request(
                    "the record batch is compressed; send batches without IPC compression"
                        .to_owned(),
                ));
            }
            let rows = usize::try_from(batch.length()).map_err(|_| {
                ServeError::Request(format!("the record batch claims {} rows", batch.length()))
            })?;
            if rows > REQUEST_MAX_ROWS {
                return Err(too_many_rows(rows));
            }
            Ok(MessageKind::Batch { rows })
        }
        MessageHeader::DictionaryBatch => Err(dictionaries_refused()),
        other => Err(ServeError::Request(format!(
            "an Arrow IPC message of kind {other:?} does not belong here"
        ))),
    }
}

/// Refuse a request message above the cap. The transport admits a little more, so that the refusal
/// can be in band.
pub(crate) fn check_request_size(data: &FlightData) -> ServeResult<()> {
    let bytes = data.data_header.len() + data.data_body.len() + data.app_metadata.len();
    if bytes <= REQUEST_MAX_BYTES {
        Ok(())
    } else {
        Err(message_too_large())
    }
}

fn dictionaries_refused() -> ServeError {
    ServeError::Request("dictionary columns are not accepted; send plain columns".to_owned())
}

/// Columns of an answer's schema that a client reads.
pub(crate) const ANSWER_MAX_COLUMNS: usize = 1 << 16;

/// Decode a schema message of at most `max_columns` columns of types that `takes` admits.
pub(crate) fn decode_schema(
    data: &FlightData,
    max_columns: usize,
    takes: fn(&DataType) -> bool,
) -> ServeResult<SchemaRef> {
    let message = root_as_message(&data.data_header)
        .map_err(|error| ServeError::Request(format!("the message is not Arrow IPC: {error}")))?;
    let columns = message
        .header_as_schema()
        .and_then(|s| s.fields())
        .map_or(0, |fields| fields.len());
    if columns > max_columns {
        return Err(ServeError::Limit {
            limit: "SOURCE_MAX_COLUMNS",
            message: format!("the schema has {columns} columns; send at most {max_columns}"),
        });
    }
    let schema = contained("schema", || Schema::try_from(data))?
        .map_err(|error| ServeError::Request(format!("the schema is malformed: {error}")))?;
    for field in schema.fields() {
        match field.data_type() {
            DataType::Dictionary(..) => return Err(dictionaries_refused()),
            other if !takes(other) => {
                return Err(ServeError::Request(format!(
                    "column {} has type {other}, which no request column can have",
                    field.name()
                )));
            }
            _ => {}
        }
    }
    Ok(Arc::new(schema))
}

/// Whether pushed rows and answers may have a column of this type: flat ones, and arrays of them
/// whose items do not share bytes.
pub(crate) fn is_flat_or_array(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_flat(item.data_type()) && *item.data_type() != DataType::Utf8View
        }
        other => is_flat(other),
    }
}

/// Whether the rows of a request may have a column of this type.
pub(crate) fn is_flat(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || data_type.is_temporal()
        || matches!(
            data_type,
            DataType::Null
                | DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
        )
}

/// Decode a record batch of `schema`.
pub(crate) fn decode_batch(data: &FlightData, schema: &SchemaRef) -> ServeResult<RecordBatch> {
    let decoded = contained("record batch", || {
        let message = root_as_message(&data.data_header).map_err(|error| {
            ServeError::Request(format!("the message is not Arrow IPC: {error}"))
        })?;
        let batch = message
            .header_as_record_batch()
            .ok_or_else(|| ServeError::Request("the record batch has no header".to_owned()))?;
        check_buffers(&batch, &data.data_body)?;
        check_views(&batch, schema, &data.data_body)?;
        let dictionaries = HashMap::new();
        let version = match message.version() {
            version @ (MetadataVersion::V4 | MetadataVersion::V5) => version,
            other => {
                return Err(ServeError::Request(format!(
                    "IPC metadata version {other:?} is not supported"
                )));
            }
        };
        let body = data.data_body.clone().into();
        RecordBatchDecoder::try_new(&body, batch, Arc::clone(schema), &dictionaries, &version)
            .and_then(RecordBatchDecoder::read_record_batch)
            .map_err(|error| {
                ServeError::Request(format!("the record batch does not fit its schema: {error}"))
            })
    });
    decoded?
}

/// Refuse buffers that lie over one another: columns that share bytes cost more to check than they
/// send.
fn check_buffers(batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> ServeResult<()> {
    let buffers = batch.buffers().into_iter().flatten();
    let bytes = buffers
        .map(|buffer| u64::try_from(buffer.length()).ok())
        .try_fold(0, |sum: u64, length| sum.checked_add(length?));
    if bytes.is_some_and(|bytes| bytes <= body.len() as u64) {
        return Ok(());
    }
    Err(ServeError::Request(format!(
        "the record batch is malformed: its buffers do not fit in its {} bytes",
        body.len()
    )))
}

/// Refuse texts whose values share bytes so often that they would be larger than any message once
/// spelled out.
fn check_views(
    batch: &arrow_ipc::RecordBatch<'_>,
    schema: &Schema,
    body: &[u8],
) -> ServeResult<()> {
    let Some(buffers) = batch.buffers() else {
        return Ok(()); // the decoder refuses that
    };
    let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
    let (mut next, mut bytes) = (0_usize, 0_u64);
    for field in schema.fields() {
        let own = match field.data_type() {
            DataType::List(_) | DataType::LargeList(_) => 2,
            DataType::FixedSizeList(..) => 1,
            _ => 0,
        };
        next = next.saturating_add(own);
        next = next.saturating_add(match item_of(field.data_type()) {
            DataType::Null => 0,
            DataType::Utf8 | DataType::LargeUtf8 => 3,
            DataType::Utf8View => {
                if next.saturating_add(1) < buffers.len() {
                    bytes = bytes.saturating_add(viewed_bytes(buffers.get(next + 1), body));
                }
                let Some(Ok(count)) = variadic.next().map(usize::try_from) else {
                    return Err(ServeError::Request(format!(
                        "the record batch is malformed: it does not say how many buffers the views \
                         of column {} have",
                        field.name()
                    )));
                };
                2_usize.saturating_add(count)
            }
            _ => 2,
        });
    }
    if bytes <= RESPONSE_MAX_BYTES as u64 {
        Ok(())
    } else {
        Err(message_too_large())
    }
}

/// The type of a column's items, or of the column that has none.
fn item_of(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type()
        }
        other => other,
    }
}

/// Bytes of all texts that a buffer of views names; a view begins with the length of its text.
fn viewed_bytes(views: &arrow_ipc::Buffer, body: &[u8]) -> u64 {
    const VIEW_BYTES: usize = 16;
    // A buffer that lies nowhere names nothing; the decoder refuses it.
    let (Ok(start), Ok(length)) = (
        usize::try_from(views.offset()),
        usize::try_from(views.length()),
    ) else {
        return 0;
    };
    let views = body
        .get(start..start.saturating_add(length))
        .unwrap_or_default();
    let lengths = views
        .chunks_exact(VIEW_BYTES)
        .map(|view| u32::from_le_bytes([view[0], view[1], view[2], view[3]]));
    lengths.map(u64::from).sum()
}

/// Run a decoder of untrusted bytes; its panic is the bytes' fault.
fn contained<T>(what: &str, decode: impl FnOnce() -> T) -> ServeResult<T> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| {
        ServeError::Request(format!(
            "the {what} is malformed: the decoder gave up on it"
        ))
    })
}

/// Encodes record batches of one stream.
pub(crate) struct Encoder {
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl Encoder {
    pub(crate) fn new() -> ServeResult<Self> {
        Ok(Self {
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            options: options()?,
            context: IpcWriteContext::default(),
        })
    }

    /// One record batch as one message.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> ServeResult<FlightData> {
        let (dictionaries, encoded) = self
            .generator
            .encode(
                batch,
                &mut self.dictionaries,
                &self.options,
                &mut self.context,
            )
            .map_err(|source| ServeError::Arrow {
                what: "the answer's message",
                source,
            })?;
        debug_assert!(dictionaries.is_empty(), "dictionaries are hydrated");
        Ok(encoded.into())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// The format needs 8 bytes; arrow's default of 64 would send eight times the values of a one-row
/// answer.
fn options() -> ServeResult<IpcWriteOptions> {
    IpcWriteOptions::try_new(8, false, MetadataVersion::V5).map_err(|source| ServeError::Arrow {
        what: "the IPC options",
        source,
    })
}

/// The schema message of a stream.
pub(crate) fn schema_message(schema: &Schema) -> ServeResult<FlightData> {
    Ok(SchemaAsIpc::new(schema, &options()?).into())
}

/// The schema as GetSchema, GetFlightInfo and ListFlights carry it (an encapsulated message).
pub(crate) fn schema_bytes(schema: &Schema) -> ServeResult<Bytes> {
    let result = arrow_flight::SchemaResult::try_from(SchemaAsIpc::new(schema, &options()?))
        .map_err(|source| ServeError::Arrow {
            what: "the schema message",
            source,
        })?;
    Ok(result.schema)
}

/// The error for a request message above the cap, when the transport found it.
pub(crate) fn message_too_large() -> ServeError {
    ServeError::Limit {
        limit: "REQUEST_MAX_BYTES",
        message: format!(
            "a message is larger than {REQUEST_MAX_BYTES} bytes; send fewer rows in each, or shorter texts"
        ),
    }
}

#[cfg(test)]
mod tests;
