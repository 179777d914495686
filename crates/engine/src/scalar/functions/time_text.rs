//! Times as text, read as the decoder of events reads them, and dates, which are their midnight:
//! `YYYY-MM-DD[(T| )HH:MM:SS[.digits][Z|+HH:MM|-HH:MM]]`, years 0000 to 9999, UTC without an
//! offset. Digits beyond the sixth are dropped, which rounds down before 1970 too.

use forebay_core::time::{DAY_US, Micros};
use forebay_core::time_text;

/// None where the text is no time.
pub(crate) fn parse(text: &str) -> Option<Micros> {
    match time_text::parse_date(text) {
        Some(days) => Some(days * DAY_US),
        None => time_text::parse(text),
    }
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
