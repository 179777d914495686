//! How many values are true and how many false: the state of `bool_and` and `bool_or`. NULLs do not
//! count.

use super::{Leaving, PartialSpec, RowOrder, State, mismatch, only};
use crate::aggregate::code;
use crate::bytes::{BytesResult, Reader, write_unsigned};
use crate::invariant;
use crate::value::Value;

/// The state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BoolCounts {
    falses: i64,
    trues: i64,
}

impl BoolCounts {
    /// Whether all values are true; None over no value.
    pub(crate) fn all(self) -> Option<bool> {
        self.any().map(|_| self.falses == 0)
    }

    /// Whether a value is true; None over no value.
    pub(crate) fn any(self) -> Option<bool> {
        (self.falses > 0 || self.trues > 0).then_some(self.trues > 0)
    }

    fn count(&mut self, arguments: &[Value], by: i64) {
        match only(arguments) {
            Value::Null => {}
            Value::Bool(false) => self.falses += by,
            Value::Bool(true) => self.trues += by,
            other => mismatch("a state of BOOLEAN", other),
        }
    }
}

impl State for BoolCounts {
    const LEAVING: Leaving = Leaving::Retracted;

    fn new(_spec: &PartialSpec) -> Self {
        Self::default()
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        self.count(arguments, 1);
    }

    fn retract(&mut self, arguments: &[Value]) {
        self.count(arguments, -1);
    }

    fn merge(&mut self, other: &Self) {
        self.falses += other.falses;
        self.trues += other.trues;
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(code::BOOLS);
        for count in [self.falses, self.trues] {
            invariant!(CountsNotNegative, count >= 0, "{count}");
            write_unsigned(out, count as u64);
        }
    }

    fn read(code: u8, _spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        (code == code::BOOLS).then(|| {
            Ok(Self {
                falses: reader.count()?,
                trues: reader.count()?,
            })
        })
    }
}
