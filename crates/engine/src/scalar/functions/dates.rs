//! Dates: the operators between them and numbers of days, which the planner writes as calls of
//! these, and dates made of their parts. Everything else that takes a time takes a DATE as its
//! midnight in UTC.

use forebay_core::calendar::{days_from_civil, days_of_month};
use forebay_core::date;
use forebay_core::fault::FaultKind;

use super::form::{example, function, takes};
use super::rows::{Day, Int, Row, values};
use crate::scalar::function::Type::{BigInt, Date};
use crate::scalar::function::{Function, Reference};

/// `date + days`.
pub(in crate::scalar) const ADD_DAYS: &str = "add_days";
/// `date - days`.
pub(in crate::scalar) const SUBTRACT_DAYS: &str = "subtract_days";
/// `to - from`, which is written the other way round.
pub(in crate::scalar) const DAYS_BETWEEN: &str = "days_between";

const RANGE: &str = "out of range: a day outside the years 0001 to 9999";

fn moved(days: Option<i64>) -> Row<i32> {
    let date = days.and_then(date::of_days);
    date.map(Some).ok_or(FaultKind::Range)
}

fn make_date((year, month, day): (i64, i64, i64)) -> Row<i32> {
    let is_date = (1..=9_999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day);
    moved(is_date.then(|| days_from_civil(year, month, day)))
}

const DATES: &[Function] = &[
    function(
        ADD_DAYS,
        "The date so many days later, which `date + days` and `days + date` are.",
        &[takes(&[Date, BigInt], Date, |_| {
            values::<(Day, Int), Day, _>(|(day, days)| moved(i64::from(day).checked_add(days)))
        })],
        Reference::Differs("DuckDB has dates of more years"),
        &[
            example("add_days(DATE '2024-02-28', 2)", "DATE '2024-03-01'"),
            example("add_days(DATE '1970-01-01', -1)", "DATE '1969-12-31'"),
            example("add_days(DATE '9999-12-31', 1)", "error"),
        ],
    )
    .fault(RANGE),
    function(
        SUBTRACT_DAYS,
        "The date so many days earlier, which `date - days` is.",
        &[takes(&[Date, BigInt], Date, |_| {
            values::<(Day, Int), Day, _>(|(day, days)| moved(i64::from(day).checked_sub(days)))
        })],
        Reference::Differs("DuckDB has dates of more years"),
        &[
            example("subtract_days(DATE '2024-03-01', 1)", "DATE '2024-02-29'"),
            example("subtract_days(DATE '0001-01-01', 1)", "error"),
        ],
    )
    .fault(RANGE),
    function(
        DAYS_BETWEEN,
        "How many days the second date is after the first, below zero where it is earlier: \
         `b - a` of two dates is days_between(a, b).",
        &[takes(&[Date, Date], BigInt, |_| {
            values::<(Day, Day), Int, _>(|(from, to)| Ok(Some(i64::from(to) - i64::from(from))))
        })],
        Reference::DuckDb("b - a"),
        &[
            example("days_between(DATE '2024-02-28', DATE '2024-03-01')", "2"),
            example("days_between(DATE '1970-01-01', DATE '1969-12-31')", "-1"),
        ],
    ),
    function(
        "make_date",
        "The date of a year, a month and a day.",
        &[takes(&[BigInt, BigInt, BigInt], Date, |_| {
            values::<(Int, Int, Int), Day, _>(make_date)
        })],
        Reference::Differs("DuckDB has dates of more years"),
        &[
            example("make_date(2024, 2, 29)", "DATE '2024-02-29'"),
            example("make_date(2023, 2, 29)", "error"),
        ],
    )
    .fault("out of range: a part that no date of the years 0001 to 9999 has"),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[("dates", DATES)];
