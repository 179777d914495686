//! A monitor's report is a function of the log and of what is recorded about its time: live and
//! rebuilt, whatever the order in which sources and partitions arrive, wherever batches are cut,
//! with restarts from a checkpoint or without one, with partitions that were idle in between.
//! Judged by an evaluator that knows the whole log at once, sorts it and counts it with plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crate::{
    LabelFeed, Monitor, MonitorBinding, MonitorReport, ReferenceProfile, SourceRows,
    WatchedDeployment, WindowState,
};
use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::DataType;
use forebay_core::definition::{AlertThreshold, MonitorDef};
use forebay_core::prediction::{Role, column};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::scope::ScoringScopes;
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::{MINUTE_US, Micros, timestamp_type};
use forebay_core::watermark::{MarkFact, MarkRecord};
use forebay_testkit::PlainLabel;
use proptest::prelude::*;

mod log;
mod oracle;

use crate::tests::fixtures::{
    MODEL, PredictionRow, Random, definition, options, prediction_batch, reference,
};

static REFERENCE: LazyLock<ReferenceProfile> = LazyLock::new(|| reference(10, 150));
const DELAY: Micros = 30 * MINUTE_US;

/// What stands in the log, by source: within a partition in the order of offsets.
#[derive(Debug, Clone)]
enum Row {
    Event {
        offset: i64,
        time: Micros,
    },
    Prediction {
        offset: i64,
        of: (i32, i64),
        row: PredictionRow,
    },
    Label {
        offset: i64,
        time: Micros,
        flight: Option<String>,
        label: Option<bool>,
    },
    Settled {
        of: (i32, i64),
    },
}

/// One partition of one source, or the settlements.
#[derive(Debug, Clone)]
struct Strand {
    source: Arc<SourceDef>,
    partition: i32,
    rows: Vec<Row>,
    /// What was decided about its time, in the order of offsets.
    decided: Vec<MarkFact>,
}

impl Strand {
    fn records(&self) -> impl Iterator<Item = (i64, MarkRecord)> {
        let place = TopicPartition::new(self.source.topic.as_str(), self.partition);
        let record = move |fact: &MarkFact| {
            let partition = place.clone();
            (
                offset_of(fact),
                MarkRecord {
                    partition,
                    fact: *fact,
                },
            )
        };
        self.decided.iter().map(record)
    }

    /// Where a reader stands that has `read` of its rows: at what was decided behind the last.
    fn stands(&self, read: usize) -> i64 {
        let last = read
            .checked_sub(1)
            .map_or(0, |last| self.rows[last].offset() + 1);
        let next = self.rows.get(read).map_or(i64::MAX, Row::offset);
        let decided = self.decided.iter().map(offset_of);
        decided
            .filter(|at| (last..=next).contains(at))
            .max()
            .unwrap_or(last)
    }
}

/// Where a decision takes effect.
fn offset_of(fact: &MarkFact) -> i64 {
    match fact {
        MarkFact::Hold(hold) => hold.at,
        MarkFact::Bound(bound) => bound.from,
    }
}

impl Row {
    fn offset(&self) -> i64 {
        match self {
            Self::Event { offset, .. }
            | Self::Prediction { offset, .. }
            | Self::Label { offset, .. } => *offset,
            Self::Settled { .. } => 0,
        }
    }
}

fn source(name: &str, columns: &[(&str, DataType)], time: &str) -> Arc<SourceDef> {
    let column = |(name, data_type): &(&str, DataType)| Column {
        name: (*name).into(),
        data_type: data_type.clone(),
        nullable: true,
    };
    let at = columns.iter().position(|c| c.0 == time).expect("its time");
    let columns = columns.iter().map(column).collect();
    Arc::new(SourceDef {
        watermark_delay_us: DELAY,
        ..SourceDef::json(name, name, columns, at)
    })
}

struct World {
    departures: Arc<SourceDef>,
    predictions: Arc<SourceDef>,
    arrivals: Arc<SourceDef>,
}

impl World {
    fn new() -> Self {
        let time = timestamp_type;
        Self {
            departures: source("departures", &[("event_time", time())], "event_time"),
            predictions: source(
                "predictions_late_arrival",
                &[("event_time", time())],
                "event_time",
            ),
            arrivals: source(
                "arrivals",
                &[
                    ("flight", DataType::Utf8),
                    ("ts", time()),
                    ("label", DataType::Boolean),
                ],
                "ts",
            ),
        }
    }

    fn binding(&self) -> MonitorBinding {
        let mut scopes = ScoringScopes::default();
        scopes.change(&[(MODEL, "departures")], &Applied::default());
        let monitor = Monitor::new(monitor_def(), REFERENCE.clone(), options()).expect("sound");
        let deployment = WatchedDeployment {
            deployment: MODEL.into(),
            scored: Arc::clone(&self.departures),
            predictions: self.predictions.name.clone(),
            versions: BTreeSet::from([1, 2]),
        };
        let labels = LabelFeed {
            source: Arc::clone(&self.arrivals),
            expression: Arc::new(PlainLabel::new("label")),
        };
        MonitorBinding::new(monitor, vec![deployment], Some(labels), &scopes)
    }

    fn batch(&self, strand: &Strand, rows: &[Row]) -> SourceRows {
        let times = |times: Vec<Micros>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
        };
        let mut offset = Vec::new();
        let (mut at, mut flights, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let (mut predictions, mut of) = (Vec::new(), Vec::new());
        for row in rows {
            match row {
                Row::Event { offset: o, time } => {
                    offset.push(*o);
                    at.push(*time);
                }
                Row::Label {
                    offset: o,
                    time,
                    flight,
                    label,
                } => {
                    offset.push(*o);
                    at.push(*time);
                    flights.push(flight.clone());
                    values.push(*label);
                }
                Row::Prediction {
                    offset: o,
                    of: event,
                    row,
                } => {
                    offset.push(*o);
                    predictions.push(row.clone());
                    of.push(*event);
                }
                Row::Settled { .. } => {}
            }
        }
        let rows = if strand.source.name == self.departures.name {
            RecordBatch::try_from_iter([("event_time", times(at))])
        } else if strand.source.name == self.arrivals.name {
            RecordBatch::try_from_iter_with_nullable([
                (
                    "flight",
                    Arc::new(StringArray::from(flights)) as ArrayRef,
                    true,
                ),
                ("ts", times(at), false),
                ("label", Arc::new(BooleanArray::from(values)), true),
            ])
        } else {
            Ok(prediction_rows(&predictions, &of))
        };
        SourceRows {
            source: Arc::clone(&strand.source),
            rows: rows.expect("columns of one length"),
            partition: vec![strand.partition; offset.len()],
            offset,
        }
    }
}

fn prediction_rows(rows: &[PredictionRow], of: &[(i32, i64)]) -> RecordBatch {
    let batch = prediction_batch(rows);
    let partitions: ArrayRef = Arc::new(Int32Array::from_iter_values(of.iter().map(|o| o.0)));
    let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(of.iter().map(|o| o.1)));
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| {
            let array = match field.name().as_str() {
                column::SOURCE_PARTITION => &partitions,
                column::SOURCE_OFFSET => &offsets,
                _ => array,
            };
            (field.name().clone(), Arc::clone(array), true)
        });
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

fn monitor_def() -> MonitorDef {
    definition(AlertThreshold::FalseAlarmRate(0.01))
}

/// How a log is read.
#[derive(Debug, Clone, Copy)]
enum Course {
    /// Any strand next, any number of its rows.
    Mixed,
    /// One strand after the other, in this rotation.
    OneByOne(usize),
}

/// What becomes of the process now and then.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Restart {
    Never,
    FromCheckpoint,
    FromTheArchive,
}

fn expect_all(binding: &mut MonitorBinding, strands: &[Strand]) {
    let known = |s: &&Strand| !s.rows.is_empty() || !s.decided.is_empty();
    let with_rows = strands.iter().filter(|s| s.partition >= 0).filter(known);
    for strand in with_rows.clone() {
        let same = with_rows
            .clone()
            .filter(|s| s.source.name == strand.source.name);
        binding.expect_partitions(&strand.source, &same.map(|s| s.partition).collect());
        binding.open_gate(&strand.source.name);
    }
}

/// Tell what the reader learns of the time of `strand` at rows in `read`, before it reads them.
fn decide(binding: &mut MonitorBinding, strand: &Strand, read: &std::ops::Range<usize>) {
    let from = strand.stands(read.start);
    let to = strand.rows.get(read.end).map_or(i64::MAX, Row::offset);
    let ahead = strand.records().filter(|(at, _)| (from..to).contains(at));
    binding.decide(&ahead.map(|(_, record)| record).collect::<Vec<_>>());
}

fn feed(world: &World, binding: &mut MonitorBinding, strand: &Strand, rows: &[Row]) {
    if strand.partition < 0 {
        for row in rows {
            let Row::Settled { of } = row else { continue };
            let place = ("departures", of.0);
            binding.settle((MODEL, Role::Live), place, std::iter::once(of.1..of.1 + 1));
        }
    } else if !rows.is_empty() {
        binding
            .observe(&world.batch(strand, rows))
            .expect("sound rows");
    }
}

/// A process that goes on from `kept`, or from nothing, and reads what was `read` from the archive.
fn begin_anew(
    world: &World,
    strands: &[Strand],
    kept: Option<&(Vec<u8>, Vec<usize>)>,
    read: &[usize],
    random: &mut Random,
) -> MonitorBinding {
    let mut binding = world.binding();
    let mut from = vec![0; strands.len()];
    if let Some((checkpoint, covered)) = kept {
        binding.restore(checkpoint).expect("its own bytes");
        from.clone_from(covered);
    }
    expect_all(&mut binding, strands);
    // What was read and decided before comes from the archive, from anywhere at or before what the
    // checkpoint covers.
    let says_all = random.below(2) == 0;
    for (strand, from) in strands.iter().zip(&from) {
        let known_to = match strand.rows.get(*from) {
            _ if says_all || *from == 0 => i64::MIN,
            Some(row) => row.offset(),
            None => i64::MAX,
        };
        let since = strand.records().filter(|(at, _)| *at >= known_to);
        binding.decide(&since.map(|(_, record)| record).collect::<Vec<_>>());
    }
    for (index, strand) in strands.iter().enumerate() {
        let begin = from[index].saturating_sub(random.below(40));
        let rows = &strand.rows[begin..read[index]];
        feed(world, &mut binding, strand, rows);
        let place = (strand.source.topic.as_str(), strand.partition);
        binding.stand(place, strand.stands(read[index]));
    }
    binding
}

fn run(
    world: &World,
    strands: &[Strand],
    course: Course,
    restart: Restart,
    seed: u64,
) -> MonitorReport {
    let mut random = Random(seed);
    let mut binding = world.binding();
    expect_all(&mut binding, strands);
    for strand in strands.iter().filter(|strand| strand.rows.is_empty()) {
        decide(&mut binding, strand, &(0..0));
    }
    let mut read: Vec<usize> = vec![0; strands.len()];
    let mut kept: Option<(Vec<u8>, Vec<usize>)> = None;
    loop {
        let open: Vec<usize> = (0..strands.len())
            .filter(|s| read[*s] < strands[*s].rows.len())
            .collect();
        let next = match course {
            _ if open.is_empty() => break,
            Course::Mixed => open[random.below(open.len())],
            Course::OneByOne(first) => *open
                .iter()
                .min_by_key(|s| (**s + strands.len() - first % strands.len()) % strands.len())
                .expect("one is open"),
        };
        let strand = &strands[next];
        let end = (read[next] + 1 + random.below(150)).min(strand.rows.len());
        decide(&mut binding, strand, &(read[next]..end));
        feed(world, &mut binding, strand, &strand.rows[read[next]..end]);
        read[next] = end;
        let place = (strand.source.topic.as_str(), strand.partition);
        binding.stand(place, strand.stands(end));
        if random.below(4) > 0 {
            binding.advance();
        }
        if random.below(6) == 0
            && let Some(checkpoint) = binding.checkpoint()
        {
            kept = Some((checkpoint, read.clone()));
        }
        if restart != Restart::Never && random.below(12) == 0 {
            let kept = kept.as_ref().filter(|_| restart == Restart::FromCheckpoint);
            binding = begin_anew(world, strands, kept, &read, &mut random);
        }
    }
    binding.advance();
    binding.report()
}

/// The figures that the evaluator knows: marks, fates, and windows by version and start.
/// Rows, revision, is closed, labelled, expired, true positives, values of `delay`.
type WindowFigures = (u64, u32, bool, u64, u64, u64, u64);

#[derive(Debug, Default, PartialEq)]
struct Figures {
    marks: (Option<Micros>, Option<Micros>),
    matched: u64,
    unmatched: u64,
    waiting: u64,
    late: u64,
    null: u64,
    late_predictions: u64,
    repeats: u64,
    windows: BTreeMap<(u32, Micros), WindowFigures>,
}

fn figures(report: &MonitorReport) -> Figures {
    let fates = report.labels.expect("a monitor with labels");
    let mut windows = BTreeMap::new();
    for series in &report.series {
        for w in &series.windows {
            let quality = w.quality.clone().expect("a monitor with labels");
            let figures = (
                w.rows,
                w.revision,
                w.state == WindowState::Closed,
                quality.labelled,
                quality.expired,
                quality.true_positives,
                w.columns[0].values,
            );
            windows.insert((series.version, w.start_us), figures);
        }
    }
    Figures {
        marks: (report.watermark_us, report.labels_watermark_us),
        matched: fates.matched,
        unmatched: fates.unmatched,
        waiting: fates.waiting,
        late: fates.late,
        null: fates.null,
        late_predictions: fates.late_predictions,
        repeats: report.input.repeats,
        windows,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn live_and_rebuilt_reports_are_those_of_the_log(seed in any::<u64>(), partitions in 1_i32..5) {
        let world = World::new();
        let strands = log::write(&world, seed, partitions);
        let expected = run(&world, &strands, Course::Mixed, Restart::Never, seed);
        prop_assert_eq!(figures(&expected), oracle::evaluate(&strands));
        for (round, restart) in
            [Restart::Never, Restart::FromCheckpoint, Restart::FromTheArchive].into_iter().enumerate()
        {
            let seed = seed.wrapping_add(round as u64 + 1);
            let report = run(&world, &strands, Course::Mixed, restart, seed);
            prop_assert_eq!(figures(&report), figures(&expected), "mixed, {:?}", restart);
            prop_assert!(report == expected, "mixed, {:?}", restart);
            let first = (seed % 64) as usize;
            let report = run(&world, &strands, Course::OneByOne(first), restart, seed);
            prop_assert_eq!(figures(&report), figures(&expected), "from {}, {:?}", first, restart);
            prop_assert!(report == expected, "one by one from {}, {:?}", first, restart);
        }
    }
}
