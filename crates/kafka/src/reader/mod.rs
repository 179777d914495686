//! The log as `pipeline` reads it: one consumer on one thread, assigned to partitions at our own
//! offsets (no consumer group, nothing committed), each record decoded as it is polled.
//!
//! It never jumps: a position that the log does not hold, a batch that cannot be read, an offset
//! that does not ascend stop that partition, and that partition alone, until it is assigned again.
//! Whether the log is the right one is asked elsewhere ([`crate::KafkaInspector`]). Brokers that go
//! away and come back are the client library's business; the caller sees `Unavailable`, once in a
//! while, and polls again.

pub(crate) mod assignment;
pub(crate) mod faults;
mod pending;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_core::PortResult;
use forebay_core::invariant;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::ports::{EventLog, LogFault, LogPosition, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use rdkafka::consumer::BaseConsumer;

use crate::client::ClientEvents;
use crate::decode::Record;
use crate::error::Error;
use crate::native::events::{EventQueue, NativeRecord, Notice};
use crate::settings::ReaderSettings;
use crate::stats::ReaderStats;
use faults::{Meaning, order};
use pending::SourceReader;

/// While no broker answers, `Error::Disconnected` is returned at most once in this interval.
const DISCONNECTED_REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// A source of events behind a Kafka broker.
pub struct KafkaLog {
    settings: ReaderSettings,
    // Before the consumer, which it must not outlive: fields drop in order.
    queue: EventQueue,
    consumer: BaseConsumer<ClientEvents>,
    sources: Vec<SourceReader>,
    /// Which of `sources` read a topic.
    readers_of: HashMap<Arc<str>, Arc<[usize]>>,
    /// Those of the topic of the record before.
    recent_readers: Option<(Arc<str>, Arc<[usize]>)>,
    partitions: Positions,
    faults: Vec<(TopicPartition, LogFault)>,
    paused: bool,
    /// When the caller was last told that all connections are gone; nothing was read since.
    disconnected: Option<Instant>,
    stats: Arc<ReaderStats>,
}

/// Where each assigned partition will be read next, by topic and number.
#[derive(Debug, Default)]
struct Positions {
    topics: HashMap<Arc<str>, BTreeMap<i32, usize>>,
    /// None: it is not read any more.
    places: Vec<(TopicPartition, Option<Reading>)>,
    /// The place of the record before: records come in runs of one partition.
    recent: usize,
}

/// One assigned partition.
#[derive(Debug, Clone, Copy)]
struct Reading {
    next_offset: i64,
    /// The reader has met the end at `next_offset`.
    at_end: bool,
}

impl Positions {
    fn of(from: &BTreeMap<TopicPartition, i64>) -> Self {
        let mut topics: HashMap<Arc<str>, BTreeMap<i32, usize>> = HashMap::new();
        for (number, place) in from.keys().enumerate() {
            topics
                .entry(Arc::clone(&place.topic))
                .or_default()
                .insert(place.partition, number);
        }
        let reading = |(place, offset): (&TopicPartition, &i64)| {
            let reading = Reading {
                next_offset: *offset,
                at_end: false,
            };
            (place.clone(), Some(reading))
        };
        Self {
            topics,
            places: from.iter().map(reading).collect(),
            recent: 0,
        }
    }

    fn get(&mut self, topic: &str, partition: i32) -> Option<&mut Reading> {
        let is_recent = |(place, _): &(TopicPartition, _)| {
            place.partition == partition && *place.topic == *topic
        };
        if !self.places.get(self.recent).is_some_and(is_recent) {
            self.recent = *self.topics.get(topic)?.get(&partition)?;
        }
        self.places.get_mut(self.recent)?.1.as_mut()
    }

    fn remove(&mut self, place: &TopicPartition) -> Option<Reading> {
        let number = self.topics.get(&place.topic)?.get(&place.partition)?;
        self.places.get_mut(*number)?.1.take()
    }

    fn all(&self) -> impl Iterator<Item = (TopicPartition, Reading)> {
        let places = self.places.iter();
        places.filter_map(|(place, reading)| Some((place.clone(), (*reading)?)))
    }

    fn offsets(&self) -> BTreeMap<TopicPartition, i64> {
        self.all()
            .map(|(place, reading)| (place, reading.next_offset))
            .collect()
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("client", &self.settings.client)
            .field("partitions", &self.partitions)
            .field("paused", &self.paused)
            .finish_non_exhaustive()
    }
}

/// What one event of the client's queue brought.
enum Taken {
    /// A record of this size.
    Record(usize),
    /// A record of a partition that is not read any more, or nothing of interest.
    Nothing,
    /// A record whose offset is out of order; it was not taken.
    Disordered(TopicPartition, LogFault),
}

impl KafkaLog {
    /// A reader for the brokers of `settings`. Does not wait for them.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub fn new(settings: ReaderSettings) -> Result<Self, Error> {
        let (queue, consumer) =
            EventQueue::open(&settings.config()?, ClientEvents::of(&settings.client))?;
        Ok(Self {
            settings,
            queue,
            consumer,
            sources: Vec::new(),
            readers_of: HashMap::new(),
            recent_readers: None,
            partitions: Positions::default(),
            faults: Vec::new(),
            paused: false,
            disconnected: None,
            stats: Arc::default(),
        })
    }

    /// The same, adding to `stats` instead of to counters of its own.
    #[must_use]
    pub fn counting(self, stats: Arc<ReaderStats>) -> Self {
        Self { stats, ..self }
    }

    /// Its counters, to be read from any thread.
    #[must_use]
    pub fn stats(&self) -> Arc<ReaderStats> {
        Arc::clone(&self.stats)
    }

    /// Take one event, waiting at most `wait`.
    fn poll_one(&mut self, wait: Duration) -> Option<Result<Taken, Notice>> {
        let Self {
            queue,
            sources,
            readers_of,
            recent_readers,
            partitions,
            stats,
            ..
        } = self;
        queue.poll(wait, |record| {
            let Some(reading) = partitions.get(record.topic, record.partition) else {
                return Taken::Nothing;
            };
            if let Some(fault) = order(reading.next_offset, record.offset) {
                let place = TopicPartition::new(record.topic, record.partition);
                return Taken::Disordered(place, fault);
            }
            *reading = Reading {
                next_offset: record.offset + 1,
                at_end: false,
            };
            if recent_readers
                .as_ref()
                .is_none_or(|(topic, _)| **topic != *record.topic)
            {
                let readers = readers_of.get_key_value(record.topic);
                *recent_readers = readers.map(|(topic, of)| (Arc::clone(topic), Arc::clone(of)));
            }
            let readers = recent_readers
                .as_ref()
                .map_or(&[][..], |(_, readers)| readers);
            Taken::Record(take(sources, readers, stats, record))
        })
    }

    /// Stop reading `place`.
    fn halt(&mut self, place: TopicPartition, fault: LogFault) {
        if self.partitions.remove(&place).is_none() {
            return;
        }
        // What the client still holds of it is dropped when it comes; that it fetches on for a
        // while costs no more than that.
        if let Err(error) = assignment::unassign(&self.consumer, &place) {
            tracing::debug!(%error, ?place, "a partition cannot be unassigned");
        }
        self.faults.push((place, fault));
    }

    /// Handle a notice, which is what the queue gives beside records. Returns the errors that the
    /// caller of `poll` has to see.
    fn handle(&mut self, notice: Notice) -> Result<(), Error> {
        match notice {
            Notice::End { place, next_offset } => {
                if let Some(reading) = self.partitions.get(&place.topic, place.partition) {
                    reading.next_offset = reading.next_offset.max(next_offset);
                    reading.at_end = true;
                }
                Ok(())
            }
            Notice::Error {
                error,
                place,
                offset,
                why,
            } => {
                self.stats.add_broker_error();
                let reading = place
                    .as_ref()
                    .and_then(|place| self.partitions.get(&place.topic, place.partition).copied());
                // A batch is named by its first offset, which may lie below what was read of it.
                let offset = offset.max(reading.map(|reading| reading.next_offset));
                match faults::meaning(&self.settings.client, error, offset, &why) {
                    Meaning::Heals => Ok(()),
                    Meaning::Away(error) => {
                        let now = Instant::now();
                        let is_recent = |reported: Instant| {
                            now.duration_since(reported) < DISCONNECTED_REPORT_INTERVAL
                        };
                        if self.disconnected.is_some_and(is_recent) {
                            return Ok(());
                        }
                        self.disconnected = Some(now);
                        Err(error)
                    }
                    Meaning::Broken(error) => Err(error),
                    Meaning::Halts(fault) => {
                        match place {
                            Some(place) => self.halt(place, fault),
                            None => self.halt_all(&fault),
                        }
                        Ok(())
                    }
                }
            }
        }
    }

    /// Nobody says which partition it is: none is read until each was looked at.
    fn halt_all(&mut self, fault: &LogFault) {
        let places: Vec<TopicPartition> = self.partitions.all().map(|(place, _)| place).collect();
        for place in places {
            self.halt(place, fault.clone());
        }
    }
}

/// Hand `record` to the `readers` among `sources`, which read its topic: its size in bytes, with
/// the headers that are kept of it.
fn take(
    sources: &mut [SourceReader],
    readers: &[usize],
    stats: &ReaderStats,
    record: &NativeRecord<'_>,
) -> usize {
    let read = Record {
        key: record.key,
        payload: record.payload,
        kafka_time_us: record.kafka_time_us,
        broker_time: record.broker_time,
    };
    let place = (record.partition, record.offset);
    let mut bytes = read.key.map_or(0, <[u8]>::len) + read.payload.map_or(0, <[u8]>::len);
    for index in readers {
        bytes += sources[*index].take(place, &read, record.headers, stats);
    }
    bytes
}

impl EventLog for KafkaLog {
    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()> {
        let readers = sources
            .iter()
            .map(SourceReader::new)
            .collect::<Result<Vec<_>, _>>()?;
        assignment::assign(&self.consumer, from)?;
        let mut readers_of: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (index, source) in sources.iter().enumerate() {
            let readers = readers_of.entry(source.topic.as_str().into());
            readers.or_default().push(index);
        }
        let readers_of = readers_of.into_iter();
        self.readers_of = readers_of.map(|(topic, of)| (topic, of.into())).collect();
        self.recent_readers = None;
        self.sources = readers;
        invariant!(
            ReadsHaveASource,
            from.keys()
                .all(|place| self.readers_of.contains_key(&place.topic)),
            "{} partitions, {} sources",
            from.len(),
            sources.len()
        );
        self.partitions = Positions::of(from);
        self.faults.clear();
        if std::mem::take(&mut self.paused) {
            assignment::pause(&self.consumer, from, false)?;
        }
        Ok(())
    }

    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>> {
        let max_rows = max_rows.clamp(1, EPOCH_MAX_ROWS);
        let started = Instant::now();
        let (mut records, mut bytes) = (0_usize, 0_usize);
        while records < max_rows && bytes < self.settings.poll_max_bytes() {
            let wait = if records == 0 {
                timeout.saturating_sub(started.elapsed())
            } else {
                Duration::ZERO
            };
            match self.poll_one(wait) {
                None if records > 0 || started.elapsed() >= timeout => break,
                None | Some(Ok(Taken::Nothing)) => {}
                Some(Ok(Taken::Record(size_bytes))) => {
                    self.disconnected = None;
                    records += 1;
                    bytes += size_bytes;
                }
                Some(Ok(Taken::Disordered(place, fault))) => self.halt(place, fault),
                Some(Err(notice)) => match self.handle(notice) {
                    Ok(()) => {}
                    Err(error) if records == 0 => return Err(error.into()),
                    // What was read goes out first; the client repeats what does not heal.
                    Err(_) => break,
                },
            }
        }
        self.stats.add_read(records as u64, bytes as u64);
        let mut batches = Vec::new();
        for source in &mut self.sources {
            batches.extend(source.emit(&self.stats)?);
        }
        Ok(batches)
    }

    fn faults(&mut self) -> Vec<(TopicPartition, LogFault)> {
        std::mem::take(&mut self.faults)
    }

    fn positions(&mut self) -> BTreeMap<TopicPartition, LogPosition> {
        let position = |(place, reading): (TopicPartition, Reading)| {
            let position = LogPosition {
                next_offset: reading.next_offset,
                last_stable: reading.at_end.then_some(reading.next_offset),
            };
            (place, position)
        };
        self.partitions.all().map(position).collect()
    }

    fn set_paused(&mut self, paused: bool) -> PortResult<()> {
        let places = self.partitions.offsets();
        if self.paused != paused && !places.is_empty() {
            assignment::pause(&self.consumer, &places, paused)?;
        }
        self.paused = paused;
        Ok(())
    }
}
