//! Partial states against definitions written out over plain lists of rows: the sorted maximum, the
//! 128-bit sum, the last row by position. The float sums have tests of their own beside them.

mod golden;
mod laws;

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use proptest::prelude::*;

use super::cells::Cell;
use super::{AggregateKind, Kept, Partial, PartialClass, PartialSpec, RowOrder};
use crate::cells::{CellFault, Cells};
use crate::error::ErrorKind;
use crate::fault::FaultKind;
use crate::index::RowIndex;
use crate::time::timestamp_type;
use crate::value::{Value, list_type};
use crate::view::{AggregateSpec, Window};

/// A state of `kind` over arguments of these types.
fn spec_of(kind: AggregateKind, types: &[DataType]) -> PartialSpec {
    PartialSpec {
        class: kind
            .plan(types)
            .expect("types that the function takes")
            .class,
        arguments: (0..types.len()).collect(),
        argument_types: types.to_vec(),
        filter: None,
        keep: kind.keep(),
    }
}

fn spec(kind: AggregateKind, argument_type: DataType) -> PartialSpec {
    spec_of(kind, &[argument_type])
}

pub(super) fn at(offset: i64) -> RowOrder {
    RowOrder {
        time_us: 0,
        partition: 0,
        offset,
    }
}

fn state_of(spec: &PartialSpec, values: &[Value]) -> Partial {
    let mut state = Partial::new(spec);
    values
        .iter()
        .zip(0..)
        .for_each(|(value, offset)| state.update(std::slice::from_ref(value), at(offset)));
    state
}

/// The value of `kind`, which has one.
fn value_of(state: &Partial, kind: AggregateKind) -> Value {
    state.evaluate(kind).expect("a value")
}

/// Equal to the bit.
fn same(one: &Cell, other: &Cell) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one.same_bits(other),
        (one, other) => one == other,
    }
}

fn bytes_of(state: &Partial) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-3_i32..3).prop_map(f64::from),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX
        ]),
    ]
}

/// An array of DOUBLE, NULLs among its items.
fn any_list() -> impl Strategy<Value = Value> {
    let item =
        prop::option::of(any_float()).prop_map(|item| item.map_or(Value::Null, Value::Float));
    prop::collection::vec(item, 0..4).prop_map(|items| Value::List(items.into()))
}

/// Values of one argument column, NULLs among them, with the column's type.
fn column() -> impl Strategy<Value = (DataType, Vec<Value>)> {
    fn values(one: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Value>> {
        prop::collection::vec(prop_oneof![1 => Just(Value::Null), 5 => one], 0..16)
    }
    prop_oneof![
        values(any_float().prop_map(Value::Float)).prop_map(|v| (DataType::Float64, v)),
        values(any::<i64>().prop_map(Value::Int)).prop_map(|v| (DataType::Int64, v)),
        values(any::<i32>().prop_map(|v| Value::Int(v.into()))).prop_map(|v| (DataType::Int32, v)),
        values(any::<bool>().prop_map(Value::Bool)).prop_map(|v| (DataType::Boolean, v)),
        values("[a-c]{0,3}".prop_map(|v| Value::Text(v.into()))).prop_map(|v| (DataType::Utf8, v)),
        values(any::<i32>().prop_map(Value::Date)).prop_map(|v| (DataType::Date32, v)),
        values(any::<i64>().prop_map(Value::Timestamp)).prop_map(|v| (timestamp_type(), v)),
        values(any_list()).prop_map(|v| (list_type(DataType::Float64), v)),
    ]
}

/// Kinds that take the type, with their specs.
fn kinds_of(data_type: &DataType) -> Vec<(AggregateKind, PartialSpec)> {
    let all = AggregateKind::ALL.iter().copied();
    all.filter(|kind| kind.plan(std::slice::from_ref(data_type)).is_ok())
        .map(|kind| (kind, spec(kind, data_type.clone())))
        .collect()
}

/// A number that sorts as min and max of DOUBLE do, written from the bits: NaN on top, the two
/// zeros as one.
fn float_rank(value: f64) -> i128 {
    if value.is_nan() {
        return i128::MAX;
    }
    let magnitude = i128::from(value.abs().to_bits());
    if value.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

/// Text by its bytes and length in one number (at most 3 bytes here).
fn rank(value: &Value) -> i128 {
    match value {
        Value::Float(value) => float_rank(*value),
        Value::Date(days) => i128::from(*days),
        Value::Int(value) | Value::Timestamp(value) => i128::from(*value),
        Value::Bool(value) => i128::from(*value),
        Value::Text(value) => {
            let byte = |index: usize| {
                value
                    .as_bytes()
                    .get(index)
                    .map_or(0, |b| i128::from(*b) + 1)
            };
            byte(0) << 32 | byte(1) << 16 | byte(2)
        }
        Value::Null | Value::List(_) => unreachable!("NULLs and arrays are left out"),
    }
}

fn bits(known: &[&Value], combine: fn(i128, i128) -> i128) -> Value {
    let combined = known.iter().map(|v| rank(v)).reduce(combine);
    Value::Int(combined.expect("some value") as i64)
}

fn expected_extremum(values: &[Value], greatest: bool) -> Value {
    let known = values.iter().filter(|v| **v != Value::Null);
    let found = if greatest {
        known.max_by_key(|v| rank(v))
    } else {
        known.min_by_key(|v| rank(v))
    };
    match found {
        None => Value::Null,
        Some(Value::Float(value)) if *value == 0.0 => Value::Float(0.0),
        Some(other) => other.clone(),
    }
}

proptest! {
    /// The first of the best rows, by a plain search.
    #[test]
    fn a_value_by_another_is_that_of_the_first_best_row(
        rows in prop::collection::vec((prop::option::of(0_i64..9), prop::option::of(any_float())), 0..12),
    ) {
        for kind in [AggregateKind::MaxBy, AggregateKind::MinBy] {
            let spec = spec_of(kind, &[DataType::Int64, DataType::Float64]);
            let mut state = Partial::new(&spec);
            for (offset, (value, by)) in rows.iter().enumerate().rev() {
                let arguments = [value.map_or(Value::Null, Value::Int), by.map_or(Value::Null, Value::Float)];
                state.update(&arguments, at(offset as i64));
            }
            let known = rows.iter().filter_map(|(value, by)| by.map(|by| (float_rank(by), *value)));
            let best = if kind == AggregateKind::MaxBy {
                known.rev().max_by_key(|row| row.0)
            } else {
                known.min_by_key(|row| row.0)
            };
            let want = best.and_then(|row| row.1).map_or(Value::Null, Value::Int);
            prop_assert_eq!(value_of(&state, kind), want);
        }
    }

    #[test]
    fn values_are_those_of_the_definition((data_type, values) in column()) {
        let known: Vec<&Value> = values.iter().filter(|v| **v != Value::Null).collect();
        for (kind, spec) in kinds_of(&data_type) {
            let got = state_of(&spec, &values).evaluate(kind);
            let want = match kind {
                AggregateKind::Count => Ok(Value::Int(known.len() as i64)),
                AggregateKind::Min => Ok(expected_extremum(&values, false)),
                AggregateKind::Max => Ok(expected_extremum(&values, true)),
                AggregateKind::Last => Ok(values.last().cloned().unwrap_or(Value::Null)),
                AggregateKind::First => Ok(values.first().cloned().unwrap_or(Value::Null)),
                AggregateKind::ArrayAgg(kept) if !values.is_empty() => {
                    let first = values.len().saturating_sub(kept.rows());
                    let newest = values[first..].iter().map(super::scalar::one_nan);
                    Ok(Value::List(newest.collect()))
                }
                AggregateKind::CountDistinct => {
                    let ranks: BTreeSet<i128> = known.iter().map(|v| rank(v)).collect();
                    Ok(Value::Int(ranks.len() as i64))
                }
                AggregateKind::ApproxDistinct if known.is_empty() => Ok(Value::Int(0)),
                AggregateKind::Sum if spec.class == PartialClass::IntSum && !known.is_empty() => {
                    let total: i128 = known.iter().map(|v| rank(v)).sum();
                    i64::try_from(total).map(Value::Int).map_err(|_| FaultKind::Overflow)
                }
                // NULL over nothing; the numbers are judged beside the accumulator.
                AggregateKind::VarSamp | AggregateKind::StddevSamp if known.len() < 2 => Ok(Value::Null),
                _ if known.is_empty() => Ok(Value::Null),
                AggregateKind::BoolAnd => Ok(Value::Bool(known.iter().all(|v| **v == Value::Bool(true)))),
                AggregateKind::BoolOr => Ok(Value::Bool(known.contains(&&Value::Bool(true)))),
                AggregateKind::BitAnd => Ok(bits(&known, |a, b| a & b)),
                AggregateKind::BitOr => Ok(bits(&known, |a, b| a | b)),
                AggregateKind::BitXor => Ok(bits(&known, |a, b| a ^ b)),
                _ => continue,
            };
            prop_assert!(same(&got, &want), "{kind:?} of {values:?}: {got:?}, want {want:?}");
        }
    }
}

#[test]
fn the_last_value_is_that_of_the_greatest_row_whatever_comes_first() {
    let spec = spec(AggregateKind::Last, DataType::Utf8);
    let text = |value: &str| Value::Text(value.into());
    let rows = [
        (
            RowOrder {
                time_us: 5,
                partition: 1,
                offset: 7,
            },
            text("earlier offset"),
        ),
        (
            RowOrder {
                time_us: 5,
                partition: 1,
                offset: 8,
            },
            Value::Null,
        ),
        (
            RowOrder {
                time_us: 5,
                partition: 0,
                offset: 99,
            },
            text("smaller partition"),
        ),
        (
            RowOrder {
                time_us: 4,
                partition: 9,
                offset: 99,
            },
            text("earlier"),
        ),
    ];
    for first in 0..rows.len() {
        let mut state = Partial::new(&spec);
        for step in 0..rows.len() {
            let (order, value) = &rows[(first + step) % rows.len()];
            state.update(std::slice::from_ref(value), *order);
        }
        assert_eq!(
            state.evaluate(AggregateKind::Last),
            Ok(Value::Null),
            "the greatest row holds NULL"
        );
        assert!(!state.is_empty());
    }
}

#[test]
fn nan_is_the_greatest_and_zero_has_no_sign() {
    let over_floats = |kind| spec(kind, DataType::Float64);
    let floats = |values: &[f64]| values.iter().map(|v| Value::Float(*v)).collect::<Vec<_>>();
    let min = |values: &[f64]| {
        let state = state_of(&over_floats(AggregateKind::Min), &floats(values));
        value_of(&state, AggregateKind::Min)
    };
    let max = |values: &[f64]| {
        let state = state_of(&over_floats(AggregateKind::Max), &floats(values));
        value_of(&state, AggregateKind::Max)
    };
    assert!(min(&[f64::NAN, 3.0]).same_bits(&Value::Float(3.0)));
    assert!(max(&[3.0, f64::NAN]).same_bits(&Value::Float(f64::NAN)));
    assert!(min(&[f64::INFINITY]).same_bits(&Value::Float(f64::INFINITY)));
    assert!(max(&[f64::NEG_INFINITY]).same_bits(&Value::Float(f64::NEG_INFINITY)));
    assert!(min(&[-0.0]).same_bits(&Value::Float(0.0)));
    assert!(max(&[-0.0, 0.0]).same_bits(&Value::Float(0.0)));
    assert!(min(&[f64::NAN, -f64::NAN]).same_bits(&Value::Float(f64::NAN)));
}

#[test]
fn a_refusal_names_the_function_and_what_to_write() {
    for (kind, arguments, words) in [
        (
            AggregateKind::Avg,
            vec![DataType::Boolean],
            ["avg(CAST(x AS INTEGER))", "count(*) FILTER (WHERE x)"],
        ),
        (
            AggregateKind::StddevSamp,
            vec![DataType::Utf8],
            ["stddev_samp", "CAST(x AS DOUBLE)"],
        ),
        (
            AggregateKind::Sum,
            vec![DataType::Utf8],
            ["sum", "CAST(x AS BIGINT)"],
        ),
        (
            AggregateKind::Max,
            vec![DataType::Binary],
            ["max", "VARCHAR"],
        ),
        (
            AggregateKind::CountDistinct,
            vec![list_type(DataType::Utf8)],
            ["VARCHAR[]", "x[1]"],
        ),
        (
            AggregateKind::MaxBy,
            vec![DataType::Int64, list_type(DataType::Utf8)],
            ["max_by", "cardinality(x)"],
        ),
        (
            AggregateKind::ArrayAgg(Kept::THREE),
            vec![list_type(DataType::Utf8)],
            ["array_agg(x[1], 10)", "last_value(x)"],
        ),
        (
            AggregateKind::Min,
            vec![],
            ["min takes one argument", "write min(x)"],
        ),
        (
            AggregateKind::Count,
            vec![DataType::Utf8; 2],
            ["count takes one argument", "write count(x)"],
        ),
    ] {
        let error = kind.plan(&arguments).expect_err("not taken");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        for word in words {
            assert!(error.message().contains(word), "{error}");
        }
    }
}

/// The sum has no value outside of BIGINT; the mean and the state go on.
#[test]
fn a_sum_that_does_not_fit_is_a_fault_of_its_cell() {
    let spec = spec(AggregateKind::Sum, DataType::Int64);
    let ints = |values: &[i64]| values.iter().map(|v| Value::Int(*v)).collect::<Vec<_>>();
    let mut state = state_of(&spec, &ints(&[i64::MAX, 1]));
    let cell = state.evaluate(AggregateKind::Sum);
    assert_eq!(cell, Err(FaultKind::Overflow));
    assert_eq!(
        value_of(&state, AggregateKind::Avg),
        Value::Float(4_611_686_018_427_387_904.0)
    );
    assert_eq!(bytes_of(&state), hex("1a0280808080808080808002"));
    state.update(&[Value::Int(-5)], at(2));
    let back = state.evaluate(AggregateKind::Sum);
    assert_eq!(back, Ok(Value::Int(i64::MAX - 4)));
    let aggregate = AggregateSpec {
        name: "total".to_owned(),
        kind: AggregateKind::Sum,
        data_type: DataType::Int64,
        partial: 0,
        window: Window::Lifetime,
    };
    let mut cells = Cells::default();
    cells
        .append(&aggregate, [cell, back].iter())
        .expect("a column");
    let column: &arrow_array::Int64Array = cells.columns[0].as_primitive();
    assert_eq!(
        column.iter().collect::<Vec<_>>(),
        [None, Some(i64::MAX - 4)]
    );
    let told = CellFault::of_aggregate(&aggregate, 0, RowIndex::at(0), FaultKind::Overflow);
    assert_eq!(cells.faults, [told]);
    let least = state_of(&spec, &ints(&[i64::MIN, -1]));
    assert_eq!(least.evaluate(AggregateKind::Sum), Err(FaultKind::Overflow));
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// More than so many values add up to, and the layout that wrapped.
#[test]
fn integer_sums_that_no_values_have_are_refused() {
    let spec = spec(AggregateKind::Sum, DataType::Int64);
    for digits in ["1a0002", "1a0182808080808080808002", "150105"] {
        let error = Partial::decode(&spec, &mut hex(digits).as_slice()).expect_err(digits);
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }
}

#[test]
fn output_types_are_those_of_sql() {
    let output = |kind: AggregateKind, argument| kind.plan(&[argument]).expect("taken").data_type;
    let rows = AggregateKind::Count.plan(&[]).expect("taken");
    assert_eq!(rows.data_type, DataType::Int64);
    assert_eq!(
        output(AggregateKind::Count, DataType::Utf8),
        DataType::Int64
    );
    assert_eq!(output(AggregateKind::Sum, DataType::Int32), DataType::Int64);
    assert_eq!(
        output(AggregateKind::Sum, DataType::Float64),
        DataType::Float64
    );
    assert_eq!(
        output(AggregateKind::Avg, DataType::Int32),
        DataType::Float64
    );
    assert_eq!(
        output(AggregateKind::VarSamp, DataType::Int64),
        DataType::Float64
    );
    assert_eq!(
        output(AggregateKind::VarPop, DataType::Float64),
        DataType::Float64
    );
    assert_eq!(
        output(AggregateKind::Min, timestamp_type()),
        timestamp_type()
    );
    assert_eq!(
        output(AggregateKind::Last, DataType::Boolean),
        DataType::Boolean
    );
}
