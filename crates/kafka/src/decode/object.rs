//! The columns of one object (a record, or a nested object) and the visitor that fills one row of
//! them from JSON. Bytes come from the reader one record at a time; full columns leave as one Arrow
//! array each.

use std::collections::HashMap;
use std::fmt;

use arrow_array::ArrayRef;
use arrow_schema::{FieldRef, Fields as ArrowFields};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::cell::CellSeed;
use super::column::{Column, Values};
use super::reject::Reject;
use crate::error::Error;

/// How many field names of an object are remembered by their place, and how long such a name may
/// be.
const LAYOUT_MAX_FIELDS: usize = 256;
const LAYOUT_MAX_NAME_BYTES: usize = 128;

/// What the field at one place of the object was in the record before.
#[derive(Debug)]
struct Remembered {
    name: String,
    column: Option<usize>,
}

/// The columns of one object.
#[derive(Debug)]
pub(super) struct Fields {
    arrow: ArrowFields,
    columns: Vec<Column>,
    by_name: HashMap<Box<str>, usize>,
    /// Records of one topic mostly have the same fields in the same order: one comparison then
    /// replaces the look-up.
    layout: Vec<Remembered>,
}

impl Fields {
    pub(super) fn new(fields: &ArrowFields) -> Result<Self, Error> {
        let columns = fields
            .iter()
            .map(Column::new)
            .collect::<Result<Vec<_>, _>>()?;
        let by_name = fields
            .iter()
            .enumerate()
            .map(|(i, field): (usize, &FieldRef)| (field.name().as_str().into(), i));
        Ok(Self {
            arrow: fields.clone(),
            columns,
            by_name: by_name.collect(),
            layout: Vec::new(),
        })
    }

    pub(super) fn arrow_fields(&self) -> ArrowFields {
        self.arrow.clone()
    }

    pub(super) fn is_timestamp(&self, column: usize) -> bool {
        matches!(
            self.columns.get(column),
            Some(Column {
                values: Values::Timestamp(_),
                ..
            })
        )
    }

    /// See [`Column::last_timestamp`].
    pub(super) fn last_timestamp(&self, column: usize) -> Option<i64> {
        self.columns[column].last_timestamp()
    }

    pub(super) fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.columns
            .iter_mut()
            .for_each(|column| column.truncate(rows));
    }

    pub(super) fn finish(&mut self, rows: usize) -> Result<Vec<ArrayRef>, Error> {
        self.columns
            .iter_mut()
            .map(|column| column.finish(rows))
            .collect()
    }

    /// The column that the field `name`, the `place`-th of its object, fills.
    fn column_of(&mut self, place: usize, name: &str) -> Option<usize> {
        if let Some(remembered) = self.layout.get(place)
            && remembered.name == name
        {
            return remembered.column;
        }
        let column = self.by_name.get(name).copied();
        self.remember(place, name, column);
        column
    }

    fn remember(&mut self, place: usize, name: &str, column: Option<usize>) {
        if place >= LAYOUT_MAX_FIELDS || name.len() > LAYOUT_MAX_NAME_BYTES {
            return;
        }
        if let Some(remembered) = self.layout.get_mut(place) {
            remembered.name.clear();
            remembered.name.push_str(name);
            remembered.column = column;
        } else if place == self.layout.len() {
            self.layout.push(Remembered {
                name: name.to_owned(),
                column,
            });
        }
    }

    /// Fill row `row` of each column from the fields of one object. On an error the columns are
    /// left uneven; the caller truncates them. `failure` then says why, unless the JSON itself is
    /// broken outside the wanted fields.
    pub(super) fn visit_object<'de, A: MapAccess<'de>>(
        &mut self,
        mut object: A,
        row: usize,
        failure: &mut Option<Reject>,
    ) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some(column) = object.next_key_seed(NameSeed {
            fields: self,
            place,
        })? {
            place += 1;
            let Some(column) = column else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &mut self.columns[column];
            if column.len() > row {
                return Err(fail(failure, Reject::twice().within(column.field.name())));
            }
            if let Err(error) = object.next_value_seed(CellSeed {
                column,
                row,
                failure,
            }) {
                let reject = failure.take().unwrap_or_else(|| broken_value(&error));
                *failure = Some(reject.within(column.field.name()));
                return Err(error);
            }
        }
        self.fill_absent(row)
            .map_err(|reject| fail(failure, reject))
    }

    fn fill_absent(&mut self, row: usize) -> Result<(), Reject> {
        for column in &mut self.columns {
            if column.len() == row {
                if !column.field.is_nullable() {
                    return Err(Reject::missing(false).within(column.field.name()));
                }
                column.push_null();
            }
        }
        Ok(())
    }
}

/// Remember why, and stop the parser.
pub(super) fn fail<E: serde::de::Error>(failure: &mut Option<Reject>, reject: Reject) -> E {
    *failure = Some(reject);
    E::custom("rejected")
}

/// The parser gave up inside a wanted value. A number beyond the largest double is JSON all the
/// same: the column is at fault, not the text.
fn broken_value(error: &impl fmt::Display) -> Reject {
    let problem = error.to_string();
    if problem.starts_with("number out of range") {
        Reject::wrong_type("the number is beyond the largest DOUBLE")
    } else {
        Reject::not_json(problem)
    }
}

/// A whole object into row `row` of `fields`.
pub(super) struct ObjectSeed<'a> {
    pub(super) fields: &'a mut Fields,
    pub(super) row: usize,
    pub(super) failure: &'a mut Option<Reject>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error> {
        self.fields.visit_object(object, self.row, self.failure)
    }
}

/// The name of a field, resolved to a column without copying it.
struct NameSeed<'a> {
    fields: &'a mut Fields,
    place: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<usize>, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.fields.column_of(self.place, name))
    }
}
