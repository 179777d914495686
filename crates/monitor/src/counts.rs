//! What one pane or window holds: counts over the reference's bins and exact sums, nothing else.
//! Linear: merging is addition, taking rows away is subtraction, and neither depends on an order.
//! Filled by `binner` and `labels`, read by `evaluate` and `quality`.

use forebay_core::exact::FloatSum;
use forebay_core::invariant;

use crate::profile::ReferenceProfile;
use crate::quality::QualityCounts;

/// Counts of one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnCounts {
    /// Values in each bin of the reference.
    pub(crate) bins: Box<[u64]>,
    /// SQL NULLs.
    pub(crate) nulls: u64,
    /// Not-a-number values.
    pub(crate) nans: u64,
    /// Exact sum of the finite values of a numeric column.
    pub(crate) sum: FloatSum,
}

impl ColumnCounts {
    /// What one over `bins` bins holds.
    pub(crate) fn memory_bytes(bins: usize) -> usize {
        size_of::<Self>() + bins * size_of::<u64>()
    }

    /// Zero counts over `bins` bins.
    #[must_use]
    pub(crate) fn new(bins: usize) -> Self {
        Self {
            bins: vec![0; bins].into_boxed_slice(),
            nulls: 0,
            nans: 0,
            sum: FloatSum::new(),
        }
    }

    /// Values that are neither NULL nor NaN.
    #[must_use]
    pub(crate) fn values(&self) -> u64 {
        self.bins.iter().sum()
    }

    /// Add the counts of `other`, which has the same bins.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Both are counted over one reference.
        invariant!(
            ColumnsAgree,
            self.bins.len() == other.bins.len(),
            "{} and {} bins",
            self.bins.len(),
            other.bins.len()
        );
        self.bins
            .iter_mut()
            .zip(&other.bins)
            .for_each(|(a, b)| *a += b);
        self.nulls += other.nulls;
        self.nans += other.nans;
        self.sum.merge(&other.sum);
    }

    /// Take away the counts of `other`, which were added before.
    pub(crate) fn subtract(&mut self, other: &Self) {
        // Both are counted over one reference.
        invariant!(
            ColumnsAgree,
            self.bins.len() == other.bins.len(),
            "{} and {} bins",
            self.bins.len(),
            other.bins.len()
        );
        self.bins
            .iter_mut()
            .zip(&other.bins)
            .for_each(|(a, b)| *a -= b);
        self.nulls -= other.nulls;
        self.nans -= other.nans;
        self.sum.subtract(&other.sum);
    }
}

/// Counts of all columns and of the labels of one pane or window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PaneCounts {
    /// Predictions.
    pub(crate) rows: u64,
    /// Those that came when, by the log of their event's partition, the window had closed.
    pub(crate) late_rows: u64,
    /// One for each column of the reference.
    pub(crate) columns: Vec<ColumnCounts>,
    /// What labels say.
    pub(crate) quality: QualityCounts,
}

impl PaneCounts {
    /// What one over `profile` holds.
    pub(crate) fn memory_bytes(profile: &ReferenceProfile) -> usize {
        let columns = profile.columns.iter();
        let columns = columns.map(|c| ColumnCounts::memory_bytes(c.bins.len()));
        size_of::<Self>() + columns.sum::<usize>()
    }

    /// Zero counts over the bins of `profile`.
    #[must_use]
    pub(crate) fn new(profile: &ReferenceProfile) -> Self {
        Self {
            rows: 0,
            late_rows: 0,
            columns: profile
                .columns
                .iter()
                .map(|c| ColumnCounts::new(c.bins.len()))
                .collect(),
            quality: QualityCounts::default(),
        }
    }

    /// Add `other`, counted over the same reference.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.late_rows += other.late_rows;
        self.columns
            .iter_mut()
            .zip(&other.columns)
            .for_each(|(a, b)| a.merge(b));
        self.quality.merge(&other.quality);
    }
}
