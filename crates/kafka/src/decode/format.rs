//! The formats of records: what decodes and encodes the records of each, in one table. A new format
//! is a file of this folder, an entry here, and its name and options in `core`'s table. What no
//! format may know is how a row is kept, cut off again and finished: the module above does that.

use arrow_array::RecordBatch;
use forebay_core::source::SourceDef;

use super::arrow;
use super::csv;
use super::json::Json;
use super::row::RowDecoder;
use crate::encode::encode_rows;
use crate::error::Error;

/// Makes a record of each row of a batch.
type Encode = fn(&SourceDef, &RecordBatch) -> Result<Vec<Vec<u8>>, Error>;

/// What handles the records of a format.
pub(super) struct Codec {
    /// As `core`'s table has it.
    name: &'static str,
    /// A decoder for the records of a source, with the options that the source gives.
    pub(super) open: fn(&SourceDef) -> Result<Box<dyn RowDecoder>, Error>,
    /// Each row of a batch as the bytes of one record: the inverse.
    encode: Encode,
}

static CODECS: [Codec; 3] = [
    Codec {
        name: "json",
        open: |_| Ok(Box::new(Json::default())),
        encode: |_, batch| encode_rows(batch),
    },
    Codec {
        name: "csv",
        open: csv::open,
        encode: csv::encode,
    },
    Codec {
        name: "arrow",
        open: arrow::open,
        encode: arrow::encode,
    },
];

impl Codec {
    /// That of `source`.
    pub(super) fn of(source: &SourceDef) -> &'static Self {
        let name = source.format.name();
        let found = CODECS.iter().find(|codec| codec.name == name);
        found.expect("each format of core's table has a codec; a test compares the tables")
    }
}

/// Each row of `batch`, which has the columns of `source` by their names, as a record of the
/// source's format. Nullable columns may be absent.
///
/// # Errors
/// [`Error::UnsupportedColumn`]: a column of a type that the format cannot hold, by name.
pub fn encode_events(source: &SourceDef, batch: &RecordBatch) -> Result<Vec<Vec<u8>>, Error> {
    (Codec::of(source).encode)(source, batch)
}

#[cfg(test)]
mod tests {
    use forebay_core::format::FORMATS;

    use super::*;

    #[test]
    fn each_format_that_a_source_can_name_has_a_codec() {
        let names = FORMATS.iter().map(|format| format.name);
        assert!(names.eq(CODECS.iter().map(|codec| codec.name)));
    }
}
