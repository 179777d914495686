//! Units of time and parts of a time, as date_part, date_trunc and their like name them. The list
//! is closed: a name that is none is refused when a definition is compiled.

use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};

use super::calendar::{Civil, iso_weekday};
use super::near::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

const UNITS: &[(Unit, &[&str])] = &[
    (
        Unit::Microsecond,
        &["microsecond", "microseconds", "us", "usec", "usecs"],
    ),
    (
        Unit::Millisecond,
        &["millisecond", "milliseconds", "ms", "msec", "msecs"],
    ),
    (Unit::Second, &["second", "seconds", "s", "sec", "secs"]),
    (Unit::Minute, &["minute", "minutes", "m", "min", "mins"]),
    (Unit::Hour, &["hour", "hours", "h", "hr", "hrs"]),
    (Unit::Day, &["day", "days", "d"]),
    (Unit::Week, &["week", "weeks", "w"]),
    (Unit::Month, &["month", "months", "mon", "mons"]),
    (Unit::Quarter, &["quarter", "quarters", "qtr"]),
    (Unit::Year, &["year", "years", "y", "yr", "yrs"]),
];

impl Unit {
    /// The unit called `name`, in any case; `of` is the function, for the refusal.
    pub(super) fn named(name: &str, of: &str) -> Result<Self, String> {
        find(UNITS, name).ok_or_else(|| refusal("unit", name, of, &names(UNITS)))
    }

    /// Its length, where that is fixed.
    pub(super) fn micros(self) -> Option<Micros> {
        match self {
            Self::Microsecond => Some(1),
            Self::Millisecond => Some(1_000),
            Self::Second => Some(SECOND_US),
            Self::Minute => Some(MINUTE_US),
            Self::Hour => Some(HOUR_US),
            Self::Day => Some(DAY_US),
            Self::Week => Some(7 * DAY_US),
            Self::Month | Self::Quarter | Self::Year => None,
        }
    }

    /// The latest beginning of a unit that is not behind `micros`; None below 64 bits. Weeks begin
    /// on Monday.
    pub(super) fn floor(self, micros: Micros) -> Option<Micros> {
        let civil = |month_of: fn(i64) -> i64| {
            let now = Civil::of(micros);
            let month = month_of(now.month);
            Civil {
                month,
                day: 1,
                of_day: 0,
                ..now
            }
            .micros()
        };
        match self {
            Self::Month => civil(|month| month),
            Self::Quarter => civil(|month| (month - 1) / 3 * 3 + 1),
            Self::Year => civil(|_| 1),
            Self::Week => {
                let days = micros.div_euclid(DAY_US);
                (days - (iso_weekday(days) - 1)).checked_mul(DAY_US)
            }
            fixed => {
                let length = fixed.micros().unwrap_or(1);
                micros.checked_sub(micros.rem_euclid(length))
            }
        }
    }

    /// How many units began before `micros`, counted from some instant: the difference of two is
    /// how many begin between two times.
    pub(super) fn index(self, micros: Micros) -> i64 {
        match self {
            Self::Month => Civil::of(micros).month_index(),
            Self::Quarter => Civil::of(micros).month_index().div_euclid(3),
            Self::Year => Civil::of(micros).year,
            // 1970 began on a Thursday.
            Self::Week => (micros.div_euclid(DAY_US) + 3).div_euclid(7),
            fixed => micros.div_euclid(fixed.micros().unwrap_or(1)),
        }
    }
}

/// What date_part takes out of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Unit(Unit),
    IsoYear,
    /// 0 (Sunday) to 6.
    DayOfWeek,
    /// 1 (Monday) to 7.
    IsoDayOfWeek,
    DayOfYear,
    Epoch,
}

const PARTS: &[(Part, &[&str])] = &[
    (Part::IsoYear, &["isoyear"]),
    (Part::DayOfWeek, &["dow", "dayofweek"]),
    (Part::IsoDayOfWeek, &["isodow"]),
    (Part::DayOfYear, &["doy", "dayofyear"]),
    (Part::Epoch, &["epoch"]),
];

impl Part {
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let unit = find(UNITS, name).map(Self::Unit);
        unit.or_else(|| find(PARTS, name)).ok_or_else(|| {
            let mut known = names(UNITS);
            known.extend(names(PARTS));
            refusal("part", name, "date_part", &known)
        })
    }

    /// The part of a timestamp; None for the epoch, which is not whole.
    pub(super) fn of_time(self, micros: Micros) -> Option<i64> {
        let civil = Civil::of(micros);
        let days = micros.div_euclid(DAY_US);
        Some(match self {
            Self::Epoch => return None,
            Self::IsoYear => civil.iso_week().0,
            Self::DayOfWeek => iso_weekday(days) % 7,
            Self::IsoDayOfWeek => iso_weekday(days),
            Self::DayOfYear => civil.day_of_year(),
            Self::Unit(unit) => match unit {
                Unit::Microsecond => civil.of_day % MINUTE_US,
                Unit::Millisecond => civil.of_day % MINUTE_US / 1_000,
                Unit::Second => civil.of_day % MINUTE_US / SECOND_US,
                Unit::Minute => civil.of_day % HOUR_US / MINUTE_US,
                Unit::Hour => civil.of_day / HOUR_US,
                Unit::Day => civil.day,
                Unit::Week => civil.iso_week().1,
                Unit::Month => civil.month,
                Unit::Quarter => (civil.month - 1) / 3 + 1,
                Unit::Year => civil.year,
            },
        })
    }
}

fn find<T: Copy>(table: &[(T, &[&str])], name: &str) -> Option<T> {
    let name = name.to_ascii_lowercase();
    table
        .iter()
        .find(|(_, names)| names.contains(&name.as_str()))
        .map(|(found, _)| *found)
}

fn names<T>(table: &[(T, &[&'static str])]) -> Vec<&'static str> {
    table
        .iter()
        .filter_map(|(_, names)| names.first())
        .copied()
        .collect()
}

fn refusal(what: &str, name: &str, of: &str, known: &[&str]) -> String {
    let known_list = known.join(", ");
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("{of} has no {what} '{name}'; did you mean '{near}'?"),
        None => format!("{of} has no {what} '{name}'; write one of {known_list}"),
    }
}
