//! Times made of others and of numbers and texts: cut to units, put into bins, shifted between time
//! zones, composed. What lies outside of 64 bits of microseconds is a fault, never wrapped.

use arrow_array::cast::AsArray;
use arrow_array::types::{IntervalMonthDayNano, IntervalMonthDayNanoType};
use forebay_core::calendar::days_of_month;
use forebay_core::fault::FaultKind;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros, SECOND_US};

use super::calendar::Civil;
use super::form::{Constant, constant_array, constant_text, example, function, takes};
use super::rounding::scaled_int;
use super::rows::{Bound, Fixed, Float, Int, Row, Text, Time, nulls, values};
use super::time_text::parse;
use super::units::Unit;
use super::zones::Zone;
use crate::scalar::function::Type::{self, BigInt, Double, Timestamp};
use crate::scalar::function::{Argument, Function, Reference};

const OUT_OF_64_BITS: &str = "out of range: a time that 64 bits of microseconds do not hold";
const ZONE_REFERENCE: &str = "DuckDB has the zones of ICU, which go on changing clocks for ever; ours \
                              keep the offset of the year 2100 after it";
/// Years that make_timestamp takes: those that 64 bits of microseconds hold in full.
const YEARS: std::ops::RangeInclusive<i64> = -290_307..=294_246;

fn in_range(time: Option<Micros>) -> Row<Micros> {
    time.map(Some).ok_or(FaultKind::Range)
}

/// The zone at `index`; None where the argument is no constant.
fn zone_at(arguments: &[Argument<'_>], index: usize) -> Result<Option<Constant<Zone>>, String> {
    if arguments
        .get(index)
        .is_none_or(|argument| argument.constant.is_none())
    {
        return Ok(None);
    }
    Ok(Some(
        match constant_text(arguments, index, "the time zone", "'Europe/Berlin'")? {
            Constant::Null => Constant::Null,
            Constant::Value(name) => Constant::Value(Zone::required(name)?),
        },
    ))
}

/// A time seen from a zone, by a zone for all rows or by one of each row.
fn by_zone(arguments: &[Argument<'_>], f: fn(Zone, Micros) -> Option<Micros>) -> Bound {
    match zone_at(arguments, 1)? {
        Some(Constant::Null) => nulls(Timestamp),
        Some(Constant::Value(zone)) => {
            values::<(Time, Fixed), Time, _>(move |(time, ())| in_range(f(zone, time)))
        }
        None => values::<(Time, Text), Time, _>(move |(time, zone): (i64, &str)| {
            in_range(Zone::named(zone).and_then(|zone| f(zone, time)))
        }),
    }
}

fn date_trunc(arguments: &[Argument<'_>]) -> Bound {
    let unit = match constant_text(arguments, 0, "the unit of date_trunc", "'hour'")? {
        Constant::Null => return nulls(Timestamp),
        Constant::Value(name) => Unit::named(name, "date_trunc")?,
    };
    if arguments.len() < 3 {
        return values::<(Fixed, Time), Time, _>(move |((), time)| in_range(unit.floor(time)));
    }
    match zone_at(arguments, 2)? {
        Some(Constant::Null) => nulls(Timestamp),
        Some(Constant::Value(zone)) => {
            values::<(Fixed, Time, Fixed), Time, _>(move |((), time, ())| {
                in_range(floor_in(zone, unit, time))
            })
        }
        None => values::<(Fixed, Time, Text), Time, _>(move |((), time, zone): ((), i64, &str)| {
            in_range(Zone::named(zone).and_then(|zone| floor_in(zone, unit, time)))
        }),
    }
}

/// The beginning of the unit that the clocks of `zone` show. An hour and less is cut within the
/// hour that the clocks are in, which they may show twice.
fn floor_in(zone: Zone, unit: Unit, time: Micros) -> Option<Micros> {
    let local = zone.local(time)?;
    let floor = unit.floor(local)?;
    if unit.micros().is_some_and(|length| length <= HOUR_US) {
        return time.checked_sub(local - floor);
    }
    zone.instant(floor)
}

/// Length of the bins of date_bin.
#[derive(Debug, Clone, Copy)]
enum Stride {
    Micros(i64),
    Months(i64),
}

fn stride(interval: IntervalMonthDayNano) -> Result<Stride, String> {
    let IntervalMonthDayNano {
        months,
        days,
        nanoseconds: nanos,
    } = interval;
    let time = i128::from(days) * i128::from(DAY_US) * 1_000 + i128::from(nanos);
    if months != 0 && time != 0 {
        return Err(
            "months differ in length; write bins of whole months, or of days and less".to_owned(),
        );
    }
    if months < 0 || time < 0 || (months == 0 && time == 0) {
        return Err("a bin must be longer than nothing; write INTERVAL '5' MINUTE".to_owned());
    }
    if months > 0 {
        return Ok(Stride::Months(i64::from(months)));
    }
    if time % 1_000 != 0 {
        return Err("times have microseconds; write bins of whole microseconds".to_owned());
    }
    i64::try_from(time / 1_000)
        .map(Stride::Micros)
        .map_err(|_| "the bin is longer than all time; write a shorter one".to_owned())
}

fn bin(stride: Stride, time: Micros, origin: Micros) -> Option<Micros> {
    match stride {
        Stride::Micros(length) => {
            let passed = i128::from(time) - i128::from(origin);
            let floor = time_at(passed.div_euclid(i128::from(length)), length, origin);
            i64::try_from(floor).ok()
        }
        Stride::Months(months) => {
            let origin = Civil::of(origin);
            let passed = Civil::of(time).month_index() - origin.month_index();
            let bins = passed.div_euclid(months);
            let start = origin.plus_months(bins * months);
            // In the month that a bin begins in, the time may still lie before its beginning.
            match start.micros() {
                Some(start) if start <= time => Some(start),
                _ => origin.plus_months((bins - 1) * months).micros(),
            }
        }
    }
}

fn time_at(bins: i128, length: i64, origin: Micros) -> i128 {
    bins * i128::from(length) + i128::from(origin)
}

fn date_bin(arguments: &[Argument<'_>]) -> Bound {
    let sample = "INTERVAL '5' MINUTE";
    let stride = match constant_array(arguments, 0, "the length of date_bin's bins", sample)? {
        Constant::Null => return nulls(Timestamp),
        Constant::Value(array) => {
            let interval = array.as_primitive_opt::<IntervalMonthDayNanoType>();
            let interval = interval.ok_or_else(|| format!("write a length such as {sample}"))?;
            stride(interval.value(0))?
        }
    };
    if arguments.len() < 3 {
        return values::<(Fixed, Time), Time, _>(move |((), time)| in_range(bin(stride, time, 0)));
    }
    values::<(Fixed, Time, Time), Time, _>(move |((), time, origin)| {
        in_range(bin(stride, time, origin))
    })
}

fn make_timestamp(
    (year, month, day, hour, minute, second): (i64, i64, i64, i64, i64, f64),
) -> Row<Micros> {
    let date = YEARS.contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day);
    let time =
        (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&second);
    if !date || !time {
        return Err(FaultKind::Range);
    }
    let second = scaled_int(second, 6).ok_or(FaultKind::Range)?;
    let midnight = Civil {
        year,
        month,
        day,
        of_day: 0,
    };
    let of_day = hour * HOUR_US + minute * MINUTE_US + second;
    in_range(
        midnight
            .micros()
            .and_then(|midnight| midnight.checked_add(of_day)),
    )
}

fn of_count(unit: Micros) -> Bound {
    values::<(Int,), Time, _>(move |(count,)| in_range(count.checked_mul(unit)))
}

const CUTS: &[Function] = &[
    function(
        "date_trunc",
        "The beginning of the unit that a time lies in, in UTC or in a time zone: microsecond, \
         millisecond, second, minute, hour, day, week (from Monday), month, quarter, year.",
        &[
            takes(&[Type::Text, Timestamp], Timestamp, date_trunc),
            takes(&[Type::Text, Timestamp, Type::Text], Timestamp, date_trunc),
        ],
        Reference::DuckDb("date_trunc(a, b)"),
        &[
            example(
                "date_trunc('hour', TIMESTAMP '2024-02-29T12:34:56Z')",
                "TIMESTAMP '2024-02-29T12:00:00Z'",
            ),
            example(
                "date_trunc('week', TIMESTAMP '2024-03-03T12:00:00Z')",
                "TIMESTAMP '2024-02-26T00:00:00Z'",
            ),
            example(
                "date_trunc('day', TIMESTAMP '2024-07-01T23:30:00Z', 'Europe/Berlin')",
                "TIMESTAMP '2024-07-01T22:00:00Z'",
            ),
        ],
    )
    .version(2)
    .aliases(&["datetrunc"])
    .fault("out of range: a beginning below 64 bits, a column's time zone that is none"),
    function(
        "date_bin",
        "The beginning of the bin that a time lies in, of bins of a constant length that begin at \
         1970-01-01 or at a third argument.",
        &[
            takes(&[Type::Interval, Timestamp], Timestamp, date_bin),
            takes(&[Type::Interval, Timestamp, Timestamp], Timestamp, date_bin),
        ],
        Reference::DuckDb("time_bucket(a, b, TIMESTAMP '1970-01-01')"),
        &[
            example(
                "date_bin(INTERVAL '15 minutes', TIMESTAMP '2024-02-29T12:34:56Z')",
                "TIMESTAMP '2024-02-29T12:30:00Z'",
            ),
            example(
                "date_bin(INTERVAL '1 hour', TIMESTAMP '2024-02-29T12:04:00Z', \
                 TIMESTAMP '2024-01-01T00:05:00Z')",
                "TIMESTAMP '2024-02-29T11:05:00Z'",
            ),
            example(
                "date_bin(INTERVAL '3 months', TIMESTAMP '2024-06-30T00:00:00Z')",
                "TIMESTAMP '2024-04-01T00:00:00Z'",
            ),
            example(
                "date_bin(INTERVAL '0 minutes', TIMESTAMP '2024-06-30T00:00:00Z')",
                "error",
            ),
        ],
    )
    .version(2)
    .fault("out of range: a beginning below 64 bits"),
];

const ZONES: &[Function] = &[
    function(
        "at_time_zone",
        "What the clocks of a time zone show at a time (time AT TIME ZONE 'zone'), so that its \
         hour, day and the like are those of the zone.",
        &[takes(&[Timestamp, Type::Text], Timestamp, |arguments| {
            by_zone(arguments, Zone::local)
        })],
        Reference::Differs(ZONE_REFERENCE),
        &[
            example(
                "date_part('hour', at_time_zone(TIMESTAMP '2024-07-01T12:00:00Z', \
                 'Europe/Berlin'))",
                "14",
            ),
            example(
                "at_time_zone(TIMESTAMP '2024-01-01T00:00:00Z', '-05:30')",
                "TIMESTAMP '2023-12-31T18:30:00Z'",
            ),
            example(
                "at_time_zone(TIMESTAMP '2024-01-01T00:00:00Z', 'Mars/Base')",
                "error",
            ),
        ],
    )
    .version(2)
    .fault("out of range: years beyond 262,142, a column's time zone that is none"),
    function(
        "from_time_zone",
        "The time at which the clocks of a time zone show a time: the inverse of at_time_zone. Of \
         two such times the later; a time that the clocks leave out counts as if they went on.",
        &[takes(&[Timestamp, Type::Text], Timestamp, |arguments| {
            by_zone(arguments, Zone::instant)
        })],
        Reference::Differs(ZONE_REFERENCE),
        &[
            example(
                "from_time_zone(TIMESTAMP '2024-07-01T14:00:00Z', 'Europe/Berlin')",
                "TIMESTAMP '2024-07-01T12:00:00Z'",
            ),
            example(
                "from_time_zone(TIMESTAMP '2024-03-31T02:30:00Z', 'Europe/Berlin')",
                "TIMESTAMP '2024-03-31T01:30:00Z'",
            ),
        ],
    )
    .fault("out of range: years beyond 262,142, a column's time zone that is none"),
];

const MAKING: &[Function] = &[
    function(
        "make_timestamp",
        "The time of a year, month, day, hour, minute and second, in UTC.",
        &[takes(
            &[BigInt, BigInt, BigInt, BigInt, BigInt, Double],
            Timestamp,
            |_| values::<(Int, Int, Int, Int, Int, Float), Time, _>(make_timestamp),
        )],
        Reference::Differs("DuckDB takes second 60; ours takes none, as there are no leap seconds"),
        &[
            example(
                "make_timestamp(2024, 2, 29, 12, 34, 56.5)",
                "TIMESTAMP '2024-02-29T12:34:56.5Z'",
            ),
            example("make_timestamp(2023, 2, 29, 0, 0, 0)", "error"),
        ],
    )
    .float("seconds are rounded to microseconds, halves away from zero; NaN is out of range")
    .fault("out of range: a part that no time has"),
    function(
        "to_timestamp",
        "The time of a text (RFC 3339; without an offset UTC; or a date) or of a number of seconds \
         since 1970.",
        &[
            takes(&[Type::Text], Timestamp, |_| {
                values::<(Text,), Time, _>(|(text,): (&str,)| {
                    parse(text).map(Some).ok_or(FaultKind::Cast)
                })
            }),
            takes(&[BigInt], Timestamp, |_| of_count(SECOND_US)),
            takes(&[Double], Timestamp, |_| {
                values::<(Float,), Time, _>(|(seconds,)| in_range(scaled_int(seconds, 6)))
            }),
        ],
        Reference::Differs("DuckDB takes numbers only, and cuts their fraction"),
        &[
            example(
                "to_timestamp('2024-02-29 12:34:56+02:00')",
                "TIMESTAMP '2024-02-29T10:34:56Z'",
            ),
            example("to_timestamp('2024-02-30')", "error"),
            example("to_timestamp(-1)", "TIMESTAMP '1969-12-31T23:59:59Z'"),
            example("to_timestamp(0.25)", "TIMESTAMP '1970-01-01T00:00:00.25Z'"),
        ],
    )
    .version(2)
    .float("seconds are rounded to microseconds, halves away from zero; NaN is out of range")
    .fault("cast: a text that is no time; out of range: a number that 64 bits do not hold"),
    function(
        "to_timestamp_seconds",
        "The time of whole seconds since 1970.",
        &[takes(&[BigInt], Timestamp, |_| of_count(SECOND_US))],
        Reference::Differs("DuckDB's to_timestamp takes DOUBLE; ours is exact"),
        &[example(
            "to_timestamp_seconds(1)",
            "TIMESTAMP '1970-01-01T00:00:01Z'",
        )],
    )
    .version(2)
    .aliases(&["from_unixtime"])
    .fault(OUT_OF_64_BITS),
    function(
        "to_timestamp_millis",
        "The time of milliseconds since 1970.",
        &[takes(&[BigInt], Timestamp, |_| of_count(1_000))],
        Reference::DuckDb("epoch_ms(a)"),
        &[example(
            "to_timestamp_millis(-1)",
            "TIMESTAMP '1969-12-31T23:59:59.999Z'",
        )],
    )
    .version(2)
    .fault(OUT_OF_64_BITS),
    function(
        "to_timestamp_micros",
        "The time of microseconds since 1970.",
        &[takes(&[BigInt], Timestamp, |_| of_count(1))],
        Reference::Differs("DuckDB takes the ends of 64 bits for infinite times"),
        &[example(
            "to_timestamp_micros(1)",
            "TIMESTAMP '1970-01-01T00:00:00.000001Z'",
        )],
    )
    .version(2),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[
    ("units of time", CUTS),
    ("time zones", ZONES),
    ("making times", MAKING),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bin_holds_its_time(
            time: i64,
            origin: i64,
            length in 1_i64..i64::MAX,
            months in 1_i64..500,
        ) {
            for stride in [Stride::Micros(length), Stride::Months(months)] {
                let Some(start) = bin(stride, time, origin) else {
                    continue;
                };
                prop_assert!(start <= time);
                let next = match stride {
                    Stride::Micros(length) => start.checked_add(length),
                    Stride::Months(_) => None,
                };
                prop_assert!(next.is_none_or(|next| next > time));
            }
        }
    }
}
