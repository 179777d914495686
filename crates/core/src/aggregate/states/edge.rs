//! The value, NULL or not, of the first or the last row in the order of the log: `first_value`,
//! `last_value`. It is passed on as it is, -0.0 too; only NaN has one form, so that states have
//! one.

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State, only};
use crate::aggregate::code;
use crate::aggregate::order::{read_order, write_order};
use crate::aggregate::scalar::{heap_bytes, one_nan, read_scalar, write_scalar};
use crate::bytes::{BytesResult, Reader};
use crate::invariant;
use crate::value::Value;

/// The state; of the last row where `LAST`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edge<const LAST: bool>(Option<(RowOrder, Value)>);

impl<const LAST: bool> Edge<LAST> {
    const NONE: u8 = if LAST {
        code::LAST_NONE
    } else {
        code::FIRST_NONE
    };
    const CODE: u8 = if LAST { code::LAST } else { code::FIRST };

    /// The value; NULL over no row.
    pub(crate) fn value(&self) -> Value {
        let value = self.0.as_ref().map(|(_, value)| value.clone());
        value.unwrap_or(Value::Null)
    }

    fn offer(&mut self, order: RowOrder, value: &Value) {
        let better =
            |(kept, _): &(RowOrder, Value)| if LAST { order > *kept } else { order < *kept };
        if self.0.as_ref().is_none_or(better) {
            self.0 = Some((order, one_nan(value)));
        }
    }
}

impl<const LAST: bool> State for Edge<LAST> {
    const LEAVING: Leaving = Leaving::Selected;

    fn new(_spec: &PartialSpec) -> Self {
        Self(None)
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn heap_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |(_, value)| heap_bytes(value))
    }

    fn update(&mut self, arguments: &[Value], order: RowOrder) {
        self.offer(order, only(arguments));
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        mut passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        // Rows are in that order already.
        let row = if LAST {
            passing.next_back()
        } else {
            passing.next()
        };
        if let Some(row) = row {
            self.offer(rows.order(row), &rows.argument(arguments[0]).value(row));
        }
    }

    fn gives_way_to(&self, newer: &Self) -> bool {
        let place = |state: &Self| state.0.as_ref().map(|(order, _)| *order);
        if LAST {
            place(newer) >= place(self)
        } else {
            place(newer) <= place(self)
        }
    }

    fn merge(&mut self, other: &Self) {
        if let Some((order, value)) = &other.0 {
            self.offer(*order, value);
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Some((order, value)) = &self.0 else {
            return out.push(Self::NONE);
        };
        invariant!(
            StateCanonical,
            value.same_bits(&one_nan(value)),
            "{value:?} as it is passed on"
        );
        out.push(Self::CODE);
        write_order(out, *order);
        write_scalar(out, value);
    }

    fn read(code: u8, spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        if code == Self::NONE {
            return Some(Ok(Self(None)));
        }
        (code == Self::CODE).then(|| {
            let order = read_order(reader)?;
            let value = read_scalar(reader, spec.argument_type())?;
            Ok(Self(Some((order, value))))
        })
    }
}
