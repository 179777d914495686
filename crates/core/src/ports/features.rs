//! Reading features: the one way that serving, scoring and verification share.
//! `serve` implements it.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::cells::CellFault;
use crate::error::PortResult;
use crate::memory::Reservation;
use crate::time::Micros;
use crate::view::FeatureStatus;

use super::compiled::CompiledService;
use super::state_reader::{At, ShardEpoch};

/// An answer of a feature service.
#[derive(Debug)]
pub struct FeatureAnswer {
    /// The service's features, one row for each request row.
    pub features: RecordBatch,
    /// Cells of the features that are NULL because an expression failed on their row, ascending by
    /// feature, then by row.
    pub faults: Vec<CellFault>,
    /// For each view of the service, for each row, its status.
    pub status: Vec<Vec<FeatureStatus>>,
    /// For each view, for each row, its newest event time.
    pub newest_us: Vec<Vec<Option<Micros>>>,
    /// For each view, for each row, what was applied.
    pub applied: Vec<Vec<Option<ShardEpoch>>>,
    /// The instant that was asked for; with one for each row, the greatest.
    pub as_of_us: Micros,
    /// Smallest watermark over the sources that the service reads; None before the first event.
    pub watermark_us: Option<Micros>,
    /// What the answer holds of the process's memory.
    pub memory: Reservation,
}

/// Reads features: the one way that serving, scoring and verification share.
pub trait FeatureReader: Send + Sync + Debug {
    /// The service `name`, newest version.
    ///
    /// # Errors
    /// Unknown name: the text lists the known ones.
    fn service(&self, name: &str) -> PortResult<Arc<dyn CompiledService>>;

    /// Names of all services.
    fn services(&self) -> Vec<String>;

    /// Features for the rows of `request` (the service's request columns, in any order, extra
    /// columns ignored).
    ///
    /// # Errors
    /// A missing or mistyped column, a limit, an instant older than what is kept, no memory for the
    /// answer.
    fn read(
        &self,
        service: &dyn CompiledService,
        request: &RecordBatch,
        at: At<'_>,
    ) -> PortResult<FeatureAnswer>;
}
