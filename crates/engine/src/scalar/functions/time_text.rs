//! Times as text, read as the decoder of events reads them, and dates, which are their midnight:
//! `YYYY-MM-DD[(T| )HH:MM:SS[.digits][Z|+HH:MM|-HH:MM]]`, years 0000 to 9999, UTC without an
//! offset. Digits beyond the sixth are dropped, which rounds down before 1970 too.

use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};

use super::calendar::{days_from_civil, days_of_month};

/// 0000-01-01T00:00:00Z.
const EARLIEST_US: Micros = -62_167_219_200 * SECOND_US;
/// 9999-12-31T23:59:59.999999Z.
const LATEST_US: Micros = 253_402_300_800 * SECOND_US - 1;

/// None where the text is no time.
pub(crate) fn parse(text: &str) -> Option<Micros> {
    let mut rest = text.as_bytes();
    let year = digits(&mut rest, 4)?;
    mark(&mut rest, b"-")?;
    let month = digits(&mut rest, 2)?;
    mark(&mut rest, b"-")?;
    let day = digits(&mut rest, 2)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY_US;
    if rest.is_empty() {
        return Some(midnight);
    }
    mark(&mut rest, b"Tt ")?;
    let hour = digits(&mut rest, 2)?;
    mark(&mut rest, b":")?;
    let minute = digits(&mut rest, 2)?;
    mark(&mut rest, b":")?;
    let second = digits(&mut rest, 2)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = fraction(&mut rest)?;
    let of_day = hour * HOUR_US + minute * MINUTE_US + second * SECOND_US + fraction;
    let time = midnight + of_day - ahead(rest)?;
    (EARLIEST_US..=LATEST_US).contains(&time).then_some(time)
}

/// The number of exactly `count` digits.
fn digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (own, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    own.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })
}

fn mark(rest: &mut &[u8], marks: &[u8]) -> Option<()> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    marks.contains(first).then_some(())
}

/// Microseconds of an optional `.digits`.
fn fraction(rest: &mut &[u8]) -> Option<Micros> {
    let Some(fraction) = rest.strip_prefix(b".") else {
        return Some(0);
    };
    let count = fraction
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (own, behind) = fraction.split_at(count);
    *rest = behind;
    let six = own.iter().chain(b"00000").take(6);
    let micros = six.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    (count > 0).then_some(micros)
}

/// What the offset is ahead of UTC.
fn ahead(mut rest: &[u8]) -> Option<Micros> {
    let sign = match rest {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    rest = rest.get(1..)?;
    let hours = digits(&mut rest, 2)?;
    mark(&mut rest, b":")?;
    let minutes = digits(&mut rest, 2)?;
    (rest.is_empty() && hours < 24 && minutes < 60)
        .then_some(sign * (hours * HOUR_US + minutes * MINUTE_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_times_and_texts_that_are_none() {
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
        assert_eq!(parse("1969-12-31T23:59:59.9999999Z"), Some(-1));
        assert_eq!(parse("2024-02-29"), Some(1_709_164_800_000_000));
        for text in [
            "",
            "2013-01-01T05:15",
            "2013-02-29T00:00:00Z",
            "2013-00-01T00:00:00Z",
            "2013-01-00",
            "2013-01-01T24:00:00Z",
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
            " 2013-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
