//! One JSON value into one cell: which JSON fits which column type (the table in the module above).
//! It never rounds or guesses: what does not fit is a reject, which names the column and not the
//! value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::column::{Column, Values};
use super::object::fail;
use super::reject::Reject;
use super::timestamp;

/// The value of one field into row `row` of `column`.
pub(super) struct CellSeed<'a> {
    pub(super) column: &'a mut Column,
    pub(super) row: usize,
    pub(super) failure: &'a mut Option<Reject>,
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
            Values::Double(values) => values.push(value as f64),
            Values::BigInt(values) => values.push(value),
            Values::Integer(values) => match i32::try_from(value) {
                Ok(value) => values.push(value),
                Err(_) => return Err(self.refuse("a number out of its range")),
            },
            Values::Timestamp(values) => match timestamp::in_range(value) {
                Some(micros) => values.push(micros),
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
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match &mut self.column.values {
            Values::Double(values) => values.push(value),
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
            Values::Double(values) => match text {
                "NaN" => values.push(f64::NAN),
                "Infinity" => values.push(f64::INFINITY),
                "-Infinity" => values.push(f64::NEG_INFINITY),
                _ => {
                    return Err(
                        self.refuse("a string other than \"NaN\", \"Infinity\" and \"-Infinity\"")
                    );
                }
            },
            Values::Timestamp(values) => match timestamp::parse(text) {
                Some(micros) => values.push(micros),
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
        fields.visit_object(object, self.row, self.failure)?;
        self.column.mark_valid();
        Ok(())
    }
}
