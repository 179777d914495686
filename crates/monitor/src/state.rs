//! The bytes of a monitor's state: everything that a checkpoint of it holds, declared here alone.
//! Numbers are varints, times zigzag varints, exact sums their canonical bytes; the version and the
//! checksum are the frame's ([`forebay_core::checkpoint`]), so a change here raises the version
//! there. What follows from other parts (scheduled keys, evaluated columns) is not written but made
//! anew. Decoding trusts nothing: bytes that no state has are an error, and the state is rebuilt.

use std::collections::BTreeMap;

use forebay_core::answered::{read_time, write_time};
use forebay_core::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use forebay_core::exact::FloatSum;
use forebay_core::invariant;
use forebay_core::prediction::Role;
use forebay_core::time::Micros;

use crate::alarm::{AlarmState, Outcome};
use crate::counts::PaneCounts;
use crate::labels::{Key, Label, LabelFate, LabelFates, LabelJoin, Prediction};
use crate::marks::MonitorMarks;
use crate::monitor::Monitor;
use crate::profile::ReferenceProfile;
use crate::quality::{QualityCounts, SCORE_BINS};
use crate::report::InputCounts;
use crate::series::{ColumnAlarm, Series, SeriesContext};
use crate::window::{ClosedWindow, SeriesWindows};

const OUTCOMES: [Outcome; 4] = [
    Outcome::Exceeds,
    Outcome::Between,
    Outcome::Clear,
    Outcome::Skipped,
];
const FATES: [LabelFate; 5] = [
    LabelFate::Waiting,
    LabelFate::Unmatched,
    LabelFate::Expired,
    LabelFate::Early,
    LabelFate::Matched,
];
const ROLES: [Role; 2] = [Role::Live, Role::Shadow];

/// Append the state of `monitor`.
pub(crate) fn write_monitor(out: &mut Vec<u8>, monitor: &Monitor) {
    write_time(out, monitor.marks.predictions_us);
    write_time(out, monitor.marks.labels_us);
    for count in input_counts(&mut monitor.input.clone()) {
        write_unsigned(out, *count);
    }
    invariant!(
        SeriesOfItsVersion,
        monitor.positions.len() == monitor.series.len(),
        "{} positions of {} series",
        monitor.positions.len(),
        monitor.series.len()
    );
    write_unsigned(out, monitor.series.len() as u64);
    for series in &monitor.series {
        write_series(out, series);
    }
    if let Some(join) = &monitor.join {
        write_join(out, join);
    }
}

/// Read what [`write_monitor`] wrote of a monitor of the same definition into `monitor`, which is
/// new.
pub(crate) fn read_monitor(reader: &mut Reader<'_>, monitor: &mut Monitor) -> BytesResult<()> {
    let marks = MonitorMarks {
        predictions_us: read_time(reader)?,
        labels_us: read_time(reader)?,
    };
    monitor.marks = marks;
    for count in input_counts(&mut monitor.input) {
        *count = reader.unsigned()?;
    }
    for position in 0..reader.unsigned()? {
        let series = read_series(reader, &monitor.context)?;
        let position = u16::try_from(position).map_err(|_| BytesError::from("too many series"))?;
        let key = (series.version, series.role);
        if monitor.positions.insert(key, position).is_some() {
            return Err(BytesError::from("a series is there twice"));
        }
        monitor.series.push(series);
    }
    let series = monitor.series.len();
    if let Some(join) = &mut monitor.join {
        read_join(reader, join, series)?;
        // The keys' deadlines that have passed are behind them: nothing follows.
        let mut none = Vec::new();
        join.advance(marks, &mut none);
        if !none.is_empty() {
            return Err(BytesError::from("a prediction should have expired"));
        }
    }
    Ok(())
}

fn input_counts(input: &mut InputCounts) -> [&mut u64; 6] {
    [
        &mut input.accepted,
        &mut input.repeats,
        &mut input.other_model,
        &mut input.invalid,
        &mut input.too_old,
        &mut input.overflowed,
    ]
}

fn fate_counts(fates: &mut LabelFates) -> [&mut u64; 13] {
    [
        &mut fates.matched,
        &mut fates.early,
        &mut fates.expired,
        &mut fates.unmatched,
        &mut fates.late,
        &mut fates.waiting,
        &mut fates.null,
        &mut fates.invalid,
        &mut fates.duplicate,
        &mut fates.corrected,
        &mut fates.overflowed,
        &mut fates.untracked_predictions,
        &mut fates.late_predictions,
    ]
}

fn write_series(out: &mut Vec<u8>, series: &Series) {
    write_unsigned(out, u64::from(series.version));
    write_code(out, &ROLES, series.role);
    let windows = &series.windows;
    write_unsigned(out, windows.panes.len() as u64);
    for (start, counts) in &windows.panes {
        write_signed(out, *start);
        write_pane(out, counts);
    }
    write_unsigned(out, windows.closed.len() as u64);
    for (start, window) in &windows.closed {
        write_signed(out, *start);
        write_pane(out, &window.counts);
        write_bool(out, window.is_stale);
        write_bool(out, window.is_matured);
    }
    write_quality(out, &windows.evicted_quality);
    write_time(out, windows.evicted_before_us);
    for alarm in &series.alarms {
        write_bool(out, alarm.base.raised);
        write_unsigned(out, alarm.base.recent.len() as u64);
        for outcome in &alarm.base.recent {
            write_code(out, &OUTCOMES, *outcome);
        }
        write_time(out, alarm.base_since_us);
        write_unsigned(out, alarm.announced.len() as u64);
        for (start, up) in &alarm.announced {
            write_signed(out, *start);
            write_bool(out, *up);
        }
        write_bool(out, alarm.announced_up);
        write_time(out, alarm.since_us);
    }
}

fn read_series(reader: &mut Reader<'_>, context: &SeriesContext) -> BytesResult<Series> {
    let profile = &context.profile;
    let version =
        u32::try_from(reader.unsigned()?).map_err(|_| BytesError::from("no such version"))?;
    let role = read_code(reader, &ROLES)?;
    let mut windows = SeriesWindows::default();
    for _ in 0..reader.unsigned()? {
        let start = reader.signed()?;
        windows.panes.insert(start, read_pane(reader, profile)?);
    }
    for _ in 0..reader.unsigned()? {
        let start = reader.signed()?;
        let counts = read_pane(reader, profile)?;
        let window = ClosedWindow {
            columns: context.rules.evaluate(profile, &counts),
            counts,
            is_stale: read_bool(reader)?,
            is_matured: read_bool(reader)?,
        };
        windows.closed.insert(start, window);
    }
    windows.evicted_quality = read_quality(reader)?;
    windows.evicted_before_us = read_time(reader)?;
    let mut series = Series::new(version, role, profile.columns.len(), true);
    series.windows = windows;
    for alarm in &mut series.alarms {
        *alarm = read_alarm(reader)?;
    }
    Ok(series)
}

fn read_alarm(reader: &mut Reader<'_>) -> BytesResult<ColumnAlarm> {
    let mut base = AlarmState {
        raised: read_bool(reader)?,
        ..AlarmState::default()
    };
    for _ in 0..reader.unsigned()? {
        base.recent.push_back(read_code(reader, &OUTCOMES)?);
    }
    let base_since_us = read_time(reader)?;
    let mut announced: BTreeMap<Micros, bool> = BTreeMap::new();
    for _ in 0..reader.unsigned()? {
        announced.insert(reader.signed()?, read_bool(reader)?);
    }
    Ok(ColumnAlarm {
        base,
        base_since_us,
        announced,
        announced_up: read_bool(reader)?,
        since_us: read_time(reader)?,
    })
}

fn write_pane(out: &mut Vec<u8>, counts: &PaneCounts) {
    write_unsigned(out, counts.rows);
    write_unsigned(out, counts.late_rows);
    for column in &counts.columns {
        for bin in &column.bins {
            write_unsigned(out, *bin);
        }
        write_unsigned(out, column.nulls);
        write_unsigned(out, column.nans);
        column.sum.encode(out);
    }
    write_quality(out, &counts.quality);
}

fn read_pane(reader: &mut Reader<'_>, profile: &ReferenceProfile) -> BytesResult<PaneCounts> {
    let mut counts = PaneCounts::new(profile);
    counts.rows = reader.unsigned()?;
    counts.late_rows = reader.unsigned()?;
    if counts.late_rows > counts.rows {
        return Err(BytesError::from("more rows came late than came"));
    }
    for column in &mut counts.columns {
        for bin in &mut column.bins {
            *bin = reader.unsigned()?;
        }
        column.nulls = reader.unsigned()?;
        column.nans = reader.unsigned()?;
        column.sum = read_sum(reader)?;
    }
    counts.quality = read_quality(reader)?;
    Ok(counts)
}

fn quality_counts(quality: &mut QualityCounts) -> [&mut u64; 7] {
    [
        &mut quality.predictions,
        &mut quality.labelled,
        &mut quality.expired,
        &mut quality.true_positives,
        &mut quality.false_positives,
        &mut quality.true_negatives,
        &mut quality.false_negatives,
    ]
}

fn write_quality(out: &mut Vec<u8>, quality: &QualityCounts) {
    invariant!(
        CountsAddUp,
        quality.adds_up(),
        "{:?}",
        quality_counts(&mut quality.clone())
    );
    for count in quality_counts(&mut quality.clone()) {
        write_unsigned(out, *count);
    }
    for histogram in &quality.histograms {
        let taken = histogram
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        write_unsigned(out, taken.clone().count() as u64);
        for (bin, count) in taken {
            write_unsigned(out, bin as u64);
            write_unsigned(out, *count);
        }
    }
    quality.log_loss.encode(out);
    quality.squared_error.encode(out);
    out.extend_from_slice(&quality.delay_us.to_le_bytes());
}

fn read_quality(reader: &mut Reader<'_>) -> BytesResult<QualityCounts> {
    let mut quality = QualityCounts::default();
    for count in quality_counts(&mut quality) {
        *count = reader.unsigned()?;
    }
    if !quality.adds_up() {
        return Err(BytesError::from("labels do not add up"));
    }
    let mut histograms = [vec![0; SCORE_BINS], vec![0; SCORE_BINS]];
    let mut is_empty = true;
    for histogram in &mut histograms {
        for _ in 0..reader.unsigned()? {
            let bin = usize::try_from(reader.unsigned()?).ok();
            let count = bin.and_then(|bin| histogram.get_mut(bin));
            *count.ok_or_else(|| BytesError::from("no such bin"))? = reader.unsigned()?;
            is_empty = false;
        }
    }
    if !is_empty {
        quality.histograms = histograms;
    }
    quality.log_loss = read_sum(reader)?;
    quality.squared_error = read_sum(reader)?;
    quality.delay_us = i128::from_le_bytes(reader.array()?);
    Ok(quality)
}

fn write_join(out: &mut Vec<u8>, join: &LabelJoin) {
    for count in fate_counts(&mut join.fates().clone()) {
        write_unsigned(out, *count);
    }
    let waiting = join.keys.values();
    let waiting = waiting.fold((0, 0), |(predictions, labels), key| {
        (
            predictions + key.predictions.len(),
            labels + key.labels.len(),
        )
    });
    invariant!(
        WaitingCounted,
        waiting == join.waiting(),
        "{waiting:?} predictions and labels, {:?} counted",
        join.waiting()
    );
    write_unsigned(out, join.keys.len() as u64);
    for (key, entry) in &join.keys {
        out.extend_from_slice(&key.to_le_bytes());
        write_unsigned(out, entry.predictions.len() as u64);
        for prediction in &entry.predictions {
            write_signed(out, prediction.time_us);
            out.extend_from_slice(&prediction.score.to_le_bytes());
            write_time(out, prediction.credited.map(|(at, _)| at));
            write_bool(out, prediction.credited.is_some_and(|(_, value)| value));
            write_unsigned(out, u64::from(prediction.series));
            write_bool(out, prediction.expired);
        }
        write_unsigned(out, entry.labels.len() as u64);
        for label in &entry.labels {
            write_signed(out, label.time_us);
            write_bool(out, label.value);
            write_code(out, &FATES, label.fate);
        }
    }
}

fn read_join(reader: &mut Reader<'_>, join: &mut LabelJoin, series: usize) -> BytesResult<()> {
    for count in fate_counts(join.fates_mut()) {
        *count = reader.unsigned()?;
    }
    for _ in 0..reader.unsigned()? {
        let key = u128::from_le_bytes(reader.array()?);
        if join.keys.contains_key(&key) {
            return Err(BytesError::from("a join key is there twice"));
        }
        let mut entry = Key::default();
        for _ in 0..reader.unsigned()? {
            entry.predictions.push(read_prediction(reader, series)?);
        }
        for _ in 0..reader.unsigned()? {
            entry.labels.push(Label {
                time_us: reader.signed()?,
                value: read_bool(reader)?,
                fate: read_code(reader, &FATES)?,
            });
        }
        join.restore(key, entry);
    }
    Ok(())
}

fn read_prediction(reader: &mut Reader<'_>, series: usize) -> BytesResult<Prediction> {
    let time_us = reader.signed()?;
    let score = reader.f64()?;
    let credited_at = read_time(reader)?;
    let value = read_bool(reader)?;
    let position = u16::try_from(reader.unsigned()?).ok();
    Ok(Prediction {
        time_us,
        score,
        credited: credited_at.map(|at| (at, value)),
        series: position
            .filter(|position| usize::from(*position) < series)
            .ok_or_else(|| BytesError::from("no such series"))?,
        expired: read_bool(reader)?,
    })
}

fn read_sum(reader: &mut Reader<'_>) -> BytesResult<FloatSum> {
    let mut rest = reader.rest();
    let sum = FloatSum::decode(&mut rest);
    let sum = sum.map_err(|e| BytesError::from(e.message().to_owned()))?;
    *reader = Reader::new(rest);
    Ok(sum)
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

fn read_bool(reader: &mut Reader<'_>) -> BytesResult<bool> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BytesError::from("a flag is neither set nor clear")),
    }
}

fn write_code<T: PartialEq + Copy>(out: &mut Vec<u8>, all: &[T], value: T) {
    let code = all.iter().position(|known| *known == value);
    write_unsigned(out, code.expect("the list names every value") as u64);
}

fn read_code<T: Copy>(reader: &mut Reader<'_>, all: &[T]) -> BytesResult<T> {
    let code = usize::try_from(reader.unsigned()?).ok();
    code.and_then(|code| all.get(code))
        .copied()
        .ok_or_else(|| BytesError::from("no such code"))
}

#[cfg(test)]
mod tests;
