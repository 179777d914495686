//! Partial states against definitions written out over plain lists of rows: the sorted maximum, the
//! 128-bit sum, the last row by position. The float sums have tests of their own beside them.

use arrow_schema::DataType;
use proptest::prelude::*;

use super::{AggregateKind, Partial, PartialClass, PartialSpec, RowOrder};
use crate::error::ErrorKind;
use crate::time::timestamp_type;
use crate::value::Value;

fn spec(kind: AggregateKind, argument_type: Option<DataType>) -> PartialSpec {
    PartialSpec {
        class: kind
            .partial_class(argument_type.as_ref())
            .expect("a type that the function takes"),
        argument: argument_type.is_some().then_some(0),
        argument_type,
        filter: None,
    }
}

fn at(offset: i64) -> RowOrder {
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
        .for_each(|(value, offset)| state.update(value, at(offset)));
    state
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
        values(any::<i64>().prop_map(Value::Timestamp)).prop_map(|v| (timestamp_type(), v)),
    ]
}

const EVERY_KIND: [AggregateKind; 10] = [
    AggregateKind::Count,
    AggregateKind::Sum,
    AggregateKind::Avg,
    AggregateKind::Min,
    AggregateKind::Max,
    AggregateKind::VarPop,
    AggregateKind::VarSamp,
    AggregateKind::StddevPop,
    AggregateKind::StddevSamp,
    AggregateKind::Last,
];

/// Kinds that take the type, with their specs.
fn kinds_of(data_type: &DataType) -> Vec<(AggregateKind, PartialSpec)> {
    EVERY_KIND
        .into_iter()
        .filter(|kind| kind.partial_class(Some(data_type)).is_ok())
        .map(|kind| (kind, spec(kind, Some(data_type.clone()))))
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
        Value::Null => unreachable!("NULLs are left out"),
    }
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
    #[test]
    fn values_are_those_of_the_definition((data_type, values) in column()) {
        let known: Vec<&Value> = values.iter().filter(|v| **v != Value::Null).collect();
        for (kind, spec) in kinds_of(&data_type) {
            let got = state_of(&spec, &values).evaluate(kind);
            let want = match kind {
                AggregateKind::Count => Value::Int(known.len() as i64),
                AggregateKind::Min => expected_extremum(&values, false),
                AggregateKind::Max => expected_extremum(&values, true),
                AggregateKind::Last => values.last().cloned().unwrap_or(Value::Null),
                AggregateKind::Sum if spec.class == PartialClass::IntSum && !known.is_empty() => {
                    let total: i128 = known.iter().map(|v| rank(v)).sum();
                    Value::Int(total as i64)
                }
                // NULL over nothing; the numbers are judged beside the accumulator.
                AggregateKind::VarSamp | AggregateKind::StddevSamp if known.len() < 2 => Value::Null,
                _ if known.is_empty() => Value::Null,
                _ => continue,
            };
            prop_assert!(got.same_bits(&want), "{kind:?} of {values:?}: {got:?}, want {want:?}");
        }
    }

    #[test]
    fn splits_and_order_change_no_byte((data_type, values) in column(), cut in any::<prop::sample::Index>()) {
        let cut = if values.is_empty() { 0 } else { cut.index(values.len()) };
        for (kind, spec) in kinds_of(&data_type) {
            let whole = state_of(&spec, &values);
            let (mut early, mut late) = (Partial::new(&spec), Partial::new(&spec));
            for (offset, value) in values.iter().enumerate().rev() {
                let part = if offset < cut { &mut early } else { &mut late };
                part.update(value, at(offset as i64));
            }
            late.merge(&early);
            prop_assert_eq!(bytes_of(&late), bytes_of(&whole), "{:?}", kind);
            prop_assert!(late.evaluate(kind).same_bits(&whole.evaluate(kind)));
            prop_assert_eq!(late.is_empty(), whole.is_empty());
        }
    }

    #[test]
    fn retracting_undoes_updating((data_type, values) in column(), cut in any::<prop::sample::Index>()) {
        let cut = if values.is_empty() { 0 } else { cut.index(values.len()) };
        for (kind, spec) in kinds_of(&data_type) {
            let (mut one_by_one, mut at_once) = (state_of(&spec, &values), state_of(&spec, &values));
            let retracted = values[..cut].iter().all(|value| one_by_one.retract(value));
            let subtracted = at_once.subtract(&state_of(&spec, &values[..cut]));
            if matches!(spec.class, PartialClass::Min | PartialClass::Max | PartialClass::Last) {
                prop_assert!(!subtracted && (cut == 0 || !retracted));
                prop_assert_eq!(bytes_of(&at_once), bytes_of(&state_of(&spec, &values)));
            } else {
                prop_assert!(retracted && subtracted);
                prop_assert_eq!(bytes_of(&one_by_one), bytes_of(&state_of(&spec, &values[cut..])), "{:?}", kind);
                prop_assert_eq!(bytes_of(&at_once), bytes_of(&state_of(&spec, &values[cut..])), "{:?}", kind);
            }
        }
    }

    #[test]
    fn states_come_back_from_their_bytes((data_type, values) in column(), tail in any::<[u8; 2]>()) {
        for (kind, spec) in kinds_of(&data_type) {
            let state = state_of(&spec, &values);
            let mut bytes = bytes_of(&state);
            for length in 0..bytes.len() {
                let error = Partial::decode(&spec, &mut &bytes[..length]).expect_err("a state cut short");
                prop_assert_eq!(error.kind(), ErrorKind::DataLoss);
            }
            bytes.extend_from_slice(&tail);
            let mut rest = bytes.as_slice();
            let back = Partial::decode(&spec, &mut rest).expect("its own bytes");
            prop_assert_eq!(rest, tail.as_slice());
            prop_assert_eq!(bytes_of(&back), bytes_of(&state));
            prop_assert!(back.evaluate(kind).same_bits(&state.evaluate(kind)));
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_canonical(
        (data_type, _) in column(), mut bytes in prop::collection::vec(any::<u8>(), 0..32), code in 0x10_u8..0x1a,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = code;
        }
        for (kind, spec) in kinds_of(&data_type) {
            let mut rest = bytes.as_slice();
            if let Ok(state) = Partial::decode(&spec, &mut rest) {
                prop_assert_eq!(bytes_of(&state), &bytes[..bytes.len() - rest.len()]);
                let _value = state.evaluate(kind);
            }
        }
    }

    #[test]
    fn typed_updates_equal_updates_by_value(floats in prop::collection::vec(prop::option::of(any_float()), 0..12)) {
        for (_, spec) in kinds_of(&DataType::Float64) {
            if spec.class == PartialClass::Last {
                continue;
            }
            let (mut typed, mut by_value) = (Partial::new(&spec), Partial::new(&spec));
            for value in &floats {
                typed.update_f64(*value);
                by_value.update(&value.map_or(Value::Null, Value::Float), at(0));
            }
            prop_assert_eq!(bytes_of(&typed), bytes_of(&by_value));
        }
    }
}

#[test]
fn the_last_value_is_that_of_the_greatest_row_whatever_comes_first() {
    let spec = spec(AggregateKind::Last, Some(DataType::Utf8));
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
            state.update(value, *order);
        }
        assert_eq!(
            state.evaluate(AggregateKind::Last),
            Value::Null,
            "the greatest row holds NULL"
        );
        assert!(!state.is_empty());
    }
}

#[test]
fn nan_is_the_greatest_and_zero_has_no_sign() {
    let spec_of = |kind| spec(kind, Some(DataType::Float64));
    let floats = |values: &[f64]| values.iter().map(|v| Value::Float(*v)).collect::<Vec<_>>();
    let min = |values: &[f64]| {
        state_of(&spec_of(AggregateKind::Min), &floats(values)).evaluate(AggregateKind::Min)
    };
    let max = |values: &[f64]| {
        state_of(&spec_of(AggregateKind::Max), &floats(values)).evaluate(AggregateKind::Max)
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
    for (kind, argument, words) in [
        (
            AggregateKind::Avg,
            Some(DataType::Int64),
            ["avg", "CAST(x AS DOUBLE)"],
        ),
        (
            AggregateKind::StddevSamp,
            Some(DataType::Utf8),
            ["stddev_samp", "CAST(x AS DOUBLE)"],
        ),
        (
            AggregateKind::Sum,
            Some(DataType::Utf8),
            ["sum", "CAST(x AS BIGINT)"],
        ),
        (
            AggregateKind::Max,
            Some(DataType::Binary),
            ["max", "VARCHAR"],
        ),
        (AggregateKind::Min, None, ["min", "min(column)"]),
    ] {
        let error = kind
            .partial_class(argument.as_ref())
            .expect_err("not taken");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        for word in words {
            assert!(error.message().contains(word), "{error}");
        }
        assert_eq!(
            kind.output_type(argument.as_ref())
                .expect_err("not taken")
                .message(),
            error.message()
        );
    }
}

#[test]
fn output_types_are_those_of_sql() {
    let output = |kind: AggregateKind, argument| kind.output_type(Some(&argument)).expect("taken");
    assert_eq!(
        AggregateKind::Count.output_type(None).expect("taken"),
        DataType::Int64
    );
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

/// The bytes on disk, for ever.
#[test]
fn golden_bytes() {
    let hex = |state: &Partial| {
        let bytes = bytes_of(state);
        bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let text = || Value::Text("JFK".into());
    let (int, double) = (DataType::Int64, DataType::Float64);
    let one = || vec![Value::Float(1.0)];
    for (kind, data_type, values, golden) in [
        (
            AggregateKind::Count,
            DataType::Utf8,
            vec![text(); 300],
            "10ac02",
        ),
        (
            AggregateKind::Sum,
            int,
            vec![Value::Int(-3), Value::Null],
            "150105",
        ),
        (AggregateKind::Avg, double.clone(), one(), "110186010104"),
        (
            AggregateKind::VarPop,
            double.clone(),
            one(),
            "1301860101048c020110",
        ),
        (AggregateKind::Min, DataType::Utf8, vec![], "1600"),
        (
            AggregateKind::Min,
            DataType::Utf8,
            vec![text()],
            "1605034a464b",
        ),
        (
            AggregateKind::Max,
            double,
            vec![Value::Float(-f64::NAN)],
            "1704000000000000f87f",
        ),
        (
            AggregateKind::Max,
            DataType::Boolean,
            vec![Value::Bool(true)],
            "1702",
        ),
        (
            AggregateKind::Max,
            timestamp_type(),
            vec![Value::Timestamp(64)],
            "17068001",
        ),
        (AggregateKind::Last, DataType::Utf8, vec![], "18"),
    ] {
        let state = state_of(&spec(kind, Some(data_type)), &values);
        assert_eq!(hex(&state), golden, "{kind:?} of {values:?}");
    }
    let mut last = Partial::new(&spec(AggregateKind::Last, Some(DataType::Int64)));
    last.update(
        &Value::Int(9),
        RowOrder {
            time_us: -1,
            partition: 2,
            offset: 200,
        },
    );
    assert_eq!(hex(&last), "19010490030312");
}

/// The same of signs, of the ends of integers, of text that is no ASCII, and of NULL.
#[test]
fn golden_bytes_of_scalars_in_states() {
    let last = |value: Value, data_type: DataType| {
        let spec = spec(AggregateKind::Last, Some(data_type));
        let mut state = Partial::new(&spec);
        let order = RowOrder {
            time_us: i64::MIN,
            partition: i32::MAX,
            offset: i64::MAX,
        };
        state.update(&value, order);
        (spec, state)
    };
    let of = |kind, data_type, value| {
        let spec = spec(kind, Some(data_type));
        let state = state_of(&spec, &[value]);
        (spec, state)
    };
    let order = "19 ffffffffffffffffff01 feffffff0f feffffffffffffffff01";
    let (int, double) = (DataType::Int64, DataType::Float64);
    for ((spec, state), golden) in [
        (
            last(Value::Text("é".into()), DataType::Utf8),
            format!("{order} 05 02 c3a9"),
        ),
        (
            last(Value::Float(-0.0), double.clone()),
            format!("{order} 04 0000000000000080"),
        ),
        (last(Value::Null, int.clone()), format!("{order} 00")),
        (
            of(AggregateKind::Sum, int.clone(), Value::Int(i64::MIN)),
            "15 01 ffffffffffffffffff01".to_owned(),
        ),
        (
            of(AggregateKind::Min, int, Value::Int(-1)),
            "16 03 01".to_owned(),
        ),
        (
            of(AggregateKind::Min, double, Value::Float(-0.0)),
            "16 04 0000000000000000".to_owned(),
        ),
        (
            of(AggregateKind::Max, DataType::Boolean, Value::Bool(false)),
            "17 01".to_owned(),
        ),
        (
            of(AggregateKind::Max, timestamp_type(), Value::Timestamp(-2)),
            "17 06 03".to_owned(),
        ),
    ] {
        let bytes = bytes_of(&state);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
        let read = Partial::decode(&spec, &mut &*bytes).expect("its own bytes");
        assert_eq!(bytes_of(&read), bytes, "{golden}");
    }
}

#[test]
fn a_state_in_a_later_layout_is_refused() {
    for kind in EVERY_KIND {
        let spec = spec(kind, Some(DataType::Float64));
        let mut bytes = bytes_of(&Partial::new(&spec));
        bytes[0] += 0x10;
        let code = format!("code {:#04x}", bytes[0]);
        let error = Partial::decode(&spec, &mut &*bytes).expect_err("no code of today");
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.message().contains(&code), "{kind:?}: {error}");
    }
}

#[test]
#[should_panic(expected = "invariant counts_not_negative is broken")]
fn a_count_that_was_retracted_below_nothing_is_not_stored_in_silence() {
    Partial::Count(-1).encode(&mut Vec::new());
}
