//! Time zones: names of the IANA database as `chrono-tz` carries it (a version that `Cargo.lock`
//! pins, so that a definition means the same on every machine), and fixed offsets from UTC. Never
//! the machine's own zone.

use std::str::FromStr;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};

use super::near::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// Ahead of UTC, microseconds.
    Fixed(Micros),
    Named(Tz),
}

impl Zone {
    /// The zone called `name`: 'Europe/Berlin', 'UTC', '+02:00'.
    pub(super) fn named(name: &str) -> Option<Self> {
        if matches!(name, "Z" | "z" | "UTC") {
            return Some(Self::Fixed(0));
        }
        if let Some(ahead) = offset(name) {
            return Some(Self::Fixed(ahead));
        }
        Tz::from_str(name).ok().map(Self::Named)
    }

    /// The same, with what to write instead.
    pub(super) fn required(name: &str) -> Result<Self, String> {
        Self::named(name).ok_or_else(|| {
            let names = TZ_VARIANTS.iter().map(|zone| zone.name());
            match nearest(name, names) {
                Some(near) => format!("there is no time zone '{name}'; did you mean '{near}'?"),
                None => format!(
                    "there is no time zone '{name}'; write a name such as 'Europe/Berlin', or an \
                     offset such as '+02:00'"
                ),
            }
        })
    }

    /// What its clocks are ahead of UTC at an instant; None beyond the years that the database
    /// is asked for (262,142 on either side).
    fn ahead(self, instant: Micros) -> Option<Micros> {
        match self {
            Self::Fixed(ahead) => Some(ahead),
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&naive(instant)?);
                Some(micros(&offset))
            }
        }
    }

    /// What its clocks show at `instant`.
    pub(super) fn local(self, instant: Micros) -> Option<Micros> {
        instant.checked_add(self.ahead(instant)?)
    }

    /// When its clocks show `local`. Where they show it twice, the later time; where they leave it
    /// out, as if they had not been changed: PostgreSQL's rule.
    pub(super) fn instant(self, local: Micros) -> Option<Micros> {
        let ahead = match self {
            Self::Fixed(ahead) => ahead,
            Self::Named(zone) => match zone.offset_from_local_datetime(&naive(local)?) {
                MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(_, offset) => {
                    micros(&offset)
                }
                // No zone changes twice in two days.
                MappedLocalTime::None => self.ahead(local.checked_sub(DAY_US)?)?,
            },
        };
        local.checked_sub(ahead)
    }
}

fn naive(micros: Micros) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

fn micros(offset: &impl Offset) -> Micros {
    i64::from(offset.fix().local_minus_utc()) * SECOND_US
}

/// `+HH`, `+HHMM`, `+HH:MM`, and the same with a minus sign.
fn offset(name: &str) -> Option<Micros> {
    let (sign, digits) = match name.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        2 => (digits, "0"),
        4 => digits.split_at_checked(2)?,
        5 => {
            let (hours, rest) = digits.split_at_checked(2)?;
            (hours, rest.strip_prefix(':')?)
        }
        _ => return None,
    };
    let number = |digits: &str| {
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| digits.parse::<i64>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * HOUR_US + minutes * MINUTE_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        let time = DateTime::parse_from_rfc3339(text).expect("RFC 3339");
        time.timestamp_micros()
    }

    #[test]
    fn names_and_offsets() {
        let hours = |hours: i64| Some(Zone::Fixed(hours * HOUR_US));
        for (name, zone) in [
            ("UTC", hours(0)),
            ("+02", hours(2)),
            ("-0300", hours(-3)),
            ("+05:30", Some(Zone::Fixed(11 * HOUR_US / 2))),
            ("Europe/Berlin", Some(Zone::Named(Tz::Europe__Berlin))),
            ("+24:00", None),
            ("+2:000", None),
            ("+0é", None),
            ("Mars/Base", None),
            ("", None),
        ] {
            assert_eq!(Zone::named(name), zone, "{name}");
        }
        let near = Zone::required("europe/berlin").expect_err("another case");
        assert!(near.contains("'Europe/Berlin'"), "{near}");
        let far = Zone::required("Mars/Base").expect_err("none");
        assert!(far.contains("'+02:00'"), "{far}");
    }

    /// The database's rules are written out for so many years; later ones keep the last offset.
    #[test]
    fn clocks_change_up_to_the_year_2100() {
        let zone = Zone::named("Europe/Berlin").expect("a zone");
        for (year, hours) in [(2037, 2), (2099, 2), (2101, 1), (9999, 1)] {
            let summer = at(&format!("{year}-07-01T00:00:00Z"));
            assert_eq!(zone.local(summer), Some(summer + hours * HOUR_US), "{year}");
        }
    }

    #[test]
    fn clocks_that_change() {
        let zone = Zone::named("Europe/Berlin").expect("a zone");
        let cases = [
            ("2024-03-31T01:30:00Z", "2024-03-31T00:30:00Z"),
            // Left out: as if winter time went on.
            ("2024-03-31T02:30:00Z", "2024-03-31T01:30:00Z"),
            ("2024-03-31T03:30:00Z", "2024-03-31T01:30:00Z"),
            // Shown twice: the later one.
            ("2024-10-27T02:30:00Z", "2024-10-27T01:30:00Z"),
            ("2024-10-27T03:30:00Z", "2024-10-27T02:30:00Z"),
        ];
        for (local, instant) in cases {
            assert_eq!(zone.instant(at(local)), Some(at(instant)), "{local}");
        }
        assert_eq!(
            zone.local(at("2024-07-01T12:00:00Z")),
            Some(at("2024-07-01T14:00:00Z"))
        );
        assert_eq!(zone.local(i64::MAX), None);
        assert_eq!(zone.instant(i64::MIN), None);
    }
}
