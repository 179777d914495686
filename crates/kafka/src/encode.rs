//! Rows of a batch as JSON objects, one text a row: the inverse of [`crate::decode`], bit for bit.
//! What `forebay replay` produces and what a prediction's record holds.
//!
//! Every column appears in every object, in the schema's order; NULL is `null`. A DOUBLE is the
//! shortest text that reads back as the same bits (`-0.0` keeps its sign), NaN and the infinities
//! are `"NaN"`, `"Infinity"`, `"-Infinity"`. A TIMESTAMP is RFC 3339 in UTC with six decimals where
//! its microseconds are not zero; outside the years 0000 to 9999, which text cannot say, it is the
//! integer of its microseconds.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Fields};
use forebay_core::cast::{conform, moments, spread};
use forebay_core::date;
use forebay_core::time::Micros;
use forebay_core::time_text;
use serde::Serialize;

use crate::error::Error;

/// Each row of `batch` as the bytes of one JSON object.
///
/// Types: those of a source's columns (VARCHAR, DOUBLE, BIGINT, INTEGER, BOOLEAN, TIMESTAMP,
/// STRUCT, arrays of flat items) and what files have beside them: `Utf8View`, `LargeUtf8`, small
/// and unsigned integers up to 32 bits, `Float32` (widened exactly), timestamps of any unit in
/// microseconds.
///
/// # Errors
/// [`Error::UnsupportedColumn`]: a column of another type, or with a time beyond 64 bits of
/// microseconds, by name.
pub fn encode_rows(batch: &RecordBatch) -> Result<Vec<Vec<u8>>, Error> {
    let columns = writers(batch.schema_ref().fields(), batch.columns())?;
    let mut capacity = 128;
    Ok((0..batch.num_rows())
        .map(|row| {
            let mut object = Vec::with_capacity(capacity);
            write_object(&mut object, &columns, row);
            capacity = capacity.max(object.len());
            object
        })
        .collect())
}

pub(crate) type WriteCell<'a> = Box<dyn Fn(&mut Vec<u8>, usize) + 'a>;

/// One column: `"name":` as bytes, and how to write a cell that is not null.
struct Writer<'a> {
    label: Vec<u8>,
    array: &'a ArrayRef,
    write: WriteCell<'a>,
}

fn writers<'a>(fields: &Fields, arrays: &'a [ArrayRef]) -> Result<Vec<Writer<'a>>, Error> {
    let writer = |(field, array): (&arrow_schema::FieldRef, &'a ArrayRef)| {
        let mut label = Vec::new();
        write_json(&mut label, field.name());
        label.push(b':');
        Ok(Writer {
            label,
            array,
            write: cell_writer(field.name(), array)?,
        })
    };
    fields.iter().zip(arrays).map(writer).collect()
}

fn write_object(out: &mut Vec<u8>, columns: &[Writer<'_>], row: usize) {
    out.push(b'{');
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&column.label);
        if column.array.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            (column.write)(out, row);
        }
    }
    out.push(b'}');
}

pub(crate) fn cell_writer<'a>(name: &str, array: &'a ArrayRef) -> Result<WriteCell<'a>, Error> {
    macro_rules! integers {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>().values();
            Box::new(move |out, row| write_json(out, &values[row]))
        }};
    }
    Ok(match array.data_type() {
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Box::new(move |out, row| write_json(out, values.value(row)))
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            Box::new(move |out, row| write_json(out, values.value(row)))
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            Box::new(move |out, row| write_json(out, values.value(row)))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            Box::new(move |out, row| write_double(out, values[row]))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            Box::new(move |out, row| write_double(out, f64::from(values[row])))
        }
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(move |out, row| write_json(out, &values.value(row)))
        }
        DataType::Date32 | DataType::Date64 => {
            let dates = conform(array, &DataType::Date32).map_err(|misfit| {
                let data_type = format!("{}{misfit}", array.data_type());
                let column = name.to_owned();
                Error::UnsupportedColumn { column, data_type }
            })?;
            let dates = dates.as_primitive::<Date32Type>().clone();
            Box::new(move |out, row| write_json(out, date::format(dates.value(row)).as_str()))
        }
        DataType::Timestamp(unit, _) => {
            let times = moments(array).map_err(|misfit| Error::UnsupportedColumn {
                column: name.to_owned(),
                data_type: format!("Timestamp({unit:?}){misfit}"),
            })?;
            Box::new(move |out, row| write_timestamp(out, times.value(row)))
        }
        DataType::Struct(fields) => {
            let columns = writers(fields, array.as_struct().columns())?;
            Box::new(move |out, row| write_object(out, &columns, row))
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            list_writer(name, array)?
        }
        other => {
            return Err(Error::UnsupportedColumn {
                column: name.to_owned(),
                data_type: other.to_string(),
            });
        }
    })
}

fn list_writer<'a>(name: &str, array: &'a ArrayRef) -> Result<WriteCell<'a>, Error> {
    let unsupported = || Error::UnsupportedColumn {
        column: name.to_owned(),
        data_type: array.data_type().to_string(),
    };
    let (items, places) = spread(array.as_ref()).ok_or_else(unsupported)?;
    if items.data_type().is_nested() {
        return Err(unsupported());
    }
    // Rows of JSON objects are written from columns; an array is one whose items have no names.
    let texts = items_as_json(name, &items)?;
    Ok(Box::new(move |out, row| {
        out.push(b'[');
        for (index, item) in places[row].clone().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&texts[item]);
        }
        out.push(b']');
    }))
}

fn items_as_json(name: &str, items: &ArrayRef) -> Result<Vec<Vec<u8>>, Error> {
    let write = cell_writer(name, items)?;
    let text = |item: usize| {
        let mut text = Vec::new();
        if items.is_null(item) {
            text.extend_from_slice(b"null");
        } else {
            write(&mut text, item);
        }
        text
    };
    Ok((0..items.len()).map(text).collect())
}

fn write_double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        write_json(out, &value);
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        });
    }
}

fn write_timestamp(out: &mut Vec<u8>, micros: Micros) {
    match time_text::format(micros) {
        Some(text) => write_json(out, text.as_str()),
        None => write_json(out, &micros),
    }
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value)
        .expect("scalars and strings always serialize, and memory takes every byte");
}
