//! The fields of a scanned record into the columns, in their order: what [`super::general`] does
//! between two values, step by step. The whole text is JSON by now, so the first field that is no
//! value of its column is what the record is refused for.

use super::super::columns::{Claim, Column, Fields, Values};
use super::super::reject::Reject;
use super::fields::{Field, Name, Span, Value};
use super::scan::Tape;

/// A scanned record.
#[derive(Clone, Copy)]
struct Scanned<'a> {
    text: &'a str,
    unescaped: &'a str,
}

impl<'a> Scanned<'a> {
    fn plain(self, span: Span) -> &'a str {
        part(self.text, span)
    }

    fn unescaped(self, span: Span) -> &'a str {
        part(self.unescaped, span)
    }
}

fn part(text: &str, span: Span) -> &str {
    let part = text.get(span.start as usize..span.end as usize);
    part.expect("the scan cuts a text at its quotes")
}

/// Fill row `row` of `fields` with the record `text`, which `tape` has the fields of. On an error
/// the columns are left uneven; the caller truncates them.
///
/// # Errors
/// It is no row: why.
pub(super) fn record(
    tape: &Tape,
    text: &str,
    fields: &mut Fields,
    row: usize,
) -> Result<(), Reject> {
    let unescaped = &tape.unescaped;
    object(&tape.fields, Scanned { text, unescaped }, fields, row)
}

fn object(
    mut rest: &[Field],
    scanned: Scanned<'_>,
    fields: &mut Fields,
    row: usize,
) -> Result<(), Reject> {
    let mut place = 0;
    while let Some((field, behind)) = rest.split_first() {
        let inside = match field.value {
            Value::Object(inside) => inside,
            _ => 0,
        };
        let (inside, behind) = behind.split_at(inside);
        rest = behind;
        let claim = match field.name {
            Name::Remembered(found) => fields.claim_found(found, row, Reject::twice),
            Name::Plain(span) => fields.claim(place, scanned.plain(span), row, Reject::twice),
            Name::Unescaped(span) => {
                fields.claim(place, scanned.unescaped(span), row, Reject::twice)
            }
        }?;
        place += 1;
        let (Claim::Fill(index) | Claim::FillOther(index)) = claim else {
            continue;
        };
        let column = fields.column_mut(index);
        if let (Value::Object(_), Values::Struct(inner)) = (field.value, &mut column.values) {
            match object(inside, scanned, inner, row) {
                Ok(()) => column.mark_valid(),
                Err(reject) => return Err(fields.named(claim, reject)),
            }
            continue;
        }
        let put = value(column, field.value, scanned);
        if put.is_err() {
            fields.put(claim, row, put)?;
        }
    }
    fields.fill_absent(row)
}

/// A value into the column that its field means.
fn value(column: &mut Column, value: Value, scanned: Scanned<'_>) -> Result<(), Reject> {
    match value {
        Value::Null => column.put_null(),
        Value::Boolean(value) => column.put_boolean(value),
        Value::Unsigned(value) => column.put_unsigned(value),
        Value::Negative(value) => column.put_integer(value),
        Value::Double(value) => column.put_json_double(value),
        Value::Plain(span) => column.put_text(scanned.plain(span)),
        Value::Unescaped(span) => column.put_text(scanned.unescaped(span)),
        Value::Object(_) => Err(column.refuse("an object")),
        Value::Array => Err(column.refuse("an array")),
    }
}
