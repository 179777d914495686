//! Where the bins of a numeric column lie: reference quantiles i/256 and i/10 by linear
//! interpolation, and a bin of its own for each value that holds more mass than a bin should (an
//! atom: edges `next_down(v)` and `v`). Bins are left-open, right-closed, so that the running count
//! at an edge is the right-continuous distribution function; the outer bins reach to the
//! infinities. Fixed once: pooled edges break on a single outlier.

use forebay_core::limits::MONITOR_MAX_BINS;
use serde::{Deserialize, Serialize};

const FINE_PARTS: u64 = 256;
const SHARE_PARTS: u64 = 10;

/// Edges of a numeric column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumericEdges {
    /// All edges, ascending: Kolmogorov-Smirnov reads the running counts at them.
    pub all: Vec<f64>,
    /// Positions in `all` of the decile edges, ascending: the share-based scores use the bins
    /// between them.
    pub deciles: Vec<u32>,
}

impl NumericEdges {
    /// Edges from ascending values without NaN. No values, or infinite ones only: one bin.
    #[must_use]
    pub(crate) fn from_sorted(sorted: &[f64]) -> Self {
        let shares = edge_set(sorted, SHARE_PARTS);
        let mut all = edge_set(sorted, FINE_PARTS);
        // Atoms may double the fine edges; the share edges are kept whatever happens, so the finest
        // ones give way.
        let room = (MONITOR_MAX_BINS - 1).saturating_sub(shares.len());
        while all.len() > room {
            let keep = all.len().div_ceil(room).max(2);
            let mut position = 0_usize;
            all.retain(|_| {
                position += 1;
                !position.is_multiple_of(keep)
            });
        }
        all.extend_from_slice(&shares);
        all.sort_by(f64::total_cmp);
        all.dedup();
        let position = |edge: &f64| all.partition_point(|e| e < edge);
        let deciles = shares
            .iter()
            .map(|edge| u32::try_from(position(edge)).expect("MONITOR_MAX_BINS fits u32"))
            .collect();
        Self { all, deciles }
    }

    /// The bin of `value`, which is not NaN: the number of edges below it.
    #[inline]
    #[must_use]
    pub fn bin(&self, value: f64) -> usize {
        self.all.partition_point(|edge| *edge < value)
    }

    /// From counts over all bins to counts over the decile bins.
    #[must_use]
    pub(crate) fn decile_counts(&self, counts: &[u64]) -> Vec<u64> {
        let mut from = 0_usize;
        let mut bins = Vec::with_capacity(self.deciles.len() + 1);
        for decile in &self.deciles {
            let to = *decile as usize + 1;
            bins.push(counts[from..to].iter().sum());
            from = to;
        }
        bins.push(counts[from..].iter().sum());
        bins
    }

    /// Edges of the decile bins.
    pub(crate) fn decile_edges(&self) -> impl Iterator<Item = f64> + '_ {
        self.deciles
            .iter()
            .map(|position| self.all[*position as usize])
    }

    pub(super) fn is_consistent(&self) -> bool {
        self.all.iter().all(|edge| edge.is_finite())
            && self.all.is_sorted_by(|a, b| a < b)
            && self.deciles.is_sorted_by(|a, b| a < b)
            && self
                .deciles
                .last()
                .is_none_or(|last| (*last as usize) < self.all.len())
    }
}

/// The quantiles i/`parts` for 0 < i < `parts`, and two edges for each value of more than 1/`parts`
/// of the mass.
fn edge_set(sorted: &[f64], parts: u64) -> Vec<f64> {
    let mut edges: Vec<f64> = (1..parts)
        .filter_map(|i| quantile(sorted, i, parts))
        .collect();
    for run in sorted.chunk_by(|a, b| a == b) {
        if run.len() as u64 * parts > sorted.len() as u64 {
            edges.extend([run[0].next_down(), run[0]]);
        }
    }
    edges.retain(|edge| edge.is_finite());
    edges.iter_mut().for_each(|edge| *edge += 0.0);
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

/// Quantile `i`/`parts` by linear interpolation between order statistics (Hyndman and Fan's type 7,
/// numpy's default).
pub(super) fn quantile(sorted: &[f64], i: u64, parts: u64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)? as u64;
    let (below, rest) = (last * i / parts, last * i % parts);
    let low = sorted[usize::try_from(below).ok()?];
    let high = sorted[usize::try_from((below + 1).min(last)).ok()?];
    if rest == 0 || low == high {
        return Some(low);
    }
    Some(low + (high - low) * (rest as f64 / parts as f64))
}
