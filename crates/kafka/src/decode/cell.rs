//! One value into one column: which value fits which type (the table in the module above). Every
//! format puts its values here, so that the same value is the same cell, the same guess or the same
//! reject in each. It never rounds or guesses silently: what does not fit is a reject, which names
//! the column's type and not the value.

mod items;
mod real;

use forebay_core::cast::is_exact;
use forebay_core::date;
use forebay_core::domain::{self, Domain};
use forebay_core::source::{EpochUnit, sql_name};
use forebay_core::time::Micros;
use forebay_core::time_text::{self, Form};

use super::columns::{Column, Values};
use super::guess::Guess;
use super::reject::Reject;

impl Column {
    /// The column cannot hold a value of this kind.
    pub(super) fn refuse(&self, got: &str) -> Reject {
        let is = if self.is_item {
            "has items of type"
        } else {
            "is"
        };
        if let Some(domain) = self.domain {
            return Reject::wrong_type(format!("{is} {domain} and the record has {got}"));
        }
        let wants = match self.values {
            Values::Text(..) => "VARCHAR",
            Values::Double(_) => "DOUBLE",
            Values::BigInt(_) => "BIGINT",
            Values::Integer(_) => "INTEGER",
            Values::Boolean(_) => "BOOLEAN",
            Values::Date(_) => "DATE",
            Values::Timestamp(_) => "TIMESTAMP",
            Values::Struct(_) => "an object",
            Values::List(..) => {
                let wants = sql_name(self.field.data_type());
                return Reject::wrong_type(format!("is {wants} and the record has {got}"));
            }
        };
        Reject::wrong_type(format!("{is} {wants} and the record has {got}"))
    }

    /// An integer, exact. Doubles take it too, rounded once.
    pub(super) fn put_integer(&mut self, value: i64) -> Result<(), Reject> {
        match &mut self.values {
            Values::Double(_) if self.domain == Some(Domain::Real) => {
                return self.put_real_integer(value.into());
            }
            Values::Double(values) => {
                values.push(value as f64);
                // Beyond 2^53 only some integers are doubles.
                if !is_exact(value.into()) && value as f64 as i128 != i128::from(value) {
                    self.guessed(Guess::RoundedInteger);
                }
            }
            Values::BigInt(values) => values.push(value),
            Values::Integer(_)
                if self.domain == Some(Domain::SmallInt) && !domain::is_small(value) =>
            {
                return Err(self.refuse("a number out of its range"));
            }
            Values::Integer(values) => match i32::try_from(value) {
                Ok(value) => values.push(value),
                Err(_) => return Err(self.refuse("a number out of its range")),
            },
            Values::Timestamp(_) => return self.put_time(value),
            Values::Text(..)
            | Values::Boolean(_)
            | Values::Date(_)
            | Values::Struct(_)
            | Values::List(..) => {
                return Err(self.refuse("a number"));
            }
        }
        self.mark_valid();
        Ok(())
    }

    /// A time as an integer, in the column's unit; microseconds where the source says none.
    fn put_time(&mut self, count: i64) -> Result<(), Reject> {
        let unit = self.unit.unwrap_or(EpochUnit::Micros);
        let Some((micros, cut)) = unit
            .moment(count)
            .filter(|m| time_text::in_range(m.0).is_some())
        else {
            let why = "outside the years 0000 to 9999; say the unit that is meant, as TIMESTAMP FROM EPOCH NANOS";
            let unit = unit.word().to_lowercase();
            return Err(self.refuse(&format!("{unit} {why}")));
        };
        self.put_moment(micros, Form { cut, zoned: true })?;
        self.unit_guessed = self.unit.is_none();
        if self.unit_guessed {
            self.guessed(Guess::IntegerTime);
        }
        Ok(())
    }

    /// An integer that is not negative. Between 2^63 and 2^64 only a double can hold it.
    pub(super) fn put_unsigned(&mut self, value: u64) -> Result<(), Reject> {
        let Ok(value) = i64::try_from(value) else {
            if self.domain == Some(Domain::Real) {
                return self.put_real_integer(value.into());
            }
            let double = value as f64;
            if matches!(self.values, Values::Double(_)) && double as u128 != u128::from(value) {
                self.guessed(Guess::RoundedInteger);
            }
            return self.put_double(double);
        };
        self.put_integer(value)
    }

    /// A double.
    pub(super) fn put_double(&mut self, value: f64) -> Result<(), Reject> {
        match &mut self.values {
            Values::Double(_) if self.domain == Some(Domain::Real) => {
                return self.put_real(domain::nearest_real(value));
            }
            // One NaN, whatever bits it came with.
            Values::Double(values) => values.push(if value.is_nan() { f64::NAN } else { value }),
            Values::BigInt(_) | Values::Integer(_) | Values::Timestamp(_) => {
                return Err(self.refuse("a number that is no integer of its range"));
            }
            Values::Text(..)
            | Values::Boolean(_)
            | Values::Date(_)
            | Values::Struct(_)
            | Values::List(..) => {
                return Err(self.refuse("a number"));
            }
        }
        self.mark_valid();
        Ok(())
    }

    /// A number of JSON with a fraction or an exponent, or an integer that is a double: `-0` is
    /// one, and an integer all the same.
    pub(super) fn put_json_double(&mut self, value: f64) -> Result<(), Reject> {
        match &self.values {
            Values::BigInt(_) | Values::Integer(_) | Values::Timestamp(_)
                if value == 0.0 && value.is_sign_negative() =>
            {
                self.put_integer(0)
            }
            _ => self.put_double(value),
        }
    }

    /// A text.
    pub(super) fn put_text(&mut self, text: &str) -> Result<(), Reject> {
        match &mut self.values {
            Values::Text(bytes, ends) => {
                if let Some(Domain::Text(most)) = self.domain
                    && let Some(length) = domain::too_long(text, most)
                {
                    return Err(self.refuse(&format!("{length} characters")));
                }
                bytes.extend_from_slice(text.as_bytes());
                // Wraps only above 2 GiB, which `finish` refuses as a whole.
                ends.push(bytes.len() as i32);
            }
            Values::Double(values) => {
                let Some(value) = not_finite(text) else {
                    return Err(
                        self.refuse("a string other than \"NaN\", \"Infinity\" and \"-Infinity\"")
                    );
                };
                values.push(value);
                self.guessed(Guess::TextNumber);
            }
            Values::Date(values) => match date::parse(text) {
                Some(days) => values.push(days),
                None => {
                    let none = format!("a string that is no date; write {}", date::SAMPLE);
                    return Err(self.refuse(&none));
                }
            },
            Values::Timestamp(_) => {
                let Some(micros) = time_text::parse(text) else {
                    return Err(self.refuse("a string that is no time; write 2013-01-01T05:15:00Z"));
                };
                return self.put_moment(micros, time_text::form(text));
            }
            _ => return Err(self.refuse("a string")),
        }
        self.mark_valid();
        Ok(())
    }

    /// A moment, which the record writes in `form`.
    pub(super) fn put_moment(&mut self, micros: Micros, form: Form) -> Result<(), Reject> {
        let Values::Timestamp(values) = &mut self.values else {
            return Err(self.refuse("a time"));
        };
        let Some(whole) = time_text::in_range(micros) else {
            return Err(self.refuse("a time outside the years 0000 to 9999"));
        };
        let micros = match self.domain {
            Some(Domain::Time(digits)) => domain::cut(whole, digits),
            _ => whole,
        };
        values.push(micros);
        self.unit_guessed = false;
        if form.cut || micros != whole {
            self.guessed(Guess::TimeCut);
        }
        if !form.zoned {
            self.guessed(Guess::TimeWithoutZone);
        }
        self.mark_valid();
        Ok(())
    }

    /// A day, so many after 1970-01-01; None is part of one.
    pub(super) fn put_day(&mut self, day: Option<i64>) -> Result<(), Reject> {
        let Some(day) = day else {
            return Err(self.refuse("milliseconds that are no whole day"));
        };
        let date = date::of_days(day);
        match (&mut self.values, date) {
            (Values::Date(values), Some(date)) => values.push(date),
            // Midnight in UTC, as everywhere.
            (Values::Timestamp(_), Some(date)) => {
                let (cut, zoned) = (false, false);
                return self.put_moment(date::midnight(date), Form { cut, zoned });
            }
            (Values::Date(_) | Values::Timestamp(_), None) => {
                return Err(self.refuse("a day outside the years 0001 to 9999"));
            }
            _ => return Err(self.refuse("a date")),
        }
        self.mark_valid();
        Ok(())
    }

    /// `true` or `false`.
    pub(super) fn put_boolean(&mut self, value: bool) -> Result<(), Reject> {
        let Values::Boolean(values) = &mut self.values else {
            return Err(self.refuse("a boolean"));
        };
        values.push(value);
        self.mark_valid();
        Ok(())
    }

    /// NULL, said by the record.
    pub(super) fn put_null(&mut self) -> Result<(), Reject> {
        if !self.field.is_nullable() {
            return Err(Reject::missing(true));
        }
        self.push_null();
        Ok(())
    }
}

/// The double that is no number of JSON, by its name.
pub(super) fn not_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
