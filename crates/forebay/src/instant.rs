//! Instants as people write them, and the system's clock: the only place that reads it.
//! Commands read times from flags with it; everything else gets its clock as a value.

use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use forebay_core::time::{Clock, Micros, PassingClock};
use rustix::time::{ClockId, clock_gettime};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> Micros {
        Utc::now().timestamp_micros()
    }
}

impl PassingClock for SystemClock {
    fn passed(&self) -> Duration {
        let passed = clock_gettime(PASSING);
        // A clock that begins with the machine shows nothing below zero.
        Duration::from_secs(passed.tv_sec.unsigned_abs())
            + Duration::from_nanos(passed.tv_nsec.unsigned_abs())
    }
}

/// The kernel's clock that nobody sets and that goes on while the machine sleeps.
#[cfg(target_os = "linux")]
const PASSING: ClockId = ClockId::Boottime;
/// Elsewhere one that may stand meanwhile: a long sleep then looks like a step.
#[cfg(not(target_os = "linux"))]
const PASSING: ClockId = ClockId::Monotonic;

/// RFC 3339 (`2013-07-01T12:00:00Z`), `2013-07-01 12:00:00` (UTC), or a date (its midnight, UTC).
///
/// # Errors
/// Names the text and the forms.
pub(crate) fn parse(text: &str) -> Result<Micros> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.timestamp_micros());
    }
    for form in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
        if let Ok(instant) = NaiveDateTime::parse_from_str(text, form) {
            return Ok(instant.and_utc().timestamp_micros());
        }
    }
    match NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|date| date.and_hms_opt(0, 0, 0))
    {
        Some(midnight) => Ok(midnight.and_utc().timestamp_micros()),
        None => bail!(
            "'{text}' is no instant; write 2013-07-01T12:00:00Z, '2013-07-01 12:00:00' (UTC) or 2013-07-01"
        ),
    }
}

/// RFC 3339, seconds where that is exact.
#[must_use]
pub(crate) fn format(instant: Micros) -> String {
    match DateTime::from_timestamp_micros(instant) {
        Some(time) if instant % 1_000_000 == 0 => time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        None => format!("{instant} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_never_falls() {
        let passed = SystemClock.passed();
        assert!(passed > Duration::ZERO);
        assert!(SystemClock.passed() >= passed);
    }

    #[test]
    fn forms_are_read_and_written() -> Result<()> {
        for text in [
            "2013-07-01T12:00:00Z",
            "2013-07-01 12:00:00",
            "2013-07-01T14:00:00+02:00",
        ] {
            assert_eq!(format(parse(text)?), "2013-07-01T12:00:00Z");
        }
        assert_eq!(format(parse("2013-07-01")?), "2013-07-01T00:00:00Z");
        assert_eq!(
            format(parse("2013-07-01T00:00:00.000001Z")?),
            "2013-07-01T00:00:00.000001Z"
        );
        assert!(
            parse("July")
                .expect_err("refused")
                .to_string()
                .contains("'July'")
        );
        Ok(())
    }
}
