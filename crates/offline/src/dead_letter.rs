//! The dead-letter table: every record that could not become a row, with its key, its headers, its
//! raw bytes, and why. `kafka` finds them, `pipeline` carries them and appends what
//! [`dead_letter_batch`] makes; `forebay dead-letters` reads them back by [`stored_letters`],
//! people with any Delta reader.
//!
//! `key`, `headers` and `cut` are NULL in rows of builds that did not keep them. Headers are JSON,
//! in their order: `[{"name": "trace", "value": "a1"}, {"name": "raw", "hex": "00ff"}]`, with `hex`
//! where a value is no UTF-8 and `"value": null` where it is Kafka's null.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES;
use forebay_core::ports::{DeadLetter, RecordHeader};
use forebay_core::progress::TopicPartition;
use forebay_core::source::meta;
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::{ErrorKind, PortError, PortResult};
use serde_json::{Value, json};

/// Columns that people and [`stored_letters`] know by name.
pub mod letter_column {
    /// The source that the record was meant for.
    pub const SOURCE: &str = "source";
    /// The record's value.
    pub const PAYLOAD: &str = "payload";
    /// The label of a reason.
    pub const REASON: &str = "reason";
    /// The reason in words.
    pub const DETAIL: &str = "detail";
    /// The record's key.
    pub const KEY: &str = "key";
    /// Its headers.
    pub const HEADERS: &str = "headers";
    /// Whether any of them is not kept whole.
    pub const CUT: &str = "cut";
}
use letter_column::{CUT, DETAIL, HEADERS, KEY, PAYLOAD, REASON, SOURCE};

/// Columns of the dead-letter table but `_ingest_time`, which the archive adds.
#[must_use]
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(SOURCE, DataType::Utf8, false),
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
        Field::new(meta::KAFKA_TIME, timestamp_type(), true),
        Field::new(PAYLOAD, DataType::Binary, false),
        Field::new(REASON, DataType::Utf8, false),
        Field::new(DETAIL, DataType::Utf8, false),
        // Tables of earlier builds get what follows when they are opened.
        Field::new(KEY, DataType::Binary, true),
        Field::new(HEADERS, DataType::Utf8, true),
        Field::new(CUT, DataType::Boolean, true),
    ]))
}

/// Dead letters as rows of [`dead_letter_schema`]. Payloads are cut at
/// [`DEAD_LETTER_PAYLOAD_MAX_BYTES`].
///
/// # Errors
/// More text than one Arrow batch holds.
pub fn dead_letter_batch(letters: &[DeadLetter]) -> PortResult<RecordBatch> {
    let payload = |l: &DeadLetter| l.payload.len().min(DEAD_LETTER_PAYLOAD_MAX_BYTES);
    let text = |of: fn(&DeadLetter) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(letters.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        text(|l| &l.source),
        text(|l| &l.partition.topic),
        Arc::new(Int32Array::from_iter_values(
            letters.iter().map(|l| l.partition.partition),
        )),
        Arc::new(Int64Array::from_iter_values(
            letters.iter().map(|l| l.offset),
        )),
        Arc::new(
            TimestampMicrosecondArray::from_iter(letters.iter().map(|l| l.kafka_time_us))
                .with_timezone("UTC"),
        ),
        Arc::new(BinaryArray::from_iter_values(
            letters.iter().map(|l| &l.payload[..payload(l)]),
        )),
        text(|l| l.reason),
        text(|l| &l.detail),
        Arc::new(BinaryArray::from_iter(
            letters.iter().map(|l| l.key.as_deref()),
        )),
        Arc::new(StringArray::from_iter_values(
            letters.iter().map(|l| headers_text(&l.headers)),
        )),
        Arc::new(BooleanArray::from_iter(
            letters
                .iter()
                .map(|l| Some(l.is_cut || payload(l) < l.payload.len())),
        )),
    ];
    RecordBatch::try_new(dead_letter_schema(), columns).map_err(|e| {
        PortError::with_source(
            ErrorKind::Internal,
            "dead letters do not fit their table",
            e,
        )
    })
}

/// A dead letter as its table has it. What was not scanned, or is not kept by the build that stored
/// it, is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// Source that it was meant for.
    pub source: String,
    /// Where it stands.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp.
    pub kafka_time_us: Option<Micros>,
    /// When it was stored.
    pub ingest_time_us: Option<Micros>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// Its value; None where it was not scanned.
    pub payload: Option<Vec<u8>>,
    /// Its headers; None in rows of a build that kept neither them nor the key.
    pub headers: Option<Vec<RecordHeader>>,
    /// Whether key, value or headers are not whole; None where that build did not say.
    pub is_cut: Option<bool>,
    /// The label of a reason.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
}

/// The dead letters in `rows`, which were scanned of their table with any of its columns, the place
/// and the source among them.
///
/// # Errors
/// A column has another type, or headers are not what [`dead_letter_batch`] writes: the table is
/// damaged, or another program wrote it.
pub fn stored_letters(rows: &RecordBatch) -> PortResult<Vec<StoredLetter>> {
    let columns = Columns(rows);
    let source = columns.of(SOURCE, |c| c.as_string_opt::<i32>().is_some())?;
    let topic = columns.of(meta::TOPIC, |c| c.as_string_opt::<i32>().is_some())?;
    let partition = columns.of(meta::PARTITION, |c| {
        c.as_primitive_opt::<Int32Type>().is_some()
    })?;
    let offset = columns.of(meta::OFFSET, |c| {
        c.as_primitive_opt::<Int64Type>().is_some()
    })?;
    let letter = |row: usize| {
        let headers = columns.text(HEADERS, row)?;
        Ok(StoredLetter {
            source: source.as_string::<i32>().value(row).to_owned(),
            partition: TopicPartition::new(
                topic.as_string::<i32>().value(row),
                partition.as_primitive::<Int32Type>().value(row),
            ),
            offset: offset.as_primitive::<Int64Type>().value(row),
            kafka_time_us: columns.time(meta::KAFKA_TIME, row)?,
            ingest_time_us: columns.time(meta::INGEST_TIME, row)?,
            key: columns.bytes(KEY, row)?,
            payload: columns.bytes(PAYLOAD, row)?,
            headers: headers.map(|text| headers_of(&text)).transpose()?,
            is_cut: columns.flag(CUT, row)?,
            reason: columns.text(REASON, row)?.unwrap_or_default(),
            detail: columns.text(DETAIL, row)?.unwrap_or_default(),
        })
    };
    (0..rows.num_rows()).map(letter).collect()
}

/// Columns by name, those that a table or a scan may lack among them.
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn of(&self, name: &str, is_typed: impl Fn(&ArrayRef) -> bool) -> PortResult<&'a ArrayRef> {
        let found = self
            .0
            .column_by_name(name)
            .filter(|column| is_typed(column));
        found.ok_or_else(|| foreign(name))
    }

    /// The value of `row` as `get` takes it of the column `name`: None where there is no such
    /// column, or it is NULL.
    fn value<T>(
        &self,
        name: &str,
        row: usize,
        get: impl FnOnce(&'a ArrayRef) -> Option<T>,
    ) -> PortResult<Option<T>> {
        match self.0.column_by_name(name) {
            Some(column) if !column.is_null(row) => {
                get(column).map(Some).ok_or_else(|| foreign(name))
            }
            _ => Ok(None),
        }
    }

    fn text(&self, name: &str, row: usize) -> PortResult<Option<String>> {
        let get = |c: &'a ArrayRef| Some(c.as_string_opt::<i32>()?.value(row).to_owned());
        self.value(name, row, get)
    }

    fn bytes(&self, name: &str, row: usize) -> PortResult<Option<Vec<u8>>> {
        let get = |c: &'a ArrayRef| Some(c.as_binary_opt::<i32>()?.value(row).to_vec());
        self.value(name, row, get)
    }

    fn flag(&self, name: &str, row: usize) -> PortResult<Option<bool>> {
        self.value(name, row, |c| Some(c.as_boolean_opt()?.value(row)))
    }

    fn time(&self, name: &str, row: usize) -> PortResult<Option<Micros>> {
        let get = |c: &'a ArrayRef| {
            let times = c.as_primitive_opt::<TimestampMicrosecondType>()?;
            Some(times.value(row))
        };
        self.value(name, row, get)
    }
}

fn foreign(column: &str) -> PortError {
    PortError::new(
        ErrorKind::FailedPrecondition,
        format!(
            "the table of dead letters has no column `{column}` as Forebay writes it; restore \
             `offline/dead_letters` from a backup"
        ),
    )
}

fn headers_text(headers: &[RecordHeader]) -> String {
    let header = |header: &RecordHeader| {
        let name = &header.name;
        match header.value.as_deref().map(std::str::from_utf8) {
            None => json!({"name": name, "value": null}),
            Some(Ok(text)) => json!({"name": name, "value": text}),
            Some(Err(_)) => {
                json!({"name": name, "hex": hex(header.value.as_deref().unwrap_or_default())})
            }
        }
    };
    Value::Array(headers.iter().map(header).collect()).to_string()
}

fn headers_of(text: &str) -> PortResult<Vec<RecordHeader>> {
    let parsed: Option<Vec<Value>> = serde_json::from_str(text).ok();
    let header = |header: &Value| {
        let value = match (header.get("value"), header.get("hex")) {
            (Some(Value::Null), None) => None,
            (Some(Value::String(text)), None) => Some(text.clone().into_bytes()),
            (None, Some(Value::String(hex))) => Some(bytes_of(hex)?),
            _ => return None,
        };
        let name = header.get("name")?.as_str()?.to_owned();
        Some(RecordHeader { name, value })
    };
    let headers = parsed.and_then(|parsed| parsed.iter().map(header).collect());
    headers.ok_or_else(|| foreign(HEADERS))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.len()
        .is_multiple_of(2)
        .then(|| digits.map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        let header = |name: &str, value: Option<&[u8]>| RecordHeader {
            name: name.to_owned(),
            value: value.map(<[u8]>::to_vec),
        };
        DeadLetter {
            source: "clicks".to_owned(),
            partition: TopicPartition::new("raw", 3),
            offset: 7,
            kafka_time_us: Some(5),
            key: Some(vec![0, 255]),
            payload: b"{".to_vec(),
            headers: vec![
                header("trace", Some("\u{e4}\"\\".as_bytes())),
                header("raw", Some(&[0, 255, 16])),
                header("trace", Some(b"")),
                header("none", None),
            ],
            is_cut: false,
            reason: "not_json",
            detail: "EOF".to_owned(),
        }
    }

    fn stored(letter: &DeadLetter) -> StoredLetter {
        StoredLetter {
            source: letter.source.clone(),
            partition: letter.partition.clone(),
            offset: letter.offset,
            kafka_time_us: letter.kafka_time_us,
            ingest_time_us: None,
            key: letter.key.clone(),
            payload: Some(letter.payload.clone()),
            headers: Some(letter.headers.clone()),
            is_cut: Some(letter.is_cut),
            reason: letter.reason.to_owned(),
            detail: letter.detail.clone(),
        }
    }

    #[test]
    fn what_is_stored_is_read_back_to_the_byte() -> PortResult<()> {
        let keyless = DeadLetter {
            key: None,
            headers: Vec::new(),
            is_cut: true,
            ..letter()
        };
        let batch = dead_letter_batch(&[letter(), keyless.clone()])?;
        assert_eq!(
            stored_letters(&batch)?,
            [stored(&letter()), stored(&keyless)]
        );
        Ok(())
    }

    #[test]
    fn rows_of_a_table_without_key_and_headers_lack_them() -> PortResult<()> {
        let batch = dead_letter_batch(&[letter()])?;
        let old = batch.project(&(0..8).collect::<Vec<_>>());
        let read = stored_letters(&old.expect("its first columns"))?;
        let expected = StoredLetter {
            key: None,
            headers: None,
            is_cut: None,
            ..stored(&letter())
        };
        assert_eq!(read, [expected]);
        Ok(())
    }

    #[test]
    fn a_payload_over_its_limit_is_cut_and_said_to_be() -> PortResult<()> {
        for (bytes, is_cut) in [(0, false), (1, true)] {
            let long = DeadLetter {
                payload: vec![b'x'; DEAD_LETTER_PAYLOAD_MAX_BYTES + bytes],
                ..letter()
            };
            let read = stored_letters(&dead_letter_batch(&[long])?)?.remove(0);
            assert_eq!(
                read.payload.map(|payload| payload.len()),
                Some(DEAD_LETTER_PAYLOAD_MAX_BYTES)
            );
            assert_eq!(read.is_cut, Some(is_cut));
        }
        Ok(())
    }

    #[test]
    fn headers_that_are_not_ours_are_refused() {
        for text in [
            "",
            "{}",
            "[1]",
            r#"[{"name": "a"}]"#,
            r#"[{"name": "a", "hex": "0"}]"#,
            r#"[{"name": "a", "hex": "zz"}]"#,
            r#"[{"value": "a"}]"#,
        ] {
            assert!(headers_of(text).is_err(), "{text}");
        }
    }
}
