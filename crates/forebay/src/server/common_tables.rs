//! The tables of the archive that no source has, and every one needs: without one of them ingest
//! stands.

use forebay_control::WantedTable;
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_offline::dead_letter_schema;
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::settlements::settlement_schema;
use forebay_pipeline::watermark::table::{MARKS_TABLE, marks_schema};

/// Each with its columns.
pub(super) fn common_tables() -> Vec<WantedTable> {
    let tables = [
        (DEAD_LETTER_TABLE, dead_letter_schema()),
        (MARKS_TABLE, marks_schema()),
        (SETTLEMENT_TABLE, settlement_schema()),
    ];
    tables
        .map(|(name, schema)| (name.to_owned(), schema))
        .into()
}

#[cfg(test)]
mod tests {
    use forebay_core::tables::OWN_TABLES;

    use super::*;

    #[test]
    fn no_source_can_have_the_name_of_one() {
        for (name, _) in common_tables() {
            let taken = name.starts_with('_') || OWN_TABLES.contains(&name.as_str());
            assert!(taken, "{name}");
        }
    }
}
