//! A monitor bound to the log: which sources carry its model's events, predictions and labels, how
//! far each partition of them has come, and hence how far the monitor may move. The same rows give
//! the same report whether they are read live or from the archive, in one run or over restarts, in
//! whatever order sources and partitions arrive.
//!
//! # How far a monitor moves
//!
//! * By the **predictions**: for each partition of a scored source the longest prefix of its events
//!   that are all answered, by a prediction or a settlement ([`Answered`]); the event time that
//!   this prefix has reached, less the source's delay; the slowest partition.
//! * By the **labels**: for each partition of their source the greatest event time, less the delay;
//!   the slowest partition.
//!
//! A partition that has not been read yet holds its source back until it is known to be empty. What
//! a clock once decided about time is recorded ([`MarkRecord`]) and takes effect at its offset: a
//! partition that was idle there is held where the others stood, before any row that came later; a
//! row that was far ahead counts for no more than its bound. Here no clock has a say: an event that
//! stays unanswered holds the monitor back until it is settled.
//!
//! # State
//!
//! All of it is one checkpoint together with the offsets that it covers (`checkpoint`). Rows below
//! those offsets are skipped, so that a reader may begin anywhere at or before them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use forebay_core::PortError;
use forebay_core::answered::{Answer, Answered};
use forebay_core::invariant;
use forebay_core::ports::CompiledLabel;
use forebay_core::prediction::{Role, column};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::scope::{ScoredOffsets, ScoringScopes};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::watermark::MarkRecord;
use xxhash_rust::xxh3::xxh3_128;

use crate::decided::{DatedRow, Decided};
use crate::error::Result;
use crate::feed::SourceRows;
use crate::label_rows::{FailedLabels, labels_of};
use crate::marks::{Gate, MonitorMarks, slowest};
use crate::monitor::Monitor;
use crate::report::{MonitorEvent, MonitorReport};

mod answers;
mod checkpoint;

/// About what an event holds that waits for its answer, or an answer for its event.
const EVENT_BYTES: usize = 64;
/// About what a prediction holds that came before its event: a share of the batch that it came in.
const HELD_ROW_BYTES: usize = 1_024;
/// Raise it with any change of what rows and decisions mean, or of the bytes of a state: states are
/// then counted anew.
const RULES: u32 = 3;

/// A deployment whose predictions a monitor counts.
#[derive(Debug, Clone)]
pub struct WatchedDeployment {
    /// Its name.
    pub deployment: String,
    /// The source whose events it scores.
    pub scored: Arc<SourceDef>,
    /// The source that carries its live predictions.
    pub predictions: String,
    /// Versions that its live route leads to.
    pub versions: BTreeSet<u32>,
}

/// Where a monitor's labels come from.
#[derive(Debug, Clone)]
pub struct LabelFeed {
    /// The source.
    pub source: Arc<SourceDef>,
    /// The label of a row of it.
    pub expression: Arc<dyn CompiledLabel>,
}

/// A monitor bound to the partitions of its log.
#[derive(Debug)]
pub struct MonitorBinding {
    monitor: Monitor,
    /// Versions that the deployments' live routes lead to.
    routed: BTreeSet<(u32, Role)>,
    deployments: Vec<DeploymentFeed>,
    labels: Option<LabelFeed>,
    /// Greatest event time of each partition of the label source.
    labels_us: BTreeMap<i32, Micros>,
    /// By source, whether unread partitions hold it back.
    gates: BTreeMap<String, Gate>,
    /// What is recorded about the time of rows that were not read yet.
    decided: Decided,
    /// By topic and partition one past the last row that was counted.
    covered: BTreeMap<String, BTreeMap<i32, i64>>,
    scopes: ScoringScopes,
    definition: u128,
}

#[derive(Debug)]
struct DeploymentFeed {
    watched: WatchedDeployment,
    partitions: BTreeMap<i32, PartitionFeed>,
}

#[derive(Debug, Default)]
struct PartitionFeed {
    scope: ScoredOffsets,
    answered: Answered,
    /// Predictions of events that were not read yet.
    held: BTreeMap<i64, RecordBatch>,
}

impl MonitorBinding {
    /// `monitor`, which is new, over these sources; `scopes` says which events each deployment
    /// scores.
    #[must_use]
    pub fn new(
        monitor: Monitor,
        deployments: Vec<WatchedDeployment>,
        labels: Option<LabelFeed>,
        scopes: &ScoringScopes,
    ) -> Self {
        let mut described = format!("{RULES}|{}", monitor.described());
        for watched in &deployments {
            let (scored, scope) = (&watched.scored, scopes.describe(&watched.deployment));
            described += &format!(
                "|{}|{scored:?}|{}|{scope}",
                watched.deployment, watched.predictions
            );
        }
        described += &format!("|{:?}", labels.as_ref().map(|labels| &labels.source));
        let sources = deployments.iter().map(|watched| &watched.scored);
        let gates = sources
            .chain(labels.as_ref().map(|labels| &labels.source))
            .map(|source| (source.name.clone(), Gate::default()))
            .collect();
        let versions = deployments.iter().flat_map(|watched| &watched.versions);
        let routed = versions.map(|version| (*version, Role::Live)).collect();
        let feed = |watched: WatchedDeployment| DeploymentFeed {
            watched,
            partitions: BTreeMap::new(),
        };
        let mut binding = Self {
            monitor,
            routed,
            deployments: deployments.into_iter().map(feed).collect(),
            labels,
            labels_us: BTreeMap::new(),
            gates,
            decided: Decided::default(),
            covered: BTreeMap::new(),
            scopes: scopes.clone(),
            definition: xxh3_128(described.as_bytes()),
        };
        binding.begin();
        binding
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.monitor.definition().name
    }

    /// The sources that it reads, those of events first.
    #[must_use]
    pub fn sources(&self) -> Vec<&str> {
        let scored = self
            .deployments
            .iter()
            .map(|d| d.watched.scored.name.as_str());
        let predictions = self
            .deployments
            .iter()
            .map(|d| d.watched.predictions.as_str());
        let labels = self.labels.iter().map(|labels| labels.source.name.as_str());
        scored.chain(predictions).chain(labels).collect()
    }

    /// One past the last row of `topic` and `partition` that it has counted.
    #[must_use]
    pub fn covered(&self, topic: &str, partition: i32) -> i64 {
        let partitions = self.covered.get(topic);
        partitions
            .and_then(|offsets| offsets.get(&partition))
            .copied()
            .unwrap_or(0)
    }

    /// Every row below `next` of this partition is known, of a table that no source has.
    pub fn cover(&mut self, (topic, partition): (&str, i32), next: i64) {
        let covered = self.covered.entry(topic.to_owned()).or_default();
        covered.insert(partition, next);
    }

    /// [`Self::decide`] has passed in every decision below these numbers of their table.
    pub fn know(&mut self, rows: &Applied) {
        let dated = rows
            .0
            .iter()
            .filter(|(place, _)| self.dates_by(&place.topic));
        let dated: Vec<_> = dated.collect();
        for (place, known) in dated {
            self.decided.know(place, known.next_offset);
        }
    }

    /// How many decisions about `place` it covers, by [`Self::know`]; None where it does not move
    /// by them.
    #[must_use]
    pub fn decided_to(&self, place: &TopicPartition) -> Option<i64> {
        let dates = self.dates_by(&place.topic);
        dates.then(|| self.decided.known_to(place))
    }

    /// `source` has these partitions. One of which nothing was read yet holds it back.
    pub fn expect_partitions(&mut self, source: &SourceDef, partitions: &BTreeSet<i32>) {
        let is_unread = |partition: &i32| {
            let scored = |feed: &DeploymentFeed| {
                let known = feed.partitions.get(partition);
                feed.watched.scored.topic == source.topic
                    && known.is_some_and(|p| p.answered.complete_us().is_some())
            };
            let labelled = |labels: &LabelFeed| {
                labels.source.topic == source.topic && self.labels_us.contains_key(partition)
            };
            self.covered(&source.topic, *partition) == 0
                && !self.deployments.iter().any(scored)
                && !self.labels.as_ref().is_some_and(labelled)
        };
        let unread: Vec<i32> = partitions.iter().copied().filter(is_unread).collect();
        if let Some(gate) = self.gates.get_mut(&source.name) {
            unread
                .into_iter()
                .for_each(|partition| gate.expect(partition));
        }
    }

    /// `source` has a watermark: of each of its partitions a row was read, or it was held.
    pub fn open_gate(&mut self, source: &str) {
        if let Some(gate) = self.gates.get_mut(source) {
            gate.begin();
        }
    }

    /// What was decided about the time of the sources, in any order, and more than once where that
    /// comes about. Each decision must be known before the rows at and behind its offset are read.
    pub fn decide(&mut self, records: &[MarkRecord]) {
        for record in records {
            let (topic, partition) = (&*record.partition.topic, record.partition.partition);
            if self.dates_by(topic) {
                let covered = self.covered(topic, partition);
                self.decided.note(record, covered);
                self.stand((topic, partition), covered);
            }
        }
    }

    /// The reader stands at `offset` of the partition: all rows below are counted, and what was
    /// decided there takes effect, whether or not a row follows.
    pub fn stand(&mut self, (topic, partition): (&str, i32), offset: i64) {
        let Some(mark_us) = self.decided.reach(topic, partition, offset) else {
            return;
        };
        for feed in &mut self.deployments {
            if feed.watched.scored.topic == topic {
                if let Some(gate) = self.gates.get_mut(&feed.watched.scored.name) {
                    gate.pass(partition);
                }
                let partition = feed.partition(partition, &self.scopes);
                partition.answered.hold(mark_us);
            }
        }
        let labels = self.labels.as_ref().filter(|l| l.source.topic == topic);
        if let Some(labels) = labels {
            if let Some(gate) = self.gates.get_mut(&labels.source.name) {
                gate.pass(partition);
            }
            hold_label(&mut self.labels_us, partition, mark_us);
        }
    }

    /// Whether the monitor moves by the event time of `topic`.
    fn dates_by(&self, topic: &str) -> bool {
        let scored = self.deployments.iter().map(|feed| &feed.watched.scored);
        let labels = self.labels.iter().map(|labels| &labels.source);
        scored.chain(labels).any(|source| source.topic == topic)
    }

    /// Count rows. Those that were counted before are skipped.
    ///
    /// # Errors
    /// A column is missing: what the rows answer counts, what they hold does not.
    pub fn observe(&mut self, input: &SourceRows) -> Result<FailedLabels> {
        let topic = &input.source.topic;
        let fresh = |row: &u32| {
            let row = *row as usize;
            input.offset[row] >= self.covered(topic, input.partition[row])
        };
        let all = input.offset.len();
        let rows = 0..u32::try_from(all).expect("a batch has fewer than 2^32 rows");
        let kept: Vec<u32> = rows.filter(fresh).collect();
        if kept.is_empty() {
            return Ok(FailedLabels::default());
        }
        let picked;
        let input = if kept.len() == all {
            input
        } else {
            picked = input.pick(&kept)?;
            &picked
        };
        let covered = self.covered.entry(topic.clone()).or_default();
        for (partition, offset) in input.partition.iter().zip(&input.offset) {
            let before = covered.insert(*partition, offset.saturating_add(1));
            invariant!(
                RowsInLogOrder,
                before.is_none_or(|before| before <= *offset),
                "{topic}-{partition}: offset {offset} is covered"
            );
        }
        self.count(input)
    }

    fn count(&mut self, input: &SourceRows) -> Result<FailedLabels> {
        let name = &input.source.name;
        if let Some(gate) = self.gates.get_mut(name) {
            input
                .partition
                .iter()
                .for_each(|partition| gate.pass(*partition));
        }
        let dated = if self.dates_by(&input.source.topic) {
            self.date(input)?
        } else {
            Vec::new()
        };
        invariant!(
            PartsMakeTheWhole,
            dated.is_empty() || dated.len() == input.offset.len(),
            "{name}: {} of {} rows are dated",
            dated.len(),
            input.offset.len()
        );
        for index in 0..self.deployments.len() {
            if self.deployments[index].watched.scored.name == *name {
                self.events(index, input, &dated)?;
            }
            if self.deployments[index].watched.predictions == *name {
                self.predictions(index, input)?;
            }
        }
        match self
            .labels
            .clone()
            .filter(|labels| labels.source.name == *name)
        {
            Some(labels) => self.label(&labels, input, &dated),
            None => Ok(FailedLabels::default()),
        }
    }

    /// When each row counts, by its event time and what was decided about it.
    fn date(&mut self, input: &SourceRows) -> Result<Vec<DatedRow>> {
        let topic = input.source.topic.as_str();
        let places = input.partition.iter().zip(&input.offset);
        let rows = places.zip(input.times()?.values());
        let dated = rows.map(|((partition, offset), time_us)| {
            self.decided.date((topic, *partition), *offset, *time_us)
        });
        Ok(dated.collect())
    }

    /// About what it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let partitions = self.deployments.iter().flat_map(|d| d.partitions.values());
        let waiting = partitions
            .map(|p| p.answered.len() * EVENT_BYTES + p.held.len() * HELD_ROW_BYTES)
            .sum::<usize>();
        self.monitor.memory_bytes() + waiting
    }

    /// Move as far as what was read allows: windows close, labels expire, alarms change.
    pub fn advance(&mut self) -> Vec<MonitorEvent> {
        let marks = self.marks();
        self.monitor.advance(marks)
    }

    /// The alarms of kept windows, said again: after a start nobody knows which words went out.
    #[must_use]
    pub fn announced(&self) -> Vec<MonitorEvent> {
        self.monitor.announced()
    }

    /// How every alarm stands, up or down, as of the newest closed window of its series.
    #[must_use]
    pub fn standing(&self) -> Vec<MonitorEvent> {
        self.monitor.standing()
    }

    /// Everything that it knows.
    #[must_use]
    pub fn report(&self) -> MonitorReport {
        self.monitor.snapshot()
    }

    fn marks(&self) -> MonitorMarks {
        let is_open = |source: &SourceDef| !self.gates.get(&source.name).is_none_or(Gate::holds);
        let scored = |feed: &DeploymentFeed| {
            let reached = feed.partitions.values().map(|p| p.answered.complete_us());
            let source = &feed.watched.scored;
            slowest(reached, source.watermark_delay_us).filter(|_| is_open(source))
        };
        let labels = |labels: &LabelFeed| {
            let reached = self.labels_us.values().map(|time_us| Some(*time_us));
            slowest(reached, labels.source.watermark_delay_us).filter(|_| is_open(&labels.source))
        };
        MonitorMarks {
            predictions_us: slowest(self.deployments.iter().map(scored), 0),
            labels_us: self.labels.as_ref().and_then(labels),
        }
    }

    fn events(&mut self, index: usize, input: &SourceRows, dated: &[DatedRow]) -> Result<()> {
        let feed = &mut self.deployments[index];
        let delay_us = feed.watched.scored.watermark_delay_us;
        let mut released: Vec<(RecordBatch, Option<Micros>)> = Vec::new();
        let mut orphans = 0;
        for (row, dated) in dated.iter().enumerate() {
            let offset = input.offset[row];
            let partition = feed.partition(input.partition[row], &self.scopes);
            if let Some(held_us) = dated.held_us {
                partition.answered.hold(held_us);
            }
            let is_scored = partition.scope.contains(offset);
            let answer = partition.answered.read(offset, dated.time_us, is_scored);
            let log_us = match answer {
                Some(Answer::First { before_us }) => {
                    before_us.map(|us| us.saturating_sub(delay_us))
                }
                _ => None,
            };
            while let Some(first) = partition.held.first_entry().filter(|e| *e.key() <= offset) {
                match *first.key() == offset {
                    true => released.push((first.remove(), log_us)),
                    false => orphans += first.remove().num_rows() as u64,
                }
            }
        }
        self.monitor.note_orphans(orphans);
        for (rows, log_us) in released {
            self.monitor.observe_predictions(&rows, &[log_us])?;
        }
        Ok(())
    }

    fn predictions(&mut self, index: usize, input: &SourceRows) -> Result<()> {
        let feed = &mut self.deployments[index];
        let delay_us = feed.watched.scored.watermark_delay_us;
        let lacks =
            |name: &str| PortError::internal(format!("rows of {} lack {name}", input.source.name));
        let found = |name: &str| input.rows.column_by_name(name).ok_or_else(|| lacks(name));
        let topics = found(column::SOURCE_TOPIC)?.as_string_opt::<i32>();
        let topics = topics.ok_or_else(|| lacks(column::SOURCE_TOPIC))?;
        let partitions = found(column::SOURCE_PARTITION)?.as_primitive_opt::<Int32Type>();
        let partitions = partitions.ok_or_else(|| lacks(column::SOURCE_PARTITION))?;
        let offsets = found(column::SOURCE_OFFSET)?.as_primitive_opt::<Int64Type>();
        let offsets = offsets.ok_or_else(|| lacks(column::SOURCE_OFFSET))?;
        let (mut kept, mut logs_us) = (Vec::new(), Vec::new());
        let (mut early, mut repeats) = (0, 0);
        for row in 0..input.rows.num_rows() {
            let named = topics.is_valid(row) && partitions.is_valid(row) && offsets.is_valid(row);
            let ours = named && topics.value(row) == feed.watched.scored.topic;
            let mut log_us = None;
            if ours {
                let partition = feed.partition(partitions.value(row), &self.scopes);
                let offset = offsets.value(row);
                // Of an event from before the deployment's time nothing is known: it counts.
                if partition.scope.contains(offset) {
                    match partition.answered.answer(offset) {
                        Answer::First { before_us } => {
                            log_us = before_us.map(|us| us.saturating_sub(delay_us));
                        }
                        Answer::Early => {
                            partition.held.insert(offset, input.rows.slice(row, 1));
                            early += 1;
                            continue;
                        }
                        Answer::Repeated => {
                            repeats += 1;
                            continue;
                        }
                    }
                }
            }
            kept.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
            logs_us.push(log_us);
        }
        invariant!(
            PartsMakeTheWhole,
            kept.len() as u64 + early + repeats == input.rows.num_rows() as u64,
            "{} rows are counted, {early} came early, {repeats} again",
            kept.len()
        );
        self.monitor.note_repeats(repeats);
        if kept.len() == input.rows.num_rows() {
            self.monitor.observe_predictions(&input.rows, &logs_us)
        } else if kept.is_empty() {
            Ok(())
        } else {
            self.monitor
                .observe_predictions(&input.pick(&kept)?.rows, &logs_us)
        }
    }

    fn label(
        &mut self,
        labels: &LabelFeed,
        input: &SourceRows,
        dated: &[DatedRow],
    ) -> Result<FailedLabels> {
        let mut failed = FailedLabels::default();
        let values = labels_of(labels.expression.as_ref(), &input.rows, &mut failed)?;
        let times = input.times()?;
        let delay_us = labels.source.watermark_delay_us;
        let mut logs_us = Vec::with_capacity(times.len());
        for (partition, dated) in input.partition.iter().zip(dated) {
            if let Some(held_us) = dated.held_us {
                hold_label(&mut self.labels_us, *partition, held_us);
            }
            let newest = self.labels_us.get(partition).copied();
            logs_us.push(newest.map(|us| us.saturating_sub(delay_us)));
            hold_label(&mut self.labels_us, *partition, dated.time_us);
        }
        self.monitor
            .observe_labels(&input.rows, &values, times, &logs_us)?;
        Ok(failed)
    }

    /// End the alarms of versions that no route leads to. What follows is said with all others.
    fn begin(&mut self) {
        drop(self.monitor.set_routed(self.routed.clone()));
    }
}

impl DeploymentFeed {
    fn partition(&mut self, number: i32, scopes: &ScoringScopes) -> &mut PartitionFeed {
        let watched = &self.watched;
        self.partitions
            .entry(number)
            .or_insert_with(|| PartitionFeed {
                scope: scopes.of(&watched.deployment, &watched.scored.topic, number),
                ..PartitionFeed::default()
            })
    }
}

/// The partition of labels has come to `mark_us` at least.
fn hold_label(labels_us: &mut BTreeMap<i32, Micros>, partition: i32, mark_us: Micros) {
    let reached = labels_us.entry(partition).or_insert(mark_us);
    *reached = mark_us.max(*reached);
}
