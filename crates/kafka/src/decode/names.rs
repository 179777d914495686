//! Which column a field of a record fills, by its name: the column that is called so, or else the
//! one whose name differs in case only. SQL has names in lower case unless they are quoted, and
//! records come from programs that write `userId`. What becomes of a record that has both is
//! `columns`'s to say.

use std::collections::HashMap;

use arrow_schema::{FieldRef, Fields as ArrowFields};

/// How many field names of an object are remembered by their place, and how long such a name may
/// be.
const LAYOUT_MAX_FIELDS: usize = 256;
const LAYOUT_MAX_NAME_BYTES: usize = 128;

/// The column that a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Its index.
    pub(super) column: usize,
    /// Whether it is called so, and not otherwise in case.
    pub(super) exact: bool,
}

/// What the field at one place of the object was in the record before.
#[derive(Debug, Default)]
struct Remembered {
    name: String,
    /// The name as a record of JSON has it, in quotes and with its colon.
    quoted: Vec<u8>,
    /// Whether it has it so: the name needs no escapes.
    is_plain: bool,
    found: Option<Found>,
}

impl Remembered {
    fn set(&mut self, name: &str, found: Option<Found>) {
        self.name.clear();
        self.name.push_str(name);
        self.quoted.clear();
        for part in [b"\"".as_slice(), name.as_bytes(), b"\":"] {
            self.quoted.extend_from_slice(part);
        }
        self.is_plain = name
            .bytes()
            .all(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20));
        self.found = found;
    }
}

/// The names of the columns of one object.
#[derive(Debug)]
pub(super) struct Names {
    by_name: HashMap<Box<str>, usize>,
    /// By the name in lower case; None where two columns have it.
    by_lower: HashMap<Box<str>, Option<usize>>,
    /// Records of one topic mostly have the same fields in the same order: one comparison then
    /// replaces the look-up, also of names in another case.
    layout: Vec<Remembered>,
}

impl Names {
    pub(super) fn of(fields: &ArrowFields) -> Self {
        let mut by_name = HashMap::new();
        let mut by_lower: HashMap<Box<str>, Option<usize>> = HashMap::new();
        for (index, field) in fields.iter().enumerate() {
            let field: &FieldRef = field;
            by_name.insert(field.name().as_str().into(), index);
            let lower = by_lower.entry(field.name().to_lowercase().into());
            lower
                .and_modify(|column| *column = None)
                .or_insert(Some(index));
        }
        Self {
            by_name,
            by_lower,
            layout: Vec::new(),
        }
    }

    /// The column that is called `name`.
    pub(super) fn exact(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The column that the field `name`, the `place`-th of its object, means.
    pub(super) fn find(&mut self, place: usize, name: &str) -> Option<Found> {
        if let Some(remembered) = self.layout.get(place)
            && remembered.name == name
        {
            return remembered.found;
        }
        let exact = self.exact(name).map(|column| Found {
            column,
            exact: true,
        });
        let found = exact.or_else(|| {
            let column = self.by_lower.get(name.to_lowercase().as_str())?;
            column.map(|column| Found {
                column,
                exact: false,
            })
        });
        self.remember(place, name, found);
        found
    }

    fn remember(&mut self, place: usize, name: &str, found: Option<Found>) {
        if place >= LAYOUT_MAX_FIELDS || name.len() > LAYOUT_MAX_NAME_BYTES {
            return;
        }
        if place == self.layout.len() {
            self.layout.push(Remembered::default());
        }
        if let Some(remembered) = self.layout.get_mut(place) {
            remembered.set(name, found);
        }
    }

    /// The field at the `place`-th place of the object before, in quotes and with its colon, and
    /// the column that it means.
    pub(super) fn remembered(&self, place: usize) -> Option<(&[u8], Option<Found>)> {
        let remembered = self.layout.get(place).filter(|field| field.is_plain)?;
        Some((&remembered.quoted, remembered.found))
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};

    use super::*;

    #[test]
    fn a_name_means_the_column_that_is_called_so_or_else_one_that_differs_in_case() {
        let field = |name: &str| Field::new(name, DataType::Utf8, true);
        let fields = ["userid", "Größe", "a", "A"].map(field).to_vec();
        let mut names = Names::of(&fields.into());
        let found = |column, exact| Some(Found { column, exact });
        for _ in 0..2 {
            assert_eq!(names.find(0, "userid"), found(0, true));
            assert_eq!(names.find(1, "userId"), found(0, false));
            assert_eq!(names.find(2, "GRÖßE"), found(1, false));
            assert_eq!(names.find(3, "a"), found(2, true));
            assert_eq!(names.find(4, "A"), found(3, true));
            assert_eq!(names.find(5, "user_id"), None);
            assert_eq!(names.find(LAYOUT_MAX_FIELDS, "USERID"), found(0, false));
        }
    }
}
