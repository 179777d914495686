//! Literals of a test as values of a column. A literal means what the same text means in an event
//! or in SQL, and what does not fit the column is an error of the test, at its place.

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, SchemaRef};
use forebay_core::date;
use forebay_core::domain::Domain;
use forebay_core::exact::CANONICAL_NAN;
use forebay_core::source::{Column, sql_name};
use forebay_core::value::{Value, array_from_values, item_type};

use crate::error::{EngineError, Result};
use crate::parse::{Cell, Literal};
use crate::scalar::parse_time;

/// `cell` as a value of `column` of a source, which declares it as `domain`.
pub(super) fn given(
    cell: &Cell,
    column: &Column,
    domain: Option<Domain>,
    object: &str,
) -> Result<Value> {
    let Some(domain) = domain else {
        return typed(cell, column, object);
    };
    if let (Literal::Array(items), Some(_)) = (&cell.literal, item_type(&column.data_type)) {
        return array(items, cell, column, |item, column| {
            given(item, column, Some(domain), object)
        });
    }
    let value = match &cell.literal {
        // The nearest REAL to what is written; what is none is refused as a DOUBLE would be.
        Literal::Number(text) if domain == Domain::Real => match text.parse::<f32>() {
            Ok(real) if real.is_finite() => Value::Float(f64::from(real)),
            _ => typed(cell, column, object)?,
        },
        _ => typed(cell, column, object)?,
    };
    domain.admit(value).map_err(|found| {
        let message = format!("column {} is {domain}, and this is {found}", column.name);
        EngineError::refused(cell.at.clone(), object, message)
    })
}

/// `cell` as a value of `column`, in a test that is `object`.
pub(super) fn typed(cell: &Cell, column: &Column, object: &str) -> Result<Value> {
    let refuse = |message: String| Err(EngineError::refused(cell.at.clone(), object, message));
    if let (Literal::Array(items), Some(_)) = (&cell.literal, item_type(&column.data_type)) {
        return array(items, cell, column, |item, column| {
            typed(item, column, object)
        });
    }
    let value = match (&cell.literal, &column.data_type) {
        (Literal::Null, _) if column.nullable => Some(Value::Null),
        (Literal::Null, _) => {
            return refuse(format!(
                "column {} is declared NOT NULL; write a value",
                column.name
            ));
        }
        (Literal::Bool(value), DataType::Boolean) => Some(Value::Bool(*value)),
        (Literal::Number(text), DataType::Int32) => {
            let value = text.parse::<i32>().ok();
            value.map(|value| Value::Int(i64::from(value)))
        }
        (Literal::Number(text), DataType::Int64) => text.parse().ok().map(Value::Int),
        (Literal::Number(text), DataType::Float64) => double(text).map(Value::Float),
        (Literal::Text(text), DataType::Float64) => special(text).map(Value::Float),
        (Literal::Text(text), DataType::Utf8) => Some(Value::Text(text.as_str().into())),
        (Literal::Text(text) | Literal::Date(text), DataType::Date32) => {
            date::parse(text).map(Value::Date)
        }
        (Literal::Text(text) | Literal::Timestamp(text), DataType::Timestamp(..)) => {
            parse_time(text).map(Value::Timestamp)
        }
        _ => None,
    };
    let Some(value) = value else {
        let (name, kind) = (&column.name, sql_name(&column.data_type));
        let (found, example) = (written(&cell.literal), example(&column.data_type));
        return refuse(format!(
            "column {name} is {kind}, and {found} is none; write {example} or NULL"
        ));
    };
    Ok(value)
}

/// An array for `column`, whose items `item` reads each as a cell of a column of its own.
fn array(
    items: &[Literal],
    cell: &Cell,
    column: &Column,
    item: impl Fn(&Cell, &Column) -> Result<Value>,
) -> Result<Value> {
    let of_item = Column {
        name: column.name.clone(),
        data_type: item_type(&column.data_type)
            .unwrap_or(&column.data_type)
            .clone(),
        nullable: true,
    };
    let items = items.iter().map(|literal| {
        let cell = Cell {
            at: cell.at.clone(),
            literal: literal.clone(),
        };
        item(&cell, &of_item)
    });
    Ok(Value::List(items.collect::<Result<_>>()?))
}

/// The number, rounded once; one that is too large is none.
fn double(text: &str) -> Option<f64> {
    let value = match text {
        "NaN" | "Infinity" | "-Infinity" => return special(text),
        _ => text.parse::<f64>().ok()?,
    };
    value.is_finite().then_some(value)
}

/// What JSON has no number for, as events write it.
fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(CANONICAL_NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn written(literal: &Literal) -> String {
    match literal {
        Literal::Null => "NULL".to_owned(),
        Literal::Bool(value) => value.to_string().to_uppercase(),
        Literal::Number(text) => text.clone(),
        Literal::Text(text) => format!("'{text}'"),
        Literal::Date(text) => format!("DATE '{text}'"),
        Literal::Timestamp(text) => format!("TIMESTAMP '{text}'"),
        Literal::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("ARRAY[{}]", items.join(", "))
        }
    }
}

fn example(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "TRUE, FALSE",
        DataType::Int32 | DataType::Int64 => "a whole number within its range",
        DataType::Float64 => "a number, 'NaN', 'Infinity', '-Infinity'",
        DataType::Date32 => "DATE '2013-01-31'",
        DataType::Timestamp(..) => "'2013-01-31 12:00:00'",
        DataType::List(_) => "ARRAY[..] of such items",
        _ => "'text'",
    }
}

/// Values by column and row; None for a column that the test does not name.
pub(super) type ColumnValues = Vec<Option<Vec<Value>>>;

/// A batch of `schema`; a column without values is NULL.
pub(super) fn batch_of(
    schema: SchemaRef,
    columns: ColumnValues,
    rows: usize,
) -> Result<RecordBatch> {
    let arrays = schema.fields().iter().zip(columns).map(|(field, values)| {
        let values = values.unwrap_or_else(|| vec![Value::Null; rows]);
        Ok(array_from_values(field.data_type(), values.iter())?)
    });
    let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, arrays, &options)
        .map_err(|e| EngineError::Internal(format!("the rows of a test: {e}")))
}
