//! The parser that takes every record: that of serde_json, whose words a reject has. It puts each
//! value into its column when it comes, without a tree of values. Objects hold values and values
//! may be objects, so both visitors are here.

use std::fmt;

use forebay_core::limits::EVENT_MAX_DEPTH;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::columns::{Claim, Column, Fields, Values};
use super::super::nesting;
use super::super::reject::Reject;

/// Fill row `row` of `fields` with the record `text`.
///
/// # Errors
/// It is no row: why. The columns may be uneven then.
pub(super) fn decode(text: &str, fields: &mut Fields, row: usize) -> Result<(), Reject> {
    if nesting::exceeds(text.as_bytes(), EVENT_MAX_DEPTH) {
        return Err(Reject::too_deep());
    }
    let mut failure = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let seed = ObjectSeed {
        fields,
        row,
        failure: &mut failure,
    };
    let Err(e) = seed.deserialize(&mut json).and_then(|()| json.end()) else {
        return Ok(());
    };
    let reject = failure.unwrap_or_else(|| Reject::not_json(e.to_string()));
    let place = (e.line(), e.column());
    Err(if e.is_syntax() && is_bare_number(text, place) {
        reject.adding(
            "JSON has no NaN and no infinity; write them as \"NaN\", \"Infinity\", \"-Infinity\"",
        )
    } else {
        reject
    })
}

/// Whether the parser stopped at a bare NaN or infinity, as Python's `json.dumps` writes them. It
/// counts lines and columns from 1, in bytes, up to the byte that it did not take or behind it.
fn is_bare_number(text: &str, (line, column): (usize, usize)) -> bool {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let rest = line.as_bytes().get(column.saturating_sub(2)..);
    rest.is_some_and(|rest| {
        let behind = rest.get(1..).unwrap_or_default();
        let begins = |word: &[u8]| rest.starts_with(word) || behind.starts_with(word);
        begins(b"NaN") || begins(b"Infinity")
    })
}

/// The value of one field into row `row` of `column`.
struct CellSeed<'a> {
    column: &'a mut Column,
    row: usize,
    failure: &'a mut Option<Reject>,
    /// Whether the parser goes on behind a value that is none of the column.
    goes_on: bool,
}

impl CellSeed<'_> {
    /// What became of the value, which the parser has behind it.
    fn told<E: serde::de::Error>(self, put: Result<(), Reject>) -> Result<(), E> {
        let Err(reject) = put else {
            return Ok(());
        };
        if self.goes_on {
            *self.failure = Some(reject);
            return Ok(());
        }
        Err(fail(self.failure, reject))
    }
}

impl CellSeed<'_> {
    /// A value whose number the column takes as it is written.
    fn numeral<E: serde::de::Error>(self, value: &RawValue) -> Result<(), E> {
        let text = value.get();
        if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            let put = self.column.put_numeral(text);
            return self.told(put);
        }
        let mut json = serde_json::Deserializer::from_str(text);
        self.deserialize(&mut json).map_err(E::custom)
    }
}

impl CellSeed<'_> {
    /// An array into a column of arrays, item by item. The first item that is none of the column's
    /// ends it.
    fn items<'de, A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        loop {
            let full = self.column.check_items();
            let Some(items) = self.column.items() else {
                return Ok(());
            };
            if full.is_err() {
                if array.next_element::<IgnoredAny>()?.is_none() {
                    break;
                }
            } else {
                let row = items.len();
                let item = ItemSeed(CellSeed {
                    column: items,
                    row,
                    failure: &mut *self.failure,
                    goes_on: true,
                });
                if array.next_element_seed(item)?.is_none() {
                    break;
                }
            }
            if let Some(reject) = self.failure.take().or_else(|| full.err()) {
                while self.goes_on && array.next_element::<IgnoredAny>()?.is_some() {}
                return self.told(Err(reject));
            }
        }
        self.column.end_items();
        Ok(())
    }
}

/// An item of an array.
struct ItemSeed<'a>(CellSeed<'a>);

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.0.column.reads_text_of_numbers() {
            let text = <&RawValue>::deserialize(json)?;
            return self.0.numeral(text);
        }
        self.0.deserialize(json)
    }
}

impl<'de> DeserializeSeed<'de> for CellSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for CellSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        let put = self.column.put_boolean(value);
        self.told(put)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        let put = self.column.put_integer(value);
        self.told(put)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let put = self.column.put_unsigned(value);
        self.told(put)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        let put = self.column.put_json_double(value);
        self.told(put)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let put = self.column.put_text(text);
        self.told(put)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        let put = self.column.put_null();
        self.told(put)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        if self.column.items().is_some() {
            return self.items(array);
        }
        while self.goes_on && array.next_element::<IgnoredAny>()?.is_some() {}
        let put = Err(self.column.refuse("an array"));
        self.told(put)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        if let Values::Struct(fields) = &mut self.column.values {
            visit_object(fields, object, self.row, self.failure)?;
            self.column.mark_valid();
            return Ok(());
        }
        while self.goes_on && object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        let put = Err(self.column.refuse("an object"));
        self.told(put)
    }
}

/// A value that is read as one of a column is, and is none's: what is broken in it is found.
struct Passed;

impl<'de> DeserializeSeed<'de> for Passed {
    type Value = IgnoredAny;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<IgnoredAny, D::Error> {
        json.deserialize_any(IgnoredAny)
    }
}

/// Fill row `row` of each column from the fields of one object. On an error the columns are
/// left uneven; the caller truncates them. `failure` then says why, unless the JSON itself is
/// broken outside the wanted fields.
fn visit_object<'de, A: MapAccess<'de>>(
    fields: &mut Fields,
    mut object: A,
    row: usize,
    failure: &mut Option<Reject>,
) -> Result<(), A::Error> {
    let mut place = 0;
    while let Some(claim) = object.next_key_seed(NameSeed {
        fields,
        place,
        row,
        failure,
    })? {
        place += 1;
        let read = match claim {
            Claim::Skip => object.next_value::<IgnoredAny>().map(|_| ()),
            Claim::Shadowed(_) => object.next_value_seed(Passed).map(|_| ()),
            Claim::Fill(column) | Claim::FillOther(column) => {
                let cell = CellSeed {
                    column: fields.column_mut(column),
                    row,
                    failure,
                    goes_on: matches!(claim, Claim::FillOther(_)),
                };
                if cell.column.reads_text_of_numbers() {
                    let text = object.next_value::<&RawValue>();
                    text.and_then(|text| cell.numeral(text))
                } else {
                    object.next_value_seed(cell)
                }
            }
        };
        match read {
            Ok(()) => {
                if let Some(reject) = failure.take() {
                    // Of a field of another case: the record may go on to one of the very name.
                    let put = fields.put(claim, row, Err(reject));
                    put.map_err(|reject| fail(failure, reject))?;
                }
            }
            Err(error) if claim == Claim::Skip => return Err(error),
            Err(error) => {
                let reject = failure.take().unwrap_or_else(|| broken_value(&error));
                *failure = Some(fields.named(claim, reject));
                return Err(error);
            }
        }
    }
    fields
        .fill_absent(row)
        .map_err(|reject| fail(failure, reject))
}

/// Remember why, and stop the parser.
fn fail<E: serde::de::Error>(failure: &mut Option<Reject>, reject: Reject) -> E {
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
struct ObjectSeed<'a> {
    fields: &'a mut Fields,
    row: usize,
    failure: &'a mut Option<Reject>,
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
        visit_object(self.fields, object, self.row, self.failure)
    }
}

/// The name of a field, resolved to a column without copying it.
struct NameSeed<'a> {
    fields: &'a mut Fields,
    place: usize,
    row: usize,
    failure: &'a mut Option<Reject>,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Claim;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Claim, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Claim;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Claim, E> {
        let claim = self.fields.claim(self.place, name, self.row, Reject::twice);
        claim.map_err(|reject| fail(self.failure, reject))
    }
}
