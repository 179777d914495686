//! Building a reference profile from the rows of a training set: bins, counts and moments of each
//! column, and the scores of its own windows, which say how much the columns move when nothing has
//! changed. Neither the order of rows nor how they are cut into batches matters. The rows are read
//! again and again and never held: what is in memory is the values of one column (`values`) or its
//! counts, never both.

use std::sync::Arc;

use forebay_core::limits::MONITOR_MAX_COLUMNS;
use forebay_core::memory::{Budget, Part};

use super::rows::{CalibrationWindows, TrainingRows, TrainingSet};
use super::values::ColumnValues;
use super::{
    ColumnBins, ColumnProfile, ColumnRole, PROFILE_FORMAT, ReferenceProfile, SCORE_COLUMN,
};
use crate::binner::Binner;
use crate::columns::{WatchedColumn, column};
use crate::counts::ColumnCounts;
use crate::error::{MonitorError, Result};
use crate::statistics::psi;

/// Profile the training set `name`: its feature `columns` and, if named, the column that holds the
/// model's score (it is reported as [`SCORE_COLUMN`]). Numbers, booleans and text are supported.
/// With `calibration` the profile also says how the columns' scores vary from window to window of
/// the reference itself. The rows are read once, and twice more for each column; what is held of
/// them is reserved from `memory` before.
///
/// # Errors
/// A missing or mistyped column, batches that disagree, too many columns; rows that cannot be read
/// or that change between two readings; a column that does not fit into memory.
pub fn build_profile_of(
    name: &str,
    rows: &dyn TrainingRows,
    columns: &[&str],
    score: Option<&str>,
    calibration: Option<CalibrationWindows<'_>>,
    memory: &Arc<Budget>,
) -> Result<ReferenceProfile> {
    let wanted = columns.len() + usize::from(score.is_some());
    if wanted > MONITOR_MAX_COLUMNS {
        return Err(MonitorError::Limit {
            object: format!("{wanted} columns of the reference {name}"),
            limit: "MONITOR_MAX_COLUMNS",
            value: MONITOR_MAX_COLUMNS,
        });
    }
    let set = TrainingSet::measured(name, rows, calibration)?;
    let mut profile = ReferenceProfile {
        format: PROFILE_FORMAT,
        name: name.to_owned(),
        rows: set.rows as u64,
        calibration_window_us: calibration.map(|c| c.window_us),
        columns: Vec::with_capacity(wanted),
        digest: String::new(),
    };
    let features = columns
        .iter()
        .map(|column| (*column, *column, ColumnRole::Feature));
    let score = score.map(|column| (column, SCORE_COLUMN, ColumnRole::Score));
    for (source, shown, role) in features.chain(score) {
        let column = profile_column(&set, source, shown, role, memory)?;
        profile.columns.push(column);
    }
    profile.digest = profile.computed_digest()?;
    Ok(profile)
}

fn profile_column(
    set: &TrainingSet<'_>,
    source: &str,
    shown: &str,
    role: ColumnRole,
    memory: &Arc<Budget>,
) -> Result<ColumnProfile> {
    let mut values = ColumnValues::of(set.rows, memory);
    set.read(&[source], |batch| {
        let array = column(batch, source, &set.object())?;
        values.take(&WatchedColumn::new(source, array.as_ref(), None)?)
    })?;
    let (bins, moments) = values.into_bins();
    let binner = Binner::new(&bins);
    let windows = set.windows.count();
    let counts_bytes = (windows + 1).saturating_mul(ColumnCounts::memory_bytes(bins.len()));
    let _held = memory.reserve(Part::PointInTime, counts_bytes)?;
    let mut total = ColumnCounts::new(bins.len());
    let mut by_window = vec![ColumnCounts::new(bins.len()); windows];
    let time_column = set.windows.time_column();
    let wanted: Vec<&str> = [source].into_iter().chain(time_column).collect();
    set.read(&wanted, |batch| {
        let array = column(batch, source, &set.object())?;
        let part = WatchedColumn::new(source, array.as_ref(), None)?;
        for (window, rows) in set.windows.rows(set, batch)? {
            let counts = window.and_then(|window| by_window.get_mut(window));
            binner.count(&part, &rows, counts.unwrap_or(&mut total));
        }
        Ok(())
    })?;
    by_window.iter().for_each(|counts| total.merge(counts));
    let calibration = leave_one_out(&bins, &total, &by_window, set.windows.min_rows());
    Ok(ColumnProfile {
        name: shown.to_owned(),
        role,
        counts: total.bins.to_vec(),
        nulls: total.nulls,
        nans: total.nans,
        moments,
        calibration,
        bins,
    })
}

/// Each window against the reference less that window: with the window inside, a score would look
/// too small.
fn leave_one_out(
    bins: &ColumnBins,
    total: &ColumnCounts,
    windows: &[ColumnCounts],
    min_rows: u64,
) -> Vec<f64> {
    let enough = windows
        .iter()
        .filter(|window| window.values() >= min_rows.max(1));
    let scores = enough.filter_map(|window| {
        let mut rest = total.clone();
        rest.subtract(window);
        psi(
            &bins.share_counts(&rest.bins),
            &bins.share_counts(&window.bins),
        )
    });
    scores.collect()
}
