//! Parts of times and of spans between times. Of a timestamp, parts are whole numbers but for the
//! epoch; of a span (the difference of two timestamps, or an INTERVAL) they are DOUBLE, with
//! fractions, as PostgreSQL has them. Each DOUBLE is the exact quotient, rounded once.

use arrow_array::types::IntervalMonthDayNano;
use forebay_core::fault::FaultKind;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros};

use super::form::{Constant, constant_text, example, function, takes};
use super::rows::{Bound, Fixed, Float, Int, Interval, Span, Time, nulls, texts, values};
use super::time_format::Format;
use super::units::{Part, Unit};
use crate::scalar::function::Type::{self, BigInt, Double, Timestamp};
use crate::scalar::function::{Argument, Function, Overload, Reference};

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;
/// A day, a month and a year of an interval's epoch: PostgreSQL's 365.25 days a year, 30 a month.
const DAY_NS: i128 = 86_400_000_000_000;
const MONTH_NS: i128 = 30 * DAY_NS;
const YEAR_NS: i128 = 31_557_600_000_000_000;

/// `number` / 10^`digits`, rounded once.
pub(super) fn quotient(number: i128, digits: usize) -> f64 {
    const EXACT: u128 = 1 << 53;
    if number.unsigned_abs() <= EXACT {
        // Both are exact, so the division rounds once.
        let ten: f64 = [1.0, 1e3, 1e6, 1e9][digits / 3];
        return number as f64 / ten;
    }
    let text = format!("{number}e-{digits}");
    text.parse().expect("digits and an exponent")
}

/// The part of a difference of times. Its days have 24 hours; it has no months.
fn of_span(part: Part, span: Micros) -> Option<f64> {
    let whole = |number: i64| number as f64;
    let unit = match part {
        Part::Epoch => return Some(quotient(i128::from(span), 6)),
        Part::Unit(unit) => unit,
        Part::IsoYear | Part::DayOfWeek | Part::IsoDayOfWeek | Part::DayOfYear => return None,
    };
    Some(match unit {
        Unit::Microsecond => whole(span % MINUTE_US),
        Unit::Millisecond => quotient(i128::from(span % MINUTE_US), 3),
        Unit::Second => quotient(i128::from(span % MINUTE_US), 6),
        Unit::Minute => whole(span % HOUR_US / MINUTE_US),
        Unit::Hour => whole(span % DAY_US / HOUR_US),
        Unit::Day => whole(span / DAY_US),
        Unit::Week => whole(span / DAY_US / 7),
        Unit::Month | Unit::Quarter | Unit::Year => return None,
    })
}

fn of_interval(part: Part, interval: IntervalMonthDayNano) -> Option<f64> {
    let IntervalMonthDayNano {
        months,
        days,
        nanoseconds: nanos,
    } = interval;
    let unit = match part {
        Part::Epoch => {
            let months = i128::from(months);
            let nanos = months / 12 * YEAR_NS
                + months % 12 * MONTH_NS
                + i128::from(days) * DAY_NS
                + i128::from(nanos);
            return Some(quotient(nanos, 9));
        }
        Part::Unit(unit) => unit,
        Part::IsoYear | Part::DayOfWeek | Part::IsoDayOfWeek | Part::DayOfYear => return None,
    };
    Some(match unit {
        Unit::Microsecond => quotient(i128::from(nanos % MINUTE_NS), 3),
        Unit::Millisecond => quotient(i128::from(nanos % MINUTE_NS), 6),
        Unit::Second => quotient(i128::from(nanos % MINUTE_NS), 9),
        Unit::Minute => (nanos % HOUR_NS / MINUTE_NS) as f64,
        Unit::Hour => (nanos / HOUR_NS) as f64,
        Unit::Day => f64::from(days),
        Unit::Week => f64::from(days / 7),
        Unit::Month => f64::from(months % 12),
        Unit::Quarter => f64::from(months % 12 / 3 + 1),
        Unit::Year => f64::from(months / 12),
    })
}

fn part(arguments: &[Argument<'_>]) -> Result<Constant<Part>, String> {
    Ok(
        match constant_text(arguments, 0, "the part of date_part", "'hour'")? {
            Constant::Null => Constant::Null,
            Constant::Value(name) => Constant::Value(Part::named(name)?),
        },
    )
}

fn date_part_of_time(arguments: &[Argument<'_>]) -> Bound {
    match part(arguments)? {
        Constant::Null => nulls(BigInt),
        Constant::Value(Part::Epoch) => {
            Err("the epoch is no whole number; write epoch(time)".to_owned())
        }
        Constant::Value(part) => {
            values::<(Fixed, Time), Int, _>(move |((), time)| Ok(part.of_time(time)))
        }
    }
}

/// Refused where no span has the part, which then a null span shows as well as any.
fn date_part_of_span(arguments: &[Argument<'_>]) -> Bound {
    match part(arguments)? {
        Constant::Null => nulls(Double),
        Constant::Value(part) if of_span(part, 0).is_none() => Err(
            "the difference of two times has no such part, since months differ in length; write \
             epoch, day, hour, minute or second, or date_diff('month', a, b)"
                .to_owned(),
        ),
        Constant::Value(part) => {
            values::<(Fixed, Span), Float, _>(move |((), span)| Ok(of_span(part, span)))
        }
    }
}

fn date_part_of_interval(arguments: &[Argument<'_>]) -> Bound {
    let none = IntervalMonthDayNano::new(0, 0, 0);
    match part(arguments)? {
        Constant::Null => nulls(Double),
        Constant::Value(part) if of_interval(part, none).is_none() => Err(
            "an interval has no such part; write epoch, year, month, day, hour, minute or second"
                .to_owned(),
        ),
        Constant::Value(part) => values::<(Fixed, Interval), Float, _>(move |((), interval)| {
            Ok(of_interval(part, interval))
        }),
    }
}

fn epoch_of_part(arguments: &[Argument<'_>]) -> Bound {
    match part(arguments)? {
        Constant::Null => nulls(Double),
        Constant::Value(Part::Epoch) => {
            values::<(Fixed, Time), Float, _>(|((), time)| Ok(Some(quotient(i128::from(time), 6))))
        }
        Constant::Value(_) => Err("this is date_part of the epoch alone".to_owned()),
    }
}

const EPOCH: &[Overload] = &[
    takes(&[Timestamp], Double, |_| {
        values::<(Time,), Float, _>(|(time,)| Ok(Some(quotient(i128::from(time), 6))))
    }),
    takes(&[Type::Duration], Double, |_| {
        values::<(Span,), Float, _>(|(span,)| Ok(of_span(Part::Epoch, span)))
    }),
    takes(&[Type::Interval], Double, |_| {
        values::<(Interval,), Float, _>(|(interval,)| Ok(of_interval(Part::Epoch, interval)))
    }),
];

fn to_char(arguments: &[Argument<'_>]) -> Bound {
    match constant_text(arguments, 1, "the format of to_char", "'%Y-%m-%d'")? {
        Constant::Null => nulls(Type::Text),
        Constant::Value(format) => {
            let format = Format::parse(format)?;
            texts::<(Time, Fixed), _>(move |(time, ()), out: &mut _| format.write(time, out))
        }
    }
}

fn date_diff(arguments: &[Argument<'_>]) -> Bound {
    match constant_text(arguments, 0, "the unit of date_diff", "'day'")? {
        Constant::Null => nulls(BigInt),
        Constant::Value(name) => {
            let unit = Unit::named(name, "date_diff")?;
            values::<(Fixed, Time, Time), Int, _>(move |((), from, to)| {
                let passed = unit.index(to).checked_sub(unit.index(from));
                passed.map(Some).ok_or(FaultKind::Overflow)
            })
        }
    }
}

/// `date_part('epoch', time)`, whose type is another than that of all other parts: the planner
/// calls this in its place, with the same arguments.
pub(super) const DATE_PART_EPOCH: &str = "date_part('epoch')";

const PARTS: &[Function] = &[
    function(
        "date_part",
        "A part of a time (EXTRACT(part FROM time)): year, isoyear, quarter, month, week (ISO), \
         day, doy, dow (0 is Sunday), isodow (1 is Monday), hour, minute, second, millisecond and \
         microsecond (both with the seconds in them); of an INTERVAL or a difference of times \
         epoch, week, day, hour, minute, second, millisecond, microsecond, with fractions.",
        &[
            takes(&[Type::Text, Timestamp], BigInt, date_part_of_time),
            takes(&[Type::Text, Type::Duration], Double, date_part_of_span),
            takes(&[Type::Text, Type::Interval], Double, date_part_of_interval),
        ],
        Reference::Differs(
            "DuckDB's seconds of an interval are whole; ours have the fraction, as PostgreSQL's",
        ),
        &[
            example("date_part('hour', TIMESTAMP '2024-02-29T12:34:56Z')", "12"),
            example("date_part('dow', TIMESTAMP '2024-03-03T00:00:00Z')", "0"),
            example("date_part('week', TIMESTAMP '2021-01-01T00:00:00Z')", "53"),
            example("date_part('second', INTERVAL '1.75 seconds')", "1.75"),
            example(
                "date_part('epoch', INTERVAL '1 day 1.5 seconds')",
                "86401.5",
            ),
        ],
    )
    .version(2)
    .aliases(&["datepart"]),
    function(
        DATE_PART_EPOCH,
        "date_part of the epoch: what epoch(time) gives.",
        &[
            takes(&[Type::Text, Timestamp], Double, epoch_of_part),
            takes(&[Type::Text, Type::Duration], Double, date_part_of_span),
            takes(&[Type::Text, Type::Interval], Double, date_part_of_interval),
        ],
        Reference::Differs("as date_part and epoch"),
        &[example(
            "date_part('epoch', TIMESTAMP '1969-12-31T23:59:59.25Z')",
            "-0.75",
        )],
    ),
    function(
        "epoch",
        "Seconds since 1970 of a time; all seconds of an INTERVAL or of a difference of times, \
         with 365.25 days a year and 30 a month.",
        EPOCH,
        Reference::Differs("DuckDB has 360 days in the year of an interval; ours is PostgreSQL's"),
        &[
            example("epoch(TIMESTAMP '2001-09-09T01:46:40.5Z')", "1000000000.5"),
            example("epoch(INTERVAL '1 year 1 month')", "34149600.0"),
        ],
    ),
    function(
        "epoch_ms",
        "Milliseconds since 1970, cut to whole ones downwards.",
        &[takes(&[Timestamp], BigInt, |_| {
            values::<(Time,), Int, _>(|(time,)| Ok(Some(time.div_euclid(1_000))))
        })],
        Reference::Differs("DuckDB cuts towards 1970; ours downwards"),
        &[example(
            "epoch_ms(TIMESTAMP '1969-12-31T23:59:59.9995Z')",
            "-1",
        )],
    ),
    function(
        "epoch_us",
        "Microseconds since 1970.",
        &[takes(&[Timestamp], BigInt, |_| {
            values::<(Time,), Int, _>(|(time,)| Ok(Some(time)))
        })],
        Reference::DuckDb("epoch_us(a)"),
        &[example(
            "epoch_us(TIMESTAMP '1970-01-01T00:00:01Z')",
            "1000000",
        )],
    ),
    function(
        "to_unixtime",
        "Seconds since 1970, cut to whole ones downwards.",
        &[takes(&[Timestamp], BigInt, |_| {
            values::<(Time,), Int, _>(|(time,)| Ok(Some(time.div_euclid(1_000_000))))
        })],
        Reference::Differs("DuckDB has no to_unixtime; epoch has the fraction"),
        &[example(
            "to_unixtime(TIMESTAMP '1969-12-31T23:59:59.5Z')",
            "-1",
        )],
    )
    .version(2),
    function(
        "date_diff",
        "How many units begin between two times, after the first and up to the second: \
         date_diff('day', a, b) counts midnights. Below zero where the second is earlier.",
        &[takes(
            &[Type::Text, Timestamp, Timestamp],
            BigInt,
            date_diff,
        )],
        Reference::Differs(
            "DuckDB cuts weeks before 1970 towards 1970, and so miscounts one; all other units agree",
        ),
        &[
            example(
                "date_diff('day', TIMESTAMP '2024-02-28T23:00:00Z', \
                 TIMESTAMP '2024-03-01T01:00:00Z')",
                "2",
            ),
            example(
                "date_diff('month', TIMESTAMP '2024-01-31T00:00:00Z', \
                 TIMESTAMP '2024-02-01T00:00:00Z')",
                "1",
            ),
        ],
    )
    .aliases(&["datediff"])
    .fault("overflow: microseconds between times that lie 292,000 years apart"),
    function(
        "to_char",
        "A time in UTC as text, by a constant format of strftime: %Y %m %d %H %M %S %3f %6f %j %a \
         %A %b %B %p %I %y %u %w %V %G %s %F %T %R %D %z %Z %%.",
        &[takes(&[Timestamp, Type::Text], Type::Text, to_char)],
        Reference::Differs("DuckDB writes %f for microseconds and has no %3f, %6f, %F and %T"),
        &[
            example(
                "to_char(TIMESTAMP '2024-02-29T08:05:00.25Z', '%Y-%m-%d %H:%M:%S.%3f')",
                "'2024-02-29 08:05:00.250'",
            ),
            example(
                "to_char(TIMESTAMP '2024-02-29T08:05:00Z', '%a %-d %b')",
                "'Thu 29 Feb'",
            ),
        ],
    )
    .version(2)
    .aliases(&["date_format", "strftime"])
    .fault("out of range: a text above 1 MiB"),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[("parts of times", PARTS)];
