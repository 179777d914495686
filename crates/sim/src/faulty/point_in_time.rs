//! Values as of given instants, wrapped.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{Known, PointInTime, SpineAnswer, TableScan};

use crate::faults::Effect::None;
use crate::faults::{Faults, Part};

/// An engine under faults.
#[derive(Debug)]
pub struct FaultyPointInTime<E> {
    inner: E,
    faults: Arc<Faults>,
}

impl<E> FaultyPointInTime<E> {
    /// `inner` under `faults`.
    pub fn new(inner: E, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            faults: Arc::clone(faults),
        }
    }
}

#[async_trait]
impl<E: PointInTime> PointInTime for FaultyPointInTime<E> {
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer> {
        let act = self
            .inner
            .training_set(service, spine, time_column, tables, known);
        self.faults.meet_async(Part::PointInTime, None, act).await
    }
}
