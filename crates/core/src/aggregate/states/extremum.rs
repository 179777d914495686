//! Least or greatest value: `min`, `max`. NULL while there is none. Floats are canonical: +0.0, one
//! NaN, which is the greatest.

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State, only};
use crate::aggregate::rows::ColumnKind;
use crate::aggregate::scalar::{canonical_value, heap_bytes, read_canonical, write_scalar};
use crate::aggregate::{code, compare_floats, compare_values};
use crate::bytes::{BytesResult, Reader};
use crate::invariant;
use crate::value::Value;

/// The state; of the greatest value where `GREATEST`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extremum<const GREATEST: bool>(Value);

impl<const GREATEST: bool> Extremum<GREATEST> {
    const CODE: u8 = if GREATEST { code::MAX } else { code::MIN };

    /// The value.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    fn offer(&mut self, value: &Value) {
        if *value == Value::Null {
            return;
        }
        let order = compare_values(value, &self.0);
        let better = if GREATEST {
            order.is_gt()
        } else {
            order.is_lt()
        };
        if self.0 == Value::Null || better {
            self.0 = canonical_value(value);
        }
    }
}

impl<const GREATEST: bool> State for Extremum<GREATEST> {
    const LEAVING: Leaving = Leaving::Selected;

    fn new(_spec: &PartialSpec) -> Self {
        Self(Value::Null)
    }

    fn is_empty(&self) -> bool {
        self.0 == Value::Null
    }

    fn heap_bytes(&self) -> usize {
        heap_bytes(&self.0)
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        self.offer(only(arguments));
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        let column = rows.argument(arguments[0]);
        let known = passing.filter(|row| !column.is_null(*row));
        match column.kind() {
            ColumnKind::Float => {
                let order = |a: &f64, b: &f64| compare_floats(*a, *b);
                let floats = known.map(|row| column.float(row));
                let best = if GREATEST {
                    floats.max_by(order)
                } else {
                    floats.min_by(order)
                };
                best.into_iter()
                    .for_each(|best| self.offer(&Value::Float(best)));
            }
            ColumnKind::Int => {
                let ints = known.map(|row| column.int(row));
                let best = if GREATEST { ints.max() } else { ints.min() };
                best.into_iter()
                    .for_each(|best| self.offer(&Value::Int(best)));
            }
            _ => known.for_each(|row| self.offer(&column.value(row))),
        }
    }

    fn gives_way_to(&self, newer: &Self) -> bool {
        let order = compare_values(&newer.0, &self.0);
        // NULL is before everything, and no minimum.
        let better = if GREATEST {
            order.is_ge()
        } else {
            order.is_le() && !newer.is_empty()
        };
        better || self.is_empty()
    }

    fn merge(&mut self, other: &Self) {
        self.offer(&other.0);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        invariant!(
            StateCanonical,
            self.0.same_bits(&canonical_value(&self.0)),
            "{:?} as an extremum",
            self.0
        );
        out.push(Self::CODE);
        write_scalar(out, &self.0);
    }

    fn read(code: u8, spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        (code == Self::CODE).then(|| read_canonical(reader, spec.argument_type()).map(Self))
    }
}
