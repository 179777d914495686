//! A batch of prediction records as the monitor reads it: all columns found and checked before
//! anything is counted, so that a batch either counts or leaves the monitor as it was. Also the
//! join keys of predictions and labels.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch, StructArray};
use arrow_schema::DataType;
use forebay_core::key::KeyBuffer;
use forebay_core::prediction::{Role, column as names};
use xxhash_rust::xxh3::xxh3_128;

use crate::binner::Binner;
use crate::columns::{IntegerColumn, TextColumn, WatchedColumn, column, times, wrong_type};
use crate::error::{MonitorError, Result};
use crate::profile::{ColumnRole, ReferenceProfile};

const OBJECT: &str = "the batch of predictions";

/// Prediction records.
#[derive(Debug)]
pub(crate) struct PredictionBatch<'a> {
    model: TextColumn<'a>,
    version: IntegerColumn<'a>,
    role: TextColumn<'a>,
    time: &'a PrimitiveArray<TimestampMicrosecondType>,
    pub(crate) score: WatchedColumn<'a>,
    /// As the columns of the reference.
    pub(crate) watched: Vec<WatchedColumn<'a>>,
    pub(crate) rows: usize,
}

impl<'a> PredictionBatch<'a> {
    pub(crate) fn read(
        batch: &'a RecordBatch,
        profile: &ReferenceProfile,
        binners: &[Binner],
    ) -> Result<Self> {
        let find = |name: &str| column(batch, name, OBJECT);
        let text = |name: &str| TextColumn::new(name, find(name)?.as_ref());
        let integer = |name: &str| IntegerColumn::new(name, find(name)?.as_ref());
        let score = WatchedColumn::new(names::SCORE, find(names::SCORE)?.as_ref(), None)?;
        let features = || -> Result<&StructArray> {
            let features = find(names::FEATURES)?;
            let found = features.as_struct_opt();
            found.ok_or_else(|| wrong_type(names::FEATURES, features.data_type(), "Struct"))
        };
        let mut watched = Vec::with_capacity(profile.columns.len());
        for (reference, binner) in profile.columns.iter().zip(binners) {
            let values = match reference.role {
                ColumnRole::Score => score.clone(),
                ColumnRole::Feature => feature(features()?, &reference.name)?,
            };
            if values.is_numeric() != binner.is_numeric() {
                let expected = if binner.is_numeric() {
                    "a number, as in the reference"
                } else {
                    "Utf8 or Boolean, as in the reference"
                };
                let found = match reference.role {
                    ColumnRole::Score => find(names::SCORE)?.data_type(),
                    ColumnRole::Feature => data_type(features()?, &reference.name),
                };
                return Err(wrong_type(&reference.name, found, expected));
            }
            watched.push(values);
        }
        Ok(Self {
            model: text(names::MODEL)?,
            version: integer(names::MODEL_VERSION)?,
            role: text(names::ROLE)?,
            time: times(names::EVENT_TIME, find(names::EVENT_TIME)?.as_ref())?,
            score,
            watched,
            rows: batch.num_rows(),
        })
    }

    /// Model, version and role of `row`; None where a part is NULL or no such thing.
    pub(crate) fn identity(&self, row: usize) -> Option<(&'a str, (u32, Role))> {
        let version = u32::try_from(self.version.get(row)?).ok()?;
        let role = Role::parse(self.role.get(row)?)?;
        Some((self.model.get(row)?, (version, role)))
    }

    pub(crate) fn time_us(&self, row: usize) -> Option<i64> {
        self.time.is_valid(row).then(|| self.time.value(row))
    }
}

fn feature<'a>(features: &'a StructArray, name: &str) -> Result<WatchedColumn<'a>> {
    let array = features
        .column_by_name(name)
        .ok_or_else(|| MonitorError::MissingColumn {
            object: "the struct of features".to_owned(),
            column: name.to_owned(),
            known: features.column_names().join(", "),
        })?;
    WatchedColumn::new(name, array.as_ref(), features.nulls())
}

fn data_type<'a>(features: &'a StructArray, name: &str) -> &'a DataType {
    features
        .column_by_name(name)
        .map_or(&DataType::Null, |array| array.data_type())
}

/// For each row of `batch` the hash of its join key, the columns `using`; None where it is NULL or
/// longer than a key may be, so that one such row does not stop the others.
pub(crate) fn join_keys(
    batch: &RecordBatch,
    using: &[String],
    object: &str,
) -> Result<Vec<Option<u128>>> {
    let columns: Vec<ArrayRef> = using
        .iter()
        .map(|name| column(batch, name, object).cloned())
        .collect::<Result<_>>()?;
    let hash = |keys: &KeyBuffer, row: usize| keys.get(row).map(xxh3_128);
    match KeyBuffer::encode(&columns) {
        Ok(keys) => Ok((0..batch.num_rows()).map(|row| hash(&keys, row)).collect()),
        // The error of a limit names it; any other one is about a type, and every row has that.
        Err(error) if error.message().contains("KEY_MAX_BYTES") => {
            let one = |row: usize| {
                let parts: Vec<ArrayRef> =
                    columns.iter().map(|column| column.slice(row, 1)).collect();
                KeyBuffer::encode(&parts)
                    .ok()
                    .and_then(|keys| hash(&keys, 0))
            };
            Ok((0..batch.num_rows()).map(one).collect())
        }
        Err(error) => Err(error.into()),
    }
}
