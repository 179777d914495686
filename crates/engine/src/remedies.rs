//! What an error tells the reader to write is taken: tables of texts, the errors that they give,
//! and the same texts mended as the errors have it. Used by the tests of `parse`, `catalog`,
//! `view` and `service`.

use crate::error::Result;

/// A text, the error that it gives, and the text as the error has it.
pub(crate) type Row = (&'static str, &'static str, &'static str);

const TAKEN: &str = "it is taken";

/// The rows whose text gives another error, or whose mended text gives one, with what they give.
/// `place` stands before each error of the table.
pub(crate) fn wrong(
    rows: &[Row],
    place: &str,
    take: impl Fn(&str) -> Result<()>,
) -> Vec<(&'static str, String, String)> {
    let outcome = |text: &str| take(text).map_or_else(|e| e.to_string(), |()| TAKEN.to_owned());
    rows.iter()
        .filter_map(|(text, error, mended)| {
            let (found, followed) = (outcome(text), outcome(mended));
            let right = found == format!("{place}{error}") && followed == TAKEN;
            (!right).then_some((*text, found, followed))
        })
        .collect()
}
