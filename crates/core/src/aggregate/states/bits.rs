//! The bits of integers, all together: `bit_and`, `bit_or`, `bit_xor`. An INTEGER is taken with its
//! sign, so that what comes out is one again.

use arrow_schema::DataType;

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State, mismatch, only};
use crate::aggregate::code;
use crate::aggregate::rows::ColumnKind;
use crate::bytes::{BytesResult, Reader, write_signed};
use crate::invariant;
use crate::value::Value;

/// The state: None over no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bits(Option<Combined>);

/// Some values, combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Combined {
    /// Bits that all have.
    pub(crate) and: i64,
    /// Bits that one has.
    pub(crate) or: i64,
    /// Bits that an odd number of them have.
    pub(crate) xor: i64,
}

impl Bits {
    /// None over no value.
    pub(crate) fn combined(self) -> Option<Combined> {
        self.0
    }

    #[inline]
    fn add(&mut self, more: Combined) {
        self.0 = Some(match self.0 {
            None => more,
            Some(known) => Combined {
                and: known.and & more.and,
                or: known.or | more.or,
                xor: known.xor ^ more.xor,
            },
        });
    }

    #[inline]
    fn add_value(&mut self, value: i64) {
        self.add(Combined {
            and: value,
            or: value,
            xor: value,
        });
    }
}

impl State for Bits {
    const LEAVING: Leaving = Leaving::Rebuilt;

    fn new(_spec: &PartialSpec) -> Self {
        Self(None)
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        match only(arguments) {
            Value::Null => {}
            Value::Int(value) => self.add_value(*value),
            other => mismatch("a state of bits", other),
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
            ColumnKind::Int => passing
                .filter(|row| !column.is_null(*row))
                .for_each(|row| self.add_value(column.int(row))),
            other => mismatch("a state of bits", &other),
        }
    }

    fn merge(&mut self, other: &Self) {
        other.0.into_iter().for_each(|more| self.add(more));
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Some(Combined { and, or, xor }) = self.0 else {
            return out.push(code::BITS_NONE);
        };
        invariant!(
            StateCanonical,
            (and | xor) & !or == 0,
            "bits {and:#x} in all and {xor:#x} in some of {or:#x}"
        );
        out.push(code::BITS);
        [and, or, xor]
            .into_iter()
            .for_each(|bits| write_signed(out, bits));
    }

    fn read(code: u8, spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        if code == code::BITS_NONE {
            return Some(Ok(Self(None)));
        }
        (code == code::BITS).then(|| {
            let (and, or, xor) = (reader.signed()?, reader.signed()?, reader.signed()?);
            let narrow = spec.argument_type() == Some(&DataType::Int32);
            if narrow
                && [and, or, xor]
                    .iter()
                    .any(|bits| i32::try_from(*bits).is_err())
            {
                return Err("bits of INTEGER are out of range".into());
            }
            if (and | xor) & !or != 0 {
                return Err("bits that all values have are in none of them".into());
            }
            Ok(Self(Some(Combined { and, or, xor })))
        })
    }
}
