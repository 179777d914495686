//! TIMESTAMP as text, and text as TIMESTAMP. Read is what `to_timestamp` reads, with white space
//! around it. Written is RFC 3339 in UTC with no, three or six digits of a fraction; years beyond
//! 9999 have their sign.

use std::fmt::Write;

use forebay_core::time::{Micros, SECOND_US};

use crate::scalar::functions::calendar::Civil;
use crate::scalar::functions::time_text;

/// The moment that `text` is.
pub(super) fn read(text: &str) -> Option<Micros> {
    time_text::parse(text.trim_ascii())
}

/// Write `moment` behind `out`.
pub(super) fn write(moment: Micros, out: &mut String) {
    let Civil {
        year,
        month,
        day,
        of_day,
    } = Civil::of(moment);
    let second = of_day / SECOND_US;
    let fraction = of_day % SECOND_US;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    // A String takes everything.
    let _written = match year {
        0..=9_999 => write!(out, "{year:04}"),
        _ => write!(out, "{year:+05}"),
    };
    let _written = write!(
        out,
        "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    );
    let _written = match fraction {
        0 => Ok(()),
        _ if fraction % 1_000 == 0 => write!(out, ".{:03}", fraction / 1_000),
        _ => write!(out, ".{fraction:06}"),
    };
    out.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_any_zone_and_rounded_down() {
        for (text, moment) in [
            ("1970-01-01", Some(0)),
            (" 1970-01-01 00:00:01 ", Some(1_000_000)),
            ("1970-01-01T00:00:00.0000019Z", Some(1)),
            ("1969-12-31T23:59:59.9999999", Some(-1)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000)),
            ("9999-12-31T23:59:59.999999Z", Some(253_402_300_799_999_999)),
            ("1970-01-01T00:00", None),
            ("1970-02-30", None),
            ("1970-1-1", None),
            ("1970-01-01T25:00:00", None),
            ("1970-01-01T00:00:60", None),
            ("1970-01-01T00:00:00 Europe/Berlin", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(read(text), moment, "{text:?}");
        }
    }

    #[test]
    fn moments_are_written_as_they_are_read() {
        let written = |moment| {
            let mut out = String::new();
            write(moment, &mut out);
            out
        };
        for (moment, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_500_000, "1970-01-01T00:00:01.500Z"),
            (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
            (253_402_300_800_000_000, "+10000-01-01T00:00:00Z"),
            (-62_198_755_200_000_000, "-0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(written(moment), text);
        }
        for moment in [i64::MIN, i64::MAX] {
            assert!(written(moment).ends_with('Z'));
        }
    }
}
