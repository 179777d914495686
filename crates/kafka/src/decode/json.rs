//! One JSON object into one row of columns: which JSON fits which column type (the table in the
//! module above). It never rounds or guesses: what does not fit is a reject, which names the column
//! and not the value. Objects hold values and values may be objects, so both visitors are here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::columns::{Column, Fields, Values};
use super::guess::Guess;
use super::reject::Reject;
use super::timestamp;

/// Greatest magnitude up to which every integer is a double: 2^53.
const EXACT_MAX: u64 = 1 << 53;

/// The value of one field into row `row` of `column`.
struct CellSeed<'a> {
    column: &'a mut Column,
    row: usize,
    failure: &'a mut Option<Reject>,
}

impl CellSeed<'_> {
    /// The column cannot hold a value of this kind.
    fn refuse<E: serde::de::Error>(self, got: &str) -> E {
        let wants = match self.column.values {
            Values::Text(..) => "VARCHAR",
            Values::Double(_) => "DOUBLE",
            Values::BigInt(_) => "BIGINT",
            Values::Integer(_) => "INTEGER",
            Values::Boolean(_) => "BOOLEAN",
            Values::Timestamp(_) => "TIMESTAMP",
            Values::Struct(_) => "an object",
        };
        fail(
            self.failure,
            Reject::wrong_type(format!("is {wants} and the record has {got}")),
        )
    }

    /// An integer, exact. Doubles take it too, rounded once.
    fn integer<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        match &mut self.column.values {
            Values::Double(values) => {
                values.push(value as f64);
                // Beyond 2^53 only some integers are doubles.
                if value.unsigned_abs() > EXACT_MAX && value as f64 as i128 != i128::from(value) {
                    self.column.guessed(Guess::RoundedInteger);
                }
            }
            Values::BigInt(values) => values.push(value),
            Values::Integer(values) => match i32::try_from(value) {
                Ok(value) => values.push(value),
                Err(_) => return Err(self.refuse("a number out of its range")),
            },
            Values::Timestamp(values) => match timestamp::in_range(value) {
                Some(micros) => {
                    values.push(micros);
                    self.column.guessed(Guess::IntegerTime);
                }
                None => return Err(self.refuse("microseconds outside the years 0000 to 9999")),
            },
            Values::Text(..) | Values::Boolean(_) | Values::Struct(_) => {
                return Err(self.refuse("a number"));
            }
        }
        self.column.mark_valid();
        Ok(())
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
        let Values::Boolean(values) = &mut self.column.values else {
            return Err(self.refuse("a boolean"));
        };
        values.push(value);
        self.column.mark_valid();
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.integer(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.integer(value),
            // Between 2^63 and 2^64 only a double can hold it.
            Err(_) => {
                let double = value as f64;
                if matches!(self.column.values, Values::Double(_))
                    && double as u128 != u128::from(value)
                {
                    self.column.guessed(Guess::RoundedInteger);
                }
                self.visit_f64(double)
            }
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match &mut self.column.values {
            Values::Double(values) => values.push(value),
            // The parser gives `-0`, an integer, and `-0.0` as this one double.
            Values::BigInt(_) | Values::Integer(_) | Values::Timestamp(_)
                if value == 0.0 && value.is_sign_negative() =>
            {
                return self.integer(0);
            }
            Values::BigInt(_) | Values::Integer(_) | Values::Timestamp(_) => {
                return Err(self.refuse("a number that is no integer of its range"));
            }
            Values::Text(..) | Values::Boolean(_) | Values::Struct(_) => {
                return Err(self.refuse("a number"));
            }
        }
        self.column.mark_valid();
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match &mut self.column.values {
            Values::Text(bytes, ends) => {
                bytes.extend_from_slice(text.as_bytes());
                // Wraps only above 2 GiB, which `finish` refuses as a whole.
                ends.push(bytes.len() as i32);
            }
            Values::Double(values) => {
                values.push(match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => {
                        return Err(self.refuse(
                            "a string other than \"NaN\", \"Infinity\" and \"-Infinity\"",
                        ));
                    }
                });
                self.column.guessed(Guess::TextNumber);
            }
            Values::Timestamp(values) => match timestamp::parse(text) {
                Some(micros) => {
                    values.push(micros);
                    for guess in timestamp::guesses(text).into_iter().flatten() {
                        self.column.guessed(guess);
                    }
                }
                None => {
                    return Err(self.refuse("a string that is no time; write 2013-01-01T05:15:00Z"));
                }
            },
            _ => return Err(self.refuse("a string")),
        }
        self.column.mark_valid();
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        if !self.column.field.is_nullable() {
            return Err(fail(self.failure, Reject::missing(true)));
        }
        self.column.push_null();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _array: A) -> Result<(), A::Error> {
        Err(self.refuse("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error> {
        let Values::Struct(fields) = &mut self.column.values else {
            return Err(self.refuse("an object"));
        };
        visit_object(fields, object, self.row, self.failure)?;
        self.column.mark_valid();
        Ok(())
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
    while let Some(column) = object.next_key_seed(NameSeed { fields, place })? {
        place += 1;
        let Some(column) = column else {
            object.next_value::<IgnoredAny>()?;
            fields.skipped();
            continue;
        };
        let column = fields.column_mut(column);
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
        visit_object(self.fields, object, self.row, self.failure)
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
