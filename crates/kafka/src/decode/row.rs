//! What a format does with one record: the trait that every format's decoder implements, and that
//! the conformance suite in `tests` runs. `format` has the table of them.

use std::fmt;

use arrow_schema::DataType;
use forebay_core::source::SourceDef;

use super::columns::Fields;
use super::reject::Reject;
use crate::error::Error;

/// Decodes the records of one source, each of them one row. Called once a record; what it does for
/// each value is its own.
pub(super) trait RowDecoder: fmt::Debug + Send {
    /// Put `payload`, which has a byte at least and no more than `EVENT_MAX_BYTES`, into row `row`
    /// of `fields`.
    ///
    /// # Errors
    /// It is no row: why. The columns may be uneven then; the caller cuts them.
    fn decode(&mut self, payload: &[u8], fields: &mut Fields, row: usize) -> Result<(), Reject>;

    /// The fields that `payload` has, of a source with `columns`; None where it cannot be read. Not
    /// on the path of an event: a survey asks.
    fn fields(&mut self, payload: &[u8], columns: &[&str]) -> Option<Vec<RecordField>>;
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordField {
    /// Its name.
    pub(crate) name: String,
    /// Whether it says NULL.
    pub(crate) null: bool,
}

/// That a format can fill all columns of `source`, which has none of a type that is `foreign` to
/// it.
///
/// # Errors
/// [`Error::UnsupportedColumn`].
pub(super) fn without(source: &SourceDef, foreign: fn(&DataType) -> bool) -> Result<(), Error> {
    let nested = source.columns.iter().find(|c| foreign(&c.data_type));
    nested.map_or(Ok(()), |column| {
        Err(Error::UnsupportedColumn {
            column: column.name.clone(),
            data_type: column.data_type.to_string(),
        })
    })
}
