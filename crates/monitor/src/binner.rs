//! From values to bin numbers, for the columns of one reference: the hot inner step of both
//! building a profile and counting predictions. Numbers go by binary search over fixed edges,
//! categories by one look-up; nothing is allocated for a row.

use arrow_array::PrimitiveArray;
use arrow_array::types::ArrowPrimitiveType;
use forebay_core::exact::FloatSum;
use forebay_core::key::key_hash;
use hashbrown::{HashMap, HashSet};

use crate::columns::{WatchedColumn, WatchedValues};
use crate::counts::ColumnCounts;
use crate::profile::{ColumnBins, NumericEdges};

/// The bins of one column, ready for look-ups.
#[derive(Debug, Clone)]
pub(crate) enum Binner {
    Numeric(NumericEdges),
    Categorical(CategoryIndex),
}

/// Categories with a bin of their own, the reference's other values, and everything it lacks.
#[derive(Debug, Clone)]
pub(crate) struct CategoryIndex {
    bins: HashMap<String, usize>,
    others: HashSet<u64>,
    others_complete: bool,
}

impl CategoryIndex {
    pub(crate) fn bin(&self, value: &str) -> usize {
        match self.bins.get(value) {
            Some(bin) => *bin,
            None if !self.others_complete || self.others.contains(&key_hash(value.as_bytes())) => {
                self.bins.len()
            }
            None => self.bins.len() + 1,
        }
    }
}

impl Binner {
    pub(crate) fn new(bins: &ColumnBins) -> Self {
        match bins {
            ColumnBins::Numeric(edges) => Self::Numeric(edges.clone()),
            ColumnBins::Categorical {
                categories,
                others,
                others_complete,
            } => Self::Categorical(CategoryIndex {
                bins: categories
                    .iter()
                    .enumerate()
                    .map(|(bin, category)| (category.clone(), bin))
                    .collect(),
                others: others.iter().copied().collect(),
                others_complete: *others_complete,
            }),
        }
    }

    pub(crate) fn is_numeric(&self) -> bool {
        matches!(self, Self::Numeric(_))
    }

    /// Count `rows` of `column`, whose type fits (the caller has checked [`Self::is_numeric`]
    /// against it).
    pub(crate) fn count(
        &self,
        column: &WatchedColumn<'_>,
        rows: &[u32],
        counts: &mut ColumnCounts,
    ) {
        match self {
            Self::Numeric(edges) => match column.values {
                WatchedValues::Double(array) => {
                    count_numbers(edges, array, |v| v, column, rows, counts)
                }
                WatchedValues::Single(array) => {
                    count_numbers(edges, array, f64::from, column, rows, counts)
                }
                WatchedValues::Wide(array) => {
                    count_numbers(edges, array, |v| v as f64, column, rows, counts)
                }
                WatchedValues::Narrow(array) => {
                    count_numbers(edges, array, f64::from, column, rows, counts)
                }
                WatchedValues::Text(_) | WatchedValues::Boolean(_) => {}
            },
            Self::Categorical(index) => {
                for row in rows {
                    match column.category(*row as usize) {
                        Some(value) => counts.bins[index.bin(value)] += 1,
                        None => counts.nulls += 1,
                    }
                }
            }
        }
    }
}

fn count_numbers<T: ArrowPrimitiveType>(
    edges: &NumericEdges,
    array: &PrimitiveArray<T>,
    widen: impl Fn(T::Native) -> f64,
    column: &WatchedColumn<'_>,
    rows: &[u32],
    counts: &mut ColumnCounts,
) {
    debug_assert!(
        array.len() >= rows.len(),
        "rows are distinct positions in the column"
    );
    let values = array.values();
    let ColumnCounts {
        bins,
        nulls,
        nans,
        sum,
    } = counts;
    let mut note = |row: u32| {
        let value = widen(values[row as usize]);
        if value.is_nan() {
            *nans += 1;
            return;
        }
        bins[edges.bin(value)] += 1;
        add_finite(sum, value);
    };
    match &column.nulls {
        None => rows.iter().for_each(|row| note(*row)),
        Some(validity) => {
            for row in rows {
                if validity.is_null(*row as usize) {
                    *nulls += 1;
                } else {
                    note(*row);
                }
            }
        }
    }
}

#[inline]
fn add_finite(sum: &mut FloatSum, value: f64) {
    if value.is_finite() {
        sum.add(value);
    }
}
