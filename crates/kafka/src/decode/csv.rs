//! CSV (RFC 4180): one line a record, without a header, its fields in the order of the source's
//! columns. One record is one offset and so one row: a record of several lines is refused. A field
//! in quotes may hold delimiters, quotes (doubled) and line breaks; what stands without quotes and
//! is the NULL text is NULL. Fewer fields than columns are columns that the record lacks, so that a
//! source may get columns before its producers do; more fields are refused, since a delimiter that
//! nobody quoted would shift all behind it.
//!
//! The line is read by hand: readers of CSV do not tell whether a field had quotes, which says here
//! whether it is NULL.

use std::borrow::Cow;

use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use forebay_core::source::SourceDef;

use super::cell::not_finite;
use super::columns::{Column, Fields, Values};
use super::reject::Reject;
use super::row::{RecordField, RowDecoder, without};
use crate::encode::{WriteCell, cell_writer};
use crate::error::Error;

/// How the lines of a source are written.
#[derive(Debug, Clone)]
struct Csv {
    delimiter: u8,
    quote: u8,
    null: String,
}

impl Csv {
    fn of(source: &SourceDef) -> Self {
        let character = |name: &str| {
            let character = source.format.character(name);
            character.expect("the options were checked when the format was made")
        };
        Self {
            delimiter: character("delimiter"),
            quote: character("quote"),
            null: source.format.option("null").to_owned(),
        }
    }

    fn is_null(&self, field: &Field<'_>) -> bool {
        !field.quoted && field.text == self.null
    }

    /// The fields of a record's line.
    fn line<'a>(&self, payload: &'a [u8]) -> Result<Line<'a>, Reject> {
        let text =
            std::str::from_utf8(payload).map_err(|e| Reject::not_csv(format!("not UTF-8: {e}")))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(Line {
            rest: Some(text.strip_suffix('\r').unwrap_or(text)),
            delimiter: self.delimiter,
            quote: self.quote,
        })
    }
}

/// A decoder for the lines of `source`.
///
/// # Errors
/// [`Error::UnsupportedColumn`]: a column that is an object or an array.
pub(super) fn open(source: &SourceDef) -> Result<Box<dyn RowDecoder>, Error> {
    without(source, DataType::is_nested)?;
    Ok(Box::new(Csv::of(source)))
}

impl RowDecoder for Csv {
    fn decode(&mut self, payload: &[u8], fields: &mut Fields, row: usize) -> Result<(), Reject> {
        let mut line = self.line(payload)?;
        let mut place = 0;
        while let Some(field) = line.next()? {
            if place == fields.len() {
                return Err(too_many(place));
            }
            let column = fields.column_mut(place);
            let put = if self.is_null(&field) {
                column.put_null()
            } else {
                put_field(column, &field.text)
            };
            place += 1;
            if let Err(reject) = put {
                let reject = reject.within(column.field.name());
                // A delimiter that nobody quoted shifts values into columns that do not fit them:
                // it is the fault then, not the value.
                return Err(if line.count()? + place > fields.len() {
                    too_many(fields.len())
                } else {
                    reject
                });
            }
        }
        fields.fill_absent(row)
    }

    fn fields(&mut self, payload: &[u8], columns: &[&str]) -> Option<Vec<RecordField>> {
        let mut line = self.line(payload).ok()?;
        let mut found = Vec::new();
        for name in columns {
            let Some(field) = line.next().ok()? else {
                break;
            };
            found.push(RecordField {
                name: (*name).to_owned(),
                null: self.is_null(&field),
            });
        }
        Some(found)
    }
}

fn too_many(columns: usize) -> Reject {
    Reject::not_csv(format!(
        "the line has more than {columns} fields, one for each column; write a field that holds the delimiter in \
         quotes, or declare its column"
    ))
}

/// One field.
#[derive(Debug, PartialEq, Eq)]
struct Field<'a> {
    text: Cow<'a, str>,
    quoted: bool,
}

/// What is left of a line; None behind its last field.
struct Line<'a> {
    rest: Option<&'a str>,
    delimiter: u8,
    quote: u8,
}

impl<'a> Line<'a> {
    fn next(&mut self) -> Result<Option<Field<'a>>, Reject> {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        let (text, quoted, end) = if rest.as_bytes().first() == Some(&self.quote) {
            let (text, end) = self.quoted(rest)?;
            (text, true, end)
        } else {
            let (text, end) = self.bare(rest)?;
            (Cow::Borrowed(text), false, end)
        };
        // Delimiters and quotes are ASCII, so that what is between two of them is whole characters.
        self.rest = (end < rest.len()).then(|| rest.get(end + 1..).unwrap_or_default());
        Ok(Some(Field { text, quoted }))
    }

    /// How many fields are left.
    fn count(&mut self) -> Result<usize, Reject> {
        let mut count = 0;
        while self.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// A field without quotes, and where it ends.
    fn bare(&self, rest: &'a str) -> Result<(&'a str, usize), Reject> {
        for (end, byte) in rest.bytes().enumerate() {
            if byte == self.delimiter {
                return Ok((rest.get(..end).unwrap_or_default(), end));
            }
            if byte == self.quote {
                return Err(Reject::not_csv(
                    "a quote stands inside of a field that has none around it; write the field in quotes, and its \
                     own quotes twice",
                ));
            }
            if matches!(byte, b'\n' | b'\r') {
                return Err(Reject::not_one_row("the record has more than one line"));
            }
        }
        Ok((rest, rest.len()))
    }

    /// What is between the quotes that `rest` begins with, and where the field ends.
    fn quoted(&self, rest: &'a str) -> Result<(Cow<'a, str>, usize), Reject> {
        let bytes = rest.as_bytes();
        let mut doubled = false;
        let mut end = 1;
        loop {
            match (bytes.get(end), bytes.get(end + 1)) {
                (None, _) => return Err(Reject::not_csv("a field's closing quote is missing")),
                (Some(byte), next) if *byte == self.quote => match next {
                    Some(next) if *next == self.quote => {
                        doubled = true;
                        end += 2;
                    }
                    None => break,
                    Some(next) if *next == self.delimiter => break,
                    Some(b'\n' | b'\r') => {
                        return Err(Reject::not_one_row("the record has more than one line"));
                    }
                    Some(_) => {
                        return Err(Reject::not_csv(
                            "a field goes on behind its closing quote; write quotes inside of quotes twice",
                        ));
                    }
                },
                _ => end += 1,
            }
        }
        let text = rest.get(1..end).unwrap_or_default();
        let text = if doubled {
            let quote = char::from(self.quote).to_string();
            Cow::Owned(text.replace(&quote.repeat(2), &quote))
        } else {
            Cow::Borrowed(text)
        };
        Ok((text, end + 1))
    }
}

/// What `text`, which is not NULL, says, into `column`.
fn put_field(column: &mut Column, text: &str) -> Result<(), Reject> {
    match column.values {
        Values::BigInt(_) | Values::Integer(_) => match text.parse() {
            Ok(value) => column.put_integer(value),
            Err(_) if digits(text) => Err(column.refuse("a number out of its range")),
            Err(_) => Err(column.refuse("a field that is no integer")),
        },
        Values::Double(_) => put_number(column, text),
        Values::Boolean(_) if text.eq_ignore_ascii_case("true") => column.put_boolean(true),
        Values::Boolean(_) if text.eq_ignore_ascii_case("false") => column.put_boolean(false),
        Values::Boolean(_) => Err(column.refuse("a field that is neither true nor false")),
        Values::Timestamp(_) => match text.parse() {
            Ok(value) => column.put_integer(value),
            Err(_) => column.put_text(text),
        },
        Values::Text(..) | Values::Date(_) | Values::Struct(_) | Values::List(..) => {
            column.put_text(text)
        }
    }
}

/// A number with or without point and exponent, or a name of one that is not finite. What is an
/// integer goes as one, so that what a double cannot hold exactly is told.
fn put_number(column: &mut Column, text: &str) -> Result<(), Reject> {
    if let Some(value) = not_finite(text) {
        return column.put_double(value);
    }
    let is_plain = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    if column.reads_text_of_numbers() && text.bytes().all(is_plain) {
        return column.put_numeral(text);
    }
    match (text.parse::<i64>(), text.parse::<u64>()) {
        // The double keeps the sign of -0.
        (Ok(0), _) if text.starts_with('-') => return column.put_double(-0.0),
        (Ok(value), _) => return column.put_integer(value),
        (_, Ok(value)) => return column.put_unsigned(value),
        _ => {}
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => column.put_double(value),
        // The parser takes names of what is not finite, in any case.
        Ok(_) if text.bytes().all(is_plain) => Err(Reject::wrong_type(
            "the number is beyond the largest DOUBLE",
        )),
        _ => Err(column.refuse("a field that is no number")),
    }
}

/// Whether `text` is digits with or without a sign.
fn digits(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Each row of `batch` as the line of one record, without a line break behind it.
///
/// # Errors
/// [`Error::UnsupportedColumn`].
pub(super) fn encode(source: &SourceDef, batch: &RecordBatch) -> Result<Vec<Vec<u8>>, Error> {
    without(source, DataType::is_nested)?;
    let csv = Csv::of(source);
    let columns = source.columns.iter().map(|column| {
        let array = batch.column_by_name(&column.name);
        let cell = |array| Ok((array, cell_writer(&column.name, array)?));
        array.map(cell).transpose()
    });
    let columns = columns.collect::<Result<Vec<_>, Error>>()?;
    let line = |row: usize| {
        let mut line = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                line.push(csv.delimiter);
            }
            match column {
                Some((array, write)) if !array.is_null(row) => {
                    csv.write_cell(&mut line, array.data_type().is_string(), write, row);
                }
                _ => line.extend_from_slice(csv.null.as_bytes()),
            }
        }
        line
    };
    Ok((0..batch.num_rows()).map(line).collect())
}

impl Csv {
    /// A cell of JSON without its quotes; a text in CSV's own where it needs some.
    fn write_cell(&self, line: &mut Vec<u8>, is_text: bool, write: &WriteCell<'_>, row: usize) {
        let mut cell = Vec::new();
        write(&mut cell, row);
        if !is_text {
            // Times and what is not finite; neither has a character that is escaped.
            let plain = cell
                .strip_prefix(b"\"")
                .and_then(|cell| cell.strip_suffix(b"\""));
            line.extend_from_slice(plain.unwrap_or(&cell));
            return;
        }
        let text: String = serde_json::from_slice(&cell).expect("a text of JSON was written");
        let special = |b: u8| [self.delimiter, self.quote, b'\r', b'\n'].contains(&b);
        if text != self.null && !text.bytes().any(special) {
            line.extend_from_slice(text.as_bytes());
            return;
        }
        line.push(self.quote);
        for byte in text.bytes() {
            if byte == self.quote {
                line.push(byte);
            }
            line.push(byte);
        }
        line.push(self.quote);
    }
}

#[cfg(test)]
mod tests;
