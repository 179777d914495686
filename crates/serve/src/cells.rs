//! Request rows that came as JSON or protobuf: single values, column by column, until the declared
//! type of a request column makes an Arrow array of them. Bytes are untrusted: the number of rows
//! and columns is capped while they are read, and each refusal names column, row and the type that
//! was expected.

use std::fmt;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, TimeUnit};
use forebay_core::cast::is_exact;
use forebay_core::date;
use forebay_core::limits::{REQUEST_MAX_ROWS, SOURCE_MAX_COLUMNS};
use forebay_core::source::{Column, sql_name};
use forebay_core::time::Micros;
use forebay_core::time_text;
use forebay_core::value::{Value, array_from_values};
use forebay_proto::v1;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::{ServeError, ServeResult};

/// One value of a request row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    TimestampUs(Micros),
}

impl Cell {
    fn describe(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::TimestampUs(_) => "a timestamp",
        }
    }
}

impl From<v1::RequestValue> for Cell {
    fn from(value: v1::RequestValue) -> Self {
        use v1::request_value::Kind;
        match value.kind {
            None => Self::Null,
            Some(Kind::Text(text)) => Self::Text(text),
            Some(Kind::Real(real)) => Self::Float(real),
            Some(Kind::Integer(integer)) => Self::Int(integer),
            Some(Kind::Boolean(boolean)) => Self::Bool(boolean),
            Some(Kind::TimestampUs(at)) => Self::TimestampUs(at),
        }
    }
}

/// Named columns of cells, names distinct.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<(String, Vec<Cell>)>,
    /// Rows of the longest column as sent; above the limit they were counted and not kept.
    sent: usize,
}

impl Rows {
    /// From the protobuf form of a request.
    pub(crate) fn from_proto(columns: Vec<v1::RequestColumn>) -> ServeResult<Self> {
        if columns.len() > SOURCE_MAX_COLUMNS {
            return Err(too_many_columns(columns.len()));
        }
        let mut rows = Self::default();
        for column in columns {
            if rows.columns.iter().any(|(name, _)| *name == column.name) {
                return Err(ServeError::Request(format!(
                    "request column {} occurs twice",
                    column.name
                )));
            }
            rows.sent = rows.sent.max(column.values.len());
            rows.columns.push((
                column.name,
                column.values.into_iter().map(Cell::from).collect(),
            ));
        }
        rows.check_limit()?;
        Ok(rows)
    }

    /// Refuse rows above the limit.
    pub(crate) fn check_limit(&self) -> ServeResult<()> {
        if self.sent > REQUEST_MAX_ROWS {
            Err(too_many_rows(self.sent))
        } else {
            Ok(())
        }
    }
}

/// The error for a request with too many rows.
pub(crate) fn too_many_rows(rows: usize) -> ServeError {
    ServeError::Limit {
        limit: "REQUEST_MAX_ROWS",
        message: format!(
            "the request has {rows} rows; send at most {REQUEST_MAX_ROWS} in one request"
        ),
    }
}

fn too_many_columns(columns: usize) -> ServeError {
    ServeError::Limit {
        limit: "SOURCE_MAX_COLUMNS",
        message: format!("the request has {columns} columns; send at most {SOURCE_MAX_COLUMNS}"),
    }
}

/// An array of the column's type from its cells.
pub(crate) fn array_of(column: &Column, cells: &[Cell]) -> ServeResult<ArrayRef> {
    let values = cells
        .iter()
        .enumerate()
        .map(|(row, cell)| value_of(column, row, cell))
        .collect::<ServeResult<Vec<Value>>>()?;
    Ok(array_from_values(&column.data_type, values.iter())?)
}

fn value_of(column: &Column, row: usize, cell: &Cell) -> ServeResult<Value> {
    let wrong = |hint: &str| {
        ServeError::Request(format!(
            "request column {}, row {row}: expected {}, got {}{hint}",
            column.name,
            sql_name(&column.data_type),
            cell.describe()
        ))
    };
    Ok(match (&column.data_type, cell) {
        (_, Cell::Null) => Value::Null,
        (DataType::Boolean, Cell::Bool(value)) => Value::Bool(*value),
        (DataType::Int32, Cell::Int(value)) if i32::try_from(*value).is_ok() => Value::Int(*value),
        (DataType::Int32, Cell::Int(_)) => return Err(wrong(" that does not fit in 32 bits")),
        (DataType::Int64, Cell::Int(value)) => Value::Int(*value),
        (DataType::Float64, Cell::Float(value)) => Value::Float(*value),
        (DataType::Float64, Cell::Int(value)) if is_exact((*value).into()) => {
            Value::Float(*value as f64)
        }
        (DataType::Float64, Cell::Int(_)) => {
            return Err(wrong(" that a DOUBLE cannot hold exactly"));
        }
        (DataType::Float64, Cell::Text(text)) => match text.as_str() {
            "NaN" => Value::Float(f64::NAN),
            "Infinity" => Value::Float(f64::INFINITY),
            "-Infinity" => Value::Float(f64::NEG_INFINITY),
            _ => return Err(wrong(" (write numbers without quotes)")),
        },
        (DataType::Utf8, Cell::Text(text)) => Value::Text(Arc::from(text.as_str())),
        (DataType::Date32, Cell::Text(text)) => {
            let none = || wrong(&format!(" that is no date such as {}", date::SAMPLE));
            Value::Date(date::parse(text).ok_or_else(none)?)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), Cell::TimestampUs(at) | Cell::Int(at)) => {
            Value::Timestamp(*at)
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), Cell::Text(text)) => Value::Timestamp(
            parse_time(text)
                .ok_or_else(|| wrong(" that is not a time such as 2013-07-01T12:00:00Z"))?,
        ),
        _ => return Err(wrong("")),
    })
}

/// A time in RFC 3339, or without an offset (then it is UTC), as microseconds.
pub(crate) fn parse_time(text: &str) -> Option<Micros> {
    time_text::parse(text)
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CellVisitor;
        impl Visitor<'_> for CellVisitor {
            type Value = Cell;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null, a boolean, a number or a text")
            }

            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
                Ok(Cell::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
                Ok(Cell::Int(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Cell, E> {
                i64::try_from(value).map(Cell::Int).map_err(|_| {
                    E::custom(format!(
                        "the integer {value} does not fit in 64 signed bits"
                    ))
                })
            }

            fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
                Ok(Cell::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
                Ok(Cell::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(CellVisitor)
    }
}

/// One column of cells, kept up to the row limit and only counted above it.
struct CappedCells {
    cells: Vec<Cell>,
    sent: usize,
}

impl<'de> Deserialize<'de> for CappedCells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CellsVisitor;
        impl<'de> Visitor<'de> for CellsVisitor {
            type Value = CappedCells;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of values, one for each row")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut sequence: A,
            ) -> Result<CappedCells, A::Error> {
                let mut cells = Vec::new();
                while cells.len() < REQUEST_MAX_ROWS {
                    match sequence.next_element()? {
                        Some(cell) => cells.push(cell),
                        None => {
                            return Ok(CappedCells {
                                sent: cells.len(),
                                cells,
                            });
                        }
                    }
                }
                let mut sent = cells.len();
                while sequence.next_element::<IgnoredAny>()?.is_some() {
                    sent += 1;
                }
                Ok(CappedCells { cells, sent })
            }
        }
        deserializer.deserialize_seq(CellsVisitor)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowsVisitor;
        impl<'de> Visitor<'de> for RowsVisitor {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from request column to list of values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
                let mut rows = Rows::default();
                while let Some((name, cells)) = map.next_entry::<String, CappedCells>()? {
                    if rows.columns.len() == SOURCE_MAX_COLUMNS {
                        return Err(de::Error::custom(format!(
                            "more than {SOURCE_MAX_COLUMNS} request columns (SOURCE_MAX_COLUMNS)"
                        )));
                    }
                    if rows.columns.iter().any(|(other, _)| *other == name) {
                        return Err(de::Error::custom(format!(
                            "request column {name} occurs twice"
                        )));
                    }
                    rows.sent = rows.sent.max(cells.sent);
                    rows.columns.push((name, cells.cells));
                }
                Ok(rows)
            }
        }
        deserializer.deserialize_map(RowsVisitor)
    }
}
