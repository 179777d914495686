//! Request columns as a person types them, `COLUMN=VALUE`, to one typed row: every column of the
//! service once, those that were left out as NULL. Wrong names and values are refused here, with
//! what would be right.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::date;
use forebay_core::source::{Column, sql_name};
use forebay_core::value::{Value, array_from_values};

use crate::instant;

/// Split each argument at its first `=`.
///
/// # Errors
/// One without it or without a name, a name that occurs twice.
pub(super) fn parse(arguments: &[String]) -> Result<BTreeMap<&str, &str>> {
    let mut values = BTreeMap::new();
    for argument in arguments {
        let Some((name, value)) = argument
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
        else {
            bail!("'{argument}' is not COLUMN=VALUE; write for example origin=JFK");
        };
        if values.insert(name, value).is_some() {
            bail!("column '{name}' is given twice; give it once");
        }
    }
    Ok(values)
}

/// One row for `service`, whose request columns are `columns`.
///
/// # Errors
/// A name that the service does not have, a value of another type.
pub(super) fn request_row(
    service: &str,
    columns: &[Column],
    values: &BTreeMap<&str, &str>,
) -> Result<RecordBatch> {
    let known = || {
        columns
            .iter()
            .map(|c| format!("{} {}", c.name, sql_name(&c.data_type)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    for name in values.keys() {
        if !columns.iter().any(|column| column.name == *name) {
            bail!(
                "service '{service}' has no request column '{name}'; it has {}",
                known()
            );
        }
    }
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for column in columns {
        let value = match values.get(column.name.as_str()) {
            Some(text) => value(column, text).with_context(|| format!("service '{service}'"))?,
            None => Value::Null,
        };
        fields.push(Field::new(&column.name, column.data_type.clone(), true));
        arrays.push(array_from_values(
            &column.data_type,
            std::iter::once(&value),
        )?);
    }
    let schema = Arc::new(Schema::new(fields));
    let row: Vec<ArrayRef> = arrays;
    RecordBatch::try_new(schema, row)
        .with_context(|| format!("service '{service}' has no request columns"))
}

/// `text` as a value of the column's type.
fn value(column: &Column, text: &str) -> Result<Value> {
    let typed = match &column.data_type {
        DataType::Utf8 => Some(Value::Text(text.into())),
        DataType::Boolean => text.parse().ok().map(Value::Bool),
        DataType::Int32 => text
            .parse::<i32>()
            .ok()
            .map(|number| Value::Int(i64::from(number))),
        DataType::Int64 => text.parse().ok().map(Value::Int),
        DataType::Float64 => text.parse().ok().map(Value::Float),
        DataType::Date32 => date::parse(text).map(Value::Date),
        DataType::Timestamp(..) => instant::parse(text).ok().map(Value::Timestamp),
        other => bail!(
            "request column '{}' has type {other}, which cannot be written as text",
            column.name
        ),
    };
    typed.with_context(|| {
        format!(
            "request column '{}': '{text}' is no {}; write {}, or leave the column out for NULL",
            column.name,
            sql_name(&column.data_type),
            example(&column.data_type)
        )
    })
}

fn example(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "true or false",
        DataType::Int32 | DataType::Int64 => "a whole number such as 42",
        DataType::Float64 => "a number such as 1.5",
        DataType::Date32 => "2013-07-01",
        DataType::Timestamp(..) => "2013-07-01T12:00:00Z or '2013-07-01 12:00:00' (UTC)",
        _ => "a text",
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use forebay_core::time::timestamp_type;

    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            data_type,
            nullable: true,
        };
        vec![
            column("origin", DataType::Utf8),
            column("distance", DataType::Int64),
            column("seats", DataType::Int32),
            column("delay", DataType::Float64),
            column("weekend", DataType::Boolean),
            column("sched_dep", timestamp_type()),
        ]
    }

    fn row(arguments: &[&str]) -> Result<RecordBatch> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        request_row("delay_features", &columns(), &parse(&arguments)?)
    }

    #[test]
    fn values_get_the_types_of_their_columns_and_the_rest_is_null() -> Result<()> {
        let row = row(&[
            "delay=-0.5",
            "origin=a=b",
            "weekend=true",
            "sched_dep=2013-07-01",
            "distance=9223372036854775807",
        ])?;
        let value = |index: usize| Value::from_array(row.column(index).as_ref(), 0);
        assert_eq!(value(0)?, Value::Text("a=b".into()));
        assert_eq!(value(1)?, Value::Int(i64::MAX));
        assert_eq!(value(2)?, Value::Null);
        assert_eq!(value(3)?, Value::Float(-0.5));
        assert_eq!(value(4)?, Value::Bool(true));
        assert_eq!(value(5)?, Value::Timestamp(1_372_636_800_000_000));
        assert_eq!(row.column(5).data_type(), &timestamp_type());
        Ok(())
    }

    #[test]
    fn empty_text_is_a_text_and_no_null() -> Result<()> {
        let row = row(&["origin="])?;
        assert!(row.column(0).is_valid(0));
        assert_eq!(
            Value::from_array(row.column(0).as_ref(), 0)?,
            Value::Text("".into())
        );
        Ok(())
    }

    #[test]
    fn wrong_arguments_are_named_with_what_would_be_right() {
        let cases = [
            ("origin", "'origin' is not COLUMN=VALUE"),
            ("=JFK", "'=JFK' is not COLUMN=VALUE"),
            (
                "orign=JFK",
                "no request column 'orign'; it has origin VARCHAR, distance BIGINT",
            ),
            (
                "distance=12x",
                "'distance': '12x' is no BIGINT; write a whole number",
            ),
            ("distance=", "'' is no BIGINT"),
            ("distance=9223372036854775808", "is no BIGINT"),
            ("seats=2147483648", "is no INTEGER"),
            ("delay=late", "'late' is no DOUBLE"),
            ("weekend=yes", "write true or false"),
            (
                "sched_dep=July",
                "'July' is no TIMESTAMP; write 2013-07-01T12:00:00Z",
            ),
        ];
        for (argument, named) in cases {
            let error = format!("{:#}", row(&[argument]).expect_err(argument));
            assert!(error.contains(named), "{argument}: {error}");
        }
        let twice = format!("{:#}", row(&["origin=a", "origin=b"]).expect_err("twice"));
        assert!(twice.contains("'origin' is given twice"), "{twice}");
    }
}
