//! What the monitor of a world must report: a count of everything that the archive has, at once.
//! Predictions, labels, settlements and the recorded decisions about time, sorted facts and plain
//! loops over them. Written apart from the monitor; of that it knows the report alone.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::ports::LogNotes;
use forebay_core::prediction::{Role, column};
use forebay_core::progress::TopicPartition;
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::time::{HOUR_US, Micros, SECOND_US};
use forebay_core::value::Value;
use forebay_core::watermark::{MarkFact, MarkRecord};
use forebay_monitor::{MonitorReport, WindowState};
use forebay_pipeline::settlements;
use forebay_testkit::ArchivedRow;

use crate::drift::{self, Judged, Scores, Word};
use crate::monitored::{LABELS, LABELS_TOPIC, LATENESS_US, SPLIT_SCORE, WINDOW_US, WITHIN_US};
use crate::oracle::shard_of_event;
use crate::world::{DELAY_US, EVENTS, PREDICTIONS, TOPIC, World};

/// The score from which on the model says TRUE.
const SAYS_TRUE: f64 = 0.5;

/// One window of one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    rows: u64,
    /// Rows that came when it had closed.
    revision: u32,
    is_closed: bool,
    labelled: u64,
    expired: u64,
    true_positives: u64,
    scores: u64,
    judged: Judged,
}

/// What became of labels, and of predictions that came too late for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fates {
    matched: u64,
    early: u64,
    expired: u64,
    unmatched: u64,
    waiting: u64,
    late: u64,
    null: u64,
    invalid: u64,
    late_predictions: u64,
}

/// The figures of a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Of predictions and of labels.
    marks: (Option<Micros>, Option<Micros>),
    fates: Fates,
    /// By version and start.
    windows: BTreeMap<(u32, Micros), Window>,
    /// By version that events go to, the end of the window that raised its alarm, where it is up.
    raised_us: BTreeMap<u32, Micros>,
}

/// What a world asks for.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// Of the report.
    pub figures: Figures,
    /// By version and start, the scores of each window: those that came before it could close, and
    /// those that may have come later.
    scores: BTreeMap<(u32, Micros), (Scores, Scores)>,
    /// What the alarm topic must be told of each version while events go to it.
    words: BTreeMap<u32, Vec<Word>>,
    /// Scored events that are answered by a note alone.
    pub noted: u64,
    /// Events that a note says get no prediction, and that have one: a power cut had taken back
    /// that it was published, and what waited again was withdrawn. A monitor goes by what it reads
    /// first of the two.
    pub both: u64,
    /// Whether the watermark of predictions would lie lower without those.
    pub notes_count: bool,
}

impl Evaluated {
    /// What the archive of `world` asks for.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let marks = world.archived_marks();
        let events = Source::read(world, EVENTS, TOPIC, &marks);
        let labels = Source::read(world, LABELS, LABELS_TOPIC, &marks);
        let predictions = predictions(world, &events);
        let mut answered: BTreeSet<_> = predictions.iter().map(|p| p.of).collect();
        let without_notes = events.reached(&answered);
        let settled = settled(world);
        let mut evaluated = Self {
            noted: settled.difference(&answered).count() as u64,
            both: settled.intersection(&answered).count() as u64,
            ..Self::default()
        };
        answered.extend(settled);
        answered.extend(events.unscored(world));
        let figures = &mut evaluated.figures;
        figures.marks = (events.reached(&answered), labels.reached_all());
        evaluated.notes_count = figures.marks.0 != without_notes;
        let labels = figures.sort_labels(&labels);
        figures.count_windows(&predictions, &labels);
        figures.count_fates(&predictions, &labels);
        let live = world.deployed.now().map(|routes| routes.live);
        evaluated.judge(&predictions, live, world.setup.alarm_windows as usize);
        evaluated
    }

    /// What each window says of its scores, and which alarms follow: only `live` gets events.
    fn judge(&mut self, predictions: &[Prediction], live: Option<u32>, alarm_windows: usize) {
        for prediction in predictions {
            let start = window_of(prediction.time_us);
            let (in_time, late) = self.scores.entry((prediction.version, start)).or_default();
            let is_late = prediction.log_us.is_some_and(|log| closes_at(start) <= log);
            let scores = if is_late { late } else { in_time };
            match prediction.score <= SPLIT_SCORE {
                true => scores.low += 1,
                false => scores.high += 1,
            }
        }
        let mut closed: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for (which, (in_time, late)) in &self.scores {
            let window = self.figures.windows.entry(*which).or_default();
            window.judged = in_time.with(*late).judged();
            if window.is_closed {
                let closed = closed.entry(which.0).or_default();
                closed.push((which.1 + WINDOW_US, window.judged));
            }
        }
        let words = |(version, closed): (u32, Vec<_>)| {
            (version, drift::words(closed.into_iter(), alarm_windows))
        };
        self.words = closed.into_iter().map(words).collect();
        let words = live.and_then(|live| Some((live, self.words.get(&live)?.last()?)));
        let up = words.filter(|(_, (_, up))| *up);
        self.figures.raised_us = up
            .map(|(live, (end_us, _))| (live, *end_us))
            .into_iter()
            .collect();
    }

    /// The words on the alarm of `version`, in the order of their windows.
    #[must_use]
    pub fn words(&self, version: u32) -> &[Word] {
        self.words.get(&version).map_or(&[], Vec::as_slice)
    }

    /// Whether the alarm of `version` is up.
    #[must_use]
    pub fn is_up(&self, version: u32) -> bool {
        self.figures.raised_us.contains_key(&version)
    }

    /// Whether every window says the same whatever came late: then nothing else was ever said.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let mut scores = self.scores.values();
        scores.all(|(in_time, late)| in_time.is_steady(*late))
    }

    /// Closed windows of which the scores are judged `judged`.
    #[must_use]
    pub fn closed(&self, judged: &[Judged]) -> u64 {
        let windows = self.figures.windows.values();
        let counted = windows.filter(|w| w.is_closed && judged.contains(&w.judged));
        counted.count() as u64
    }
}

impl Figures {
    /// Those of `report`.
    ///
    /// # Panics
    /// It is of a monitor without labels.
    #[must_use]
    pub fn of_report(report: &MonitorReport) -> Self {
        let fates = report.labels.expect("a monitor with labels");
        let mut windows = BTreeMap::new();
        for series in &report.series {
            for window in &series.windows {
                let quality = window.quality.as_ref().expect("a monitor with labels");
                let figures = Window {
                    rows: window.rows,
                    revision: window.revision,
                    is_closed: window.state == WindowState::Closed,
                    labelled: quality.labelled,
                    expired: quality.expired,
                    true_positives: quality.true_positives,
                    scores: window.columns[0].values,
                    judged: Judged::of_report(&window.columns[0]),
                };
                windows.insert((series.version, window.start_us), figures);
            }
        }
        let alarms = report.series.iter().flat_map(|series| {
            let alarms = series.alarms.iter();
            alarms.map(|alarm| (series.version, alarm.since_us))
        });
        Self {
            marks: (report.watermark_us, report.labels_watermark_us),
            fates: Fates {
                matched: fates.matched,
                early: fates.early,
                expired: fates.expired,
                unmatched: fates.unmatched,
                waiting: fates.waiting,
                late: fates.late,
                null: fates.null,
                invalid: fates.invalid,
                late_predictions: fates.late_predictions,
            },
            windows,
            raised_us: alarms.collect(),
        }
    }

    /// Labels that take part, each once, ascending; the others are counted.
    fn sort_labels(&mut self, labels: &Source) -> Vec<Label> {
        let mut sorted = Vec::new();
        for dated in &labels.rows {
            let key = dated.row.values.get("n");
            match (key, dated.row.values.get("y")) {
                (Some(Value::Int(_)), Some(Value::Null)) => self.fates.null += 1,
                (Some(Value::Int(_)), Some(Value::Bool(_)))
                    if is_late(dated.time_us, dated.log_us) =>
                {
                    self.fates.late += 1;
                }
                (Some(Value::Int(key)), Some(Value::Bool(value))) => sorted.push(Label {
                    time_us: dated.time_us,
                    value: *value,
                    key: *key,
                }),
                _ => self.fates.invalid += 1,
            }
        }
        sorted.sort_unstable();
        sorted.dedup();
        sorted
    }

    fn count_windows(&mut self, predictions: &[Prediction], labels: &[Label]) {
        let (mark, labels_mark) = self.marks;
        for prediction in predictions {
            let start = window_of(prediction.time_us);
            let closes_at = closes_at(start);
            let window = self.windows.entry((prediction.version, start)).or_default();
            window.rows += 1;
            window.scores += 1;
            window.revision += u32::from(prediction.log_us.is_some_and(|log| closes_at <= log));
            window.is_closed = mark.is_some_and(|mark| closes_at <= mark);
            let mine = |label: &&Label| {
                Some(label.key) == prediction.key
                    && (0..=WITHIN_US).contains(&(label.time_us - prediction.time_us))
            };
            let expires_at = prediction.time_us + WITHIN_US + LATENESS_US;
            if is_late(prediction.time_us, prediction.log_us) {
                self.fates.late_predictions += 1;
                window.expired += 1;
            } else if let Some(label) = labels.iter().rfind(mine) {
                let says_true = prediction.score >= SAYS_TRUE;
                window.labelled += 1;
                window.true_positives += u64::from(label.value && says_true);
            } else if prediction.key.is_none() || has_passed(expires_at, labels_mark) {
                window.expired += 1;
            }
        }
    }

    fn count_fates(&mut self, predictions: &[Prediction], labels: &[Label]) {
        let mark = self.marks.0;
        for label in labels {
            let near = predictions
                .iter()
                .filter(|p| p.key == Some(label.key) && !is_late(p.time_us, p.log_us));
            let distances: Vec<Micros> = near.map(|p| label.time_us - p.time_us).collect();
            let any = |from: Micros, to: Micros| distances.iter().any(|d| (from..=to).contains(d));
            let fate = if any(0, WITHIN_US) {
                &mut self.fates.matched
            } else if any(-WITHIN_US, -1) {
                &mut self.fates.early
            } else if any(WITHIN_US + 1, 2 * WITHIN_US) {
                &mut self.fates.expired
            } else if has_passed(label.time_us + WITHIN_US + LATENESS_US, mark) {
                &mut self.fates.unmatched
            } else {
                &mut self.fates.waiting
            };
            *fate += 1;
        }
    }
}

/// A label that takes part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    time_us: Micros,
    value: bool,
    key: i64,
}

/// A live prediction.
#[derive(Debug)]
struct Prediction {
    of: (i32, i64),
    time_us: Micros,
    /// The watermark of its event's partition before the event.
    log_us: Option<Micros>,
    version: u32,
    score: f64,
    key: Option<i64>,
}

/// A row, and the watermark of its partition before it.
#[derive(Debug)]
struct Dated {
    row: ArchivedRow,
    time_us: Micros,
    log_us: Option<Micros>,
}

/// The rows of a source by place, and how far each of its partitions has come.
#[derive(Debug)]
struct Source {
    rows: Vec<Dated>,
    newest_us: BTreeMap<i32, Micros>,
    /// Whether a partition is there of which nothing is known.
    is_whole: bool,
}

impl Source {
    fn read(world: &World, table: &str, topic: &str, marks: &[MarkRecord]) -> Self {
        let note = world.store.topic_note(topic).expect("in memory");
        let partitions = note.map_or(0, |note| note.partitions);
        let archived = world.archive.rows(table);
        let (mut rows, mut newest_us) = (Vec::new(), BTreeMap::new());
        for number in 0..partitions {
            let place = TopicPartition::new(topic, number);
            let facts = marks.iter().filter(|record| record.partition == place);
            let facts: Vec<MarkFact> = facts.map(|record| record.fact).collect();
            let mut newest: Option<Micros> = None;
            for row in archived.iter().filter(|row| row.place == place) {
                let Some(Value::Timestamp(time_us)) = row.values.get("ts") else {
                    panic!("ts is a timestamp")
                };
                newest = newest.max(held(&facts, row.offset));
                rows.push(Dated {
                    row: row.clone(),
                    time_us: *time_us,
                    log_us: newest.map(|newest| newest - DELAY_US),
                });
                newest = newest.max(Some(*time_us.min(&most(&facts, row.offset))));
            }
            if let Some(newest) = newest.max(held(&facts, i64::MAX)) {
                newest_us.insert(number, newest);
            }
        }
        Self {
            rows,
            is_whole: partitions > 0 && i32::try_from(newest_us.len()) == Ok(partitions),
            newest_us,
        }
    }

    /// Events that came while the deployment was not there.
    fn unscored(&self, world: &World) -> Vec<(i32, i64)> {
        let is_unscored = |dated: &&Dated| {
            let (place, offset) = (&dated.row.place, dated.row.offset);
            let key = match &dated.row.values["k"] {
                Value::Text(key) => Some(&**key),
                _ => None,
            };
            let shard = shard_of_event(world, key, (place, offset));
            world.deployed.since(shard, place, offset)[0].is_none()
        };
        let unscored = self.rows.iter().filter(is_unscored);
        let places = unscored.map(|dated| (dated.row.place.partition, dated.row.offset));
        places.collect()
    }

    /// The event time that the slowest partition has reached.
    fn reached_all(&self) -> Option<Micros> {
        let least = self.newest_us.values().min().filter(|_| self.is_whole);
        least.map(|newest| newest - DELAY_US)
    }

    /// The same for the longest prefix of each that is `answered`.
    fn reached(&self, answered: &BTreeSet<(i32, i64)>) -> Option<Micros> {
        let reached = |(partition, newest): (&i32, &Micros)| {
            let mut rows = self
                .rows
                .iter()
                .filter(|dated| dated.row.place.partition == *partition);
            let waiting = rows.find(|dated| !answered.contains(&(*partition, dated.row.offset)));
            waiting.map_or(Some(newest - DELAY_US), |dated| dated.log_us)
        };
        let reached: Option<Vec<Micros>> = self.newest_us.iter().map(reached).collect();
        reached?.into_iter().min().filter(|_| self.is_whole)
    }
}

/// The greatest mark at which a partition was held up to `offset`.
fn held(facts: &[MarkFact], offset: i64) -> Option<Micros> {
    let mark = |fact: &MarkFact| match fact {
        MarkFact::Hold(hold) if hold.at <= offset => Some(hold.mark_us),
        _ => None,
    };
    facts.iter().filter_map(mark).max()
}

/// For how much the row at `offset` counts at most.
fn most(facts: &[MarkFact], offset: i64) -> Micros {
    let bound = |fact: &MarkFact| match fact {
        MarkFact::Bound(bound) if (bound.from..bound.until).contains(&offset) => Some(*bound),
        _ => None,
    };
    let bounds = facts.iter().filter_map(bound);
    bounds.max().map_or(Micros::MAX, |bound| bound.mark_max_us)
}

fn predictions(world: &World, events: &Source) -> Vec<Prediction> {
    let logs: BTreeMap<(i32, i64), Option<Micros>> = events
        .rows
        .iter()
        .map(|dated| ((dated.row.place.partition, dated.row.offset), dated.log_us))
        .collect();
    let mut seen = BTreeSet::new();
    let mut predictions = Vec::new();
    for row in world.archive.rows(PREDICTIONS) {
        let int = |name: &str| match row.values.get(name) {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        };
        let partition = int(column::SOURCE_PARTITION).expect("its event");
        let partition = i32::try_from(partition).expect("few");
        let of = (partition, int(column::SOURCE_OFFSET).expect("its event"));
        let (Some(Value::Timestamp(time_us)), Some(Value::Float(score))) = (
            row.values.get(column::EVENT_TIME),
            row.values.get(column::SCORE),
        ) else {
            panic!("a prediction has a time and a score")
        };
        if seen.insert(of) {
            predictions.push(Prediction {
                of,
                time_us: *time_us,
                log_us: logs.get(&of).copied().flatten(),
                version: u32::try_from(int(column::MODEL_VERSION).expect("it has one"))
                    .expect("small"),
                score: *score,
                key: int("n"),
            });
        }
    }
    predictions
}

/// Events that get no prediction.
fn settled(world: &World) -> BTreeSet<(i32, i64)> {
    let mut settled = BTreeSet::new();
    for rows in world.archive.batches(SETTLEMENT_TABLE) {
        for events in settlements::read(&rows).expect("its own rows") {
            if events.role == Role::Live {
                let runs = events.offsets.runs().iter();
                let offsets = runs.flat_map(|(first, last)| *first..=*last);
                settled.extend(offsets.map(|offset| (events.partition, offset)));
            }
        }
    }
    settled
}

/// Start of the window in which a prediction at `time_us` counts.
fn window_of(time_us: Micros) -> Micros {
    time_us.div_euclid(WINDOW_US) * WINDOW_US
}

/// The mark at which the window that starts at `start_us` closes.
fn closes_at(start_us: Micros) -> Micros {
    start_us + WINDOW_US + LATENESS_US
}

fn is_late(time_us: Micros, log_us: Option<Micros>) -> bool {
    log_us.is_some_and(|log| time_us + LATENESS_US < log)
}

/// Expiry moves in steps.
fn has_passed(deadline_us: Micros, mark_us: Option<Micros>) -> bool {
    let step = (WITHIN_US / 256).clamp(SECOND_US, HOUR_US);
    mark_us.is_some_and(|mark| deadline_us < mark.div_euclid(step) * step)
}
