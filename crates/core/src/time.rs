//! Time is `i64` microseconds since the Unix epoch, UTC, everywhere: in SQL types, in keys on disk,
//! in Delta. Nothing here reads a clock; the clock comes in through [`Clock`].

use std::fmt;

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

/// Where the present comes from. The binary passes the system's clock; tests pass a fake one.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since the epoch, now.
    fn now_us(&self) -> Micros;
}
