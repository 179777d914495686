//! Cells of a training set without a value, as rows of a table for people and tools: which feature
//! of which row, of which key and instant, which expression, and why. `training_set` makes them of
//! the engine's answers; the binary writes them beside the set.

use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow_cast::cast;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::take::take;
use forebay_core::cells::CellFault;
use forebay_core::time::timestamp_type;
use forebay_core::view::ServiceSpec;

use crate::error::TrainingError;

/// What is told of a cell.
pub(crate) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        // Number of the row in the set, from 0.
        field("row", DataType::Int64),
        field("feature", DataType::Utf8),
        // The entity's key, as column = value.
        field("key", DataType::Utf8),
        field("event_time", timestamp_type()),
        // The expression that failed, as it is written.
        field("expression", DataType::Utf8),
        // A word for programs: division_by_zero, overflow, cast, out_of_range.
        field("kind", DataType::Utf8),
        // The same for people.
        field("reason", DataType::Utf8),
    ]))
});

/// The rows that are told of `faults` of `spine`, whose first row is number `first` of the set.
///
/// # Errors
/// The spine lacks the service's columns.
pub(crate) fn told(
    service: &ServiceSpec,
    (spine, time_column): (&RecordBatch, &str),
    faults: &[CellFault],
    first: u64,
) -> Result<RecordBatch, TrainingError> {
    let mut faults: Vec<&CellFault> = faults.iter().collect();
    faults.sort_by_key(|fault| (fault.row, fault.column));
    let rows = UInt32Array::from_iter_values(faults.iter().map(|fault| fault.row));
    let column = |name: &str| {
        let column = spine.column_by_name(name);
        let column = column.ok_or_else(|| TrainingError::Invalid(format!("no column `{name}`")))?;
        take(column, &rows, None).map_err(TrainingError::arrow("pick rows"))
    };
    let times = cast(&column(time_column)?, &timestamp_type());
    let times = times.map_err(TrainingError::arrow("read event times"))?;
    let numbers = rows.values().iter();
    let numbers = numbers.map(|row| first.saturating_add(u64::from(*row)).cast_signed());
    let text = |of: &dyn Fn(&CellFault) -> String| {
        let texts = faults.iter().map(|fault| of(fault));
        Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(numbers)),
        text(&|fault| service.features[fault.column].name.clone()),
        Arc::new(keys(service, faults.len(), &column)?),
        times,
        text(&|fault| fault.what.to_string()),
        text(&|fault| fault.kind.label().to_owned()),
        text(&|fault| fault.kind.to_string()),
    ];
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
        .map_err(TrainingError::arrow("tell of cells without a value"))
}

/// The keys that the service asks its views for, in words.
fn keys(
    service: &ServiceSpec,
    rows: usize,
    column: &dyn Fn(&str) -> Result<ArrayRef, TrainingError>,
) -> Result<StringArray, TrainingError> {
    let options = FormatOptions::default().with_null("NULL");
    let names = service.key_columns();
    let columns = names.iter().map(|name| column(name));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let values = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let values = values.collect::<Result<Vec<_>, _>>();
    let values = values.map_err(TrainingError::arrow("read keys"))?;
    let key = |row: usize| {
        let parts = names.iter().zip(&values);
        let parts = parts.map(|(name, values)| format!("{name} = {}", values.value(row)));
        parts.collect::<Vec<_>>().join(", ")
    };
    Ok(StringArray::from_iter_values((0..rows).map(key)))
}
