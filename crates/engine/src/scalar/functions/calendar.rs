//! The calendar of TIMESTAMP: microseconds since 1970 as year, month, day and time of day, and
//! back, over the whole range of 64 bits. No leap seconds; days and dates are core's (`calendar`).

use forebay_core::calendar::{civil_from_days, days_from_civil, days_of_month};
use forebay_core::time::{DAY_US, Micros};

/// A date and the time of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scalar) struct Civil {
    pub(in crate::scalar) year: i64,
    /// 1 to 12.
    pub(in crate::scalar) month: i64,
    /// 1 to 31.
    pub(in crate::scalar) day: i64,
    /// Microseconds since midnight.
    pub(in crate::scalar) of_day: Micros,
}

impl Civil {
    pub(in crate::scalar) fn of(micros: Micros) -> Self {
        let (year, month, day) = civil_from_days(micros.div_euclid(DAY_US));
        Self {
            year,
            month,
            day,
            of_day: micros.rem_euclid(DAY_US),
        }
    }

    /// None outside of what 64 bits hold.
    pub(in crate::scalar) fn micros(self) -> Option<Micros> {
        let days = days_from_civil(self.year, self.month, self.day);
        days.checked_mul(DAY_US)
            .and_then(|midnight| midnight.checked_add(self.of_day))
            // Midnight before the least instant has no microseconds; its later half may have.
            .or_else(|| {
                let later = (days + 1).checked_mul(DAY_US)?;
                later.checked_add(self.of_day - DAY_US)
            })
    }

    /// 1 to 366.
    pub(in crate::scalar) fn day_of_year(self) -> i64 {
        days_from_civil(self.year, self.month, self.day) - days_from_civil(self.year, 1, 1) + 1
    }

    /// ISO 8601: the year that the week belongs to, the week in it.
    pub(in crate::scalar) fn iso_week(self) -> (i64, i64) {
        let days = days_from_civil(self.year, self.month, self.day);
        // The week belongs to the year that its Thursday lies in.
        let thursday = days - (iso_weekday(days) - 1) + 3;
        let (year, _, _) = civil_from_days(thursday);
        (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
    }

    /// These months later, on the last day of a shorter month.
    pub(in crate::scalar) fn plus_months(self, months: i64) -> Self {
        let month = self.year * 12 + self.month - 1 + months;
        let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
        let day = self.day.min(days_of_month(year, month));
        Self {
            year,
            month,
            day,
            ..self
        }
    }

    /// Months since year 0.
    pub(in crate::scalar) fn month_index(self) -> i64 {
        self.year * 12 + self.month - 1
    }
}

/// 1 (Monday) to 7.
pub(in crate::scalar) fn iso_weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Months};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_whole_range_goes_both_ways() {
        for micros in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            assert_eq!(Civil::of(micros).micros(), Some(micros));
        }
        let last = Civil::of(i64::MAX);
        assert_eq!(last.plus_months(1).micros(), None);
        assert_eq!(Civil::of(i64::MIN).plus_months(-1).micros(), None);
    }

    proptest! {
        #[test]
        fn dates_agree_with_chrono(
            micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000,
            months in -1_000_i64..1_000,
        ) {
            let civil = Civil::of(micros);
            let date = DateTime::from_timestamp_micros(micros).expect("near");
            let theirs = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
            prop_assert_eq!((civil.year, civil.month, civil.day), theirs);
            prop_assert_eq!(civil.micros(), Some(micros));
            prop_assert_eq!(civil.day_of_year(), i64::from(date.ordinal()));
            let week = date.iso_week();
            prop_assert_eq!(civil.iso_week(), (i64::from(week.year()), i64::from(week.week())));
            let weekday = date.weekday().number_from_monday();
            prop_assert_eq!(iso_weekday(micros.div_euclid(DAY_US)), i64::from(weekday));
            let by = Months::new(u32::try_from(months.abs()).expect("small"));
            let later = if months < 0 {
                date.checked_sub_months(by)
            } else {
                date.checked_add_months(by)
            };
            let later = later.map(|later| later.timestamp_micros());
            prop_assert_eq!(civil.plus_months(months).micros(), later);
        }
    }
}
