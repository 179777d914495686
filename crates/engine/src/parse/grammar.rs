//! How statements write the kinds of objects: CREATE, DROP, SHOW and DESCRIBE find their kind by
//! its words in the table of kinds, and so do errors that list what may stand.

use std::fmt;

use super::cursor::Cursor;
use super::statement::ObjectKind;
use crate::catalog::{KINDS, Kind};
use crate::error::Result;

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Kind::of(*self).name)
    }
}

/// `FEATURE VIEW`, or `FEATURE VIEWS` where there are `many`.
fn written(kind: &Kind, many: bool) -> String {
    let (last, before) = kind.words.split_last().expect("a kind has a word");
    let last = if many { kind.plural } else { last };
    before
        .iter()
        .chain([&last])
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

/// All kinds behind `verb`, as errors list them.
pub(super) fn all_behind(verb: &str, many: bool) -> String {
    let kinds: Vec<String> = KINDS
        .iter()
        .map(|kind| format!("{verb} {}", written(kind, many)))
        .collect();
    kinds.join(", ")
}

impl Cursor<'_> {
    /// The kind whose words stand next, those of `many` objects or of one; None where the first
    /// word begins no kind.
    pub(super) fn take_kind(&mut self, many: bool) -> Result<Option<ObjectKind>> {
        let last = |row: &Kind| match row.words.split_last() {
            Some((_, before)) if many => (before, row.plural),
            Some((last, before)) => (before, *last),
            None => (&[][..], ""),
        };
        let mut begun = Vec::new();
        for row in &KINDS {
            let (before, last) = last(row);
            match before {
                [] if self.take_word(last) => return Ok(Some(row.kind)),
                [first] if self.is_word(first) => begun.push((first, last, row.kind)),
                _ => {}
            }
        }
        let Some((first, ..)) = begun.first() else {
            return Ok(None);
        };
        self.take_word(first);
        for (_, last, kind) in &begun {
            if self.take_word(last) {
                return Ok(Some(*kind));
            }
        }
        let lasts: Vec<&str> = begun.iter().map(|(_, last, _)| *last).collect();
        self.expected(&lasts.join(" or "))
    }
}
