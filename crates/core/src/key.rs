//! The entity key codec: from Arrow columns to memcomparable bytes, and from bytes to a shard. Both
//! are part of the on-disk format: `arrow-row`'s encoding may change between releases, so this one
//! is ours.
//!
//! A key is its parts, one after another. A part is a tag byte and a body, so that comparing
//! encodings byte by byte compares keys part by part and no two different keys share an encoding:
//!
//! | tag | type | body |
//! |---|---|---|
//! | 0x10 | BOOLEAN | one byte, 0 or 1 |
//! | 0x20 | INTEGER, BIGINT | 8 bytes, big endian, sign bit flipped |
//! | 0x30 | TIMESTAMP | as BIGINT, microseconds |
//! | 0x38 | DATE | as BIGINT, days |
//! | 0x40 | VARCHAR | UTF-8 with 0x00 written as 0x00 0xFF, ended by 0x00 0x01 |
//!
//! Retired tags stay reserved. A key with a NULL part is no key: it matches nothing.

use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{ErrorKind, PortError, PortResult};
use crate::index::{RowIndex, ShardId};
use crate::invariant;
use crate::limits::KEY_MAX_BYTES;

const TAG_BOOLEAN: u8 = 0x10;
const TAG_INTEGER: u8 = 0x20;
const TAG_TIMESTAMP: u8 = 0x30;
const TAG_DATE: u8 = 0x38;
const TAG_TEXT: u8 = 0x40;
const TEXT_ESCAPE: [u8; 2] = [0x00, 0xFF];
const TEXT_END: [u8; 2] = [0x00, 0x01];

/// Seed of the shard hash; part of the format.
const SHARD_SEED: u64 = 0x666f_7265_6261_7901;

/// 64-bit hash of an encoded key: XXH3 with a fixed seed. Part of the format.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, SHARD_SEED)
}

/// The shard of an encoded key among `shards`.
#[must_use]
pub fn shard_of(key: &[u8], shards: u16) -> u16 {
    ShardId::of_hash(key_hash(key), shards).number()
}

/// Encoded keys of many rows in one buffer.
#[derive(Clone, Default)]
pub struct KeyBuffer {
    bytes: Vec<u8>,
    /// `ends[i]` is where row i's key ends; it starts where the one before ends. An empty key is a
    /// NULL key.
    ends: Vec<u32>,
}

impl KeyBuffer {
    /// Encode rows of `columns` (equally long). A row with a NULL part becomes a NULL key.
    ///
    /// # Errors
    /// A type that no key may have, or a key above [`KEY_MAX_BYTES`] (`InvalidArgument`: the same
    /// rows are refused whenever they come); more than 4 GiB of keys (`ResourceExhausted`).
    pub fn encode(columns: &[ArrayRef]) -> PortResult<Self> {
        let (keys, too_long) = Self::encode_within(columns)?;
        match too_long.first() {
            None => Ok(keys),
            Some(row) => Err(PortError::invalid(format!(
                "the entity key of row {} is longer than {KEY_MAX_BYTES} bytes (KEY_MAX_BYTES)",
                row.number()
            ))),
        }
    }

    /// As [`Self::encode`], but a row whose key is above [`KEY_MAX_BYTES`] becomes a NULL key.
    /// Those rows are the second part, ascending.
    ///
    /// # Errors
    /// A type that no key may have (`InvalidArgument`); more than 4 GiB of keys
    /// (`ResourceExhausted`).
    pub fn encode_within(columns: &[ArrayRef]) -> PortResult<(Self, Vec<RowIndex>)> {
        let rows = columns.first().map_or(0, |c| c.len());
        let mut keys = Self {
            bytes: Vec::with_capacity(rows * columns.len() * 10),
            ends: Vec::with_capacity(rows),
        };
        let mut too_long = Vec::new();
        for row in 0..rows {
            let start = keys.bytes.len();
            if columns.iter().any(|c| c.is_null(row)) {
                keys.ends.push(end_of(start)?);
                continue;
            }
            for column in columns {
                encode_part(&mut keys.bytes, column.as_ref(), row)?;
            }
            if keys.bytes.len() - start > KEY_MAX_BYTES {
                keys.bytes.truncate(start);
                too_long.push(RowIndex::at(row));
            }
            keys.ends.push(end_of(keys.bytes.len())?);
        }
        invariant!(
            KeyEndsAscend,
            keys.ends.len() == rows && keys.ends.is_sorted(),
            "{} keys of {rows} rows",
            keys.ends.len()
        );
        Ok((keys, too_long))
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(self.ends.as_slice())
    }

    /// The key of `row`, None for a NULL key.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let start = if row == 0 {
            0
        } else {
            self.ends[row - 1] as usize
        };
        let key = &self.bytes[start..self.ends[row] as usize];
        (!key.is_empty()).then_some(key)
    }
}

impl fmt::Debug for KeyBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyBuffer")
            .field("rows", &self.len())
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

fn end_of(len: usize) -> PortResult<u32> {
    u32::try_from(len).map_err(|e| {
        PortError::with_source(
            ErrorKind::ResourceExhausted,
            "the keys of one batch exceed 4 GiB; send fewer rows",
            e,
        )
    })
}

fn encode_part(out: &mut Vec<u8>, column: &dyn Array, row: usize) -> PortResult<()> {
    match column.data_type() {
        DataType::Boolean => {
            out.extend_from_slice(&[TAG_BOOLEAN, u8::from(column.as_boolean().value(row))])
        }
        DataType::Int32 => push_i64(
            out,
            TAG_INTEGER,
            i64::from(column.as_primitive::<Int32Type>().value(row)),
        ),
        DataType::Int64 => push_i64(
            out,
            TAG_INTEGER,
            column.as_primitive::<Int64Type>().value(row),
        ),
        DataType::Date32 => push_i64(
            out,
            TAG_DATE,
            i64::from(column.as_primitive::<Date32Type>().value(row)),
        ),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            push_i64(
                out,
                TAG_TIMESTAMP,
                column.as_primitive::<TimestampMicrosecondType>().value(row),
            );
        }
        DataType::Utf8 => push_text(out, column.as_string::<i32>().value(row)),
        DataType::Utf8View => push_text(out, column.as_string_view().value(row)),
        other => {
            return Err(PortError::invalid(format!(
                "an entity key column cannot be {other}; use VARCHAR, BIGINT, INTEGER, BOOLEAN, DATE or TIMESTAMP"
            )));
        }
    }
    Ok(())
}

fn push_i64(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag);
    out.extend_from_slice(&((value as u64) ^ (1 << 63)).to_be_bytes());
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(TAG_TEXT);
    for byte in text.bytes() {
        if byte == 0 {
            out.extend_from_slice(&TEXT_ESCAPE);
        } else {
            out.push(byte);
        }
    }
    out.extend_from_slice(&TEXT_END);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BooleanArray, Date32Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use proptest::prelude::*;

    use super::*;

    fn encode(parts: &[(&str, i64)]) -> KeyBuffer {
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(parts.iter().map(|p| p.0)));
        let number: ArrayRef = Arc::new(Int64Array::from_iter_values(parts.iter().map(|p| p.1)));
        KeyBuffer::encode(&[text, number]).expect("supported types")
    }

    #[test]
    fn golden_bytes() {
        let keys = encode(&[("JF\0K", -1)]);
        assert_eq!(
            keys.get(0),
            Some(
                &[
                    0x40, b'J', b'F', 0, 0xFF, b'K', 0, 1, 0x20, 0x7F, 255, 255, 255, 255, 255,
                    255, 255
                ][..]
            )
        );
        // As the reference implementation's xxh3_64 with that seed gives it.
        assert_eq!(key_hash(b"JFK"), 0x7994_e66c_5e9d_4ba5_u64);
    }

    #[test]
    fn golden_bytes_of_a_part_of_each_type_show_order_and_sign() {
        let instants = TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC");
        let parts: [(ArrayRef, &str); 8] = [
            (Arc::new(BooleanArray::from(vec![false])), "1000"),
            (Arc::new(BooleanArray::from(vec![true])), "1001"),
            (Arc::new(Int32Array::from(vec![-2])), "207ffffffffffffffe"),
            (
                Arc::new(Int64Array::from(vec![i64::MIN])),
                "200000000000000000",
            ),
            (Arc::new(Int64Array::from(vec![258])), "208000000000000102"),
            (Arc::new(Date32Array::from(vec![-1])), "387fffffffffffffff"),
            (Arc::new(instants), "30ffffffffffffffff"),
            (Arc::new(StringArray::from(vec!["é"])), "40c3a90001"),
        ];
        for (part, golden) in parts {
            let keys = KeyBuffer::encode(&[part]).expect("a type of keys");
            let key = keys.get(0).expect("not NULL");
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden);
        }
    }

    #[test]
    fn a_null_part_is_a_null_key() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let keys = KeyBuffer::encode(&[text]).expect("text");
        assert!(keys.get(0).is_some() && keys.get(1).is_none());
    }

    #[test]
    fn a_key_above_the_limit_is_refused_and_one_at_it_is_not() {
        let text = |len: usize| -> ArrayRef { Arc::new(StringArray::from(vec!["x".repeat(len)])) };
        assert!(KeyBuffer::encode(&[text(KEY_MAX_BYTES - 3)]).is_ok());
        let error = KeyBuffer::encode(&[text(KEY_MAX_BYTES - 2)]).expect_err("too long");
        assert!(error.message().contains("KEY_MAX_BYTES"), "{error}");
        assert_eq!(
            (error.kind(), error.kind().exit_code()),
            (ErrorKind::InvalidArgument, 2)
        );
        assert!(
            !error.kind().is_retriable(),
            "the same key is as long the next time"
        );
    }

    proptest! {
        #[test]
        fn encodings_compare_as_the_keys_do(a in (".{0,6}", any::<i64>()), b in (".{0,6}", any::<i64>())) {
            let keys = encode(&[(&a.0, a.1), (&b.0, b.1)]);
            let by_value = (a.0.as_bytes(), a.1).cmp(&(b.0.as_bytes(), b.1));
            prop_assert_eq!(keys.get(0).cmp(&keys.get(1)), by_value);
        }
    }
}
