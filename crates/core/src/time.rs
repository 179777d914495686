//! Time is `i64` microseconds since the Unix epoch, UTC, everywhere: in SQL types, in keys on disk,
//! in Delta. Nothing here reads a clock; the clock comes in through [`Clock`].

use std::fmt;
use std::time::Duration;

use arrow_schema::{DataType, TimeUnit};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// One second, minute, hour and day in microseconds. A day is 24 h UTC.
pub const SECOND_US: Micros = 1_000_000;
/// One minute.
pub const MINUTE_US: Micros = 60 * SECOND_US;
/// One hour.
pub const HOUR_US: Micros = 60 * MINUTE_US;
/// One day, 24 h UTC.
pub const DAY_US: Micros = 24 * HOUR_US;

/// The Arrow type of every event time and TIMESTAMP column: microseconds, UTC.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Whole microseconds of `duration`; what is longer than 584,000 years is that long.
#[must_use]
pub fn whole_us(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(u64::from(duration.subsec_micros()))
}

/// Whole milliseconds of `duration`; saturates as [`whole_us`] does.
#[must_use]
pub fn whole_ms(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000);
    seconds.saturating_add(u64::from(duration.subsec_millis()))
}

/// Where the present comes from. The binary passes the system's clock; tests pass a fake one.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since the epoch, now.
    fn now_us(&self) -> Micros;
}

/// A clock beside one that nobody sets: it tells a step of the first from time that has passed.
pub trait PassingClock: Clock {
    /// What has passed since a moment that stays the same while the process runs, what the machine
    /// slept through included. It never goes back.
    fn passed(&self) -> Duration;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_cut_to_whole_units_and_never_wraps() {
        let cases = [
            (Duration::ZERO, (0, 0)),
            (Duration::from_nanos(1_999_999), (1_999, 1)),
            (Duration::from_secs(3), (3_000_000, 3_000)),
            (Duration::MAX, (u64::MAX, u64::MAX)),
        ];
        for (duration, expected) in cases {
            assert_eq!(
                (whole_us(duration), whole_ms(duration)),
                expected,
                "{duration:?}"
            );
        }
    }
}
