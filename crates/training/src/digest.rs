//! The digest of a table of values: SHA-256 over every column's values in order. It does not depend
//! on how rows are cut into batches; it changes with a value, the order of rows, a name or a type.
//! NaN has one form and -0.0 is 0.0, since the digest compares meanings across rebuilds, not bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ListArray, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use sha2::{Digest, Sha256};

use crate::error::TrainingError;

/// Feeds batches, gives the digest.
#[derive(Debug)]
pub(crate) struct TableDigest {
    schema: SchemaRef,
    columns: Vec<Sha256>,
    rows: u64,
}

impl TableDigest {
    /// For batches of `schema`.
    #[must_use]
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| Sha256::new()).collect();
        Self {
            schema,
            columns,
            rows: 0,
        }
    }

    /// Take in a batch.
    ///
    /// # Errors
    /// It has other columns, or one that cannot be written as text (a type beyond those of
    /// sources).
    pub(crate) fn update(&mut self, batch: &RecordBatch) -> Result<(), TrainingError> {
        if batch.num_columns() != self.columns.len() {
            return Err(TrainingError::Invalid(
                "the batches of one table have different columns".to_owned(),
            ));
        }
        for (hash, column) in self.columns.iter_mut().zip(batch.columns()) {
            feed(hash, column.as_ref())?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Hex digits.
    #[must_use]
    pub(crate) fn finish(self) -> String {
        let mut all = Sha256::new();
        all.update(self.rows.to_le_bytes());
        for (field, column) in self.schema.fields().iter().zip(self.columns) {
            for text in [field.name().as_str(), &field.data_type().to_string()] {
                all.update((text.len() as u64).to_le_bytes());
                all.update(text);
            }
            all.update(column.finalize());
        }
        all.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn feed(hash: &mut Sha256, column: &dyn Array) -> Result<(), TrainingError> {
    macro_rules! fixed {
        ($array:expr) => {{
            for value in $array.iter() {
                match value {
                    None => hash.update([0]),
                    Some(value) => {
                        hash.update([1]);
                        hash.update(value.to_le_bytes());
                    }
                }
            }
        }};
    }
    match column.data_type() {
        DataType::Float64 => {
            for value in column.as_primitive::<Float64Type>() {
                match value {
                    None => hash.update([0]),
                    Some(value) => {
                        hash.update([1]);
                        hash.update(canonical(value).to_le_bytes());
                    }
                }
            }
        }
        DataType::Int32 => fixed!(column.as_primitive::<Int32Type>()),
        DataType::Int64 => fixed!(column.as_primitive::<Int64Type>()),
        DataType::Date32 => fixed!(column.as_primitive::<Date32Type>()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            fixed!(column.as_primitive::<TimestampMicrosecondType>())
        }
        DataType::Utf8 => column
            .as_string::<i32>()
            .iter()
            .for_each(|text| feed_text(hash, text)),
        DataType::List(_) => feed_lists(hash, column.as_list::<i32>())?,
        // Spines may bring any type; its text names its value.
        _ => {
            let action = "write a value as text";
            let formatter = ArrayFormatter::try_new(
                column,
                &FormatOptions::default().with_display_error(false),
            )
            .map_err(TrainingError::arrow(action))?;
            for row in 0..column.len() {
                let text = formatter
                    .value(row)
                    .try_to_string()
                    .map_err(TrainingError::arrow(action))?;
                feed_text(hash, column.is_valid(row).then_some(text.as_str()));
            }
        }
    }
    Ok(())
}

/// How many items each array has, and then these.
fn feed_lists(hash: &mut Sha256, lists: &ListArray) -> Result<(), TrainingError> {
    for row in 0..lists.len() {
        if lists.is_null(row) {
            hash.update([0]);
            continue;
        }
        let items = lists.value(row);
        hash.update([1]);
        hash.update((items.len() as u64).to_le_bytes());
        feed(hash, items.as_ref())?;
    }
    Ok(())
}

fn feed_text(hash: &mut Sha256, text: Option<&str>) {
    match text {
        None => hash.update([0]),
        Some(text) => {
            hash.update([1]);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
}

fn canonical(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn table_digest(batch: &RecordBatch) -> Result<String, TrainingError> {
        let mut digest = TableDigest::new(batch.schema());
        digest.update(batch)?;
        Ok(digest.finish())
    }

    fn batch(x: &[Option<f64>], s: &[Option<&str>]) -> RecordBatch {
        let fields = vec![
            Field::new("x", DataType::Float64, true),
            Field::new("s", DataType::Utf8, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(x.to_vec())),
            Arc::new(StringArray::from(s.to_vec())),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("well formed")
    }

    #[test]
    fn batch_cuts_do_not_matter_and_order_does() {
        let whole = batch(&[Some(1.0), None, Some(2.0)], &[Some("a"), Some(""), None]);
        let mut cut = TableDigest::new(whole.schema());
        cut.update(&whole.slice(0, 1)).expect("fits");
        cut.update(&whole.slice(1, 2)).expect("fits");
        let digest = table_digest(&whole).expect("fits");
        assert_eq!(cut.finish(), digest);
        for other in [
            batch(&[None, Some(1.0), Some(2.0)], &[Some("a"), Some(""), None]),
            batch(&[Some(1.0), None, Some(2.0)], &[Some("a"), None, Some("")]),
            batch(
                &[Some(1.0), None, Some(2.0 + f64::EPSILON * 2.0)],
                &[Some("a"), Some(""), None],
            ),
        ] {
            assert_ne!(table_digest(&other).expect("fits"), digest);
        }
    }

    #[test]
    fn nan_and_zero_have_one_form() {
        let plain = batch(&[Some(f64::NAN), Some(0.0)], &[None, None]);
        let odd = batch(
            &[Some(f64::from_bits(0xfff8_0000_0000_0001)), Some(-0.0)],
            &[None, None],
        );
        assert_eq!(
            table_digest(&plain).expect("fits"),
            table_digest(&odd).expect("fits")
        );
    }
}
