//! Timestamps as text, both ways: RFC 3339, and `2013-01-01 05:15:00` without an offset, which is
//! UTC. Written by hand because it runs once per event: no allocation, no locale, no leap-second
//! table (second 60 is refused).
//!
//! Records, requests, tests and expressions read times by it.

use crate::calendar::{civil_from_days, days_from_civil, days_of_month};
use crate::invariant;
use crate::time::{DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};

/// 0000-01-01T00:00:00Z.
const EARLIEST_US: Micros = -62_167_219_200 * SECOND_US;
/// 9999-12-31T23:59:59.999999Z.
const LATEST_US: Micros = 253_402_300_800 * SECOND_US - 1;

/// Bytes of `2013-01-01 05:15:00`.
const SECONDS_BYTES: usize = 19;
/// Bytes of `2013-01-01`.
const DATE_BYTES: usize = 10;

/// `micros` where it lies in the years 0000 to 9999, which both SQL and RFC 3339 can write.
#[must_use]
pub fn in_range(micros: Micros) -> Option<Micros> {
    (EARLIEST_US..=LATEST_US)
        .contains(&micros)
        .then_some(micros)
}

/// Microseconds since 1970 of `YYYY-MM-DD(T| )HH:MM:SS[.digits][Z|+HH:MM|-HH:MM]`. Without an
/// offset it is UTC. Digits beyond the sixth are dropped.
#[must_use]
pub fn parse(text: &str) -> Option<Micros> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let days = date(&bytes[..DATE_BYTES])?;
    let (hour, minute, second) = (
        number(&bytes[11..13])?,
        number(&bytes[14..16])?,
        number(&bytes[17..19])?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_us, offset) = fraction(&bytes[19..])?;
    let local_us =
        days * DAY_US + hour * HOUR_US + minute * MINUTE_US + second * SECOND_US + fraction_us;
    in_range(local_us - offset_us(offset)?)
}

/// Days since 1970 of `YYYY-MM-DD`.
#[must_use]
pub fn parse_date(text: &str) -> Option<i64> {
    date(text.as_bytes())
}

fn date(text: &[u8]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return None;
    };
    let year = number(&[*y1, *y2])? * 100 + number(&[*y3, *y4])?;
    let (month, day) = (number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let is_date = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    is_date.then(|| days_from_civil(year, month, day))
}

/// What [`parse`] does with a text beyond taking it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Digits beyond the microsecond are dropped.
    pub cut: bool,
    /// It says its offset from UTC.
    pub zoned: bool,
}

/// The form of `text`, which is a time.
#[must_use]
pub fn form(text: &str) -> Form {
    let zoned = matches!(text.as_bytes(), [.., b'Z' | b'z']);
    // The common form: nothing to look for.
    if zoned && text.len() <= SECONDS_BYTES + 8 {
        return Form { cut: false, zoned };
    }
    let rest = &text.as_bytes()[SECONDS_BYTES..];
    let digits = rest.strip_prefix(b".").unwrap_or_default();
    let digits = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    Form {
        cut: digits > 6,
        zoned: zoned || rest.iter().any(|byte| matches!(byte, b'+' | b'-')),
    }
}

/// RFC 3339 in UTC, with six decimals where the microseconds are not zero; None outside the years
/// 0000 to 9999.
#[must_use]
pub fn format(micros: Micros) -> Option<String> {
    in_range(micros)?;
    let (days, of_day) = (micros.div_euclid(DAY_US), micros.rem_euclid(DAY_US));
    let (year, month, day) = civil_from_days(days);
    invariant!(
        DateRoundTrips,
        days_from_civil(year, month, day) == days,
        "day {days} as {year}-{month}-{day}"
    );
    let (hour, minute) = (of_day / HOUR_US, of_day % HOUR_US / MINUTE_US);
    let (second, fraction) = (of_day % MINUTE_US / SECOND_US, of_day % SECOND_US);
    let whole = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    Some(if fraction == 0 {
        format!("{whole}Z")
    } else {
        format!("{whole}.{fraction:06}Z")
    })
}

/// Two decimal digits.
fn number(digits: &[u8]) -> Option<i64> {
    match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from((tens - b'0') * 10 + (ones - b'0')))
        }
        _ => None,
    }
}

/// The microseconds of an optional `.digits`, and what follows.
fn fraction(rest: &[u8]) -> Option<(Micros, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 {
        return None;
    }
    let micros = digits[..count]
        .iter()
        .chain(b"00000")
        .take(6)
        .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some((micros, &digits[count..]))
}

/// What a local time is ahead of UTC.
fn offset_us(offset: &[u8]) -> Option<Micros> {
    match offset {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * HOUR_US + minutes * MINUTE_US;
            Some(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_are_timestamps_and_forms_that_are_not() {
        let five_fifteen = 1_357_017_300_000_000;
        for text in [
            "2013-01-01T05:15:00Z",
            "2013-01-01t05:15:00z",
            "2013-01-01 05:15:00",
            "2013-01-01T05:15:00.000000",
            "2013-01-01T00:15:00-05:00",
            "2013-01-01T05:15:00.0000009Z",
            "2013-01-01 10:45:00+05:30",
        ] {
            assert_eq!(parse(text), Some(five_fifteen), "{text}");
        }
        assert_eq!(
            parse("1969-12-31T23:59:59.9999999Z"),
            Some(-1),
            "dropped digits round down before 1970 too"
        );
        assert_eq!(parse("2024-02-29T00:00:00.5Z"), Some(1_709_164_800_500_000));
        for text in [
            "",
            "2013-01-01",
            "2013-01-01T05:15",
            "2013-02-29T00:00:00Z",
            "2013-00-01T00:00:00Z",
            "2013-01-00T00:00:00Z",
            "2013-13-01T00:00:00Z",
            "2013-01-01T24:00:00Z",
            "2013-01-01T05:60:00Z",
            "2016-12-31T23:59:60Z",
            "2013-01-01T05:15:00.",
            "2013-01-01T05:15:00.Z",
            "2013-01-01T05:15:00+05",
            "2013-01-01T05:15:00+24:00",
            "2013-01-01T05:15:00ZZ",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2013-01-01T05:15:00é",
            "+013-01-01T05:15:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_ten_characters() {
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(parse_date("0000-02-29"), Some(-719_469));
        for text in [
            "",
            "1970-1-2",
            "1970-01-02 ",
            "1970-02-30",
            "1970/01/02",
            "+970-01-02",
        ] {
            assert_eq!(parse_date(text), None, "{text:?}");
        }
    }
}
