//! Rows, or rows none of whose arguments is NULL: the state of `count`. It is read as it is, and
//! filled a column at a time.

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State};
use crate::aggregate::code;
use crate::bytes::{BytesResult, Reader, write_unsigned};
use crate::invariant;
use crate::value::Value;

/// The state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowCount(i64);

impl RowCount {
    /// The rows.
    pub(crate) fn rows(self) -> i64 {
        self.0
    }
}

impl State for RowCount {
    const LEAVING: Leaving = Leaving::Retracted;

    fn new(_spec: &PartialSpec) -> Self {
        Self::default()
    }

    fn is_empty(&self) -> bool {
        self.0 == 0
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        self.0 += i64::from(!arguments.contains(&Value::Null));
    }

    fn fold<R: Rows>(
        &mut self,
        rows: &R,
        arguments: &[usize],
        passing: impl DoubleEndedIterator<Item = usize>,
    ) {
        self.0 += match arguments {
            [] => passing.count(),
            [argument] => {
                let column = rows.argument(*argument);
                passing.filter(|row| !column.is_null(*row)).count()
            }
            _ => {
                let is_null = |row, index: &usize| rows.argument(*index).is_null(row);
                let whole = |row: &usize| !arguments.iter().any(|index| is_null(*row, index));
                passing.filter(whole).count()
            }
        } as i64;
    }

    fn retract(&mut self, arguments: &[Value]) {
        self.0 -= i64::from(!arguments.contains(&Value::Null));
    }

    fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }

    fn encode(&self, out: &mut Vec<u8>) {
        // It is written without a sign, and read back as damage where it had one.
        invariant!(CountsNotNegative, self.0 >= 0, "{}", self.0);
        out.push(code::COUNT);
        write_unsigned(out, self.0 as u64);
    }

    fn read(code: u8, _spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        (code == code::COUNT).then(|| reader.count().map(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "invariant counts_not_negative is broken")]
    fn a_count_that_was_retracted_below_nothing_is_not_stored_in_silence() {
        RowCount(-1).encode(&mut Vec::new());
    }
}
