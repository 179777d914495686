//! One partial state: what a tile holds for one aggregate, and the arithmetic on it. Rows are
//! folded in, states merged, and a function's value read out; all of it free of order, so that
//! tiles, shards and replays agree to the bit.
//!
//! NULL arguments count only for `count(*)` and `last_value`. A state never rounds;
//! [`Partial::evaluate`] does, once.

use super::cells::Cell;
use super::order::{RowOrder, compare_floats, compare_values};
use super::{AggregateKind, PartialClass, PartialSpec};
use crate::exact::{FloatMoments, FloatSum, IntegerSum, canonical};
use crate::value::Value;

/// The partial state of one aggregate over some rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Partial {
    /// Rows, or rows whose argument is not NULL.
    Count(i64),
    /// For sum and avg of DOUBLE.
    FloatSum(FloatSum),
    /// For variances and deviations.
    FloatMoments(Box<FloatMoments>),
    /// For sum and avg of integers.
    IntSum(IntegerSum),
    /// Least value so far, NULL while there is none. Floats are canonical: +0.0, one NaN.
    Min(Value),
    /// Greatest value so far, as `Min`.
    Max(Value),
    /// Value (NULL or not) of the greatest row so far.
    Last(Option<(RowOrder, Value)>),
}

impl Partial {
    /// The state of no row.
    #[must_use]
    pub fn new(spec: &PartialSpec) -> Self {
        match spec.class {
            PartialClass::Count => Self::Count(0),
            PartialClass::FloatSum => Self::FloatSum(FloatSum::new()),
            PartialClass::FloatMoments => Self::FloatMoments(Box::default()),
            PartialClass::IntSum => Self::IntSum(IntegerSum::new()),
            PartialClass::Min => Self::Min(Value::Null),
            PartialClass::Max => Self::Max(Value::Null),
            PartialClass::Last => Self::Last(None),
        }
    }

    /// What it holds beside itself, bytes: texts may be shared with others.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::FloatMoments(_) => size_of::<FloatMoments>(),
            Self::Min(Value::Text(text))
            | Self::Max(Value::Text(text))
            | Self::Last(Some((_, Value::Text(text)))) => text.len(),
            _ => 0,
        }
    }

    /// Its shape.
    #[must_use]
    pub fn class(&self) -> PartialClass {
        match self {
            Self::Count(_) => PartialClass::Count,
            Self::FloatSum(_) => PartialClass::FloatSum,
            Self::FloatMoments(_) => PartialClass::FloatMoments,
            Self::IntSum(_) => PartialClass::IntSum,
            Self::Min(_) => PartialClass::Min,
            Self::Max(_) => PartialClass::Max,
            Self::Last(_) => PartialClass::Last,
        }
    }

    /// Whether no row is in it that could change a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Count(count) => *count == 0,
            Self::IntSum(sum) => sum.is_empty(),
            Self::FloatSum(sum) => sum.is_empty(),
            Self::FloatMoments(moments) => moments.is_empty(),
            Self::Min(value) | Self::Max(value) => *value == Value::Null,
            Self::Last(last) => last.is_none(),
        }
    }

    /// Fold in one row: its argument and where it stands. `count(x)` counts what is not NULL; for
    /// `count(*)` use [`Self::update_count`].
    ///
    /// # Panics
    /// The value is not of the argument's type: a defect of the planner, and going on would give
    /// wrong values.
    pub fn update(&mut self, value: &Value, order: RowOrder) {
        match (self, value) {
            (Self::Last(last), value) => keep_last(last, order, value),
            (_, Value::Null) => {}
            (Self::Count(count), _) => *count += 1,
            (Self::FloatSum(sum), Value::Float(value)) => sum.add(*value),
            (Self::FloatMoments(moments), Value::Float(value)) => moments.add(*value),
            (Self::FloatMoments(moments), Value::Int(value)) => moments.add_integer(*value),
            (Self::IntSum(sum), Value::Int(value)) => sum.add(*value),
            (Self::Min(least), value) => keep_least(least, value),
            (Self::Max(greatest), value) => keep_greatest(greatest, value),
            (state, value) => mismatch(state.class(), value),
        }
    }

    /// [`Self::update`] for `count(*)`: `rows` more rows.
    ///
    /// # Panics
    /// The state does not count.
    pub fn update_count(&mut self, rows: i64) {
        match self {
            Self::Count(count) => *count += rows,
            other => mismatch(other.class(), &Value::Null),
        }
    }

    /// [`Self::update`] without the detour over [`Value`], for a DOUBLE argument (None is NULL).
    ///
    /// # Panics
    /// The state takes no DOUBLE, or is `last_value`, which needs the row's order.
    #[inline]
    pub fn update_f64(&mut self, value: Option<f64>) {
        let Some(value) = value else { return };
        match self {
            Self::FloatSum(sum) => sum.add(value),
            Self::FloatMoments(moments) => moments.add(value),
            Self::Count(count) => *count += 1,
            Self::Min(Value::Float(least)) => {
                if compare_floats(value, *least).is_lt() {
                    *least = canonical(value);
                }
            }
            Self::Max(Value::Float(greatest)) => {
                if compare_floats(value, *greatest).is_gt() {
                    *greatest = canonical(value);
                }
            }
            Self::Min(state @ Value::Null) | Self::Max(state @ Value::Null) => {
                *state = Value::Float(canonical(value))
            }
            other => mismatch(other.class(), &Value::Float(value)),
        }
    }

    /// [`Self::update`] without the detour over [`Value`], for an INTEGER or BIGINT argument (None
    /// is NULL).
    ///
    /// # Panics
    /// The state takes no integer, or is `last_value`, which needs the row's order.
    #[inline]
    pub fn update_i64(&mut self, value: Option<i64>) {
        let Some(value) = value else { return };
        match self {
            Self::IntSum(sum) => sum.add(value),
            Self::FloatMoments(moments) => moments.add_integer(value),
            Self::Count(count) => *count += 1,
            Self::Min(Value::Int(least)) => *least = value.min(*least),
            Self::Max(Value::Int(greatest)) => *greatest = value.max(*greatest),
            Self::Min(state @ Value::Null) | Self::Max(state @ Value::Null) => {
                *state = Value::Int(value)
            }
            other => mismatch(other.class(), &Value::Int(value)),
        }
    }

    /// Take away one row that was folded in before. False, and nothing happened, where the state
    /// cannot (min, max, last).
    ///
    /// # Panics
    /// As [`Self::update`].
    #[must_use]
    pub fn retract(&mut self, value: &Value) -> bool {
        match (self, value) {
            (Self::Min(_) | Self::Max(_) | Self::Last(_), _) => return false,
            (_, Value::Null) => {}
            (Self::Count(count), _) => *count -= 1,
            (Self::FloatSum(sum), Value::Float(value)) => sum.retract(*value),
            (Self::FloatMoments(moments), Value::Float(value)) => moments.retract(*value),
            (Self::FloatMoments(moments), Value::Int(value)) => moments.retract_integer(*value),
            (Self::IntSum(sum), Value::Int(value)) => sum.retract(*value),
            (state, value) => mismatch(state.class(), value),
        }
        true
    }

    /// Fold in all rows of `other`.
    ///
    /// # Panics
    /// The states are of different classes or argument types.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(count), Self::Count(more)) => *count += more,
            (Self::FloatSum(sum), Self::FloatSum(more)) => sum.merge(more),
            (Self::FloatMoments(moments), Self::FloatMoments(more)) => moments.merge(more),
            (Self::IntSum(sum), Self::IntSum(more)) => sum.merge(more),
            (Self::Min(_), Self::Min(Value::Null)) | (Self::Max(_), Self::Max(Value::Null)) => {}
            (Self::Min(least), Self::Min(value)) => keep_least(least, value),
            (Self::Max(greatest), Self::Max(value)) => keep_greatest(greatest, value),
            (Self::Last(_), Self::Last(None)) => {}
            (Self::Last(last), Self::Last(Some((order, value)))) => keep_last(last, *order, value),
            (state, other) => panic!(
                "states of {:?} and {:?} cannot merge",
                state.class(),
                other.class()
            ),
        }
    }

    /// Take away all rows of `other`, which were folded in before. False, and nothing happened,
    /// where the state cannot.
    ///
    /// # Panics
    /// As [`Self::merge`].
    #[must_use]
    pub fn subtract(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Min(_) | Self::Max(_) | Self::Last(_), _) => return false,
            (Self::Count(count), Self::Count(less)) => *count -= less,
            (Self::FloatSum(sum), Self::FloatSum(less)) => sum.subtract(less),
            (Self::FloatMoments(moments), Self::FloatMoments(less)) => moments.subtract(less),
            (Self::IntSum(sum), Self::IntSum(less)) => sum.subtract(less),
            (state, other) => panic!(
                "states of {:?} and {:?} cannot be subtracted",
                state.class(),
                other.class()
            ),
        }
        true
    }

    /// The value of `kind` over the rows in it.
    ///
    /// # Errors
    /// There is none: an integer sum does not fit its type.
    ///
    /// # Panics
    /// `kind` is not read from this class of state ([`AggregateKind::partial_class`] pairs them).
    pub fn evaluate(&self, kind: AggregateKind) -> Cell {
        let float = |value: Option<f64>| value.map_or(Value::Null, Value::Float);
        Ok(match (kind, self) {
            (AggregateKind::Count, Self::Count(count)) => Value::Int(*count),
            (AggregateKind::Sum, Self::FloatSum(sum)) => float(sum.sum()),
            (AggregateKind::Avg, Self::FloatSum(sum)) => float(sum.avg()),
            (AggregateKind::Sum, Self::IntSum(sum)) => sum.sum()?.map_or(Value::Null, Value::Int),
            (AggregateKind::Avg, Self::IntSum(sum)) => float(sum.avg()),
            (AggregateKind::VarPop, Self::FloatMoments(moments)) => float(moments.var_pop()),
            (AggregateKind::VarSamp, Self::FloatMoments(moments)) => float(moments.var_samp()),
            (AggregateKind::StddevPop, Self::FloatMoments(moments)) => float(moments.stddev_pop()),
            (AggregateKind::StddevSamp, Self::FloatMoments(moments)) => {
                float(moments.stddev_samp())
            }
            (AggregateKind::Min, Self::Min(value)) | (AggregateKind::Max, Self::Max(value)) => {
                value.clone()
            }
            (AggregateKind::Last, Self::Last(last)) => last
                .as_ref()
                .map_or(Value::Null, |(_, value)| value.clone()),
            (kind, state) => panic!(
                "{} is not read from a state of {:?}",
                kind.name(),
                state.class()
            ),
        })
    }
}

fn keep_least(least: &mut Value, value: &Value) {
    if *least == Value::Null || compare_values(value, least).is_lt() {
        *least = canonical_value(value);
    }
}

fn keep_greatest(greatest: &mut Value, value: &Value) {
    if *greatest == Value::Null || compare_values(value, greatest).is_gt() {
        *greatest = canonical_value(value);
    }
}

fn keep_last(last: &mut Option<(RowOrder, Value)>, order: RowOrder, value: &Value) {
    if last.as_ref().is_none_or(|(newest, _)| order > *newest) {
        // A last value is passed on as it is, -0.0 too; only NaN has one form, so that states have
        // one.
        let kept = match value {
            Value::Float(float) if float.is_nan() => canonical_value(value),
            other => other.clone(),
        };
        *last = Some((order, kept));
    }
}

fn canonical_value(value: &Value) -> Value {
    match value {
        Value::Float(float) => Value::Float(canonical(*float)),
        other => other.clone(),
    }
}

#[cold]
fn mismatch(class: PartialClass, value: &Value) -> ! {
    panic!(
        "a state of {class:?} was given {value:?}; the planner casts arguments to the type of the state"
    )
}
