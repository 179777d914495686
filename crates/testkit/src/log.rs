//! A log in memory: topics, partitions, offsets with holes, a head that may be deleted, records
//! that cannot be decoded; topics that are deleted, made anew and grow, a broker that is away. Its
//! reader takes what is there in runs of random length from random
//! partitions, so that a seed decides arrival order and the cuts between batches; within a
//! partition the order is that of the log, as everywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_core::limits::LOG_OFFSET_JUMP_MAX;
use forebay_core::ports::{EventLog, LogFault, LogPosition, SourceBatch};
use forebay_core::progress::{RecordDigest, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::value::{Value, array_from_values};
use forebay_core::{ErrorKind, PortError, PortResult};
use parking_lot::{Condvar, Mutex};

use crate::fate::{Fate, Point};
use crate::random::Random;

mod batch;
mod inspector;
mod written;

use batch::batch;
pub use inspector::MemoryInspector;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub kafka_time_us: Option<Micros>,
    /// The source's columns, or why the decoder does not take it.
    pub values: Result<Vec<Value>, &'static str>,
}

#[derive(Debug, Default)]
struct Partition {
    begin: i64,
    next: i64,
    /// What was deleted after it was read.
    gone: Vec<Record>,
    records: Vec<Record>,
    /// One past the newest control record.
    control: i64,
    /// Offsets that nobody can read: first, one past the last.
    damaged: Vec<(i64, i64)>,
}

#[derive(Debug)]
struct Topic {
    id: u64,
    partitions: Vec<Partition>,
    /// Whether the broker refuses it.
    refused: bool,
}

#[derive(Debug)]
struct Contents {
    cluster: String,
    topics: BTreeMap<Arc<str>, Topic>,
    /// Topics made so far.
    made: u64,
    /// Whether topics tell their ids.
    tells_ids: bool,
    /// Whether the broker is away.
    down: bool,
    /// Where the newest reader stands.
    read: BTreeMap<TopicPartition, i64>,
}

/// The log; clones share its contents.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    contents: Arc<(Mutex<Contents>, Condvar)>,
}

impl MemoryLog {
    /// An empty log of cluster `cluster`.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        let contents = Contents {
            cluster: cluster.to_owned(),
            topics: BTreeMap::new(),
            made: 0,
            tells_ids: true,
            down: false,
            read: BTreeMap::new(),
        };
        Self {
            contents: Arc::new((Mutex::new(contents), Condvar::new())),
        }
    }

    /// Make `topic`, if it is not there.
    pub fn create_topic(&self, topic: &str, partitions: usize) {
        let mut contents = self.contents.0.lock();
        if contents.topics.contains_key(topic) {
            return;
        }
        contents.made += 1;
        let made = Topic {
            id: contents.made,
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            refused: false,
        };
        contents.topics.insert(topic.into(), made);
    }

    /// Delete `topic` with all its records.
    pub fn delete_topic(&self, topic: &str) {
        self.contents.0.lock().topics.remove(topic);
        self.contents.1.notify_all();
    }

    /// Add empty partitions, up to `partitions` in all.
    ///
    /// # Panics
    /// There is no such topic.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let mut contents = self.contents.0.lock();
        let topic = contents.topics.get_mut(topic).expect("a topic to grow");
        topic.partitions.resize_with(partitions, Partition::default);
    }

    /// Have the broker refuse `topic`, or no more.
    ///
    /// # Panics
    /// There is no such topic.
    pub fn refuse(&self, topic: &str, refused: bool) {
        let mut contents = self.contents.0.lock();
        contents.topics.get_mut(topic).expect("a topic").refused = refused;
        self.contents.1.notify_all();
    }

    /// Whether the broker is away.
    pub fn set_down(&self, down: bool) {
        self.contents.0.lock().down = down;
        self.contents.1.notify_all();
    }

    /// Tell no topic ids, as old brokers do.
    pub fn hide_ids(&self) {
        self.contents.0.lock().tells_ids = false;
    }

    /// Lose the records from `offset` on, as an unclean election does.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn truncate(&self, topic: &str, partition: usize, offset: i64) {
        self.with(topic, partition, |partition| {
            partition.next = offset;
            partition.control = partition.control.min(offset);
            partition.records.retain(|record| record.offset < offset);
        });
    }

    /// End a transaction: a control record takes an offset, and nobody sees it.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn control(&self, topic: &str, partition: usize) {
        self.with(topic, partition, |partition| {
            partition.next += 1;
            partition.control = partition.next;
        });
    }

    /// Damage the batch that holds the offsets from `from` to before `to`.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn damage(&self, topic: &str, partition: usize, from: i64, to: i64) {
        self.with(topic, partition, |partition| {
            partition.damaged.push((from, to));
        });
    }

    /// Give the record at `offset`, and all behind it, offsets that are `by` higher (or lower).
    ///
    /// # Panics
    /// There is no such partition.
    pub fn shift(&self, topic: &str, partition: usize, offset: i64, by: i64) {
        self.with(topic, partition, |partition| {
            for record in partition.records.iter_mut().filter(|r| r.offset >= offset) {
                record.offset += by;
            }
        });
    }

    /// Add a record; returns its offset.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn append(
        &self,
        topic: &str,
        partition: usize,
        values: Result<Vec<Value>, &'static str>,
    ) -> i64 {
        let offset = self.with(topic, partition, |partition| {
            let offset = partition.next;
            partition.next += 1;
            partition.records.push(Record {
                offset,
                kafka_time_us: Some(offset * 1_000),
                values,
            });
            offset
        });
        self.contents.1.notify_all();
        offset
    }

    /// Leave `offsets` out, as compaction and transactions do.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn skip(&self, topic: &str, partition: usize, offsets: i64) {
        self.with(topic, partition, |partition| partition.next += offsets);
    }

    /// Delete the head, up to `offset`, before anybody could read it.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn delete_before(&self, topic: &str, partition: usize, offset: i64) {
        self.with(topic, partition, |partition| {
            partition.begin = offset;
            partition.records.retain(|record| record.offset >= offset);
        });
    }

    /// Delete the head, up to `offset`, after it was read: [`Self::history`] has it still.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn retire(&self, topic: &str, partition: usize, offset: i64) {
        self.with(topic, partition, |partition| {
            let read = partition.records.iter().filter(|r| r.offset < offset);
            partition.gone.extend(read.cloned());
        });
        self.delete_before(topic, partition, offset);
    }

    /// What a partition holds.
    ///
    /// # Panics
    /// There is no such partition.
    #[must_use]
    pub fn records(&self, topic: &str, partition: usize) -> Vec<Record> {
        self.with(topic, partition, |partition| partition.records.clone())
    }

    /// What a partition holds, and what was retired.
    ///
    /// # Panics
    /// There is no such partition.
    #[must_use]
    pub fn history(&self, topic: &str, partition: usize) -> Vec<Record> {
        self.with(topic, partition, |partition| {
            [partition.gone.clone(), partition.records.clone()].concat()
        })
    }

    /// Where a partition begins.
    ///
    /// # Panics
    /// There is no such partition.
    #[must_use]
    pub fn begin(&self, topic: &str, partition: usize) -> i64 {
        self.with(topic, partition, |partition| partition.begin)
    }

    /// One past the last offset that each partition has given away.
    ///
    /// # Panics
    /// There is no such topic.
    #[must_use]
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let partitions = 0..self.partitions(topic);
        let end = |partition| self.with(topic, partition, |partition| partition.next);
        partitions.map(end).collect()
    }

    /// Number of partitions of `topic`; 0 where it is not there.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> usize {
        let contents = self.contents.0.lock();
        contents.topics.get(topic).map_or(0, |t| t.partitions.len())
    }

    /// Whether the newest reader stands at the end of all that it was assigned.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let contents = self.contents.0.lock();
        let end = |place: &TopicPartition| contents.end(place).unwrap_or(0);
        !contents.read.is_empty() && contents.read.iter().all(|(place, at)| *at >= end(place))
    }

    /// Whether a reader stands in every partition of `topic`: of a source that is halted, or that
    /// nobody has decided on yet, it stands in none.
    #[must_use]
    pub fn is_assigned(&self, topic: &str) -> bool {
        let partitions = i32::try_from(self.partitions(topic)).expect("few");
        let contents = self.contents.0.lock();
        (0..partitions).all(|number| {
            contents
                .read
                .contains_key(&TopicPartition::new(topic, number))
        })
    }

    /// A reader, whose choices follow from `seed`. Until it is assigned nothing counts as read.
    #[must_use]
    pub fn reader(&self, seed: u64, fate: &Arc<Fate>) -> MemoryReader {
        self.contents.0.lock().read.clear();
        MemoryReader {
            log: self.clone(),
            fate: Arc::clone(fate),
            random: Random::new(seed),
            sources: Vec::new(),
            positions: BTreeMap::new(),
            faults: Vec::new(),
            paused: false,
        }
    }

    /// Answers about the log.
    #[must_use]
    pub fn inspector(&self) -> MemoryInspector {
        MemoryInspector::of(self)
    }

    fn with<T>(&self, topic: &str, partition: usize, act: impl FnOnce(&mut Partition) -> T) -> T {
        let mut contents = self.contents.0.lock();
        let found = contents
            .topics
            .get_mut(topic)
            .unwrap_or_else(|| panic!("no topic '{topic}'"));
        act(found
            .partitions
            .get_mut(partition)
            .unwrap_or_else(|| panic!("no partition {partition} of '{topic}'")))
    }
}

impl Contents {
    fn partition(&self, place: &TopicPartition) -> Option<&Partition> {
        let topic = self.topics.get(&place.topic)?;
        topic.partitions.get(usize::try_from(place.partition).ok()?)
    }

    /// One past the newest record or control record (other holes at the end are not seen).
    fn end(&self, place: &TopicPartition) -> Option<i64> {
        let partition = self.partition(place)?;
        let records = partition.records.iter().map(|record| record.offset + 1);
        // A record whose offset was damaged does not move the end.
        let records = records.filter(|end| *end <= partition.next).max();
        Some(
            partition
                .begin
                .max(partition.control)
                .max(records.unwrap_or(0)),
        )
    }

    /// Why `place` cannot be read at `at`; None where it can.
    fn fault(&self, place: &TopicPartition, at: i64) -> Option<LogFault> {
        let Some(partition) = self.partition(place) else {
            let why = "no such partition".to_owned();
            return Some(LogFault::PositionLost { why });
        };
        if self.topics.get(&place.topic).is_some_and(|t| t.refused) {
            let why = "the test refuses it".to_owned();
            return Some(LogFault::Refused { why });
        }
        if at < partition.begin || self.end(place).is_some_and(|end| at > end) {
            let why = format!("{at} is not in the log");
            return Some(LogFault::PositionLost { why });
        }
        let next = partition.records.iter().find(|record| record.offset >= at);
        let next = next.map_or(at, |record| record.offset);
        let hit = partition
            .damaged
            .iter()
            .find(|(from, to)| (*from <= at && at < *to) || (at <= *from && *from <= next));
        hit.map(|(from, _)| LogFault::Unreadable {
            offset: at.max(*from),
            why: "the test damaged it".to_owned(),
        })
    }
}

/// Reads a [`MemoryLog`].
#[derive(Debug)]
pub struct MemoryReader {
    log: MemoryLog,
    fate: Arc<Fate>,
    random: Random,
    sources: Vec<Arc<SourceDef>>,
    positions: BTreeMap<TopicPartition, i64>,
    faults: Vec<(TopicPartition, LogFault)>,
    paused: bool,
}

impl MemoryReader {
    /// Stop reading what cannot be read, and pass the control records at the ends.
    fn settle(&mut self, contents: &Contents) {
        for (place, at) in std::mem::take(&mut self.positions) {
            if let Some(fault) = contents.fault(&place, at) {
                self.faults.push((place, fault));
                continue;
            }
            let more = contents
                .partition(&place)
                .is_some_and(|partition| partition.records.iter().any(|r| r.offset >= at));
            let end = contents.end(&place).filter(|_| !more).unwrap_or(at);
            self.positions.insert(place, at.max(end));
        }
    }

    /// Take up to `max_rows` records of those that are there.
    fn take(&mut self, contents: &Contents, max_rows: usize) -> Vec<(TopicPartition, Record)> {
        let mut taken = Vec::new();
        let most = 1 + self.random.below(max_rows);
        while taken.len() < most {
            let unread = |(place, at): &(&TopicPartition, &i64)| {
                let more = |p: &Partition| p.records.iter().any(|r| r.offset >= **at);
                contents.fault(place, **at).is_none() && contents.partition(place).is_some_and(more)
            };
            let open: Vec<TopicPartition> = self
                .positions
                .iter()
                .filter(unread)
                .map(|(place, _)| place.clone())
                .collect();
            if open.is_empty() {
                break;
            }
            let place = open[self.random.below(open.len())].clone();
            let run = (1 + self.random.below(7)).min(most - taken.len());
            let at = self.positions[&place];
            let records = contents
                .partition(&place)
                .map_or(&[][..], |partition| &partition.records);
            for record in records
                .iter()
                .filter(|record| record.offset >= at)
                .take(run)
            {
                if contents.fault(&place, self.positions[&place]).is_some() {
                    break;
                }
                if record.offset - self.positions[&place] > LOG_OFFSET_JUMP_MAX {
                    self.faults
                        .push((place.clone(), jump(self.positions[&place], record)));
                    self.positions.remove(&place);
                    break;
                }
                self.positions.insert(place.clone(), record.offset + 1);
                taken.push((place.clone(), record.clone()));
            }
        }
        taken
    }
}

impl EventLog for MemoryReader {
    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()> {
        // A column that no record can fill is told now, and not at the first record.
        let mut columns = sources.iter().flat_map(|source| &source.columns);
        columns.try_for_each(|c| array_from_values(&c.data_type, [].iter()).map(drop))?;
        self.log.contents.0.lock().read.clone_from(from);
        self.sources = sources.to_vec();
        self.positions.clone_from(from);
        self.faults.clear();
        self.paused = false;
        Ok(())
    }

    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>> {
        self.fate.meet(Point::Poll, || Ok(()))?;
        let deadline = Instant::now() + timeout;
        let log = self.log.clone();
        let mut contents = log.contents.0.lock();
        loop {
            if contents.down {
                return Err(away());
            }
            let faults = self.faults.len();
            self.settle(&contents);
            let taken = if self.paused {
                Vec::new()
            } else {
                self.take(&contents, max_rows)
            };
            self.settle(&contents);
            let taken = if taken.is_empty() && self.faults.len() > faults {
                return Ok(Vec::new());
            } else {
                taken
            };
            if taken.is_empty()
                && !log
                    .contents
                    .1
                    .wait_until(&mut contents, deadline)
                    .timed_out()
            {
                continue;
            }
            contents.read.clone_from(&self.positions);
            drop(contents);
            let batches = self.sources.iter().map(|source| batch(source, &taken));
            return batches.filter_map(Result::transpose).collect();
        }
    }

    fn set_paused(&mut self, paused: bool) -> PortResult<()> {
        self.paused = paused;
        Ok(())
    }

    fn faults(&mut self) -> Vec<(TopicPartition, LogFault)> {
        std::mem::take(&mut self.faults)
    }

    fn positions(&mut self) -> BTreeMap<TopicPartition, LogPosition> {
        let contents = self.log.contents.0.lock();
        let position = |(place, at): (&TopicPartition, &i64)| {
            let position = LogPosition {
                next_offset: *at,
                last_stable: contents.end(place).filter(|end| end <= at),
            };
            (place.clone(), position)
        };
        self.positions.iter().map(position).collect()
    }
}

fn jump(expected: i64, record: &Record) -> LogFault {
    LogFault::OffsetJumped {
        expected,
        found: record.offset,
    }
}

pub(super) fn away() -> PortError {
    PortError::new(ErrorKind::Unavailable, "the broker is away")
}

fn digest(record: &Record) -> RecordDigest {
    let value = format!("{:?}", record.values);
    RecordDigest::of(
        record.offset,
        record.kafka_time_us,
        None,
        Some(value.as_bytes()),
    )
}
