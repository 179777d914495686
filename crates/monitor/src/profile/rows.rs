//! The rows of a training set as a profile reads them: as often as it takes, some columns at a
//! time, and each in the calibration window that its time falls into. Where they lie (memory, a
//! file) is the caller's.

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, PrimitiveArray, RecordBatch};
use forebay_core::PortResult;
use forebay_core::index::RowIndex;
use forebay_core::limits::MONITOR_MAX_CALIBRATION_WINDOWS;
use forebay_core::time::Micros;
use hashbrown::HashMap;

use crate::columns::{column, times};
use crate::error::{MonitorError, Result};

/// A training set that can be read more than once.
pub trait TrainingRows {
    /// All of its rows, in batches that have at least those of `columns` that the set has. Each
    /// call gives the same rows.
    ///
    /// # Errors
    /// The rows cannot be read.
    fn batches(&self, columns: &[&str]) -> PortResult<TrainingBatches<'_>>;
}

/// What a training set is read as.
pub type TrainingBatches<'a> = Box<dyn Iterator<Item = PortResult<RecordBatch>> + 'a>;

impl TrainingRows for &[RecordBatch] {
    fn batches(&self, _: &[&str]) -> PortResult<TrainingBatches<'_>> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }
}

/// How the reference is cut for calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalibrationWindows<'a> {
    /// Event-time column of the training set: Timestamp(us).
    pub time_column: &'a str,
    /// Length of the windows that production will be judged by, microseconds.
    pub window_us: Micros,
    /// Windows with fewer values of a column are left out, as they are in production.
    pub min_rows: u64,
}

/// A training set whose rows have been counted.
pub(super) struct TrainingSet<'a> {
    name: &'a str,
    source: &'a dyn TrainingRows,
    pub(super) rows: usize,
    pub(super) windows: RowWindows<'a>,
}

impl<'a> TrainingSet<'a> {
    /// Count the rows of `source`, and find the windows that their times span.
    pub(super) fn measured(
        name: &'a str,
        source: &'a dyn TrainingRows,
        calibration: Option<CalibrationWindows<'a>>,
    ) -> Result<Self> {
        let mut set = Self {
            name,
            source,
            rows: 0,
            windows: RowWindows(None),
        };
        let time_column = calibration.map(|c| c.time_column);
        let columns: Vec<&str> = time_column.into_iter().collect();
        let mut span: Option<(Micros, Micros)> = None;
        for batch in source.batches(&columns).map_err(MonitorError::Rows)? {
            let batch = batch.map_err(MonitorError::Rows)?;
            set.rows += batch.num_rows();
            if let Some(time_column) = time_column {
                let times = set.times(&batch, time_column)?;
                for time in times.iter().flatten() {
                    let (first, last) = span.get_or_insert((time, time));
                    (*first, *last) = ((*first).min(time), (*last).max(time));
                }
            }
        }
        set.windows = RowWindows(calibration.map(|calibration| Cut {
            calibration,
            first_us: span.map_or(0, |(first, _)| first),
            count: span.map_or(0, |span| full_windows(span, calibration.window_us)),
        }));
        Ok(set)
    }

    /// Hand all rows to `take`, with at least `columns`.
    pub(super) fn read(
        &self,
        columns: &[&str],
        mut take: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let mut rows = 0;
        for batch in self.source.batches(columns).map_err(MonitorError::Rows)? {
            let batch = batch.map_err(MonitorError::Rows)?;
            rows += batch.num_rows();
            // Before they are taken: what a column holds is reserved by the number of rows.
            if rows > self.rows {
                return Err(self.changed());
            }
            take(&batch)?;
        }
        if rows < self.rows {
            return Err(self.changed());
        }
        Ok(())
    }

    /// What error texts call it.
    pub(super) fn object(&self) -> String {
        format!("the training set {}", self.name)
    }

    fn changed(&self) -> MonitorError {
        MonitorError::Profile {
            name: self.name.to_owned(),
            problem: "its training set changed while it was read".to_owned(),
        }
    }

    fn times<'b>(
        &self,
        batch: &'b RecordBatch,
        time_column: &str,
    ) -> Result<&'b PrimitiveArray<TimestampMicrosecondType>> {
        let array = column(batch, time_column, &self.object())?;
        times(time_column, array.as_ref())
    }
}

/// Full windows from the first event to the last.
fn full_windows((first, last): (Micros, Micros), window_us: Micros) -> usize {
    let full = last.saturating_sub(first).saturating_add(1) / window_us.max(1);
    let most = i64::from(MONITOR_MAX_CALIBRATION_WINDOWS);
    usize::try_from(full.min(most)).expect("no fewer than none, and a u32 at most")
}

/// The calibration windows of a training set; None where it is not cut.
pub(super) struct RowWindows<'a>(Option<Cut<'a>>);

#[derive(Clone, Copy)]
struct Cut<'a> {
    calibration: CalibrationWindows<'a>,
    /// Where the first window begins.
    first_us: Micros,
    /// Full windows; what lies behind the last one has none.
    count: usize,
}

impl<'a> RowWindows<'a> {
    pub(super) fn count(&self) -> usize {
        self.0.map_or(0, |cut| cut.count)
    }

    pub(super) fn min_rows(&self) -> u64 {
        self.0.map_or(0, |cut| cut.calibration.min_rows)
    }

    /// The column that says which window a row is of.
    pub(super) fn time_column(&self) -> Option<&'a str> {
        self.0.map(|cut| cut.calibration.time_column)
    }

    /// The rows of `batch`, grouped by window in first-seen order; None: of no window.
    pub(super) fn rows(
        &self,
        set: &TrainingSet<'_>,
        batch: &RecordBatch,
    ) -> Result<Vec<(Option<usize>, Vec<u32>)>> {
        let all = RowIndex::all(batch.num_rows());
        let Some(cut) = self.0 else {
            return Ok(vec![(None, all.map(RowIndex::number).collect())]);
        };
        let times = set.times(batch, cut.calibration.time_column)?;
        let mut groups: Vec<(Option<usize>, Vec<u32>)> = Vec::new();
        let mut position: HashMap<Option<usize>, usize> = HashMap::new();
        for row in all {
            let time = times
                .is_valid(row.index())
                .then(|| times.value(row.index()));
            let window = time.and_then(|time| cut.window(time));
            let group = *position.entry(window).or_insert_with(|| {
                groups.push((window, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(row.number());
        }
        Ok(groups)
    }
}

impl Cut<'_> {
    fn window(&self, time: Micros) -> Option<usize> {
        let window = time.saturating_sub(self.first_us) / self.calibration.window_us.max(1);
        usize::try_from(window).ok().filter(|w| *w < self.count)
    }
}
