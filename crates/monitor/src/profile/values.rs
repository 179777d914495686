//! The values of one column of a training set, as long as its bins are not known: all numbers,
//! since quantiles and atoms need them in order, or each text once with its count. Their memory is
//! reserved before they are held; out come the bins and the moments.

use std::sync::Arc;

use forebay_core::exact::{FloatMoments, FloatSum};
use forebay_core::key::key_hash;
use forebay_core::limits::{
    MONITOR_MAX_CATEGORIES, MONITOR_MAX_CATEGORY_BYTES, MONITOR_MAX_OTHER_VALUES,
};
use forebay_core::memory::{Budget, Part, Reservation};
use hashbrown::HashMap;

use super::edges::{NumericEdges, quantile};
use super::{ColumnBins, Moments};
use crate::columns::WatchedColumn;
use crate::error::Result;

/// What a text takes beside its bytes while it is counted and ranked: its places in the map, which
/// doubles, and in the ranking, and the allocator's.
const TEXT_BYTES: usize = 160;

/// The values of one column.
pub(super) struct ColumnValues {
    rows: usize,
    held: Reservation,
    values: Values,
}

enum Values {
    /// No batch has said which.
    Unknown,
    /// Without NaN.
    Numbers(Vec<f64>),
    Texts(HashMap<String, u64>),
}

impl ColumnValues {
    /// None yet, of a set of `rows` rows.
    pub(super) fn of(rows: usize, memory: &Arc<Budget>) -> Self {
        Self {
            rows,
            held: memory.empty(Part::PointInTime),
            values: Values::Unknown,
        }
    }

    /// Take the values of a batch. The first one says of which type they are.
    pub(super) fn take(&mut self, part: &WatchedColumn<'_>) -> Result<()> {
        if matches!(self.values, Values::Unknown) {
            self.values = if part.is_numeric() {
                // All at once: a vector that grows holds its values twice while it moves.
                self.held.grow(self.rows.saturating_mul(size_of::<f64>()))?;
                Values::Numbers(Vec::with_capacity(self.rows))
            } else {
                Values::Texts(HashMap::new())
            };
        }
        match &mut self.values {
            Values::Unknown => {}
            Values::Numbers(numbers) => {
                let present = (0..part.len()).filter_map(|row| part.number(row));
                numbers.extend(present.filter(|value| !value.is_nan()));
            }
            Values::Texts(counts) => {
                for value in (0..part.len()).filter_map(|row| part.category(row)) {
                    if let Some(count) = counts.get_mut(value) {
                        *count += 1;
                        continue;
                    }
                    self.held.grow(value.len() + TEXT_BYTES)?;
                    counts.insert(value.to_owned(), 1);
                }
            }
        }
        Ok(())
    }

    /// The bins of the column, and its moments if it holds numbers.
    pub(super) fn into_bins(self) -> (ColumnBins, Option<Moments>) {
        match self.values {
            Values::Unknown => numeric_bins(Vec::new()),
            Values::Numbers(numbers) => numeric_bins(numbers),
            Values::Texts(counts) => (categorical_bins(&counts), None),
        }
    }
}

fn numeric_bins(mut values: Vec<f64>) -> (ColumnBins, Option<Moments>) {
    // In place; values that compare as equal have equal bits, so that stability is nothing.
    values.sort_unstable_by(f64::total_cmp);
    let (mut sum, mut squares) = (FloatSum::new(), FloatMoments::new());
    for value in values.iter().copied().filter(|value| value.is_finite()) {
        sum.add(value);
        squares.add(value);
    }
    let moments = match (
        sum.avg(),
        squares.stddev_pop(),
        quantile(&values, 1, 4),
        quantile(&values, 3, 4),
    ) {
        (Some(mean), Some(std), Some(low), Some(high)) => Some(Moments {
            mean,
            std,
            iqr: high - low,
        })
        .filter(|m| m.mean.is_finite() && m.std.is_finite() && m.iqr.is_finite()),
        _ => None,
    };
    (
        ColumnBins::Numeric(NumericEdges::from_sorted(&values)),
        moments,
    )
}

fn categorical_bins(counts: &HashMap<String, u64>) -> ColumnBins {
    let counted = counts.iter().map(|(value, count)| (value.as_str(), *count));
    let mut ranked: Vec<(&str, u64)> = counted.collect();
    // Too long for a bin of its own sorts last; then by frequency, then by text, so that ties have
    // one outcome.
    ranked.sort_unstable_by_key(|(value, count)| {
        (
            value.len() > MONITOR_MAX_CATEGORY_BYTES,
            u64::MAX - count,
            *value,
        )
    });
    let own = ranked
        .iter()
        .take(MONITOR_MAX_CATEGORIES)
        .take_while(|(value, _)| value.len() <= MONITOR_MAX_CATEGORY_BYTES)
        .count();
    let others_complete = ranked.len() - own <= MONITOR_MAX_OTHER_VALUES;
    let mut others: Vec<u64> = match others_complete {
        true => ranked[own..]
            .iter()
            .map(|(value, _)| key_hash(value.as_bytes()))
            .collect(),
        false => Vec::new(),
    };
    others.sort_unstable();
    let categories = ranked[..own]
        .iter()
        .map(|(value, _)| (*value).to_owned())
        .collect();
    ColumnBins::Categorical {
        categories,
        others,
        others_complete,
    }
}
