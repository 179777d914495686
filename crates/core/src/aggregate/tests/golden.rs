//! The bytes of states, which outlive builds.

use arrow_schema::DataType;

use super::{bytes_of, kinds_of, spec, state_of};
use crate::aggregate::{AggregateKind, Kept, Partial, RowOrder};
use crate::error::ErrorKind;
use crate::time::timestamp_type;
use crate::value::{Value, list_type};

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
            int.clone(),
            vec![Value::Int(-3), Value::Null],
            "1a0105",
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
        let state = state_of(&spec(kind, data_type), &values);
        assert_eq!(hex(&state), golden, "{kind:?} of {values:?}");
    }
    let mut last = Partial::new(&spec(AggregateKind::Last, DataType::Int64));
    last.update(
        &[Value::Int(9)],
        RowOrder {
            time_us: -1,
            partition: 2,
            offset: 200,
        },
    );
    assert_eq!(hex(&last), "19010490030312");
}

#[test]
fn golden_bytes_of_a_date() {
    let spec = spec(AggregateKind::Max, DataType::Date32);
    let bytes = bytes_of(&state_of(&spec, &[Value::Date(-65)]));
    assert_eq!(bytes, [0x17, 0x07, 0x81, 0x01]);
}

/// The same of the states that came later.
#[test]
fn golden_bytes_of_later_states() {
    let (text, int) = (Value::Text("JFK".into()), DataType::Int64);
    for (kind, data_type, values, golden) in [
        (AggregateKind::First, DataType::Utf8, vec![], "1b"),
        (
            AggregateKind::First,
            DataType::Utf8,
            vec![text],
            "1c00000005034a464b",
        ),
        (
            AggregateKind::BoolOr,
            DataType::Boolean,
            vec![Value::Bool(true)],
            "210001",
        ),
        (AggregateKind::BitXor, int.clone(), vec![], "22"),
        (
            AggregateKind::BitXor,
            int.clone(),
            vec![Value::Int(6), Value::Int(-3)],
            "23080109",
        ),
        (
            AggregateKind::CountDistinct,
            int.clone(),
            vec![Value::Int(6), Value::Int(-3)],
            "25020305030c",
        ),
        (
            AggregateKind::ApproxMedian,
            int.clone(),
            vec![Value::Int(1), Value::Int(1), Value::Int(0)],
            "28080002000180fc1f02",
        ),
        (
            AggregateKind::ApproxDistinct,
            int.clone(),
            vec![Value::Int(1)],
            "27015c0001",
        ),
        (
            AggregateKind::ArrayAgg(Kept::THREE),
            int.clone(),
            vec![Value::Int(9), Value::Int(1), Value::Null, Value::Int(-1)],
            "3003 000002 0302 000004 00 000006 0301",
        ),
        (
            AggregateKind::ArrayAgg(Kept::THREE),
            int.clone(),
            vec![],
            "3000",
        ),
    ] {
        let bytes = bytes_of(&state_of(&spec(kind, data_type), &values));
        let found: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, golden.replace(' ', ""), "{kind:?} of {values:?}");
    }
}

/// The same of signs, of the ends of integers, of text that is no ASCII, and of NULL.
#[test]
fn golden_bytes_of_scalars_in_states() {
    let last = |value: Value, data_type: DataType| {
        let spec = spec(AggregateKind::Last, data_type);
        let mut state = Partial::new(&spec);
        let order = RowOrder {
            time_us: i64::MIN,
            partition: i32::MAX,
            offset: i64::MAX,
        };
        state.update(&[value], order);
        (spec, state)
    };
    let of = |kind, data_type, value| {
        let spec = spec(kind, data_type);
        let state = state_of(&spec, &[value]);
        (spec, state)
    };
    let order = "19 ffffffffffffffffff01 feffffff0f feffffffffffffffff01";
    let list = |items: Vec<Value>| Value::List(items.into());
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
            last(
                list(vec![Value::Float(-f64::NAN), Value::Null]),
                list_type(double.clone()),
            ),
            format!("{order} 10 02 04 000000000000f87f 00"),
        ),
        (
            last(list(vec![]), list_type(DataType::Utf8)),
            format!("{order} 10 00"),
        ),
        (
            of(AggregateKind::Sum, int.clone(), Value::Int(i64::MIN)),
            "1a 01 ffffffffffffffffff01".to_owned(),
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
    for (kind, spec) in kinds_of(&DataType::Float64) {
        let mut bytes = bytes_of(&Partial::new(&spec));
        bytes[0] += 0x10;
        let code = format!("code {:#04x}", bytes[0]);
        let error = Partial::decode(&spec, &mut &*bytes).expect_err("no code of today");
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.message().contains(&code), "{kind:?}: {error}");
    }
}
