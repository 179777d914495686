//! Formats of strftime: read once when a definition is compiled, written for each row. A closed
//! list, in English, in UTC; what it does not hold is refused with what it holds.

use forebay_core::fault::FaultKind;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};

use super::calendar::{Civil, iso_weekday};
use super::rows::TextOut;

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A format as pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// A conversion, and whether its number is written without filling.
    Of(char, bool),
    /// So many digits of the fraction: 3 or 6.
    Fraction(usize),
}

/// Conversions that stand for others.
const COMPOSED: &[(char, &str)] = &[
    ('F', "%Y-%m-%d"),
    ('T', "%H:%M:%S"),
    ('R', "%H:%M"),
    ('D', "%m/%d/%y"),
];
const SINGLE: &str = "YmdeHIMSjaAbBhpyuwVGszZ";

impl Format {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        read(text, &mut pieces)?;
        if !text.contains('%') {
            return Err(format!(
                "the format '{text}' has no conversion, so every time would give it as it stands; \
                 write conversions with %, such as '%Y-%m-%d'"
            ));
        }
        Ok(Self(pieces))
    }

    pub(super) fn write(&self, time: Micros, out: &mut TextOut) -> Result<bool, FaultKind> {
        let civil = Civil::of(time);
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.put(text)?,
                Piece::Fraction(3) => {
                    out.put_fmt(format_args!("{:03}", civil.of_day % SECOND_US / 1_000))?
                }
                Piece::Fraction(_) => {
                    out.put_fmt(format_args!("{:06}", civil.of_day % SECOND_US))?
                }
                Piece::Of(conversion, bare) => convert(*conversion, *bare, time, civil, out)?,
            };
        }
        Ok(true)
    }
}

fn read(text: &str, pieces: &mut Vec<Piece>) -> Result<(), String> {
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        if !before.is_empty() {
            pieces.push(Piece::Literal(before.to_owned()));
        }
        rest = behind;
        if let Some((digits, behind)) = fraction(rest) {
            if rest.starts_with('.') {
                pieces.push(Piece::Literal(".".to_owned()));
            }
            pieces.push(Piece::Fraction(digits));
            rest = behind;
            continue;
        }
        let bare = rest.starts_with('-');
        rest = rest.strip_prefix('-').unwrap_or(rest);
        let mut chars = rest.chars();
        match chars.next() {
            Some('%') if !bare => pieces.push(Piece::Literal("%".to_owned())),
            Some(char) if SINGLE.contains(char) => pieces.push(Piece::Of(char, bare)),
            Some(char) if !bare && COMPOSED.iter().any(|(own, _)| *own == char) => {
                for (_, format) in COMPOSED.iter().filter(|(own, _)| *own == char) {
                    read(format, pieces)?;
                }
            }
            Some('f') => return Err("write %6f for microseconds or %3f for milliseconds".into()),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "the format has no conversion '%{other}'; write some of %Y %m %d %H %M %S %3f \
                     %6f %j %a %A %b %B %p %I %y %u %w %V %G %s %F %T %R %D %z %Z, and %% for a \
                     percent sign"
                ));
            }
        }
        rest = chars.as_str();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(())
}

/// `3f`, `6f`, `.3f`, `.6f`.
fn fraction(rest: &str) -> Option<(usize, &str)> {
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let three = rest.strip_prefix("3f").map(|behind| (3, behind));
    three.or_else(|| rest.strip_prefix("6f").map(|behind| (6, behind)))
}

fn convert(
    conversion: char,
    bare: bool,
    time: Micros,
    civil: Civil,
    out: &mut TextOut,
) -> Result<bool, FaultKind> {
    let days = time.div_euclid(DAY_US);
    let weekday = iso_weekday(days);
    let hour = civil.of_day / HOUR_US;
    let named = |names: &[&'static str], number: i64| {
        let index = usize::try_from(number - 1).expect("counted from 1");
        names[index]
    };
    let short = |name: &'static str| name.get(..3).expect("three letters");
    let text = match conversion {
        'a' => short(named(&WEEKDAYS, weekday)),
        'A' => named(&WEEKDAYS, weekday),
        'b' | 'h' => short(named(&MONTHS, civil.month)),
        'B' => named(&MONTHS, civil.month),
        'p' => ["AM", "PM"][usize::from(hour >= 12)],
        'z' => "+0000",
        'Z' => "UTC",
        'Y' => return year(civil.year, out),
        'G' => return year(civil.iso_week().0, out),
        _ => {
            let (number, width) = match conversion {
                'm' => (civil.month, 2),
                'd' => (civil.day, 2),
                'H' => (hour, 2),
                'I' => ((hour + 11) % 12 + 1, 2),
                'M' => (civil.of_day % HOUR_US / MINUTE_US, 2),
                'S' => (civil.of_day % MINUTE_US / SECOND_US, 2),
                'j' => (civil.day_of_year(), 3),
                'y' => (civil.year.rem_euclid(100), 2),
                'V' => (civil.iso_week().1, 2),
                'u' => (weekday, 1),
                'w' => (weekday % 7, 1),
                's' => (time.div_euclid(SECOND_US), 1),
                // 'e': the day, filled with a space.
                _ if bare => (civil.day, 1),
                _ => return out.put_fmt(format_args!("{:2}", civil.day)),
            };
            let width = if bare { 1 } else { width };
            return out.put_fmt(format_args!("{number:0width$}"));
        }
    };
    out.put(text)
}

/// Four digits, with a sign where the year needs more or lies before year 0.
fn year(year: i64, out: &mut TextOut) -> Result<bool, FaultKind> {
    if (0..10_000).contains(&year) {
        out.put_fmt(format_args!("{year:04}"))
    } else {
        out.put_fmt(format_args!("{year:+05}"))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formats_that_are_none_are_refused_with_what_to_write() {
        for (format, words) in [
            ("YYYY-MM-DD", "'%Y-%m-%d'"),
            ("%Y %q", "'%q'"),
            ("%", "'%'"),
            ("%f", "%6f"),
            ("%-%", "'%%'"),
        ] {
            let why = Format::parse(format).expect_err(format);
            assert!(why.contains(words), "{format}: {why}");
        }
        assert!(Format::parse("100%%").is_ok());
    }

    proptest! {
        #[test]
        fn times_are_written_as_chrono_writes_them(
            micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000,
        ) {
            const FORMAT: &str = "%Y %m %d %e %H %I %M %S %3f %6f %.3f %j %a %A %b %B %h %p %y %u \
                                  %w %V %G %s %F %T %R %D %% %-d %-m %-H";
            let mut out = TextOut::default();
            let format = Format::parse(FORMAT).expect("known");
            prop_assert_eq!(format.write(micros, &mut out), Ok(true));
            let time = DateTime::from_timestamp_micros(micros).expect("near");
            prop_assert_eq!(out.text(), time.format(FORMAT).to_string());
        }
    }
}
