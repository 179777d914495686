//! The value of the row that is greatest or least by another value: `max_by`, `min_by`. Of rows
//! that are equal by it the first in the log counts; a row where it is NULL does not.

use super::{Leaving, PartialSpec, RowOrder, State};
use crate::aggregate::order::{read_order, write_order};
use crate::aggregate::scalar::{
    canonical_value, heap_bytes, one_nan, read_canonical, read_scalar, write_scalar,
};
use crate::aggregate::{code, compare_values};
use crate::bytes::{BytesResult, Reader};
use crate::invariant;
use crate::value::Value;

/// The state; of the greatest row where `GREATEST`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct By<const GREATEST: bool>(Option<Box<Best>>);

#[derive(Debug, Clone, PartialEq)]
struct Best {
    by: Value,
    order: RowOrder,
    value: Value,
}

impl<const GREATEST: bool> By<GREATEST> {
    const NONE: u8 = if GREATEST {
        code::MAX_BY_NONE
    } else {
        code::MIN_BY_NONE
    };
    const CODE: u8 = if GREATEST { code::MAX_BY } else { code::MIN_BY };

    /// The value; NULL over no row.
    pub(crate) fn value(&self) -> Value {
        let value = self.0.as_ref().map(|best| best.value.clone());
        value.unwrap_or(Value::Null)
    }

    /// Whether a row comes before the best one.
    fn beats(by: &Value, order: RowOrder, best: &Best) -> bool {
        let compared = compare_values(by, &best.by);
        let compared = if GREATEST {
            compared.reverse()
        } else {
            compared
        };
        compared.then(order.cmp(&best.order)).is_lt()
    }
}

impl<const GREATEST: bool> State for By<GREATEST> {
    const LEAVING: Leaving = Leaving::Selected;

    fn new(_spec: &PartialSpec) -> Self {
        Self(None)
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn heap_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |best| {
            size_of::<Best>() + heap_bytes(&best.by) + heap_bytes(&best.value)
        })
    }

    fn update(&mut self, arguments: &[Value], order: RowOrder) {
        let [value, by] = arguments else {
            panic!("a state of two arguments was given {arguments:?}")
        };
        let better = |best: &Best| Self::beats(by, order, best);
        if *by != Value::Null && self.0.as_deref().is_none_or(better) {
            self.0 = Some(Box::new(Best {
                by: canonical_value(by),
                order,
                value: one_nan(value),
            }));
        }
    }

    fn gives_way_to(&self, newer: &Self) -> bool {
        match (&self.0, &newer.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(best), Some(newer)) => Self::beats(&newer.by, newer.order, best),
        }
    }

    fn merge(&mut self, other: &Self) {
        if let Some(theirs) = &other.0
            && self
                .0
                .as_ref()
                .is_none_or(|best| Self::beats(&theirs.by, theirs.order, best))
        {
            self.0 = Some(theirs.clone());
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Some(best) = &self.0 else {
            return out.push(Self::NONE);
        };
        invariant!(
            StateCanonical,
            best.by != Value::Null && best.by.same_bits(&canonical_value(&best.by)),
            "a row is chosen by {:?}",
            best.by
        );
        out.push(Self::CODE);
        write_order(out, best.order);
        write_scalar(out, &best.by);
        write_scalar(out, &best.value);
    }

    fn read(code: u8, spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        if code == Self::NONE {
            return Some(Ok(Self(None)));
        }
        (code == Self::CODE).then(|| {
            let order = read_order(reader)?;
            let by = read_canonical(reader, spec.argument_types.get(1))?;
            if by == Value::Null {
                return Err("a row was chosen by NULL".into());
            }
            let value = read_scalar(reader, spec.argument_type())?;
            Ok(Self(Some(Box::new(Best { by, order, value }))))
        })
    }
}
