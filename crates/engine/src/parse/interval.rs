//! The one grammar of intervals: `'30' MINUTE`, `30 MINUTE`, `'1 day 12 hours'`, `'1.5h'`,
//! `'01:30:00'`, `'1:30' HOUR TO MINUTE`. What TTL, watermarks and options take here, frames and
//! expressions take too: `scalar::desugar` writes their literals anew from what is read here.

use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};

/// A span of time. Months have no fixed length; days have 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interval {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: Micros,
}

#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

/// A unit by each of its names.
const UNITS: &[(&[&str], Unit)] = &[
    (&["century", "centuries"], Unit::Months(1_200)),
    (&["decade", "decades"], Unit::Months(120)),
    (&["y", "yr", "yrs", "year", "years"], Unit::Months(12)),
    (&["quarter", "quarters"], Unit::Months(3)),
    (&["mon", "mons", "month", "months"], Unit::Months(1)),
    (&["w", "week", "weeks"], Unit::Days(7)),
    (&["d", "day", "days"], Unit::Days(1)),
    (&["h", "hr", "hrs", "hour", "hours"], Unit::Micros(HOUR_US)),
    (
        &["m", "min", "mins", "minute", "minutes"],
        Unit::Micros(MINUTE_US),
    ),
    (
        &["s", "sec", "secs", "second", "seconds"],
        Unit::Micros(SECOND_US),
    ),
    (
        &["ms", "msec", "msecs", "millisecond", "milliseconds"],
        Unit::Micros(1_000),
    ),
    (
        &["us", "usec", "usecs", "microsecond", "microseconds"],
        Unit::Micros(1),
    ),
];

fn unit(name: &str) -> Option<Unit> {
    let name = name.to_ascii_lowercase();
    let found = UNITS
        .iter()
        .find(|(names, _)| names.contains(&name.as_str()));
    found.map(|(_, unit)| *unit)
}

/// Whether `word` may stand behind a quantity.
pub(super) fn is_unit(word: &str) -> bool {
    unit(word).is_some()
}

/// The interval that `text` is, with `field` (HOUR, or HOUR TO SECOND) behind it.
///
/// # Errors
/// What is wrong with it, and what to write.
pub(crate) fn parse_interval(text: &str, field: Option<&str>) -> Result<Interval, String> {
    let shown = match field {
        Some(field) => format!("'{text}' {field}"),
        None => format!("'{text}'"),
    };
    let failed = |why: &str| Err(format!("interval {shown}{why}"));
    let sample = " needs a quantity and a unit, as in INTERVAL '30' MINUTE";
    if text.contains(':') {
        return clock(text, field).map_or_else(
            || failed(" is no time; write hours:minutes:seconds, or INTERVAL '1 hour 30 minutes'"),
            Ok,
        );
    }
    if field.is_some_and(|field| field.contains(" TO ")) {
        return failed(
            " is not supported; write a sum of units, as in INTERVAL '1 hour 30 minutes'",
        );
    }
    let mut parts = parts(text);
    if let [Part::Number(number)] = parts.as_slice()
        && let Some(field) = field
    {
        parts = vec![Part::Number(number), Part::Word(field)];
    } else if field.is_some() {
        return failed(" has two units; write one of them, as in INTERVAL '30' MINUTE");
    }
    if parts.is_empty() || !parts.len().is_multiple_of(2) {
        return failed(sample);
    }
    let mut sum = Sum::default();
    for pair in parts.chunks_exact(2) {
        let [Part::Number(number), Part::Word(word)] = pair else {
            return failed(sample);
        };
        let Some(unit) = unit(word) else {
            return failed(&format!(
                ": unknown unit {word}; write SECOND, MINUTE, HOUR or DAY"
            ));
        };
        if sum.add(number, unit).is_none() {
            return failed(&format!(
                ": {number} {word} is no whole number of microseconds, or more than fits; write fewer digits"
            ));
        }
    }
    sum.interval().map_or_else(
        || failed(" is too long; at most 292 years of hours and 5 million years of days fit"),
        Ok,
    )
}

/// A piece of an interval's text.
enum Part<'a> {
    Number(&'a str),
    Word(&'a str),
}

/// Numbers and words in turn; nothing needs to stand between them.
fn parts(text: &str) -> Vec<Part<'_>> {
    let of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
    let mut parts = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let number = of_number(first);
            let end = rest.find(|c| of_number(c) != number).unwrap_or(rest.len());
            let (part, behind) = rest.split_at(end);
            parts.push(if number {
                Part::Number(part)
            } else {
                Part::Word(part)
            });
            rest = behind;
        }
    }
    parts
}

/// What is added up, wide enough for any one part.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// None where `number` is none, or has parts that are no microseconds.
    fn add(&mut self, number: &str, unit: Unit) -> Option<()> {
        let (whole, fraction) = decimal(number)?;
        let (of_fraction, scale) = fraction;
        let part = |units: i64| {
            let part = of_fraction.checked_mul(i128::from(units))?;
            (part % scale == 0).then_some(part / scale)
        };
        match unit {
            Unit::Months(months) => {
                self.months += whole.checked_mul(i128::from(months))? + part(months)?;
            }
            Unit::Days(days) => {
                self.days += whole.checked_mul(i128::from(days))?;
                let micros = part(days * DAY_US)?;
                self.days += micros / i128::from(DAY_US);
                self.micros += micros % i128::from(DAY_US);
            }
            Unit::Micros(micros) => {
                self.micros += whole.checked_mul(i128::from(micros))? + part(micros)?;
            }
        }
        Some(())
    }

    /// Hours and less are nanoseconds in the planner, in 64 bits.
    fn interval(&self) -> Option<Interval> {
        let micros = i64::try_from(self.micros).ok()?;
        micros.checked_mul(1_000)?;
        Some(Interval {
            months: i32::try_from(self.months).ok()?,
            days: i32::try_from(self.days).ok()?,
            micros,
        })
    }
}

/// Before the point, and behind it as a fraction.
fn decimal(number: &str) -> Option<(i128, (i128, i128))> {
    const DIGITS_MAX: usize = 18;
    let negative = number.starts_with('-');
    let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.len() <= DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !plain(whole) || !plain(fraction) {
        return None;
    }
    let parsed = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<i128>().ok(),
    };
    let sign = if negative { -1 } else { 1 };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some((sign * parsed(whole)?, (sign * parsed(fraction)?, scale)))
}

/// `h:mm:ss[.f]` or `h:mm`, or `m:ss` of MINUTE TO SECOND.
fn clock(text: &str, field: Option<&str>) -> Option<Interval> {
    let negative = text.trim().starts_with('-');
    let parts: Vec<&str> = text.trim().trim_start_matches('-').split(':').collect();
    let units: &[i64] = match (field, parts.len()) {
        (None | Some("HOUR TO SECOND"), 3) => &[HOUR_US, MINUTE_US, SECOND_US],
        (None | Some("HOUR TO MINUTE"), 2) => &[HOUR_US, MINUTE_US],
        (Some("MINUTE TO SECOND"), 2) => &[MINUTE_US, SECOND_US],
        _ => return None,
    };
    let mut sum = Sum::default();
    for (place, (part, unit)) in parts.iter().zip(units).enumerate() {
        let (whole, (fraction, _)) = decimal(part)?;
        let fits = place == 0 || whole < 60;
        let last = place + 1 == units.len();
        if !part.starts_with(|c: char| c.is_ascii_digit()) || !fits || (fraction != 0 && !last) {
            return None;
        }
        sum.add(part, Unit::Micros(*unit))?;
    }
    if negative {
        sum.micros = -sum.micros;
    }
    sum.interval()
}

/// `text` with `field` behind it as a fixed span that is not negative.
///
/// # Errors
/// What is wrong with it, and what to write.
pub(super) fn parse_duration(text: &str, field: Option<&str>) -> Result<Micros, String> {
    let interval = parse_interval(text, field)?;
    let shown = field.map_or_else(|| format!("'{text}'"), |field| format!("'{text}' {field}"));
    if interval.months != 0 {
        return Err(format!(
            "interval {shown}: months and years have no fixed length; write days, as in INTERVAL '30' DAY"
        ));
    }
    let days = i64::from(interval.days).checked_mul(DAY_US);
    let total = days.and_then(|days| days.checked_add(interval.micros));
    match total {
        Some(total) if total >= 0 => Ok(total),
        Some(_) => Err(format!(
            "interval {shown} is negative; write a positive one"
        )),
        None => Err(format!(
            "interval {shown} is too long; at most 292,000 years fit"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, field: Option<&str>) -> Interval {
        parse_interval(text, field).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn an_interval_is_read_in_each_of_its_forms() {
        let micros = |micros| Interval {
            micros,
            ..Interval::default()
        };
        let days = |days| Interval {
            days,
            ..Interval::default()
        };
        for (text, field, wanted) in [
            ("60", Some("MINUTE"), micros(HOUR_US)),
            ("60 minutes", None, micros(HOUR_US)),
            ("1h", None, micros(HOUR_US)),
            ("1h30m", None, micros(HOUR_US + 30 * MINUTE_US)),
            ("0.5", Some("HOUR"), micros(30 * MINUTE_US)),
            ("-1.5 hours", None, micros(-90 * MINUTE_US)),
            ("0.000001", Some("second"), micros(1)),
            ("30d", None, days(30)),
            ("1", Some("WEEK"), days(7)),
            (
                "1.5",
                Some("DAY"),
                Interval {
                    days: 1,
                    micros: DAY_US / 2,
                    months: 0,
                },
            ),
            (
                "1 day -2 hours",
                None,
                Interval {
                    days: 1,
                    micros: -2 * HOUR_US,
                    months: 0,
                },
            ),
            (
                "1 year 2 mons",
                None,
                Interval {
                    months: 14,
                    ..Interval::default()
                },
            ),
            (
                "1",
                Some("QUARTER"),
                Interval {
                    months: 3,
                    ..Interval::default()
                },
            ),
            ("01:00:00", None, micros(HOUR_US)),
            ("-00:00:01.25", None, micros(-1_250_000)),
            ("1:30", Some("HOUR TO MINUTE"), micros(90 * MINUTE_US)),
            ("1:30", Some("MINUTE TO SECOND"), micros(90 * SECOND_US)),
            ("36500", Some("DAY"), days(36_500)),
        ] {
            assert_eq!(of(text, field), wanted, "{text} {field:?}");
        }
    }

    #[test]
    fn what_is_no_interval_says_what_to_write() {
        for (text, field, words) in [
            ("", None, "needs a quantity and a unit"),
            ("30", None, "needs a quantity and a unit"),
            ("1 day 2", None, "needs a quantity and a unit"),
            ("day", Some("HOUR"), "has two units"),
            ("1 day", Some("HOUR"), "has two units"),
            ("1 fortnight", None, "unknown unit fortnight; write SECOND"),
            ("1", Some("YEAR TO MONTH"), "write a sum of units"),
            (
                "1:00",
                Some("DAY"),
                "is no time; write hours:minutes:seconds",
            ),
            ("1:75", None, "is no time"),
            (
                "0.0000001",
                Some("SECOND"),
                "no whole number of microseconds",
            ),
            ("1.2.3", Some("SECOND"), "no whole number of microseconds"),
            ("4000000000", Some("HOUR"), "is too long"),
            ("9999999999", Some("DAY"), "is too long"),
        ] {
            let error = parse_interval(text, field).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
