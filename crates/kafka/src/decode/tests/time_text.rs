//! Texts of times, which core reads and writes, against chrono.

use chrono::{DateTime, NaiveDateTime};
use forebay_core::time::{HOUR_US, MINUTE_US, Micros};
use forebay_core::time_text::{format, parse};
use proptest::prelude::*;

/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z.
pub(super) const EARLIEST_US: Micros = -62_167_219_200_000_000;
pub(super) const LATEST_US: Micros = 253_402_300_799_999_999;

proptest! {
    #[test]
    fn text_agrees_with_chrono_both_ways(micros in EARLIEST_US..=LATEST_US, hours in -23_i64..=23, minutes in 0_i64..60) {
        let text = format(micros).expect("in range");
        let instant = DateTime::parse_from_rfc3339(&text).expect("RFC 3339");
        prop_assert_eq!(instant.timestamp_micros(), micros);
        prop_assert_eq!(parse(&text), Some(micros));
        let ahead = if hours < 0 { hours * HOUR_US - minutes * MINUTE_US } else { hours * HOUR_US + minutes * MINUTE_US };
        if let Some(local) = format(micros + ahead) {
            let sign = if ahead < 0 { '-' } else { '+' };
            let shifted = format!("{}{sign}{:02}:{minutes:02}", local.trim_end_matches('Z'), hours.abs());
            prop_assert_eq!(parse(&shifted), Some(micros), "{}", shifted);
        }
    }

    #[test]
    fn any_text_is_judged_as_chrono_judges_it(text in "[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?") {
        let naive = NaiveDateTime::parse_from_str(&text.replace('T', " "), "%Y-%m-%d %H:%M:%S%.f").ok();
        // chrono admits second 60, we do not.
        let expected = naive.filter(|_| !text.contains(":6")).map(|naive| naive.and_utc().timestamp_micros());
        prop_assert_eq!(parse(&text), expected, "{}", text);
    }
}
