//! The different values, as comparisons see them (one NaN, one zero): `count(DISTINCT x)`. Up to
//! [`DISTINCT_MAX_VALUES`] of them are kept; of more only that they are more. Which it is follows
//! from the rows alone, in whatever order they come.

use super::{Leaving, PartialSpec, RowOrder, State, only};
use crate::aggregate::scalar::{canonical_value, heap_bytes, read_canonical, write_scalar};
use crate::aggregate::{code, compare_values};
use crate::bytes::{BytesResult, Reader, write_unsigned};
use crate::fault::FaultKind;
use crate::invariant;
use crate::limits::DISTINCT_MAX_VALUES;
use crate::value::Value;

/// The state: the values, ascending; None where they are too many.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distinct(Option<Vec<Value>>);

impl Distinct {
    /// How many there are.
    ///
    /// # Errors
    /// More than are kept.
    pub(crate) fn count(&self) -> Result<i64, FaultKind> {
        let values = self.0.as_ref().ok_or(FaultKind::Overflow)?;
        Ok(values.len() as i64)
    }

    fn add(&mut self, value: &Value) {
        let Some(values) = &mut self.0 else { return };
        if let Err(place) = values.binary_search_by(|kept| compare_values(kept, value)) {
            if values.len() == DISTINCT_MAX_VALUES {
                self.0 = None;
            } else {
                values.insert(place, canonical_value(value));
            }
        }
    }
}

impl State for Distinct {
    const LEAVING: Leaving = Leaving::Rebuilt;

    fn new(_spec: &PartialSpec) -> Self {
        Self(Some(Vec::new()))
    }

    fn is_empty(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }

    fn heap_bytes(&self) -> usize {
        let bytes = |value: &Value| size_of::<Value>() + heap_bytes(value);
        self.0.iter().flatten().map(bytes).sum()
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        match only(arguments) {
            Value::Null => {}
            value => self.add(value),
        }
    }

    fn merge(&mut self, other: &Self) {
        match &other.0 {
            None => self.0 = None,
            Some(values) => values.iter().for_each(|value| self.add(value)),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Some(values) = &self.0 else {
            return out.push(code::DISTINCT_MORE);
        };
        let ascend = |pair: &[Value]| compare_values(&pair[0], &pair[1]).is_lt();
        invariant!(
            StateCanonical,
            values.windows(2).all(ascend) && values.len() <= DISTINCT_MAX_VALUES,
            "{} different values",
            values.len()
        );
        out.push(code::DISTINCT);
        write_unsigned(out, values.len() as u64);
        values.iter().for_each(|value| write_scalar(out, value));
    }

    fn read(code: u8, spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        if code == code::DISTINCT_MORE {
            return Some(Ok(Self(None)));
        }
        (code == code::DISTINCT).then(|| {
            let count = reader.unsigned()?;
            if count > DISTINCT_MAX_VALUES as u64 {
                return Err(format!("{count} different values").into());
            }
            let mut values: Vec<Value> = Vec::new();
            for _ in 0..count {
                let value = read_canonical(reader, spec.argument_type())?;
                let before = values.last().unwrap_or(&Value::Null);
                if !compare_values(&value, before).is_gt() {
                    return Err("different values do not ascend".into());
                }
                values.push(value);
            }
            Ok(Self(Some(values)))
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;

    use super::*;
    use crate::aggregate::PartialClass;

    /// `DISTINCT_MAX_VALUES` of them are counted, one more is not, in whatever order they come.
    #[test]
    fn more_values_than_are_kept_are_a_fault_in_any_order() {
        let spec = PartialSpec {
            class: PartialClass::Distinct,
            arguments: vec![0],
            argument_types: vec![DataType::Int64],
            filter: None,
            keep: None,
        };
        let of = |values: &mut dyn Iterator<Item = i64>| {
            let mut state = Distinct::new(&spec);
            for value in values {
                state.add(&Value::Int(value));
            }
            state
        };
        let most = DISTINCT_MAX_VALUES as i64;
        let (up, mut down) = (of(&mut (0..most)), of(&mut (0..most).rev()));
        assert_eq!(up, down);
        assert_eq!(up.count(), Ok(most));
        down.merge(&of(&mut [5, 5, most].into_iter()));
        let more = of(&mut (0..=most).rev());
        assert_eq!((down.count(), &down), (Err(FaultKind::Overflow), &more));
        let mut bytes = Vec::new();
        more.encode(&mut bytes);
        assert_eq!(bytes, [code::DISTINCT_MORE]);
    }
}
