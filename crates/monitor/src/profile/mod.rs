//! The reference profile: what a training set looked like, as fixed bins and counts. Built once by
//! [`build_profile_of`], kept as JSON beside the model version, read by the monitor. It never
//! changes: its digest names it, and every score says which reference it was measured against.

mod build;
mod edges;
mod rows;
#[cfg(test)]
mod tests;
mod values;

use forebay_core::limits::MONITOR_MAX_BINS;
use forebay_core::time::Micros;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use build::build_profile_of;
pub use edges::NumericEdges;
pub use rows::{CalibrationWindows, TrainingBatches, TrainingRows};

use crate::error::{MonitorError, Result};

/// Version of the JSON shape.
pub(crate) const PROFILE_FORMAT: u32 = 1;

/// Name under which the model's score is reported beside the features.
pub(crate) const SCORE_COLUMN: &str = "score";

/// Distributions of a training set's columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceProfile {
    /// [`PROFILE_FORMAT`].
    pub format: u32,
    /// Name of the training set.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Length of a calibration window, microseconds; None without event times.
    pub calibration_window_us: Option<Micros>,
    /// Features in the order they were given, then the score if there is one.
    pub columns: Vec<ColumnProfile>,
    /// Hex SHA-256 of this struct's compact JSON with an empty digest.
    pub digest: String,
}

/// Whether a column goes into the model or comes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnRole {
    /// A feature of the service.
    Feature,
    /// The model's score.
    Score,
}

/// Distribution of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnProfile {
    /// Name of the feature; [`SCORE_COLUMN`] for the score.
    pub name: String,
    /// Feature or score.
    pub role: ColumnRole,
    /// The fixed bins.
    pub bins: ColumnBins,
    /// Values in each bin.
    pub counts: Vec<u64>,
    /// SQL NULLs.
    pub nulls: u64,
    /// Not-a-number values.
    pub nans: u64,
    /// Moments of a numeric column with finite values.
    pub moments: Option<Moments>,
    /// Population stability index of each calibration window against the reference less that
    /// window, in time order.
    pub calibration: Vec<f64>,
}

/// The bins of a column, fixed by the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ColumnBins {
    /// `edges.len() + 1` left-open, right-closed bins.
    Numeric(NumericEdges),
    /// One bin a category, then OTHER, then UNSEEN.
    Categorical {
        /// The most frequent values, most frequent first, ties in text order.
        categories: Vec<String>,
        /// Key hashes of the reference's remaining values, ascending: they count as OTHER.
        others: Vec<u64>,
        /// False when the reference had too many values to list: then every unknown value counts as
        /// OTHER.
        others_complete: bool,
    },
}

/// Moments of a numeric column's finite values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Correctly rounded mean.
    pub mean: f64,
    /// Standard deviation with divisor n.
    pub std: f64,
    /// Distance of the quartiles (linear interpolation).
    pub iqr: f64,
}

impl ColumnBins {
    /// Number of bins.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Numeric(edges) => edges.all.len() + 1,
            Self::Categorical { categories, .. } => categories.len() + 2,
        }
    }

    /// Never: there is at least one bin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From counts over all bins to counts over the bins of the share-based scores.
    #[must_use]
    pub(crate) fn share_counts(&self, counts: &[u64]) -> Vec<u64> {
        match self {
            Self::Numeric(edges) => edges.decile_counts(counts),
            Self::Categorical { .. } => counts.to_vec(),
        }
    }

    /// Position of OTHER; None for numbers.
    #[must_use]
    pub fn other(&self) -> Option<usize> {
        match self {
            Self::Numeric(_) => None,
            Self::Categorical { categories, .. } => Some(categories.len()),
        }
    }
}

impl ColumnProfile {
    /// Values that are neither NULL nor NaN.
    #[must_use]
    pub fn values(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn problem(&self) -> Option<String> {
        let column = &self.name;
        if self.counts.len() != self.bins.len() {
            return Some(format!(
                "column {column} has {} counts for {} bins",
                self.counts.len(),
                self.bins.len()
            ));
        }
        if self.bins.len() > MONITOR_MAX_BINS {
            return Some(format!(
                "column {column} has more than MONITOR_MAX_BINS = {MONITOR_MAX_BINS} bins"
            ));
        }
        if let ColumnBins::Numeric(edges) = &self.bins
            && !edges.is_consistent()
        {
            return Some(format!(
                "the edges of column {column} are not ascending finite numbers"
            ));
        }
        None
    }
}

impl ReferenceProfile {
    /// Compact JSON; the same profile always gives the same bytes.
    ///
    /// # Errors
    /// None that a built profile can reach.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Read what [`Self::to_json`] wrote, and check that nothing was changed.
    ///
    /// # Errors
    /// Not JSON of this shape, another format, a digest that does not match, or contradictory
    /// columns.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let profile: Self = serde_json::from_slice(bytes)?;
        profile.check()?;
        Ok(profile)
    }

    /// The column of `name` and `role`.
    #[must_use]
    pub fn column(&self, name: &str, role: ColumnRole) -> Option<&ColumnProfile> {
        self.columns
            .iter()
            .find(|c| c.name == name && c.role == role)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let problem = if self.format != PROFILE_FORMAT {
            Some(format!(
                "format {} where {PROFILE_FORMAT} is known",
                self.format
            ))
        } else if self.digest != self.computed_digest()? {
            Some("its digest does not match its contents".to_owned())
        } else {
            self.columns.iter().find_map(ColumnProfile::problem)
        };
        match problem {
            Some(problem) => Err(MonitorError::Profile {
                name: self.name.clone(),
                problem,
            }),
            None => Ok(()),
        }
    }

    /// Hex SHA-256 over the profile with an empty digest.
    fn computed_digest(&self) -> Result<String> {
        let unnamed = Self {
            digest: String::new(),
            ..self.clone()
        };
        let hash = Sha256::digest(unnamed.to_json()?);
        Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
