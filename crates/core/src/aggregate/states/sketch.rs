//! How many values lie in each bucket of a grid that is finer near zero: `approx_quantile`. A
//! bucket is a power of two cut into 2^precision parts, found in a double's leading bits, so that
//! its width is that part of its values (DDSketch, arXiv 1908.10693, with bits in the place of
//! logarithms).
//!
//! The precision is the greatest, [`PRECISION`] at most, with which [`QUANTILE_MAX_BUCKETS`] hold
//! the values. That is a function of the values alone, and so is the state: arrival and merges do
//! not show in it.

use super::{Column, Leaving, PartialSpec, RowOrder, Rows, State, mismatch, only};
use crate::aggregate::code;
use crate::aggregate::quantile::Quantile;
use crate::aggregate::rows::ColumnKind;
use crate::bytes::{BytesResult, Reader, write_signed, write_unsigned};
use crate::exact::{CANONICAL_NAN, canonical};
use crate::invariant;
use crate::limits::QUANTILE_MAX_BUCKETS;
use crate::value::Value;

/// Bits of the mantissa that tell buckets apart: a value is off by less than 1/256 of itself, and
/// integers up to 512 are exact.
const PRECISION: u8 = 8;
/// Bits of a double's mantissa.
const MANTISSA: u32 = 52;

/// The state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sketch {
    precision: u8,
    nan: i64,
    /// Numbers of buckets, ascending, with their values' number, above zero.
    buckets: Vec<(i32, i64)>,
}

/// The bucket of a number with `precision`: ascending, from zero on at 0, below at -1.
fn bucket(value: f64, precision: u8) -> i32 {
    let bits = canonical(value).abs().to_bits() >> (MANTISSA - u32::from(precision));
    let place = bits as i32;
    if value < 0.0 { !place } else { place }
}

/// The number of a bucket that is nearest to zero.
fn edge(place: i32, precision: u8) -> f64 {
    let size = if place < 0 { !place } else { place };
    let size = f64::from_bits((size as u64) << (MANTISSA - u32::from(precision)));
    if place < 0 && size > 0.0 { -size } else { size }
}

impl Sketch {
    /// The value below which the fraction `quantile` of the values lies, of those that are there
    /// (the one at place ceil(fraction * n)), as its bucket gives it; None over no value.
    pub(crate) fn quantile(&self, quantile: Quantile) -> Option<f64> {
        // Wide, because a state from disk may say anything.
        let numbers: i128 = self.buckets.iter().map(|bucket| i128::from(bucket.1)).sum();
        let all = numbers + i128::from(self.nan);
        let wanted = quantile.place(all);
        let mut below = 0;
        for (place, count) in &self.buckets {
            below += i128::from(*count);
            if below >= wanted {
                return Some(edge(*place, self.precision));
            }
        }
        // NaN is greater than every number.
        (all > 0).then_some(CANONICAL_NAN)
    }

    fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.nan += 1;
            return;
        }
        self.add_bucket(bucket(value, self.precision), 1);
    }

    fn add_bucket(&mut self, place: i32, count: i64) {
        match self.buckets.binary_search_by_key(&place, |bucket| bucket.0) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => {
                self.buckets.insert(at, (place, count));
                while self.buckets.len() > QUANTILE_MAX_BUCKETS {
                    self.coarsen(self.precision - 1);
                }
            }
        }
    }

    /// Go down to a precision.
    fn coarsen(&mut self, precision: u8) {
        let shift = self.precision - precision;
        self.precision = precision;
        // Halving keeps the order, below zero too: !(n >> 1) is (!n) >> 1.
        self.buckets
            .iter_mut()
            .for_each(|bucket| bucket.0 >>= shift);
        self.buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }
}

impl State for Sketch {
    const LEAVING: Leaving = Leaving::Rebuilt;

    fn new(_spec: &PartialSpec) -> Self {
        Self {
            precision: PRECISION,
            nan: 0,
            buckets: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.nan == 0
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(self.buckets.as_slice())
    }

    fn update(&mut self, arguments: &[Value], _order: RowOrder) {
        match only(arguments) {
            Value::Null => {}
            Value::Float(value) => self.add(*value),
            Value::Int(value) => self.add(*value as f64),
            other => mismatch("a sketch", other),
        }
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
            ColumnKind::Float => known.for_each(|row| self.add(column.float(row))),
            ColumnKind::Int => known.for_each(|row| self.add(column.int(row) as f64)),
            other => mismatch("a sketch", &other),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.nan += other.nan;
        if other.precision < self.precision {
            self.coarsen(other.precision);
        }
        for (place, count) in &other.buckets {
            // The precision may fall on the way.
            self.add_bucket(place >> (other.precision - self.precision), *count);
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        invariant!(CountsNotNegative, self.nan >= 0, "{}", self.nan);
        let ascend = |pair: &[(i32, i64)]| pair[0].0 < pair[1].0;
        invariant!(
            StateCanonical,
            self.buckets.windows(2).all(ascend) && self.buckets.iter().all(|bucket| bucket.1 > 0),
            "{} buckets of precision {}",
            self.buckets.len(),
            self.precision
        );
        invariant!(
            StateCanonical,
            self.precision <= PRECISION,
            "precision {}",
            self.precision
        );
        out.extend_from_slice(&[code::SKETCH, self.precision]);
        write_unsigned(out, self.nan as u64);
        write_unsigned(out, self.buckets.len() as u64);
        let mut before = 0;
        for (place, count) in &self.buckets {
            write_signed(out, i64::from(*place) - before);
            write_unsigned(out, *count as u64);
            before = i64::from(*place);
        }
    }

    fn read(code: u8, _spec: &PartialSpec, reader: &mut Reader<'_>) -> Option<BytesResult<Self>> {
        (code == code::SKETCH).then(|| {
            let precision = reader.u8()?;
            let (nan, length) = (reader.count()?, reader.unsigned()?);
            if precision > PRECISION || length > QUANTILE_MAX_BUCKETS as u64 {
                return Err(format!("{length} buckets of precision {precision}").into());
            }
            let (mut buckets, mut before): (Vec<(i32, i64)>, i64) = (Vec::new(), 0);
            let most = i64::from(bucket(f64::INFINITY, precision));
            for _ in 0..length {
                let place = before.wrapping_add(reader.signed()?);
                let count = reader.count()?;
                let ascends = buckets.last().is_none_or(|last| i64::from(last.0) < place);
                if count == 0 || !ascends || !(!most..=most).contains(&place) {
                    return Err("the buckets of a sketch contradict each other".into());
                }
                buckets.push((place as i32, count));
                before = place;
            }
            Ok(Self {
                precision,
                nan,
                buckets,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = f64>) -> Sketch {
        let mut sketch = Sketch {
            precision: PRECISION,
            nan: 0,
            buckets: Vec::new(),
        };
        values.for_each(|value| sketch.add(value));
        sketch
    }

    fn at(sketch: &Sketch, fraction: f64) -> Option<f64> {
        sketch.quantile(Quantile::of(fraction).expect("a fraction"))
    }

    #[test]
    fn quantiles_are_values_within_a_part_of_them() {
        let ranks = of((1..=512).map(f64::from));
        for (fraction, value) in [(0.0, 1.0), (0.5, 256.0), (0.999, 512.0), (1.0, 512.0)] {
            assert_eq!(at(&ranks, fraction), Some(value), "{fraction}");
        }
        let odd = of([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0].into_iter());
        let found = [0.25, 0.5, 0.75].map(|fraction| at(&odd, fraction));
        assert_eq!(
            found,
            [Some(f64::NEG_INFINITY), Some(0.0), Some(f64::INFINITY)]
        );
        assert!(at(&odd, 1.0).is_some_and(f64::is_nan));
        assert_eq!(at(&of([].into_iter()), 0.5), None);
        for value in [1e-300, -7.3, 1e9 + 0.5, -1e300] {
            let found = at(&of([value].into_iter()), 0.5).expect("a value");
            assert!(
                (found - value).abs() < value.abs() / 256.0,
                "{found} for {value}"
            );
        }
    }

    /// With more than `QUANTILE_MAX_BUCKETS` buckets they become wider, in whatever order the
    /// values come.
    #[test]
    fn more_buckets_than_are_kept_become_wider_in_any_order() {
        let values: Vec<f64> = (0..40_000).map(|n| 1.001_f64.powi(n - 20_000)).collect();
        let up = of(values.iter().copied());
        let down = of(values.iter().rev().copied());
        assert_eq!(up, down);
        assert!(up.precision < PRECISION && up.buckets.len() <= QUANTILE_MAX_BUCKETS);
        let (mut merged, right) = (
            of(values[..30_000].iter().copied()),
            of(values[30_000..].iter().copied()),
        );
        merged.merge(&right);
        assert_eq!(merged, up);
    }
}
