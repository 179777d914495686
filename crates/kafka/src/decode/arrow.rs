//! Arrow: one Arrow IPC stream a record, with its schema and one row. Columns are found by their
//! names; those that no column of the source has are skipped without being decoded. One record is
//! one offset and so one row: a stream of none or of several is refused with their number.
//!
//! What comes is hostile until it is looked at: a schema may have so many fields and no more, its
//! description may not be larger than it is, buffers may not share bytes, and arrow's decoder runs
//! behind a panic boundary (arrow 59 panics on some malformed schemas) and validates. Dictionaries,
//! nested types other than arrays of flat items, and compressed bodies are refused where a column
//! of the source needs them: a row needs none of them, and each can ask for more memory than it
//! sends.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_ipc::{Endianness, Message, MessageHeader, MetadataVersion, convert};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use flatbuffers::VerifierOptions;
use forebay_core::cast::{epoch_unit, spread, too_many_items, whole_day};
use forebay_core::limits::{ARROW_RECORD_MAX_FIELDS, EVENT_MAX_BYTES, EVENT_MAX_DEPTH};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::time_text::Form;

use super::columns::{Claim, Column, Fields};
use super::reject::Reject;
use super::row::{RecordField, RowDecoder, without};
use crate::error::Error;

/// What stands before each message of a stream, and then its length, four bytes each.
const CONTINUATION: [u8; 4] = [0xff; 4];
const PREFIX_BYTES: usize = 8;
/// Tables that describe one field: itself, its type, its dictionary, a note or two.
const TABLES_A_FIELD: usize = 5;

/// Decodes Arrow IPC streams of one row.
#[derive(Debug, Default)]
struct ArrowRows {
    /// The schema of the record before: records of one producer have the same bytes.
    recent: Option<Recent>,
}

#[derive(Debug)]
struct Recent {
    bytes: Vec<u8>,
    schema: SchemaRef,
}

/// A decoder for the streams of `source`.
///
/// # Errors
/// [`Error::UnsupportedColumn`]: a column that is an object.
pub(super) fn open(source: &SourceDef) -> Result<Box<dyn RowDecoder>, Error> {
    without(source, |of| of.is_nested() && !is_array(of))?;
    Ok(Box::new(ArrowRows::default()))
}

impl RowDecoder for ArrowRows {
    fn decode(&mut self, payload: &[u8], fields: &mut Fields, row: usize) -> Result<(), Reject> {
        let stream = Stream::of(payload)?;
        let schema = self.schema(&stream)?;
        let row_of = stream.one_row()?;
        let columns = schema.fields().iter().enumerate();
        let is_wanted = |(place, field): &(usize, &FieldRef)| {
            is_taken(field.data_type()) && fields.takes(*place, field.name())
        };
        let wanted: Vec<usize> = columns.filter(is_wanted).map(|(place, _)| place).collect();
        let decoded = row_of.decode(&schema, &wanted)?;
        let mut values = wanted.iter().zip(decoded.columns()).peekable();
        for (place, field) in schema.fields().iter().enumerate() {
            let value = values.next_if(|(wanted, _)| **wanted == place);
            let claim = fields.claim(place, field.name(), row, Reject::twice_in_arrow)?;
            if let Claim::Fill(column) | Claim::FillOther(column) = claim {
                let column = fields.column_mut(column);
                let put = match value {
                    Some((_, value)) => put_cell(column, value.as_ref()),
                    None => {
                        Err(column.refuse(&format!("{}, which no column takes", field.data_type())))
                    }
                };
                fields.put(claim, row, put)?;
            }
        }
        fields.fill_absent(row)
    }

    fn fields(&mut self, payload: &[u8], _columns: &[&str]) -> Option<Vec<RecordField>> {
        let stream = Stream::of(payload).ok()?;
        let schema = self.schema(&stream).ok()?;
        let nulls = stream.one_row().ok()?.nulls(&schema)?;
        let fields = schema.fields().iter().zip(nulls);
        let told = fields.map(|(field, null)| RecordField {
            name: field.name().clone(),
            null,
        });
        Some(told.collect())
    }
}

impl ArrowRows {
    fn schema(&mut self, stream: &Stream<'_>) -> Result<SchemaRef, Reject> {
        if let Some(recent) = &self.recent
            && recent.bytes == stream.schema_bytes
        {
            return Ok(Arc::clone(&recent.schema));
        }
        let header = stream.schema.header_as_schema();
        let header = header.ok_or_else(|| Reject::not_arrow("the schema message has no schema"))?;
        let count = header.fields().map_or(0, |fields| fields.len());
        if count > ARROW_RECORD_MAX_FIELDS {
            return Err(Reject::not_arrow(format!(
                "the record has {count} columns, more than {ARROW_RECORD_MAX_FIELDS} (ARROW_RECORD_MAX_FIELDS)"
            )));
        }
        if header.endianness() != Endianness::Little {
            return Err(Reject::not_arrow(
                "the stream is big-endian; write it as little-endian",
            ));
        }
        let schema = contained("schema", || convert::fb_to_schema(header))?;
        let schema = Arc::new(schema);
        self.recent = Some(Recent {
            bytes: stream.schema_bytes.to_vec(),
            schema: Arc::clone(&schema),
        });
        Ok(schema)
    }
}

/// A stream whose messages are framed, and nothing more.
struct Stream<'a> {
    schema: Message<'a>,
    /// The bytes of its message.
    schema_bytes: &'a [u8],
    /// The messages behind it, each with its body.
    rest: Vec<(Message<'a>, &'a [u8])>,
}

impl<'a> Stream<'a> {
    fn of(payload: &'a [u8]) -> Result<Self, Reject> {
        let mut rest = payload;
        let first = next_message(&mut rest)?;
        let Some((schema, schema_bytes, _)) = first else {
            return Err(Reject::not_arrow("the stream ends before its schema"));
        };
        if schema.header_type() != MessageHeader::Schema {
            return Err(Reject::not_arrow(
                "the stream does not begin with its schema",
            ));
        }
        let mut messages = Vec::new();
        while let Some((message, _, body)) = next_message(&mut rest)? {
            messages.push((message, body));
        }
        Ok(Self {
            schema,
            schema_bytes,
            rest: messages,
        })
    }

    /// The batch of one row that the stream holds.
    fn one_row(&self) -> Result<OneRow<'a>, Reject> {
        let (mut rows, mut found) = (0_i64, None);
        for (message, body) in &self.rest {
            let batch = match message.header_type() {
                MessageHeader::RecordBatch => message.header_as_record_batch(),
                // Of columns that no row here takes; those that one would take are refused.
                MessageHeader::DictionaryBatch => continue,
                other => {
                    let problem = format!("a message of kind {other:?} does not belong here");
                    return Err(Reject::not_arrow(problem));
                }
            };
            let batch = batch.ok_or_else(|| Reject::not_arrow("a batch has no header"))?;
            rows = rows.saturating_add(batch.length().max(0));
            if batch.length() == 1 {
                found = Some(OneRow {
                    batch,
                    version: message.version(),
                    body,
                });
            }
        }
        match found {
            Some(found) if rows == 1 => Ok(found),
            _ => Err(Reject::not_one_row(format!("the record has {rows} rows"))),
        }
    }
}

/// The next message of a stream, its bytes and its body; None at the stream's end.
type Framed<'a> = (Message<'a>, &'a [u8], &'a [u8]);

fn next_message<'a>(rest: &mut &'a [u8]) -> Result<Option<Framed<'a>>, Reject> {
    let broken = |problem: &str| Reject::not_arrow(format!("{problem}; write an Arrow IPC stream"));
    if rest.is_empty() {
        return Ok(None);
    }
    let stream: &'a [u8] = rest;
    let Some((prefix, behind)) = stream.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(broken("the stream is cut short"));
    };
    let (marker, length) = (&prefix[..4], [prefix[4], prefix[5], prefix[6], prefix[7]]);
    if marker != CONTINUATION {
        return Err(broken("no message begins where one must"));
    }
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 {
        *rest = &[];
        let end = || broken("bytes stand behind the stream's end");
        return behind.is_empty().then_some(None).ok_or_else(end);
    }
    let cut = || broken("the stream is cut short");
    let (bytes, behind) = behind.split_at_checked(length).ok_or_else(cut)?;
    let limits = VerifierOptions {
        max_depth: 4 * EVENT_MAX_DEPTH,
        max_tables: TABLES_A_FIELD * ARROW_RECORD_MAX_FIELDS,
        // What is named twice is there once: the description is no tree that grows when it is read.
        max_apparent_size: 2 * EVENT_MAX_BYTES,
        ..VerifierOptions::default()
    };
    let message = arrow_ipc::root_as_message_with_opts(&limits, bytes).map_err(|error| {
        Reject::not_arrow(format!("a message is malformed: {}", first_line(&error)))
    })?;
    let body = usize::try_from(message.bodyLength()).map_err(|_| cut())?;
    let (body, behind) = behind.split_at_checked(body).ok_or_else(cut)?;
    *rest = behind;
    Ok(Some((message, bytes, body)))
}

/// The verifier tells its whole way behind the first line.
fn first_line(error: &impl ToString) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// A batch of one row.
struct OneRow<'a> {
    batch: arrow_ipc::RecordBatch<'a>,
    version: MetadataVersion,
    body: &'a [u8],
}

impl OneRow<'_> {
    /// The columns number `wanted` of the row, whose schema is `schema`.
    fn decode(&self, schema: &SchemaRef, wanted: &[usize]) -> Result<RecordBatch, Reject> {
        if self.batch.compression().is_some() {
            return Err(Reject::not_arrow(
                "the batch is compressed; write it without IPC compression",
            ));
        }
        let version = match self.version {
            version @ (MetadataVersion::V4 | MetadataVersion::V5) => version,
            other => {
                let problem = format!("IPC metadata version {other:?} is not supported; write V5");
                return Err(Reject::not_arrow(problem));
            }
        };
        let buffers = self.batch.buffers().into_iter().flatten();
        let bytes = buffers
            .map(|buffer| u64::try_from(buffer.length()).ok())
            .try_fold(0, |sum: u64, length| sum.checked_add(length?));
        if bytes.is_none_or(|bytes| bytes > self.body.len() as u64) {
            return Err(Reject::not_arrow(
                "the batch's buffers do not fit in its bytes",
            ));
        }
        // A copy: arrow wants its buffers aligned and kept alive.
        let (body, none) = (Buffer::from(self.body), HashMap::new());
        let decoded = contained("batch", || {
            RecordBatchDecoder::try_new(&body, self.batch, Arc::clone(schema), &none, &version)?
                .with_projection(Some(wanted))
                .read_record_batch()
        })?;
        decoded.map_err(|error| {
            Reject::not_arrow(format!(
                "the batch does not fit its schema: {}",
                first_line(&error)
            ))
        })
    }

    /// Whether each column of the row is NULL, as the batch's header says.
    fn nulls(&self, schema: &Schema) -> Option<Vec<bool>> {
        let nodes = self.batch.nodes()?;
        let mut next = 0;
        let null = |field: &Arc<arrow_schema::Field>| {
            let null = (next < nodes.len()).then(|| nodes.get(next).null_count() > 0);
            next += nodes_of(field.data_type());
            null
        };
        schema.fields().iter().map(null).collect()
    }
}

/// How many nodes of a batch's header a column of this type has: itself and what is inside.
fn nodes_of(data_type: &DataType) -> usize {
    let inner: usize = match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => nodes_of(field.data_type()),
        DataType::Struct(fields) => fields.iter().map(|f| nodes_of(f.data_type())).sum(),
        DataType::Union(fields, _) => fields.iter().map(|(_, f)| nodes_of(f.data_type())).sum(),
        DataType::RunEndEncoded(ends, values) => {
            nodes_of(ends.data_type()) + nodes_of(values.data_type())
        }
        _ => 0,
    };
    1 + inner
}

/// Run a decoder of untrusted bytes; its panic is the bytes' fault.
fn contained<T>(what: &str, decode: impl FnOnce() -> T) -> Result<T, Reject> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| {
        Reject::not_arrow(format!(
            "the {what} is malformed: the decoder gave up on it"
        ))
    })
}

/// Whether [`put_value`] takes a column of this type, into one type of column or another.
fn is_flat(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Null
            | DataType::Boolean
            | DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(..)
    ) || data_type.is_integer()
        || data_type.is_floating()
        || data_type.is_string()
}

/// Whether a column of this type is an array of flat items.
fn is_array(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            // Views name their bytes, and may name the same ones again and again.
            is_flat(item.data_type()) && *item.data_type() != DataType::Utf8View
        }
        _ => false,
    }
}

/// Whether [`put_cell`] takes a column of this type.
fn is_taken(data_type: &DataType) -> bool {
    is_flat(data_type) || is_array(data_type)
}

/// The one value of `array`, which may be an array, into `column`.
fn put_cell(column: &mut Column, array: &dyn Array) -> Result<(), Reject> {
    let Some((items, places)) = spread(array) else {
        return put_value(column, array);
    };
    let place = places.first().cloned().unwrap_or_default();
    if array.is_null(0) {
        return column.put_null();
    }
    if column.items().is_none() {
        return Err(column.refuse("an array"));
    }
    if let Some(words) = too_many_items(place.len()) {
        return Err(column.refuse(&words));
    }
    for item in place {
        if let Some(column) = column.items() {
            put_value(column, items.slice(item, 1).as_ref())?;
        }
    }
    column.end_items();
    Ok(())
}

/// The one value of `array` into `column`.
fn put_value(column: &mut Column, array: &dyn Array) -> Result<(), Reject> {
    fn one<T: ArrowPrimitiveType>(array: &dyn Array) -> T::Native {
        array.as_primitive::<T>().value(0)
    }
    if array.is_null(0) || array.data_type() == &DataType::Null {
        return column.put_null();
    }
    match array.data_type() {
        DataType::Boolean => column.put_boolean(array.as_boolean().value(0)),
        DataType::Int8 => column.put_integer(one::<Int8Type>(array).into()),
        DataType::Int16 => column.put_integer(one::<Int16Type>(array).into()),
        DataType::Int32 => column.put_integer(one::<Int32Type>(array).into()),
        DataType::Int64 => column.put_integer(one::<Int64Type>(array)),
        DataType::UInt8 => column.put_integer(one::<UInt8Type>(array).into()),
        DataType::UInt16 => column.put_integer(one::<UInt16Type>(array).into()),
        DataType::UInt32 => column.put_integer(one::<UInt32Type>(array).into()),
        DataType::UInt64 => column.put_unsigned(one::<UInt64Type>(array)),
        DataType::Float16 => column.put_double(one::<Float16Type>(array).into()),
        DataType::Float32 => column.put_double(one::<Float32Type>(array).into()),
        DataType::Float64 => column.put_double(one::<Float64Type>(array)),
        DataType::Utf8 => column.put_text(array.as_string::<i32>().value(0)),
        DataType::LargeUtf8 => column.put_text(array.as_string::<i64>().value(0)),
        DataType::Utf8View => column.put_text(array.as_string_view().value(0)),
        DataType::Date32 => column.put_day(Some(one::<Date32Type>(array).into())),
        DataType::Date64 => column.put_day(whole_day(one::<Date64Type>(array))),
        DataType::Timestamp(unit, zone) => {
            let count = match unit {
                TimeUnit::Second => one::<TimestampSecondType>(array),
                TimeUnit::Millisecond => one::<TimestampMillisecondType>(array),
                TimeUnit::Microsecond => one::<TimestampMicrosecondType>(array),
                TimeUnit::Nanosecond => one::<TimestampNanosecondType>(array),
            };
            put_timestamp(column, count, *unit, zone.is_some())
        }
        other => Err(column.refuse(&other.to_string())),
    }
}

fn put_timestamp(
    column: &mut Column,
    count: i64,
    unit: TimeUnit,
    zoned: bool,
) -> Result<(), Reject> {
    // Beyond 64 bits it is far beyond the year 9999, too.
    let (micros, cut) = epoch_unit(unit)
        .moment(count)
        .unwrap_or((Micros::MAX, false));
    column.put_moment(micros, Form { cut, zoned })
}

/// Each row of `batch` as a stream of its own.
///
/// # Errors
/// [`Error::UnsupportedColumn`]: a column that a record of this format cannot hold.
pub(super) fn encode(source: &SourceDef, batch: &RecordBatch) -> Result<Vec<Vec<u8>>, Error> {
    without(source, |of| of.is_nested() && !is_array(of))?;
    let schema = batch.schema();
    let known = |name: &str| source.columns.iter().any(|column| column.name == name);
    let places = schema.fields().iter().enumerate();
    let places: Vec<usize> = places
        .filter(|(_, field)| known(field.name()))
        .map(|(place, _)| place)
        .collect();
    let batch = batch
        .project(&places)
        .expect("places of the batch's own columns");
    if let Some(field) = batch
        .schema()
        .fields()
        .iter()
        .find(|f| !is_taken(f.data_type()))
    {
        return Err(Error::UnsupportedColumn {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
        });
    }
    let stream = |row: usize| {
        let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())
            .expect("memory takes a schema of such columns");
        writer
            .write(&batch.slice(row, 1))
            .expect("a row of this schema");
        writer
            .into_inner()
            .expect("memory takes the end of a stream")
    };
    Ok((0..batch.num_rows()).map(stream).collect())
}

#[cfg(test)]
mod tests;
