//! The values, NULL or not, of the newest rows in the order of the log, as many as the call asks
//! for: `array_agg`. A row that is not among them is gone, since none that comes later makes it one
//! of the newest again. Values are passed on as they are, -0.0 too; only NaN has one form.

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State, only};
use crate::aggregate::code;
use crate::aggregate::order::{read_order, write_order};
use crate::aggregate::scalar::{heap_bytes, one_nan, read_scalar, write_scalar};
use crate::bytes::{BytesResult, Reader, write_unsigned};
use crate::invariant;
use crate::value::Value;

/// The state: at most `most` rows, ascending.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Newest {
    most: usize,
    rows: Vec<(RowOrder, Value)>,
}

impl Newest {
    /// The values, the oldest first; NULL over no row.
    pub(crate) fn value(&self) -> Value {
        if self.rows.is_empty() {
            return Value::Null;
        }
        Value::List(self.rows.iter().map(|(_, value)| value.clone()).collect())
    }

    fn offer(&mut self, order: RowOrder, value: &Value) {
        let place = self.rows.partition_point(|(kept, _)| *kept < order);
        if self.rows.len() == self.most {
            if place == 0 {
                return;
            }
            self.rows.remove(0);
            self.rows.insert(place - 1, (order, one_nan(value)));
        } else {
            self.rows.insert(place, (order, one_nan(value)));
        }
    }
}

impl State for Newest {
    const LEAVING: Leaving = Leaving::Rebuilt;

    fn new(spec: &PartialSpec) -> Self {
        Self {
            most: spec.keep.map_or(1, super::super::Kept::rows),
            rows: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn heap_bytes(&self) -> usize {
        let values = self.rows.iter().map(|(_, value)| heap_bytes(value));
        self.rows.capacity() * size_of::<(RowOrder, Value)>() + values.sum::<usize>()
    }

    fn update(&mut self, arguments: &[Value], order: RowOrder) {
        self.offer(order, only(arguments));
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        // Rows are in that order already: of these no others can be among the newest.
        for row in passing.rev().take(self.most) {
            self.offer(rows.order(row), &rows.argument(arguments[0]).value(row));
        }
    }

    fn merge(&mut self, other: &Self) {
        other
            .rows
            .iter()
            .for_each(|(order, value)| self.offer(*order, value));
    }

    fn encode(&self, out: &mut Vec<u8>) {
        invariant!(
            StateCanonical,
            self.rows.len() <= self.most && self.rows.is_sorted_by(|a, b| a.0 < b.0),
            "{} rows of at most {}",
            self.rows.len(),
            self.most
        );
        out.push(code::NEWEST);
        write_unsigned(out, self.rows.len() as u64);
        for (order, value) in &self.rows {
            write_order(out, *order);
            write_scalar(out, value);
        }
    }

    fn read(code: u8, spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        (code == code::NEWEST).then(|| {
            let mut state = Self::new(spec);
            let count = reader.unsigned()?;
            if count > state.most as u64 {
                return Err(format!("{count} newest rows of at most {}", state.most).into());
            }
            for _ in 0..count {
                let order = read_order(reader)?;
                if state.rows.last().is_some_and(|(last, _)| *last >= order) {
                    return Err("the newest rows are not in their order".into());
                }
                let value = read_scalar(reader, spec.argument_type())?;
                state.rows.push((order, value));
            }
            Ok(state)
        })
    }
}
