//! From a batch of a service's features to blocks of f32 rows, in the model's order: types are
//! checked once a batch, doubles and integers are rounded to the nearest f32, text becomes its
//! category's code, NULL what the manifest says.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    StringViewArray,
};
use arrow_schema::{DataType, Schema};

use super::manifest::{FeatureSpec, Manifest, Missing};
use crate::error::{InferError, Result};

/// How a model reads its features; made once, when the version is loaded.
#[derive(Debug)]
pub(super) struct Encoder {
    title: String,
    features: Vec<EncodedFeature>,
}

#[derive(Debug)]
struct EncodedFeature {
    spec: FeatureSpec,
    /// What NULL becomes; None: it is refused.
    missing: Option<f32>,
    codes: HashMap<String, f32>,
}

#[derive(Debug)]
enum Values<'a> {
    Double(&'a Float64Array),
    BigInt(&'a Int64Array),
    Integer(&'a Int32Array),
    Boolean(&'a BooleanArray),
    Text(&'a StringArray),
    TextView(&'a StringViewArray),
}

/// The columns that a model reads of one batch, in its order.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    encoder: &'a Encoder,
    values: Vec<Values<'a>>,
    rows: usize,
}

/// Whether a batch may carry a feature of `wanted` as `found`.
fn same_type(wanted: &DataType, found: &DataType) -> bool {
    wanted == found || (*wanted == DataType::Utf8 && *found == DataType::Utf8View)
}

impl Encoder {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let encode = |spec: &FeatureSpec| EncodedFeature {
            spec: spec.clone(),
            missing: match spec.missing {
                Missing::Nan => Some(f32::NAN),
                Missing::Sentinel(value) => Some(value as f32),
                Missing::Refuse => None,
            },
            // At most 2^24 categories fit a manifest, so that each code is an exact f32.
            codes: spec
                .categories
                .iter()
                .enumerate()
                .map(|(code, name)| (name.clone(), code as f32))
                .collect(),
        };
        Self {
            title: manifest.title(),
            features: manifest.features.iter().map(encode).collect(),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.features.len()
    }

    /// Every feature of the model is in `schema`, with its type. Further columns do not matter.
    pub(super) fn check(&self, schema: &Schema) -> Result<()> {
        self.features
            .iter()
            .try_for_each(|feature| self.position(schema, feature).map(|_| ()))
    }

    fn position(&self, schema: &Schema, feature: &EncodedFeature) -> Result<usize> {
        let (name, wanted) = (&feature.spec.name, &feature.spec.data_type);
        let refuse = |what: String| InferError::Features {
            model: self.title.clone(),
            what,
        };
        let (index, field) = schema.column_with_name(name).ok_or_else(|| {
            refuse(format!(
                "feature {name} ({wanted}) is missing from the service"
            ))
        })?;
        if same_type(wanted, field.data_type()) {
            Ok(index)
        } else {
            Err(refuse(format!(
                "feature {name} is {wanted} in the manifest and {} in the service",
                field.data_type()
            )))
        }
    }

    /// The model's columns of `batch`.
    pub(super) fn columns<'a>(&'a self, batch: &'a RecordBatch) -> Result<Columns<'a>> {
        let schema = batch.schema_ref();
        let mut values = Vec::with_capacity(self.features.len());
        for feature in &self.features {
            let column = batch.column(self.position(schema, feature)?);
            values.push(match column.data_type() {
                DataType::Float64 => Values::Double(column.as_primitive::<Float64Type>()),
                DataType::Int64 => Values::BigInt(column.as_primitive::<Int64Type>()),
                DataType::Int32 => Values::Integer(column.as_primitive::<Int32Type>()),
                DataType::Boolean => Values::Boolean(column.as_boolean()),
                DataType::Utf8View => Values::TextView(column.as_string_view()),
                _ => Values::Text(column.as_string::<i32>()),
            });
        }
        Ok(Columns {
            encoder: self,
            values,
            rows: batch.num_rows(),
        })
    }
}

impl Columns<'_> {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows `start..` as many as fill `block` (row-major).
    pub(super) fn fill(&self, start: usize, block: &mut [f32]) -> Result<()> {
        let width = self.values.len();
        let rows = block.len() / width;
        for (index, (values, feature)) in self.values.iter().zip(&self.encoder.features).enumerate()
        {
            let cells = block[index..].iter_mut().step_by(width);
            let missing = match feature.missing {
                Some(value) => value,
                None => {
                    self.refuse_missing(values, feature, start..start + rows)?;
                    f32::NAN
                }
            };
            match values {
                Values::Double(array) => fill(cells, *array, start, missing, |row| {
                    // NaN is as missing as NULL: data frames do not tell them apart.
                    let value = array.value(row) as f32;
                    if value.is_nan() { missing } else { value }
                }),
                Values::BigInt(array) => {
                    fill(cells, *array, start, missing, |row| array.value(row) as f32)
                }
                Values::Integer(array) => {
                    fill(cells, *array, start, missing, |row| array.value(row) as f32)
                }
                Values::Boolean(array) => {
                    fill(cells, *array, start, missing, |row| {
                        f32::from(u8::from(array.value(row)))
                    });
                }
                Values::Text(array) => fill(cells, *array, start, missing, |row| {
                    feature.code(array.value(row), missing)
                }),
                Values::TextView(array) => {
                    fill(cells, *array, start, missing, |row| {
                        feature.code(array.value(row), missing)
                    });
                }
            }
        }
        Ok(())
    }

    /// An error that names the feature when one of `rows` is missing.
    fn refuse_missing(
        &self,
        values: &Values<'_>,
        feature: &EncodedFeature,
        rows: std::ops::Range<usize>,
    ) -> Result<()> {
        let absent = |row: usize| match values {
            Values::Double(array) => array.is_null(row) || array.value(row).is_nan(),
            Values::BigInt(array) => array.is_null(row),
            Values::Integer(array) => array.is_null(row),
            Values::Boolean(array) => array.is_null(row),
            Values::Text(array) => {
                array.is_null(row) || !feature.codes.contains_key(array.value(row))
            }
            Values::TextView(array) => {
                array.is_null(row) || !feature.codes.contains_key(array.value(row))
            }
        };
        match rows.clone().find(|row| absent(*row)) {
            None => Ok(()),
            Some(row) => Err(InferError::Row {
                model: self.encoder.title.clone(),
                what: format!(
                    "feature {} is missing in row {row} and the manifest refuses that",
                    feature.spec.name
                ),
            }),
        }
    }
}

impl EncodedFeature {
    fn code(&self, category: &str, missing: f32) -> f32 {
        self.codes.get(category).copied().unwrap_or(missing)
    }
}

#[inline]
fn fill<'c>(
    cells: impl Iterator<Item = &'c mut f32>,
    array: &dyn Array,
    start: usize,
    missing: f32,
    value: impl Fn(usize) -> f32,
) {
    match array.nulls() {
        None => cells
            .enumerate()
            .for_each(|(i, cell)| *cell = value(start + i)),
        Some(nulls) => cells.enumerate().for_each(|(i, cell)| {
            *cell = if nulls.is_null(start + i) {
                missing
            } else {
                value(start + i)
            };
        }),
    }
}
