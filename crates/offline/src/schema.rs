//! From the schema that a caller asks for to the Delta table's: which types it may have,
//! `_ingest_time` added, and the table properties. How a table that is there follows another schema
//! is core's (`growth`).

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use forebay_core::limits::SOURCE_MAX_COLUMNS;
use forebay_core::source::meta;
use forebay_core::time::timestamp_type;
use forebay_core::value::list_type;

use crate::error::OfflineError;

/// The columns that say where a row stands in its log: every table has them.
const PLACE: [(&str, DataType); 3] = [
    (meta::TOPIC, DataType::Utf8),
    (meta::PARTITION, DataType::Int32),
    (meta::OFFSET, DataType::Int64),
];

/// The table's schema: `wanted` without Arrow metadata, `_ingest_time` behind it where it is
/// missing.
pub(crate) fn table_schema(table: &str, wanted: &Schema) -> Result<SchemaRef, OfflineError> {
    let unfit = |why: String| OfflineError::Unfit {
        what: format!("table `{table}`"),
        why,
    };
    let mut fields: Vec<Field> = wanted.fields().iter().map(|f| bare(f)).collect();
    if wanted.column_with_name(meta::INGEST_TIME).is_none() {
        fields.push(Field::new(meta::INGEST_TIME, timestamp_type(), false));
    }
    if fields.len() > SOURCE_MAX_COLUMNS + 6 {
        return Err(unfit(format!(
            "it has more than {SOURCE_MAX_COLUMNS} columns (SOURCE_MAX_COLUMNS)"
        )));
    }
    for field in &fields {
        check_type(field).map_err(unfit)?;
    }
    for (name, data_type) in &PLACE {
        match fields.iter().find(|f| f.name() == name) {
            Some(field) if field.data_type() == data_type => {}
            _ => {
                return Err(unfit(format!(
                    "it needs a column `{name}` of type {data_type}"
                )));
            }
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The field without metadata, children too, which Delta keeps none of; and arrays of one layout.
fn bare(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Struct(children) => DataType::Struct(children.iter().map(|c| bare(c)).collect()),
        // Delta calls items `element`; everything else of ours calls them as Arrow does.
        DataType::List(item) => list_type(bare(item).data_type().clone()),
        other => other.clone(),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

/// The schema of a table as it was read, in our form.
pub(crate) fn read_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|f| bare(f)).collect();
    Arc::new(Schema::new(fields))
}

fn check_type(field: &Field) -> Result<(), String> {
    match field.data_type() {
        DataType::Utf8
        | DataType::Float64
        | DataType::Int64
        | DataType::Int32
        | DataType::Boolean
        | DataType::Date32
        | DataType::Binary => Ok(()),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => Ok(()),
        DataType::Struct(children) => children
            .iter()
            .try_for_each(|c| check_type(c))
            .map_err(|why| format!("in `{}`: {why}", field.name())),
        DataType::List(item) if !item.data_type().is_nested() => {
            check_type(item).map_err(|why| format!("in `{}`: {why}", field.name()))
        }
        other => Err(format!(
            "column `{}` has type {other}; use VARCHAR, DOUBLE, BIGINT, INTEGER, BOOLEAN, DATE, TIMESTAMP (microseconds, UTC) or an array of one of these",
            field.name()
        )),
    }
}

/// The same schema in Delta's types.
pub(crate) fn delta_schema(table: &str, schema: &Schema) -> Result<StructType, OfflineError> {
    schema
        .try_into_kernel()
        .map_err(|e| OfflineError::delta(table, "describe", e))
}

/// Columns that get statistics in the log: no floats (statistics lose NaN), nothing nested, no
/// bytes.
pub(crate) fn has_statistics(field: &Field) -> bool {
    matches!(
        field.data_type(),
        DataType::Utf8
            | DataType::Int64
            | DataType::Int32
            | DataType::Boolean
            | DataType::Date32
            | DataType::Timestamp(..)
    )
}

/// The value of `delta.dataSkippingStatsColumns`: names in backticks where they are not plain.
pub(crate) fn statistics_columns(schema: &Schema) -> String {
    let quoted = |name: &String| {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if plain {
            name.clone()
        } else {
            format!("`{}`", name.replace('`', "``"))
        }
    };
    let names: Vec<String> = schema
        .fields()
        .iter()
        .filter(|f| has_statistics(f))
        .map(|f| quoted(f.name()))
        .collect();
    names.join(",")
}
