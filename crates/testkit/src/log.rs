//! A log in memory: topics, partitions, offsets with holes, a head that may be deleted, records
//! that cannot be decoded. Its reader takes what is there in runs of random length from random
//! partitions, so that a seed decides arrival order and the cuts between batches; within a
//! partition the order is that of the log, as everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use forebay_core::index::RowIndex;
use forebay_core::ports::{DeadLetter, EventLog, Origin, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::value::{Value, array_from_values};
use forebay_core::{ErrorKind, PortError, PortResult};
use parking_lot::{Condvar, Mutex};

use crate::fate::{Fate, Point};
use crate::random::Random;

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
    records: Vec<Record>,
}

#[derive(Debug)]
struct Contents {
    cluster: String,
    topics: BTreeMap<Arc<str>, Vec<Partition>>,
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
            read: BTreeMap::new(),
        };
        Self {
            contents: Arc::new((Mutex::new(contents), Condvar::new())),
        }
    }

    /// Make `topic`, if it is not there.
    pub fn create_topic(&self, topic: &str, partitions: usize) {
        let make = || (0..partitions).map(|_| Partition::default()).collect();
        self.contents
            .0
            .lock()
            .topics
            .entry(topic.into())
            .or_insert_with(make);
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

    /// Delete the head, up to `offset`.
    ///
    /// # Panics
    /// There is no such partition.
    pub fn delete_before(&self, topic: &str, partition: usize, offset: i64) {
        self.with(topic, partition, |partition| {
            partition.begin = offset;
            partition.records.retain(|record| record.offset >= offset);
        });
    }

    /// What a partition holds.
    ///
    /// # Panics
    /// There is no such partition.
    #[must_use]
    pub fn records(&self, topic: &str, partition: usize) -> Vec<Record> {
        self.with(topic, partition, |partition| partition.records.clone())
    }

    /// Number of partitions of `topic`; 0 where it is not there.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> usize {
        self.contents.0.lock().topics.get(topic).map_or(0, Vec::len)
    }

    /// Whether the newest reader stands at the end of all that it was assigned.
    #[must_use]
    pub fn is_read(&self) -> bool {
        let contents = self.contents.0.lock();
        let end = |place: &TopicPartition| contents.end(place).unwrap_or(0);
        !contents.read.is_empty() && contents.read.iter().all(|(place, at)| *at >= end(place))
    }

    /// A reader, whose choices follow from `seed`.
    #[must_use]
    pub fn reader(&self, seed: u64, fate: &Arc<Fate>) -> MemoryReader {
        MemoryReader {
            log: self.clone(),
            fate: Arc::clone(fate),
            random: Random::new(seed),
            sources: Vec::new(),
            positions: BTreeMap::new(),
            paused: false,
        }
    }

    fn with<T>(&self, topic: &str, partition: usize, act: impl FnOnce(&mut Partition) -> T) -> T {
        let mut contents = self.contents.0.lock();
        let partitions = contents
            .topics
            .get_mut(topic)
            .unwrap_or_else(|| panic!("no topic '{topic}'"));
        act(partitions
            .get_mut(partition)
            .unwrap_or_else(|| panic!("no partition {partition} of '{topic}'")))
    }
}

impl Contents {
    fn partition(&self, place: &TopicPartition) -> Option<&Partition> {
        self.topics
            .get(&place.topic)?
            .get(usize::try_from(place.partition).ok()?)
    }

    /// One past the newest record (holes at the end are not seen).
    fn end(&self, place: &TopicPartition) -> Option<i64> {
        let partition = self.partition(place)?;
        Some(
            partition
                .records
                .last()
                .map_or(partition.begin, |record| record.offset + 1),
        )
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
    paused: bool,
}

impl MemoryReader {
    /// Take up to `max_rows` records of those that are there.
    fn take(&mut self, contents: &Contents, max_rows: usize) -> Vec<(TopicPartition, Record)> {
        let mut taken = Vec::new();
        let most = 1 + self.random.below(max_rows);
        while taken.len() < most {
            let unread = |(place, at): &(&TopicPartition, &i64)| {
                contents.end(place).is_some_and(|end| **at < end)
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
                self.positions.insert(place.clone(), record.offset + 1);
                taken.push((place.clone(), record.clone()));
            }
        }
        taken
    }

    fn check(
        &self,
        contents: &Contents,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()> {
        let mut wanted = BTreeSet::new();
        for source in sources {
            let partitions = contents
                .topics
                .get(source.topic.as_str())
                .ok_or_else(|| unknown(&source.topic))?;
            let numbers = (0..partitions.len()).map(partition_number);
            wanted.extend(numbers.map(|n| TopicPartition::new(source.topic.as_str(), n)));
        }
        if !wanted.iter().eq(from.keys()) {
            return Err(PortError::new(
                ErrorKind::FailedPrecondition,
                "one offset for each partition, no more and no less",
            ));
        }
        for (place, offset) in from {
            let begin = contents
                .partition(place)
                .map_or(0, |partition| partition.begin);
            let end = contents.end(place).unwrap_or(0);
            if *offset < begin {
                return Err(PortError::new(
                    ErrorKind::OutOfRange,
                    format!("{place:?} begins at {begin}, not at {offset}"),
                ));
            }
            if *offset > end {
                return Err(PortError::new(
                    ErrorKind::FailedPrecondition,
                    format!("{place:?} ends at {end}, before {offset}"),
                ));
            }
        }
        Ok(())
    }
}

impl EventLog for MemoryReader {
    fn partitions(&mut self, topic: &str) -> PortResult<Vec<i32>> {
        match self.log.partitions(topic) {
            0 => Err(unknown(topic)),
            partitions => Ok((0..partitions).map(partition_number).collect()),
        }
    }

    fn begin_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, i64>> {
        let contents = self.log.contents.0.lock();
        let begin =
            |place: &TopicPartition| Some((place.clone(), contents.partition(place)?.begin));
        Ok(partitions.iter().filter_map(begin).collect())
    }

    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()> {
        let mut contents = self.log.contents.0.lock();
        self.check(&contents, sources, from)?;
        contents.read.clone_from(from);
        drop(contents);
        self.sources = sources.to_vec();
        self.positions.clone_from(from);
        self.paused = false;
        Ok(())
    }

    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>> {
        self.fate.meet(Point::Poll, || Ok(()))?;
        let deadline = Instant::now() + timeout;
        let log = self.log.clone();
        let mut contents = log.contents.0.lock();
        loop {
            let taken = if self.paused {
                Vec::new()
            } else {
                self.take(&contents, max_rows)
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

    fn end_offsets(&mut self) -> PortResult<BTreeMap<TopicPartition, i64>> {
        let contents = self.log.contents.0.lock();
        Ok(self
            .positions
            .keys()
            .filter_map(|place| Some((place.clone(), contents.end(place)?)))
            .collect())
    }

    fn cluster_id(&mut self) -> PortResult<String> {
        Ok(self.log.contents.0.lock().cluster.clone())
    }
}

/// Number of the partition at `index` of a topic.
fn partition_number(index: usize) -> i32 {
    i32::try_from(index).expect("a test's topic has few partitions")
}

fn unknown(topic: &str) -> PortError {
    PortError::not_found(format!("no topic '{topic}'"))
}

/// What of `taken` belongs to `source`; None where that is nothing.
fn batch(
    source: &Arc<SourceDef>,
    taken: &[(TopicPartition, Record)],
) -> PortResult<Option<SourceBatch>> {
    let mut origin = Origin::default();
    let mut read_up_to: Vec<(TopicPartition, i64)> = Vec::new();
    let mut columns: Vec<Vec<Value>> = vec![Vec::new(); source.columns.len()];
    let mut dead_letters = Vec::new();
    for (place, record) in taken
        .iter()
        .filter(|(place, _)| *place.topic == *source.topic)
    {
        let slot = origin
            .partitions
            .iter()
            .position(|p| p == place)
            .unwrap_or_else(|| {
                origin.partitions.push(place.clone());
                read_up_to.push((place.clone(), 0));
                origin.partitions.len() - 1
            });
        read_up_to[slot].1 = record.offset + 1;
        match &record.values {
            Ok(values) => {
                columns
                    .iter_mut()
                    .zip(values)
                    .for_each(|(column, value)| column.push(value.clone()));
                origin.partition.push(RowIndex::at(slot).number());
                origin.offset.push(record.offset);
                origin.kafka_time_us.push(record.kafka_time_us);
            }
            Err(reason) => dead_letters.push(DeadLetter {
                source: source.name.clone(),
                partition: place.clone(),
                offset: record.offset,
                kafka_time_us: record.kafka_time_us,
                payload: b"?".to_vec(),
                reason,
                detail: "the test says so".to_owned(),
            }),
        }
    }
    if read_up_to.is_empty() {
        return Ok(None);
    }
    let arrays = source.columns.iter().zip(&columns);
    let arrays = arrays.map(|(column, values)| array_from_values(&column.data_type, values.iter()));
    let rows = RecordBatch::try_new(source.schema(), arrays.collect::<PortResult<Vec<_>>>()?)
        .map_err(|e| {
            PortError::with_source(ErrorKind::Internal, "records do not fit their source", e)
        })?;
    Ok(Some(SourceBatch {
        source: Arc::clone(source),
        rows,
        origin,
        dead_letters,
        read_up_to,
    }))
}
