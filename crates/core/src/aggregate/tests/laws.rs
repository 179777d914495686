//! What every function of the table promises, over every combination of types that it takes: the
//! rows decide, not their order, nor how they are cut, folded, merged, stored or taken away. A
//! function that is added to the table is judged by these without a line here.

use arrow_schema::DataType;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{any_float, any_list, at, bytes_of, same, spec_of};
use crate::aggregate::{
    AggregateKind, Column, ColumnKind, Leaving, Partial, PartialSpec, RowOrder, Rows,
};
use crate::error::ErrorKind;
use crate::time::timestamp_type;
use crate::value::{Value, list_type};

/// Types that an argument may have.
fn types() -> [DataType; 7] {
    [
        DataType::Float64,
        DataType::Int64,
        DataType::Int32,
        DataType::Boolean,
        DataType::Utf8,
        timestamp_type(),
        list_type(DataType::Float64),
    ]
}

/// Each function over each combination of types that it takes.
fn calls() -> Vec<(AggregateKind, PartialSpec)> {
    let mut calls = Vec::new();
    for kind in AggregateKind::ALL {
        let mut lists: Vec<Vec<DataType>> = vec![Vec::new()];
        for arity in 0..=*kind.function().arguments.end() {
            if kind.function().arguments.contains(&arity) {
                let taken = lists.iter().filter(|list| kind.plan(list).is_ok());
                calls.extend(taken.map(|list| (*kind, spec_of(*kind, list))));
            }
            let longer = |list: &Vec<DataType>| {
                let list = list.clone();
                types().map(|t| list.iter().cloned().chain([t]).collect::<Vec<_>>())
            };
            lists = lists.iter().flat_map(longer).collect();
        }
    }
    calls
}

/// One value of each type, or NULL.
fn any_row() -> impl Strategy<Value = [Value; 7]> {
    let null = |one: BoxedStrategy<Value>| prop_oneof![1 => Just(Value::Null), 5 => one];
    let int = prop_oneof![any::<i64>(), -3_i64..3];
    (
        null(any_float().prop_map(Value::Float).boxed()),
        null(int.prop_map(Value::Int).boxed()),
        null((-3_i32..3).prop_map(|v| Value::Int(v.into())).boxed()),
        null(any::<bool>().prop_map(Value::Bool).boxed()),
        null("[a-c]{0,3}".prop_map(|v| Value::Text(v.into())).boxed()),
        null((-3_i64..3).prop_map(Value::Timestamp).boxed()),
        null(any_list().boxed()),
    )
        .prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g])
}

fn rows() -> impl Strategy<Value = Vec<[Value; 7]>> {
    prop::collection::vec(any_row(), 0..14)
}

/// The values of a row that `spec` takes.
fn arguments(spec: &PartialSpec, row: &[Value; 7]) -> Vec<Value> {
    let types = types();
    let value = |wanted: &DataType| {
        let place = types.iter().position(|t| t == wanted);
        row[place.expect("a type of the list")].clone()
    };
    spec.argument_types.iter().map(value).collect()
}

fn update(state: &mut Partial, spec: &PartialSpec, (offset, row): (usize, &[Value; 7])) {
    state.update(&arguments(spec, row), at(offset as i64));
}

/// Rows with their offsets.
fn numbered(rows: &[[Value; 7]]) -> impl DoubleEndedIterator<Item = (usize, &[Value; 7])> {
    let numbers: Vec<usize> = (0..rows.len()).collect();
    numbers.into_iter().zip(rows)
}

fn state_of(spec: &PartialSpec, rows: &[[Value; 7]]) -> Partial {
    let mut state = Partial::new(spec);
    numbered(rows).for_each(|row| update(&mut state, spec, row));
    state
}

/// Rows as columns.
struct Block<'a> {
    spec: &'a PartialSpec,
    columns: Vec<Values>,
}

struct Values(ColumnKind, Vec<Value>);

impl Column for Values {
    fn kind(&self) -> ColumnKind {
        self.0
    }

    fn is_null(&self, row: usize) -> bool {
        self.1[row] == Value::Null
    }

    fn float(&self, row: usize) -> f64 {
        match self.1[row] {
            Value::Float(value) => value,
            ref other => panic!("{other:?}"),
        }
    }

    fn int(&self, row: usize) -> i64 {
        match self.1[row] {
            Value::Int(value) => value,
            ref other => panic!("{other:?}"),
        }
    }

    fn value(&self, row: usize) -> Value {
        self.1[row].clone()
    }
}

impl<'a> Block<'a> {
    fn new(spec: &'a PartialSpec, rows: &[[Value; 7]]) -> Self {
        let lists: Vec<Vec<Value>> = rows.iter().map(|row| arguments(spec, row)).collect();
        let column = |(place, data_type): (usize, &DataType)| {
            let kind = ColumnKind::of(data_type).expect("a type of the list");
            Values(kind, lists.iter().map(|list| list[place].clone()).collect())
        };
        let columns = spec.argument_types.iter().enumerate().map(column).collect();
        Self { spec, columns }
    }

    fn arguments(&self) -> &[usize] {
        &self.spec.arguments
    }
}

impl Rows for Block<'_> {
    type Column = Values;

    fn argument(&self, index: usize) -> &Values {
        &self.columns[index]
    }

    fn order(&self, row: usize) -> RowOrder {
        at(row as i64)
    }
}

#[test]
fn every_function_is_judged() {
    let calls = calls();
    for kind in AggregateKind::ALL {
        assert!(calls.iter().any(|call| call.0 == *kind), "{kind:?}");
        for name in kind.function().names {
            assert_eq!(
                AggregateKind::of(name, kind.function().is_distinct),
                Some(*kind),
                "{name} means another function"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merging_is_associative_and_commutative(
        rows in rows(), places in prop::collection::vec(0_usize..3, 14),
    ) {
        for (kind, spec) in calls() {
            let whole = state_of(&spec, &rows);
            let mut parts = [(); 3].map(|()| Partial::new(&spec));
            // Backwards, so that no order of arrival helps.
            for row in numbered(&rows).rev() {
                update(&mut parts[places[row.0]], &spec, row);
            }
            let [a, b, c] = &parts;
            let merged = |list: [&Partial; 3]| {
                let mut state = list[0].clone();
                state.merge(list[1]);
                state.merge(list[2]);
                state
            };
            let mut right = a.clone();
            right.merge(&merged([b, c, &Partial::new(&spec)]));
            for state in [merged([a, b, c]), merged([c, b, a]), merged([b, a, c]), right] {
                prop_assert_eq!(bytes_of(&state), bytes_of(&whole), "{:?} {:?}", kind, spec);
                prop_assert!(same(&state.evaluate(kind), &whole.evaluate(kind)), "{kind:?}");
                prop_assert_eq!(state.is_empty(), whole.is_empty());
            }
        }
    }

    #[test]
    fn columns_fold_as_rows_do(rows in rows(), kept in any::<u16>()) {
        let kept: Vec<usize> = (0..rows.len()).filter(|row| kept >> row & 1 == 1).collect();
        for (kind, spec) in calls() {
            let mut by_row = Partial::new(&spec);
            kept.iter().for_each(|row| update(&mut by_row, &spec, (*row, &rows[*row])));
            let block = Block::new(&spec, &rows);
            let mut by_column = Partial::new(&spec);
            by_column.fold(&block, block.arguments(), kept.iter().copied());
            prop_assert_eq!(bytes_of(&by_column), bytes_of(&by_row), "{:?} {:?}", kind, spec);
        }
    }

    #[test]
    fn rows_leave_as_if_they_had_never_come(rows in rows(), cut in any::<Index>()) {
        let cut = if rows.is_empty() { 0 } else { cut.index(rows.len()) };
        for (kind, spec) in calls().into_iter().filter(|c| c.1.class.leaving() == Leaving::Retracted) {
            let mut state = state_of(&spec, &rows);
            rows[..cut].iter().for_each(|row| state.retract(&arguments(&spec, row)));
            let stayed = state_of(&spec, &rows[cut..]);
            prop_assert_eq!(bytes_of(&state), bytes_of(&stayed), "{:?} {:?}", kind, spec);
            prop_assert!(same(&state.evaluate(kind), &stayed.evaluate(kind)), "{kind:?}");
        }
    }

    #[test]
    fn of_two_rows_one_is_the_state(one in any_row(), other in any_row()) {
        for (kind, spec) in calls().into_iter().filter(|c| c.1.class.leaving() == Leaving::Selected) {
            let (mut older, mut newer) = (Partial::new(&spec), Partial::new(&spec));
            update(&mut older, &spec, (0, &one));
            update(&mut newer, &spec, (1, &other));
            let mut both = older.clone();
            both.merge(&newer);
            let better = if older.gives_way_to(&newer) { &newer } else { &older };
            prop_assert!(same(&both.evaluate(kind), &better.evaluate(kind)), "{kind:?} {older:?} {newer:?}");
        }
    }

    #[test]
    fn states_come_back_from_their_bytes(rows in rows(), tail in any::<[u8; 2]>()) {
        for (kind, spec) in calls() {
            let state = state_of(&spec, &rows);
            let mut bytes = bytes_of(&state);
            for length in 0..bytes.len() {
                let cut = Partial::decode(&spec, &mut &bytes[..length]);
                prop_assert_eq!(cut.expect_err("a state cut short").kind(), ErrorKind::DataLoss);
            }
            bytes.extend_from_slice(&tail);
            let mut rest = bytes.as_slice();
            let back = Partial::decode(&spec, &mut rest).expect("its own bytes");
            prop_assert_eq!(rest, tail.as_slice());
            prop_assert_eq!(bytes_of(&back), bytes_of(&state));
            prop_assert!(same(&back.evaluate(kind), &state.evaluate(kind)), "{kind:?}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_canonical(
        mut bytes in prop::collection::vec(any::<u8>(), 0..32), code in 0x10_u8..0x31,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = code;
        }
        for (kind, spec) in calls() {
            let mut rest = bytes.as_slice();
            if let Ok(state) = Partial::decode(&spec, &mut rest) {
                prop_assert_eq!(bytes_of(&state), &bytes[..bytes.len() - rest.len()]);
                let _cell = state.evaluate(kind);
            }
        }
    }
}
