//! The value of a row does not depend on the rows beside it: generated expressions over generated
//! rows give the same as one batch, as halves, row by row, and nothing on none.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use proptest::prelude::*;

use super::{Columns, compiled, values};
use crate::session::Session;

/// Expressions of each type over the columns `n m i x s b t`.
#[derive(Debug, Clone)]
struct Generated {
    integer: BoxedStrategy<String>,
    double: BoxedStrategy<String>,
    text: BoxedStrategy<String>,
    truth: BoxedStrategy<String>,
}

fn one_of(texts: &[&str]) -> BoxedStrategy<String> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    prop::sample::select(texts).boxed()
}

/// Expressions of at most `depth` operators over one another.
fn expressions(depth: usize) -> Generated {
    let leaves = Generated {
        integer: one_of(&["n", "m", "i", "0", "1", "-3", "9223372036854775807", "NULL"]),
        double: one_of(&["x", "0.0", "-0.0", "1e308", "CAST('NaN' AS DOUBLE)"]),
        text: one_of(&["s", "'a'", "''", "'12'"]),
        truth: one_of(&["b", "true", "false", "NULL", "t > '1970-01-01'"]),
    };
    if depth == 0 {
        return leaves;
    }
    let below = expressions(depth - 1);
    let (i, d, s, b) = (below.integer, below.double, below.text, below.truth);
    let integer = (
        i.clone(),
        i.clone(),
        s.clone(),
        d.clone(),
        b.clone(),
        0..12_usize,
    );
    let integer = integer.prop_map(|(l, r, s, d, b, which)| match which {
        0 => format!("({l} + {r})"),
        1 => format!("({l} - {r})"),
        2 => format!("({l} * {r})"),
        3 => format!("({l} / {r})"),
        4 => format!("({l} % {r})"),
        5 => format!("({l} << {r})"),
        6 => format!("CAST({s} AS BIGINT)"),
        7 => format!("CAST({d} AS BIGINT)"),
        8 => format!("CASE WHEN {b} THEN {l} ELSE {r} END"),
        9 => format!("coalesce({l}, {r})"),
        10 => format!("nullif({l}, {r})"),
        _ => format!("greatest({l}, {r})"),
    });
    let double = (d.clone(), d.clone(), s.clone(), b.clone(), 0..7_usize);
    let double = double.prop_map(|(l, r, s, b, which)| match which {
        0 => format!("({l} + {r})"),
        1 => format!("({l} / {r})"),
        2 => format!("(-{l})"),
        3 => format!("TRY_CAST({s} AS DOUBLE)"),
        4 => format!("CAST({s} AS DOUBLE)"),
        5 => format!("CASE WHEN {b} THEN {l} END"),
        _ => format!("nullif({l}, {r})"),
    });
    let text = (s.clone(), s.clone(), i.clone(), b.clone(), 0..4_usize);
    let text = text.prop_map(|(l, r, i, b, which)| match which {
        0 => format!("({l} || {r})"),
        1 => format!("CAST({i} AS VARCHAR)"),
        2 => format!("CASE WHEN {b} THEN {l} ELSE {r} END"),
        _ => format!("coalesce({l}, {r})"),
    });
    let truth = (b.clone(), b, i.clone(), i, d.clone(), d, s, 0..11_usize);
    let truth = truth.prop_map(|(l, r, i, j, d, e, s, which)| match which {
        0 | 1 => format!("({l} AND {r})"),
        2 | 3 => format!("({l} OR {r})"),
        4 => format!("(NOT {l})"),
        5 => format!("({i} < {j})"),
        6 => format!("({d} = {e})"),
        7 => format!("({i} IN (1, {j}, 0))"),
        8 => format!("({i} IS NULL)"),
        9 => format!("({s} LIKE '%1%')"),
        _ => format!("({i} BETWEEN 0 AND {j})"),
    });
    Generated {
        integer: prop_oneof![1 => leaves.integer, 4 => integer].boxed(),
        double: prop_oneof![1 => leaves.double, 4 => double].boxed(),
        text: prop_oneof![1 => leaves.text, 4 => text].boxed(),
        truth: prop_oneof![1 => leaves.truth, 4 => truth].boxed(),
    }
}

fn expression() -> BoxedStrategy<String> {
    let Generated {
        integer,
        double,
        text,
        truth,
    } = expressions(4);
    prop_oneof![integer, double, text, truth].boxed()
}

prop_compose! {
    fn rows()(rows in prop::collection::vec((
        prop::option::of(prop::sample::select(vec![0, 1, -1, 2, 63, i64::MAX, i64::MIN])),
        prop::option::of(-2_i64..3),
        prop::option::of(prop::sample::select(vec![0, 1, -7, i32::MAX, i32::MIN])),
        prop::option::of(prop::sample::select(vec![0.0, -0.0, 1.5, -2.5, f64::NAN, -f64::NAN, f64::INFINITY, 1e300])),
        prop::option::of(prop::sample::select(vec!["", "a", "1", "12", " -3 ", "1e5"])),
        prop::option::of(any::<bool>()),
        prop::option::of(prop::sample::select(vec![0, -1, 1, i64::MAX, i64::MIN])),
    ), 1..20)) -> Columns {
        let times: TimestampMicrosecondArray = rows.iter().map(|row| row.6).collect();
        vec![
            ("n", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()) as ArrayRef),
            ("m", Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>())),
            ("i", Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>())),
            ("x", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
            ("s", Arc::new(rows.iter().map(|row| row.4).collect::<StringArray>())),
            ("b", Arc::new(rows.iter().map(|row| row.5).collect::<BooleanArray>())),
            ("t", Arc::new(times.with_timezone("UTC"))),
        ]
    }
}

fn sliced(columns: &Columns, from: usize, rows: usize) -> Columns {
    columns
        .iter()
        .map(|(name, array)| (*name, array.slice(from, rows)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_row_is_the_same_in_every_batch(sql in expression(), columns in rows()) {
        thread_local! { static SESSION: Session = Session::new(); }
        // A constant that never has a value is refused.
        let Ok(code) = SESSION.with(|session| compiled(session, &columns, &sql)) else { return Ok(()) };
        let count = columns[0].1.len();
        let whole = values(&code, &columns);
        let half = count / 2;
        let mut halves = values(&code, &sliced(&columns, 0, half));
        halves.extend(values(&code, &sliced(&columns, half, count - half)));
        prop_assert_eq!(&whole, &halves, "{}", sql);
        let rows: Vec<String> =
            (0..count).flat_map(|row| values(&code, &sliced(&columns, row, 1))).collect();
        prop_assert_eq!(&whole, &rows, "{}", sql);
        prop_assert!(values(&code, &sliced(&columns, 0, 0)).is_empty());
    }
}
