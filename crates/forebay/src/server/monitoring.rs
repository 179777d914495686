//! The monitors of a process: fed by the pipeline with every decoded batch (predictions, labels),
//! rebuilt at start from the archive, read by metrics and summaries. What they raise goes to
//! `alarms`, also what the rebuild raises: a window may have closed while nobody was there to say
//! so. No statistics here: `monitor` has them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray, RecordBatch};
use arrow_select::concat::concat;
use forebay_core::PortError;
use forebay_core::definition::MonitorDef;
use forebay_core::ports::{CompiledLabel, SourceBatch};
use forebay_core::prediction::column;
use forebay_core::source::{SourceDef, meta};
use forebay_core::time::Micros;
use forebay_core::watermark::SourceMarks;
use forebay_monitor::{Monitor, MonitorEvent, MonitorOptions, MonitorReport, ReferenceProfile};
use forebay_pipeline::{BatchObserver, PublishedWatermarks, contain};
use parking_lot::Mutex;

use super::alarms::{ALARMS_WAITING_MAX, Alarm, Standing};
use super::outstanding::Outstanding;

/// One monitor with where its rows come from.
#[derive(Debug)]
pub(crate) struct Watch {
    name: String,
    /// Sources that carry its model's predictions.
    predictions: Vec<String>,
    /// Sources whose events its model scores.
    scored: Vec<Arc<SourceDef>>,
    /// Source and expression of its labels.
    labels: Option<(Arc<SourceDef>, Arc<dyn CompiledLabel>)>,
    monitor: Mutex<Monitor>,
}

/// All monitors of a process.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watches: Vec<Watch>,
}

/// Where the reference profile of a monitor lies: beside the model version that it was made for.
#[must_use]
pub(crate) fn profile_path(model_dir: &Path, reference: &str) -> PathBuf {
    model_dir.join(format!("reference-{reference}.json"))
}

impl Watch {
    /// A monitor as defined, with the profile at `profile`.
    ///
    /// # Errors
    /// The profile is missing or damaged, or contradicts the definition; the text says how to make
    /// one.
    pub(crate) fn open(
        def: MonitorDef,
        profile: &Path,
        predictions: Vec<String>,
        scored: Vec<Arc<SourceDef>>,
        labels: Option<(Arc<SourceDef>, Arc<dyn CompiledLabel>)>,
    ) -> Result<Self> {
        let text = std::fs::read_to_string(profile).with_context(|| {
            format!(
                "monitor '{}' has no reference at {}; make it with: forebay profile {} --training-set FILE --model DIR",
                def.name,
                profile.display(),
                def.reference
            )
        })?;
        let reference: ReferenceProfile = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a reference profile", profile.display()))?;
        let name = def.name.clone();
        let monitor = Monitor::new(def, reference, MonitorOptions::default())?;
        Ok(Self {
            name,
            predictions,
            scored,
            labels,
            monitor: Mutex::new(monitor),
        })
    }

    fn takes(&self, source: &str) -> bool {
        self.predictions.iter().any(|name| name == source) || self.label_source() == Some(source)
    }

    fn label_source(&self) -> Option<&str> {
        self.labels.as_ref().map(|(source, _)| source.name.as_str())
    }

    /// Count the rows of `source`.
    fn observe(&self, source: &str, rows: &RecordBatch) -> Result<()> {
        if self.predictions.iter().any(|name| name == source) {
            self.monitor.lock().observe_predictions(rows)?;
        }
        if let Some((labels, expression)) = self
            .labels
            .as_ref()
            .filter(|(labels, _)| labels.name == source)
        {
            let mut failed = Failed::default();
            let label = label_of(expression.as_ref(), rows, &mut failed)?;
            if let Some(error) = failed.first {
                tracing::warn!(monitor = self.name, source, rows = failed.rows, %error, "rows without a label: it fails on them");
            }
            let times = rows
                .column(labels.time_column)
                .as_primitive::<TimestampMicrosecondType>();
            self.monitor.lock().observe_labels(rows, &label, times)?;
        }
        Ok(())
    }

    /// As [`Self::observe`], where a batch that cannot be counted is told and passed over:
    /// monitoring must never stop the data path, neither at a start.
    fn count(&self, source: &str, rows: &RecordBatch) {
        if let Err(error) = contain("counting", || self.observe(source, rows)) {
            tracing::error!(
                monitor = self.name,
                source,
                error = format!("{error:#}"),
                "a batch was not counted"
            );
        }
    }

    /// Move event time on: the alarms that follow.
    fn advance(&self, watermark_us: Micros) -> Vec<Alarm> {
        let events = self.monitor.lock().advance(watermark_us);
        events
            .iter()
            .filter_map(|event| self.alarm_of(event))
            .collect()
    }

    fn alarm_of(&self, event: &MonitorEvent) -> Option<Alarm> {
        let notice = event.alarm()?;
        match notice.outbox_record() {
            Ok(record) => {
                let identity = String::from_utf8_lossy(&record.key).into_owned();
                let standing = Standing {
                    window_end_us: notice.window_end_us,
                    firing: notice.firing,
                };
                Some(Alarm {
                    identity,
                    standing,
                    record,
                })
            }
            Err(error) => {
                tracing::error!(monitor = self.name, %error, "an alarm cannot be encoded; the monitor still shows it");
                None
            }
        }
    }

    /// The smallest of the watermarks of scored events, predictions and labels.
    fn watermark(&self, marks: &PublishedWatermarks) -> Option<Micros> {
        let scored = self.scored.iter().map(|source| source.name.as_str());
        let sources = self
            .predictions
            .iter()
            .map(String::as_str)
            .chain(self.label_source())
            .chain(scored);
        sources
            .map(|source| marks.of(source))
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .min()
    }
}

impl Watches {
    /// These monitors.
    #[must_use]
    pub(crate) fn new(watches: Vec<Watch>) -> Self {
        Self { watches }
    }

    /// Count what the archive has, before the pipeline starts: the tables of `streams` (a source,
    /// the partitions of its topic that it was read from, its rows) merged by event time, windows
    /// closed on the way as they were when the rows came: by the slowest partition. Every batch is
    /// also shown to `each`. Returns the alarms of that past, most of which an earlier run has
    /// published.
    ///
    /// # Errors
    /// A file cannot be read, or its columns are not those of the source; what `each` refuses.
    pub(crate) fn rebuild<S: Iterator<Item = Result<RecordBatch>>>(
        &self,
        streams: Vec<(Arc<SourceDef>, BTreeSet<i32>, S)>,
        mut each: impl FnMut(&SourceDef, &RecordBatch) -> Result<()>,
    ) -> Result<Vec<Alarm>> {
        let mut alarms = Vec::new();
        let mut marks: HashMap<String, ArchiveMarks> = HashMap::new();
        let mut archived = Vec::with_capacity(streams.len());
        for (source, partitions, rows) in streams {
            marks.insert(
                source.name.clone(),
                ArchiveMarks::new(&source.topic, source.watermark_delay_us, partitions),
            );
            archived.push(Archived::new(source, rows)?);
        }
        // The table whose next batch begins earliest goes first.
        while let Some(stream) = archived
            .iter_mut()
            .filter(|s| s.next.is_some())
            .min_by_key(|s| s.first_us())
        {
            let source = Arc::clone(&stream.source);
            let Some((rows, _)) = stream.step()? else {
                break;
            };
            each(&source, &rows)?;
            if let Some(marks) = marks.get_mut(&source.name) {
                marks.pass(&source, &rows)?;
            }
            for watch in self.watches.iter().filter(|w| w.takes(&source.name)) {
                watch.count(&source.name, &rows);
                let inputs = watch
                    .predictions
                    .iter()
                    .map(String::as_str)
                    .chain(watch.label_source());
                let reached = inputs
                    .map(|name| marks.get(name)?.watermark_us())
                    .collect::<Option<Vec<_>>>();
                if let Some(watermark_us) = reached.and_then(|times| times.into_iter().min()) {
                    alarms.extend(watch.advance(watermark_us));
                }
            }
        }
        Ok(alarms)
    }

    /// Sources that any monitor reads.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        self.watches.iter().flat_map(|w| {
            w.predictions
                .iter()
                .map(String::as_str)
                .chain(w.label_source())
        })
    }

    /// What every monitor knows now.
    #[must_use]
    pub(crate) fn reports(&self) -> Vec<MonitorReport> {
        self.watches
            .iter()
            .map(|w| w.monitor.lock().snapshot())
            .collect()
    }
}

/// One archived table, batch by batch.
struct Archived<S> {
    source: Arc<SourceDef>,
    rows: S,
    /// The next batch with its least event time.
    next: Option<(RecordBatch, Micros)>,
}

impl<S: Iterator<Item = Result<RecordBatch>>> Archived<S> {
    fn new(source: Arc<SourceDef>, rows: S) -> Result<Self> {
        let mut archived = Self {
            source,
            rows,
            next: None,
        };
        archived.step()?;
        Ok(archived)
    }

    fn first_us(&self) -> Micros {
        self.next.as_ref().map_or(Micros::MAX, |(_, first)| *first)
    }

    /// The next batch; the one behind it takes its place.
    fn step(&mut self) -> Result<Option<(RecordBatch, Micros)>> {
        let taken = self.next.take();
        for rows in self.rows.by_ref() {
            let rows = rows?;
            let first = event_times(&self.source, &rows)?
                .values()
                .iter()
                .min()
                .copied();
            if let Some(first) = first {
                self.next = Some((rows, first));
                break;
            }
        }
        Ok(taken)
    }
}

/// How far event time has come in one archived table, by the same rule as while it was read.
struct ArchiveMarks {
    delay_us: i64,
    marks: SourceMarks,
}

impl ArchiveMarks {
    /// Over the `partitions` of `topic` that the table was read from.
    fn new(topic: &str, delay_us: i64, partitions: BTreeSet<i32>) -> Self {
        Self {
            delay_us,
            marks: SourceMarks::replay(topic, partitions, &[]),
        }
    }

    fn pass(&mut self, source: &SourceDef, rows: &RecordBatch) -> Result<()> {
        let partitions =
            archived_column(source, rows, meta::PARTITION)?.as_primitive::<Int32Type>();
        let offsets = archived_column(source, rows, meta::OFFSET)?.as_primitive::<Int64Type>();
        let times = event_times(source, rows)?.values();
        for ((partition, offset), time_us) in
            partitions.values().iter().zip(offsets.values()).zip(times)
        {
            let mark = self.marks.partition(*partition);
            mark.pass(*offset, *time_us, self.delay_us, None);
        }
        Ok(())
    }

    fn watermark_us(&self) -> Option<Micros> {
        Some(self.marks.mark_us()?.saturating_sub(self.delay_us))
    }
}

fn event_times<'a>(
    source: &SourceDef,
    rows: &'a RecordBatch,
) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>> {
    let name = &source.columns[source.time_column].name;
    Ok(archived_column(source, rows, name)?.as_primitive::<TimestampMicrosecondType>())
}

fn archived_column<'a>(
    source: &SourceDef,
    rows: &'a RecordBatch,
    name: &str,
) -> Result<&'a ArrayRef> {
    rows.column_by_name(name)
        .with_context(|| format!("the archive of {} lacks {name}", source.name))
}

/// The pipeline's end: counts batches, advances windows, hands out alarms.
#[derive(Debug)]
pub(crate) struct MonitorObserver {
    watches: Arc<Watches>,
    marks: Arc<PublishedWatermarks>,
    alarms: SyncSender<Alarm>,
    /// By topic of the scored source.
    outstanding: HashMap<String, Outstanding>,
}

impl MonitorObserver {
    /// An observer and the alarms that it will raise.
    #[must_use]
    pub(crate) fn new(
        watches: Arc<Watches>,
        marks: Arc<PublishedWatermarks>,
    ) -> (Self, Receiver<Alarm>) {
        let (alarms, raised) = sync_channel(ALARMS_WAITING_MAX);
        let scored = watches.watches.iter().flat_map(|watch| &watch.scored);
        let outstanding = scored
            .map(|source| (source.topic.clone(), Outstanding::default()))
            .collect();
        (
            Self {
                watches,
                marks,
                alarms,
                outstanding,
            },
            raised,
        )
    }

    /// Note the events that are read and the predictions that came back.
    fn follow(&mut self, batch: &SourceBatch) -> Result<()> {
        if let Some(outstanding) = self.outstanding.get_mut(&batch.source.topic) {
            let now = Instant::now();
            let times = batch
                .rows
                .column(batch.source.time_column)
                .as_primitive::<TimestampMicrosecondType>();
            for (row, offset) in batch.origin.offset.iter().enumerate() {
                let partition =
                    batch.origin.partitions[batch.origin.partition[row] as usize].partition;
                outstanding.add((partition, *offset), times.value(row), now);
            }
        }
        if self
            .watches
            .watches
            .iter()
            .any(|watch| watch.predictions.contains(&batch.source.name))
        {
            let named = |name: &str| {
                batch
                    .rows
                    .column_by_name(name)
                    .with_context(|| format!("predictions lack {name}"))
            };
            let topics = named(column::SOURCE_TOPIC)?.as_string::<i32>();
            let partitions = named(column::SOURCE_PARTITION)?.as_primitive::<Int32Type>();
            let offsets = named(column::SOURCE_OFFSET)?.as_primitive::<Int64Type>();
            for row in 0..batch.rows.num_rows() {
                if let Some(outstanding) = self.outstanding.get_mut(topics.value(row)) {
                    outstanding.remove((partitions.value(row), offsets.value(row)));
                }
            }
        }
        Ok(())
    }

    /// How far `watch` may move on: no event before it will still bring a prediction or a label.
    fn complete_until(&mut self, watch: &Watch) -> Option<Micros> {
        let now = Instant::now();
        let topics = watch.scored.iter().map(|source| &source.topic);
        // Asked also while there is no watermark yet: asking is what forgets those that came back.
        let waiting = topics
            .filter_map(|topic| self.outstanding.get_mut(topic)?.oldest_us(now))
            .min();
        let watermark = watch.watermark(&self.marks)?;
        Some(waiting.map_or(watermark, |oldest| watermark.min(oldest)))
    }

    fn step(&mut self, watch: &Watch, batch: &SourceBatch) {
        watch.count(&batch.source.name, &batch.rows);
        let Some(watermark) = self.complete_until(watch) else {
            return;
        };
        for alarm in watch.advance(watermark) {
            if let Err(refused) = self.alarms.try_send(alarm) {
                tracing::warn!(monitor = watch.name, %refused, "an alarm was not published; the next start does it");
            }
        }
    }
}

impl BatchObserver for MonitorObserver {
    fn observe(&mut self, batch: &SourceBatch, _watermark_us: Option<Micros>) {
        if let Err(error) = self.follow(batch) {
            tracing::error!(
                source = batch.source.name,
                error = format!("{error:#}"),
                "a batch was not followed"
            );
        }
        let watches = Arc::clone(&self.watches);
        for watch in watches
            .watches
            .iter()
            .filter(|w| w.takes(&batch.source.name))
        {
            self.step(watch, batch);
        }
    }
}

/// Rows on which a label's expression fails, and the first error.
#[derive(Debug, Default)]
struct Failed {
    rows: usize,
    first: Option<PortError>,
}

/// The labels of `rows`. A row on which the expression fails has none: it is found by halving, so
/// that it does not take its neighbours with it.
fn label_of(
    expression: &dyn CompiledLabel,
    rows: &RecordBatch,
    failed: &mut Failed,
) -> Result<BooleanArray> {
    let error = match expression.evaluate(rows) {
        Ok(labels) => return Ok(labels),
        Err(error) if error.kind().is_of_the_data() && rows.num_rows() > 0 => error,
        Err(error) => return Err(error.into()),
    };
    if rows.num_rows() == 1 {
        failed.rows += 1;
        failed.first.get_or_insert(error);
        return Ok(BooleanArray::new_null(1));
    }
    let half = rows.num_rows() / 2;
    let left = label_of(expression, &rows.slice(0, half), failed)?;
    let right = label_of(
        expression,
        &rows.slice(half, rows.num_rows() - half),
        failed,
    )?;
    Ok(concat(&[&left, &right])?.as_boolean().clone())
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int32Array, Int64Array, TimestampMicrosecondArray};
    use forebay_core::{ErrorKind, PortResult};

    use super::*;

    /// `100 / x > 5`, which no batch with a zero survives.
    #[derive(Debug)]
    struct Quotient;

    impl CompiledLabel for Quotient {
        fn evaluate(&self, rows: &RecordBatch) -> PortResult<BooleanArray> {
            let values = rows.column(0).as_primitive::<Int64Type>().values();
            let quotient = |x: &i64| 100_i64.checked_div(*x).map(|q| Some(q > 5));
            values
                .iter()
                .map(quotient)
                .collect::<Option<_>>()
                .ok_or_else(|| PortError::invalid("divide by zero"))
        }
    }

    #[test]
    fn a_row_on_which_the_label_fails_has_none_and_its_neighbours_have_theirs() -> Result<()> {
        let column = |values: Vec<i64>| {
            RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(values)) as _)])
        };
        let mut failed = Failed::default();
        let labels = label_of(&Quotient, &column(vec![1, 0, 50, 2, 0])?, &mut failed)?;
        assert_eq!(
            labels,
            BooleanArray::from(vec![Some(true), None, Some(false), Some(true), None])
        );
        assert_eq!(
            (failed.rows, failed.first.map(|e| e.kind())),
            (2, Some(ErrorKind::InvalidArgument))
        );
        assert_eq!(
            label_of(&Quotient, &column(Vec::new())?, &mut Failed::default())?.len(),
            0
        );
        Ok(())
    }

    #[test]
    fn event_time_of_an_archive_is_that_of_its_slowest_partition() -> Result<()> {
        let source = crate::replay::tests::source("a");
        let rows = |rows: &[(i32, i64)]| {
            let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1))
                .with_timezone("UTC");
            let partitions = Int32Array::from_iter_values(rows.iter().map(|r| r.0));
            let offsets = Int64Array::from_iter_values(0..rows.len() as i64);
            let time = &source.columns[source.time_column].name;
            RecordBatch::try_from_iter([
                (time.as_str(), Arc::new(times) as ArrayRef),
                (meta::PARTITION, Arc::new(partitions)),
                (meta::OFFSET, Arc::new(offsets)),
            ])
        };
        let mut marks = ArchiveMarks::new(&source.topic, 10, BTreeSet::from([0, 1]));
        marks.pass(&source, &rows(&[(0, 500), (0, 900)])?)?;
        assert_eq!(marks.watermark_us(), None, "partition 1 has rows to come");
        marks.pass(&source, &rows(&[(1, 300), (0, 950)])?)?;
        assert_eq!(marks.watermark_us(), Some(290));
        marks.pass(&source, &rows(&[(1, 200), (1, 920)])?)?;
        assert_eq!(marks.watermark_us(), Some(910));
        Ok(())
    }
}
