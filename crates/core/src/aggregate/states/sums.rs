//! The exact sums of [`crate::exact`] as states: of DOUBLE, of integers, and the moments of both.
//! NULLs do not count. A state never rounds.

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State, mismatch, only};
use crate::aggregate::code;
use crate::aggregate::rows::ColumnKind;
use crate::bytes::{BytesResult, Reader};
use crate::exact::{FloatMoments, FloatSum, IntegerSum};
use crate::value::Value;

/// Run `each` on the values of a DOUBLE column.
#[inline]
fn floats<C: Column>(column: &C, passing: impl Iterator<Item = usize>, mut each: impl FnMut(f64)) {
    passing
        .filter(|row| !column.is_null(*row))
        .for_each(|row| each(column.float(row)));
}

/// Run `each` on the values of an integer column.
#[inline]
fn ints<C: Column>(column: &C, passing: impl Iterator<Item = usize>, mut each: impl FnMut(i64)) {
    passing
        .filter(|row| !column.is_null(*row))
        .for_each(|row| each(column.int(row)));
}

impl State for FloatSum {
    const LEAVING: Leaving = Leaving::Retracted;

    fn new(_spec: &PartialSpec) -> Self {
        Self::new()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        match only(arguments) {
            Value::Null => {}
            Value::Float(value) => self.add(*value),
            other => mismatch("a sum of DOUBLE", other),
        }
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        let column = rows.argument(arguments[0]);
        match column.kind() {
            ColumnKind::Float => floats(column, passing, |value| self.add(value)),
            other => mismatch("a sum of DOUBLE", &other),
        }
    }

    fn retract(&mut self, arguments: &[Value]) {
        match only(arguments) {
            Value::Null => {}
            Value::Float(value) => Self::retract(self, *value),
            other => mismatch("a sum of DOUBLE", other),
        }
    }

    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        Self::encode(self, out);
    }

    fn read(code: u8, _spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        matches!(code, code::FLOAT_SUM | code::FLOAT_SUM_SPECIAL).then(|| Self::read(code, reader))
    }
}

impl State for Box<FloatMoments> {
    const LEAVING: Leaving = Leaving::Retracted;

    fn new(_spec: &PartialSpec) -> Self {
        Self::default()
    }

    fn is_empty(&self) -> bool {
        FloatMoments::is_empty(self)
    }

    fn heap_bytes(&self) -> usize {
        size_of::<FloatMoments>()
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        match only(arguments) {
            Value::Null => {}
            Value::Float(value) => self.add(*value),
            Value::Int(value) => self.add_integer(*value),
            other => mismatch("a state of moments", other),
        }
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        let column = rows.argument(arguments[0]);
        match column.kind() {
            ColumnKind::Float => floats(column, passing, |value| self.add(value)),
            ColumnKind::Int => ints(column, passing, |value| self.add_integer(value)),
            other => mismatch("a state of moments", &other),
        }
    }

    fn retract(&mut self, arguments: &[Value]) {
        match only(arguments) {
            Value::Null => {}
            Value::Float(value) => FloatMoments::retract(self, *value),
            Value::Int(value) => self.retract_integer(*value),
            other => mismatch("a state of moments", other),
        }
    }

    fn merge(&mut self, other: &Self) {
        FloatMoments::merge(self, other);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        FloatMoments::encode(self, out);
    }

    fn read(code: u8, _spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        let ours = matches!(code, code::FLOAT_MOMENTS | code::FLOAT_MOMENTS_SPECIAL);
        ours.then(|| FloatMoments::read(code, reader).map(Box::new))
    }
}

impl State for IntegerSum {
    const LEAVING: Leaving = Leaving::Retracted;

    fn new(_spec: &PartialSpec) -> Self {
        Self::new()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        match only(arguments) {
            Value::Null => {}
            Value::Int(value) => self.add(*value),
            other => mismatch("a sum of integers", other),
        }
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        let column = rows.argument(arguments[0]);
        match column.kind() {
            ColumnKind::Int => ints(column, passing, |value| self.add(value)),
            other => mismatch("a sum of integers", &other),
        }
    }

    fn retract(&mut self, arguments: &[Value]) {
        match only(arguments) {
            Value::Null => {}
            Value::Int(value) => Self::retract(self, *value),
            other => mismatch("a sum of integers", other),
        }
    }

    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(code::INT_SUM);
        self.write(out);
    }

    fn read(code: u8, _spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        (code == code::INT_SUM).then(|| Self::read(reader))
    }
}
