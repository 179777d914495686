//! Column types that say more of a source's values than the type in which they are kept: SMALLINT
//! is an INTEGER of 16 bits, REAL a DOUBLE that 32 bits hold, VARCHAR(n) a text of at most n
//! characters, TIMESTAMP(p) a time of p digits of a second.
//!
//! A domain judges a value where it comes in: `kafka` by it refuses or takes records, `serve`
//! pushed rows, `engine` the rows of tests and of users' files. From there on the column has its
//! wide type, in the archive, in expressions and in answers: no arithmetic knows of these types.

use std::fmt;

use arrow_array::{Array, ArrayRef};

use crate::error::PortError;
use crate::time::{Micros, SECOND_US};
use crate::value::{Value, array_from_values};

/// What a column's declared type admits of its wide type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// SMALLINT: an INTEGER from -32,768 to 32,767.
    SmallInt,
    /// REAL: a DOUBLE that is the nearest value of 32 bits to what came.
    Real,
    /// VARCHAR(n): a text of at most so many characters (Unicode code points).
    Text(u32),
    /// TIMESTAMP(p): a TIMESTAMP of so many digits of a second, 0 to 5; finer ones are dropped.
    Time(u32),
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmallInt => f.write_str("SMALLINT"),
            Self::Real => f.write_str("REAL"),
            Self::Text(most) => write!(f, "VARCHAR({most})"),
            Self::Time(digits) => write!(f, "TIMESTAMP({digits})"),
        }
    }
}

/// Greatest `p` of TIMESTAMP(p): its microseconds have six digits.
pub const TIME_DIGITS: u32 = SECOND_US.ilog10();

impl Domain {
    /// The wide type's name, which requests and keys have.
    #[must_use]
    pub fn wide(self) -> &'static str {
        match self {
            Self::SmallInt => "INTEGER",
            Self::Real => "DOUBLE",
            Self::Text(_) => "VARCHAR",
            Self::Time(_) => "TIMESTAMP",
        }
    }

    /// `value`, of the wide type or an array of it, as the column has it.
    ///
    /// # Errors
    /// It is none of the column, as the end of `the row has ..`.
    pub fn admit(self, value: Value) -> Result<Value, String> {
        match (self, value) {
            (Self::SmallInt, Value::Int(value)) if !is_small(value) => {
                Err("a number out of its range".to_owned())
            }
            (Self::Real, Value::Float(value)) => match nearest_real(value) {
                Some(value) => Ok(Value::Float(value)),
                None => Err("a number beyond the largest REAL".to_owned()),
            },
            (Self::Text(most), Value::Text(text)) => match too_long(&text, most) {
                None => Ok(Value::Text(text)),
                Some(length) => Err(format!("{length} characters")),
            },
            (Self::Time(digits), Value::Timestamp(at)) => Ok(Value::Timestamp(cut(at, digits))),
            (_, Value::List(items)) => {
                let items = items.iter().map(|item| self.admit(item.clone()));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            (_, value) => Ok(value),
        }
    }

    /// The same of a whole column.
    ///
    /// # Errors
    /// The first row whose value is none of the column, and what it has; or, without a row, a
    /// column of another type than the wide one.
    pub fn admit_all(self, column: &ArrayRef) -> Result<ArrayRef, (Option<usize>, String)> {
        let defect = |error: PortError| (None, error.to_string());
        let value = |row| {
            let value = Value::from_array(column, row).map_err(defect)?;
            self.admit(value).map_err(|found| (Some(row), found))
        };
        let values = (0..column.len())
            .map(value)
            .collect::<Result<Vec<_>, _>>()?;
        array_from_values(column.data_type(), values.iter()).map_err(defect)
    }
}

/// Whether 16 bits hold `value`.
#[must_use]
pub fn is_small(value: i64) -> bool {
    i16::try_from(value).is_ok()
}

/// The REAL nearest to `value`; None where that is beyond the largest one. What is not finite
/// stays.
#[must_use]
pub fn nearest_real(value: f64) -> Option<f64> {
    let real = value as f32;
    (real.is_finite() || !value.is_finite()).then(|| f64::from(real))
}

/// The characters of `text` where they are more than `most`.
#[must_use]
pub fn too_long(text: &str, most: u32) -> Option<usize> {
    let most = most as usize;
    // A character has a byte at least: mostly nothing is counted.
    if text.len() <= most {
        return None;
    }
    let length = text.chars().count();
    (length > most).then_some(length)
}

/// `at` without what is finer than `digits` of a second, downwards before 1970 too.
#[must_use]
pub fn cut(at: Micros, digits: u32) -> Micros {
    let unit = 10_i64.pow(TIME_DIGITS.saturating_sub(digits));
    // The least moments of 64 bits have no whole second below them.
    at.div_euclid(unit).checked_mul(unit).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int32Array;

    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_domain_admits_its_values_and_names_what_it_does_not() {
        let float = |value: f64| Value::Float(value);
        for (domain, value, expected) in [
            (Domain::SmallInt, Value::Int(32_767), Ok(Value::Int(32_767))),
            (
                Domain::SmallInt,
                Value::Int(-32_769),
                Err("out of its range"),
            ),
            (Domain::Real, float(0.1), Ok(float(f64::from(0.1_f32)))),
            (Domain::Real, float(-0.0), Ok(float(-0.0))),
            (Domain::Real, float(1e-60), Ok(float(0.0))),
            (Domain::Real, float(f64::INFINITY), Ok(float(f64::INFINITY))),
            // Halfway between the largest REAL and the next power of two rounds away from it.
            (
                Domain::Real,
                float(3.402_823_567_797_336_6e38),
                Err("the largest REAL"),
            ),
            (
                Domain::Real,
                float(3.402_823_5e38),
                Ok(float(f64::from(f32::MAX))),
            ),
            (Domain::Text(3), text("äöü"), Ok(text("äöü"))),
            (Domain::Text(3), text("äöüß"), Err("4 characters")),
            (
                Domain::Time(3),
                Value::Timestamp(-1),
                Ok(Value::Timestamp(-1_000)),
            ),
            (
                Domain::Time(0),
                Value::Timestamp(1_999_999),
                Ok(Value::Timestamp(1_000_000)),
            ),
            (
                Domain::Time(5),
                Value::Timestamp(19),
                Ok(Value::Timestamp(10)),
            ),
            (Domain::Real, Value::Null, Ok(Value::Null)),
        ] {
            match (domain.admit(value.clone()), expected) {
                (Ok(found), Ok(expected)) => {
                    assert!(found.same_bits(&expected), "{domain} {value:?}: {found:?}");
                }
                (Err(found), Err(words)) => assert!(found.contains(words), "{domain}: {found}"),
                (found, expected) => panic!("{domain} {value:?}: {found:?}, not {expected:?}"),
            }
        }
        let column: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(40_000)]));
        let (row, words) = Domain::SmallInt.admit_all(&column).expect_err("too large");
        assert_eq!(
            (row, words.as_str()),
            (Some(2), "a number out of its range")
        );
        let taken = Domain::SmallInt
            .admit_all(&column.slice(0, 2))
            .expect("small");
        assert_eq!(&taken, &column.slice(0, 2));
        assert!(nearest_real(f64::NAN).is_some_and(f64::is_nan));
        assert_eq!(cut(i64::MIN, 0), i64::MIN);
    }

    #[test]
    fn a_domain_judges_each_item_of_an_array() {
        let times = Value::List(Arc::from([Value::Timestamp(-1), Value::Null]));
        let cut = Value::List(Arc::from([Value::Timestamp(-1_000_000), Value::Null]));
        assert_eq!(Domain::Time(0).admit(times), Ok(cut));
        let texts = Value::List(Arc::from([text("a"), text("ab")]));
        assert_eq!(Domain::Text(1).admit(texts), Err("2 characters".to_owned()));
    }
}
