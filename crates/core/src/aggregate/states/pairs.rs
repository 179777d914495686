//! The exact moments of pairs of [`crate::exact`] as a state: `covar_samp`, `covar_pop`, `corr`. A
//! pair with a NULL does not count.

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State, mismatch};
use crate::aggregate::code;
use crate::aggregate::rows::ColumnKind;
use crate::bytes::{BytesResult, Reader};
use crate::exact::CoMoments;
use crate::value::Value;

/// Both values, where there are two.
fn pair(arguments: &[Value]) -> Option<(f64, f64)> {
    match arguments {
        [Value::Float(x), Value::Float(y)] => Some((*x, *y)),
        [Value::Null, _] | [_, Value::Null] => None,
        other => mismatch("a state of pairs", &other),
    }
}

impl State for Box<CoMoments> {
    const LEAVING: Leaving = Leaving::Retracted;

    fn new(_spec: &PartialSpec) -> Self {
        Self::default()
    }

    fn is_empty(&self) -> bool {
        CoMoments::is_empty(self)
    }

    fn heap_bytes(&self) -> usize {
        size_of::<CoMoments>()
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        if let Some((x, y)) = pair(arguments) {
            self.add(x, y);
        }
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        let (x, y) = (rows.argument(arguments[0]), rows.argument(arguments[1]));
        if (x.kind(), y.kind()) != (ColumnKind::Float, ColumnKind::Float) {
            mismatch("a state of pairs", &(x.kind(), y.kind()));
        }
        passing
            .filter(|row| !x.is_null(*row) && !y.is_null(*row))
            .for_each(|row| self.add(x.float(row), y.float(row)));
    }

    fn retract(&mut self, arguments: &[Value]) {
        if let Some((x, y)) = pair(arguments) {
            CoMoments::retract(self, x, y);
        }
    }

    fn merge(&mut self, other: &Self) {
        CoMoments::merge(self, other);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(code::PAIRS);
        self.write(out);
    }

    fn read(code: u8, _spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        (code == code::PAIRS).then(|| CoMoments::read(reader).map(Box::new))
    }
}
