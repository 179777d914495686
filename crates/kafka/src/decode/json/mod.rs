//! JSON: one object a record. The bytes go straight into the columns, without a tree of values;
//! which value fits which column is [`super::cell`]'s to say.
//!
//! There are two ways through a record. [`scan`] takes a record that is JSON beyond doubt and notes
//! its fields, and [`replay`] puts these into the columns in their order: nearly every record goes
//! this way. Whatever the scan does not take, what is no JSON among it, goes through the parser of
//! [`general`], which judges it and has the words for what is wrong. Both give the same rows, the
//! same guesses and the same rejects; a property test compares them.

mod fields;
mod general;
mod number;
mod replay;
mod scan;
mod text;

use serde_json::{Map, Value};

use super::columns::Fields;
use super::reject::Reject;
use super::row::{RecordField, RowDecoder};
use scan::Tape;

/// Decodes JSON objects.
#[derive(Debug, Default)]
pub(super) struct Json {
    /// The fields of the record at work; kept for its room.
    tape: Tape,
}

impl RowDecoder for Json {
    fn decode(&mut self, payload: &[u8], fields: &mut Fields, row: usize) -> Result<(), Reject> {
        // Checked once and as a whole, so that strings need no second look and skipped fields are
        // held to the same rule.
        let text = std::str::from_utf8(payload)
            .map_err(|e| Reject::not_json(format!("not UTF-8: {e}")))?;
        // The scan reads a number as what JSON means by it, not as the digits that it has, and
        // keeps nothing of arrays.
        let scanned = fields.is_scanned() && self.tape.scan(text, fields).is_some();
        if scanned {
            replay::record(&self.tape, text, fields, row)
        } else {
            general::decode(text, fields, row)
        }
    }

    fn fields(&mut self, payload: &[u8], _columns: &[&str]) -> Option<Vec<RecordField>> {
        let object: Map<String, Value> = serde_json::from_slice(payload).ok()?;
        let field = |(name, value): (String, Value)| RecordField {
            name,
            null: value.is_null(),
        };
        Some(object.into_iter().map(field).collect())
    }
}

#[cfg(test)]
mod tests;
