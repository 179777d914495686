//! DATE: a day of the years 0001 to 9999, counted from 1970-01-01. The one place that says which
//! days there are and how they read; values come from records, requests and expressions, and leave
//! as Arrow's `Date32`, as text and as the midnight in UTC that a day begins with.

use crate::calendar::civil_from_days;
use crate::time::{DAY_US, Micros};
use crate::time_text::parse_date;

/// 0001-01-01.
const FIRST_DAY: i64 = -719_162;
/// 9999-12-31.
const LAST_DAY: i64 = 2_932_896;

/// How a text must be written to be a DATE, for messages.
pub const SAMPLE: &str = "2024-05-01";

/// The DATE that is so many days after 1970-01-01; None where there is none.
#[must_use]
pub fn of_days(days: i64) -> Option<i32> {
    let is_date = (FIRST_DAY..=LAST_DAY).contains(&days);
    i32::try_from(days).ok().filter(|_| is_date)
}

/// The DATE that `text`, `YYYY-MM-DD`, is.
#[must_use]
pub fn parse(text: &str) -> Option<i32> {
    parse_date(text).and_then(of_days)
}

/// The DATE, in UTC, that a moment lies in.
#[must_use]
pub fn of_moment(at: Micros) -> Option<i32> {
    of_days(at.div_euclid(DAY_US))
}

/// The moment in UTC that a DATE begins with.
#[must_use]
pub fn midnight(days: i32) -> Micros {
    // 32 bits of days may be more than 64 bits of microseconds, which no DATE is.
    i64::from(days).saturating_mul(DAY_US)
}

/// `YYYY-MM-DD`.
#[must_use]
pub fn format(days: i32) -> String {
    let (year, month, day) = civil_from_days(i64::from(days));
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_day_of_the_years_1_to_9999() {
        for (text, days) in [
            ("0001-01-01", Some(-719_162)),
            ("1969-12-31", Some(-1)),
            ("1970-01-01", Some(0)),
            ("2024-02-29", Some(19_782)),
            ("9999-12-31", Some(2_932_896)),
            ("0000-12-31", None),
            ("2023-02-29", None),
            ("2024-5-1", None),
            ("2024-05-01T00:00:00Z", None),
            (" 2024-05-01", None),
        ] {
            assert_eq!(parse(text), days, "{text}");
            if let Some(days) = days {
                assert_eq!(format(days), text);
                assert_eq!(of_moment(midnight(days)), Some(days));
                assert_eq!(of_moment(midnight(days) - 1), of_days(i64::from(days) - 1));
            }
        }
        for days in [FIRST_DAY - 1, LAST_DAY + 1, i64::MIN, i64::MAX] {
            assert_eq!(of_days(days), None);
        }
    }
}
