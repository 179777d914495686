//! Names of the archive's tables: what a source may be called so that it can have one, and which
//! names are taken. `engine` asks when a source is created, `offline` when a table is made.

use crate::limits::TABLE_NAME_MAX_BYTES;
use crate::settlement::SETTLEMENT_TABLE;

/// The archive's table of records that are no rows of their source.
pub const DEAD_LETTER_TABLE: &str = "dead_letters";

/// Tables of the archive that are no source's, by names that a source could have.
pub const OWN_TABLES: [&str; 2] = [DEAD_LETTER_TABLE, SETTLEMENT_TABLE];

/// Why the archive can have no table `name`, to stand behind it; None where it can.
#[must_use]
pub fn table_name_fault(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_one = !name.is_empty()
        && name.len() <= TABLE_NAME_MAX_BYTES
        && !name.starts_with('.')
        && name.chars().all(plain);
    (!is_one).then(|| {
        format!("use up to {TABLE_NAME_MAX_BYTES} letters, digits, `_`, `-` and `.`, with no dot in front")
    })
}
