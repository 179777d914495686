//! Building a reference profile from the batches of a training set: bins, counts and moments of
//! each column, and the scores of its own windows, which say how much the columns move when nothing
//! has changed. The order of rows does not matter. One column at a time is held in memory beside
//! the batches.

use arrow_array::{Array, RecordBatch};
use forebay_core::exact::{FloatMoments, FloatSum};
use forebay_core::index::RowIndex;
use forebay_core::key::key_hash;
use forebay_core::limits::{
    MONITOR_MAX_CALIBRATION_WINDOWS, MONITOR_MAX_CATEGORIES, MONITOR_MAX_CATEGORY_BYTES,
    MONITOR_MAX_COLUMNS, MONITOR_MAX_OTHER_VALUES,
};
use forebay_core::time::Micros;
use hashbrown::HashMap;

use super::edges::{NumericEdges, quantile};
use super::{
    ColumnBins, ColumnProfile, ColumnRole, Moments, PROFILE_FORMAT, ReferenceProfile, SCORE_COLUMN,
};
use crate::binner::Binner;
use crate::columns::{WatchedColumn, column, times};
use crate::counts::ColumnCounts;
use crate::error::{MonitorError, Result};
use crate::statistics::psi;

/// No calibration window: the row has no time, or lies in the last, partial window.
const NO_WINDOW: u32 = u32::MAX;

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

/// Profile the training set `name`: its feature `columns` and, if named, the column that holds the
/// model's score (it is reported as [`SCORE_COLUMN`]). Numbers, booleans and text are supported.
/// With `calibration` the profile also says how the columns' scores vary from window to window of
/// the reference itself.
///
/// # Errors
/// A missing or mistyped column, batches that disagree, too many columns.
pub fn build_profile(
    name: &str,
    batches: &[RecordBatch],
    columns: &[&str],
    score: Option<&str>,
    calibration: Option<CalibrationWindows<'_>>,
) -> Result<ReferenceProfile> {
    let wanted = columns.len() + usize::from(score.is_some());
    if wanted > MONITOR_MAX_COLUMNS {
        return Err(MonitorError::Limit {
            object: format!("{wanted} columns of the reference {name}"),
            limit: "MONITOR_MAX_COLUMNS",
            value: MONITOR_MAX_COLUMNS,
        });
    }
    let windows = match calibration {
        Some(calibration) => RowWindows::cut(name, batches, calibration)?,
        None => RowWindows::default(),
    };
    let mut profile = ReferenceProfile {
        format: PROFILE_FORMAT,
        name: name.to_owned(),
        rows: batches.iter().map(|b| b.num_rows() as u64).sum(),
        calibration_window_us: calibration.map(|c| c.window_us),
        columns: Vec::with_capacity(wanted),
        digest: String::new(),
    };
    let features = columns
        .iter()
        .map(|column| (*column, *column, ColumnRole::Feature));
    let score = score.map(|column| (column, SCORE_COLUMN, ColumnRole::Score));
    for (source, shown, role) in features.chain(score) {
        let mut parts = Vec::with_capacity(batches.len());
        for batch in batches {
            let array = column(batch, source, &format!("the training set {name}"))?;
            parts.push(WatchedColumn::new(source, array.as_ref(), None)?);
        }
        profile
            .columns
            .push(profile_column(shown, role, &parts, batches, &windows));
    }
    profile.digest = profile.computed_digest()?;
    Ok(profile)
}

fn profile_column(
    name: &str,
    role: ColumnRole,
    parts: &[WatchedColumn<'_>],
    batches: &[RecordBatch],
    windows: &RowWindows,
) -> ColumnProfile {
    let numeric = parts.first().is_none_or(WatchedColumn::is_numeric);
    let (bins, moments) = if numeric {
        numeric_bins(parts, batches)
    } else {
        (categorical_bins(parts, batches), None)
    };
    let binner = Binner::new(&bins);
    let mut total = ColumnCounts::new(bins.len());
    let mut by_window = vec![ColumnCounts::new(bins.len()); windows.windows];
    let mut before = 0;
    for (part, batch) in parts.iter().zip(batches) {
        for (window, rows) in windows.rows(before, batch.num_rows()) {
            match by_window.get_mut(window as usize) {
                Some(counts) => binner.count(part, &rows, counts),
                None => binner.count(part, &rows, &mut total),
            }
        }
        before += batch.num_rows();
    }
    by_window.iter().for_each(|counts| total.merge(counts));
    let calibration = leave_one_out(&bins, &total, &by_window, windows.min_rows);
    ColumnProfile {
        name: name.to_owned(),
        role,
        counts: total.bins.to_vec(),
        nulls: total.nulls,
        nans: total.nans,
        moments,
        calibration,
        bins,
    }
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

fn numeric_bins(
    parts: &[WatchedColumn<'_>],
    batches: &[RecordBatch],
) -> (ColumnBins, Option<Moments>) {
    let mut values = Vec::new();
    for (part, batch) in parts.iter().zip(batches) {
        values.extend(
            (0..batch.num_rows())
                .filter_map(|row| part.number(row))
                .filter(|value| !value.is_nan()),
        );
    }
    values.sort_by(f64::total_cmp);
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

fn categorical_bins(parts: &[WatchedColumn<'_>], batches: &[RecordBatch]) -> ColumnBins {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (part, batch) in parts.iter().zip(batches) {
        for value in (0..batch.num_rows()).filter_map(|row| part.category(row)) {
            *counts.entry(value).or_default() += 1;
        }
    }
    let mut ranked: Vec<(&str, u64)> = counts.into_iter().collect();
    // Too long for a bin of its own sorts last; then by frequency, then by text, so that ties have
    // one outcome.
    ranked.sort_by_key(|(value, count)| {
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

/// The calibration window of each row of the concatenated batches.
#[derive(Debug, Default)]
struct RowWindows {
    of_row: Vec<u32>,
    windows: usize,
    min_rows: u64,
}

impl RowWindows {
    /// Full windows from the first event on; what lies behind the last full one has none.
    fn cut(
        name: &str,
        batches: &[RecordBatch],
        calibration: CalibrationWindows<'_>,
    ) -> Result<Self> {
        let length = calibration.window_us.max(1);
        let mut all = Vec::new();
        for batch in batches {
            let array = column(
                batch,
                calibration.time_column,
                &format!("the training set {name}"),
            )?;
            let times = times(calibration.time_column, array.as_ref())?;
            all.extend((0..times.len()).map(|row| times.is_valid(row).then(|| times.value(row))));
        }
        let present = || all.iter().flatten().copied();
        let (Some(first), Some(last)) = (present().min(), present().max()) else {
            return Ok(Self {
                of_row: vec![NO_WINDOW; all.len()],
                windows: 0,
                min_rows: calibration.min_rows,
            });
        };
        let full = last.saturating_sub(first).saturating_add(1) / length;
        let windows = full.min(i64::from(MONITOR_MAX_CALIBRATION_WINDOWS));
        let of_row = all.iter().map(|time| {
            let window = time.map(|time| time.saturating_sub(first) / length);
            window.filter(|w| *w < windows).map_or(NO_WINDOW, |w| {
                u32::try_from(w).expect("MONITOR_MAX_CALIBRATION_WINDOWS fits u32")
            })
        });
        Ok(Self {
            of_row: of_row.collect(),
            windows: usize::try_from(windows).expect("no fewer than none, and a u32 at most"),
            min_rows: calibration.min_rows,
        })
    }

    /// The rows of one batch, which starts at row `before` of all, grouped by window in first-seen
    /// order.
    fn rows(&self, before: usize, len: usize) -> Vec<(u32, Vec<u32>)> {
        let mut groups: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut position: HashMap<u32, usize> = HashMap::new();
        for row in RowIndex::all(len) {
            let window = self
                .of_row
                .get(before + row.index())
                .copied()
                .unwrap_or(NO_WINDOW);
            let group = *position.entry(window).or_insert_with(|| {
                groups.push((window, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(row.number());
        }
        groups
    }
}
