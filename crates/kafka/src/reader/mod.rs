//! The log as `pipeline` reads it: one consumer on one thread, assigned to partitions at our own
//! offsets (no consumer group, nothing committed), each record decoded as it is polled.
//!
//! Before it reads, [`KafkaLog::assign`] compares every offset with the partition's log: one below
//! its start (records were deleted unread) or above its end (it lost its tail, or is another log)
//! is refused with the remedy. If that happens later, while reading, the reader stops with the same
//! error until it is assigned anew: it never jumps. Brokers that go away and come back are the
//! client library's business; the caller sees `Unavailable`, once in a while, and polls again.

mod bounds;
mod pending;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_core::PortResult;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::ports::{EventLog, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Timestamp};

use crate::client::{ClientEvents, is_refusal, not_created};
use crate::decode::Record;
use crate::error::Error;
use crate::settings::ReaderSettings;
use crate::stats::ReaderStats;
use pending::SourceReader;

/// Bytes of keys and values that one poll takes at most (one record above it still fits).
const POLL_MAX_BYTES: usize = 32 << 20;
/// While all brokers stay away, the caller is told so this often.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// A source of events behind a Kafka broker. See the module's text.
pub struct KafkaLog {
    settings: ReaderSettings,
    consumer: BaseConsumer<ClientEvents>,
    sources: Vec<SourceReader>,
    /// Which of `sources` read a topic.
    readers_of: HashMap<Arc<str>, Vec<usize>>,
    /// Where each assigned partition will be read next.
    positions: BTreeMap<TopicPartition, i64>,
    paused: bool,
    halted: Option<Error>,
    /// When the caller was last told that all connections are gone; nothing was read since.
    disconnected: Option<Instant>,
    stats: Arc<ReaderStats>,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("client", &self.settings.client)
            .field("positions", &self.positions)
            .field("paused", &self.paused)
            .field("halted", &self.halted)
            .finish_non_exhaustive()
    }
}

/// What an error that the client reports while polling means for the reader.
enum Fault {
    /// It heals by itself; keep polling.
    Heals,
    /// Tell the caller, who polls again.
    Report(Error),
    /// Nothing more can be read until the reader is assigned anew.
    Halt(Error),
}

impl KafkaLog {
    /// A reader for the brokers of `settings`. Does not wait for them.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub fn new(settings: ReaderSettings) -> Result<Self, Error> {
        let consumer = settings
            .config()?
            .create_with_context(ClientEvents)
            .map_err(not_created)?;
        Ok(Self {
            settings,
            consumer,
            sources: Vec::new(),
            readers_of: HashMap::new(),
            positions: BTreeMap::new(),
            paused: false,
            halted: None,
            disconnected: None,
            stats: Arc::default(),
        })
    }

    /// Its counters, to be read from any thread.
    #[must_use]
    pub fn stats(&self) -> Arc<ReaderStats> {
        Arc::clone(&self.stats)
    }

    fn judge(&mut self, error: KafkaError) -> Fault {
        use RDKafkaErrorCode as Code;
        let client = &self.settings.client;
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Fault::Halt(Error::Client {
                action: "reading".into(),
                source: Box::new(error),
            });
        }
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => {
                Fault::Halt(self.lost_position(&error))
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Fault::Report(self.missing_topic(error))
            }
            Some(Code::AllBrokersDown) => {
                let said = self.disconnected.replace(Instant::now());
                if said.is_some_and(|said| said.elapsed() < SAY_AGAIN) {
                    self.disconnected = said;
                    return Fault::Heals;
                }
                Fault::Report(Error::Disconnected {
                    bootstrap: client.bootstrap.clone(),
                    action: "reading".into(),
                    source: Box::new(error),
                })
            }
            Some(code) if is_refusal(code) => {
                Fault::Report(client.question_failed("reading", error))
            }
            _ => Fault::Heals,
        }
    }

    /// Name the partition whose position the log does not hold.
    fn lost_position(&self, error: &KafkaError) -> Error {
        let partitions: Vec<TopicPartition> = self.positions.keys().cloned().collect();
        let judged = self.log_bounds(&partitions).map(|bounds| {
            self.positions.iter().find_map(|(partition, offset)| {
                bounds
                    .get(partition)
                    .and_then(|bounds| bounds.admit(partition, *offset).err())
            })
        });
        match judged {
            Ok(Some(named)) => named,
            Ok(None) | Err(_) => Error::PositionLost {
                code: error.to_string(),
            },
        }
    }

    fn missing_topic(&self, error: KafkaError) -> Error {
        let client = &self.settings.client;
        let mut topics: Vec<&str> = self.readers_of.keys().map(|topic| &**topic).collect();
        topics.sort_unstable();
        for topic in topics {
            if let Err(missing @ Error::UnknownTopic { .. }) = self.topic_partitions(topic) {
                return missing;
            }
        }
        client.unreachable("reading", Some(error))
    }
}

/// A polled record, borrowed from the client's memory.
struct TakenMessage<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    key: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
    kafka_time_us: Option<i64>,
    broker_time: bool,
}

impl<'a> TakenMessage<'a> {
    fn of(message: &'a BorrowedMessage<'_>) -> Self {
        Self {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key(),
            payload: message.payload(),
            kafka_time_us: message
                .timestamp()
                .to_millis()
                .map(|millis| millis.saturating_mul(1_000)),
            broker_time: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
        }
    }
}

/// Hand `message` to every source that reads its topic: its size in bytes.
fn take(
    sources: &mut [SourceReader],
    readers_of: &HashMap<Arc<str>, Vec<usize>>,
    stats: &ReaderStats,
    message: &TakenMessage<'_>,
) -> usize {
    let record = Record {
        key: message.key,
        payload: message.payload,
        kafka_time_us: message.kafka_time_us,
        broker_time: message.broker_time,
    };
    for index in readers_of.get(message.topic).into_iter().flatten() {
        sources[*index].take(message.partition, message.offset, &record, stats);
    }
    record.key.map_or(0, <[u8]>::len) + record.payload.map_or(0, <[u8]>::len)
}

impl EventLog for KafkaLog {
    fn partitions(&mut self, topic: &str) -> PortResult<Vec<i32>> {
        Ok(self.topic_partitions(topic)?)
    }

    fn begin_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, i64>> {
        Ok(self.log_begins(partitions)?)
    }

    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()> {
        let readers = sources
            .iter()
            .map(SourceReader::new)
            .collect::<Result<Vec<_>, _>>()?;
        let positions = self.start_positions(sources, from)?;
        self.assign_positions(&positions)?;
        self.readers_of = HashMap::new();
        for (index, source) in sources.iter().enumerate() {
            self.readers_of
                .entry(source.topic.as_str().into())
                .or_default()
                .push(index);
        }
        self.sources = readers;
        self.positions = positions;
        self.paused = false;
        self.halted = None;
        Ok(())
    }

    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>> {
        if let Some(error) = &self.halted {
            return Err(error.clone().into());
        }
        let max_rows = max_rows.clamp(1, EPOCH_MAX_ROWS);
        let started = Instant::now();
        let (mut records, mut bytes) = (0_usize, 0_usize);
        while records < max_rows && bytes < POLL_MAX_BYTES {
            let wait = if records == 0 {
                timeout.saturating_sub(started.elapsed())
            } else {
                Duration::ZERO
            };
            match self.poll_one(wait) {
                None => break,
                Some(Ok(size_bytes)) => {
                    self.disconnected = None;
                    records += 1;
                    bytes += size_bytes;
                }
                Some(Err(error)) => {
                    self.stats.add_broker_error();
                    match self.judge(error) {
                        Fault::Heals => {}
                        Fault::Report(error) if records == 0 => return Err(error.into()),
                        // What was read goes out first; the client repeats what does not heal.
                        Fault::Report(_) => break,
                        Fault::Halt(error) => {
                            self.halted = Some(error.clone());
                            if records == 0 {
                                return Err(error.into());
                            }
                            break;
                        }
                    }
                }
            }
        }
        self.stats.add_read(records as u64, bytes as u64);
        self.emit()
    }

    fn set_paused(&mut self, paused: bool) -> PortResult<()> {
        if self.paused != paused && !self.positions.is_empty() {
            self.pause_consumer(paused)?;
        }
        self.paused = paused;
        Ok(())
    }

    fn end_offsets(&mut self) -> PortResult<BTreeMap<TopicPartition, i64>> {
        let partitions: Vec<TopicPartition> = self.positions.keys().cloned().collect();
        Ok(self.log_ends(&partitions)?)
    }

    fn cluster_id(&mut self) -> PortResult<String> {
        let client = &self.settings.client;
        let id = self
            .consumer
            .client()
            .fetch_cluster_id(client.request_timeout);
        Ok(id.ok_or_else(|| client.unreachable("asking for the cluster id", None))?)
    }
}

impl KafkaLog {
    /// Take one record, waiting at most `wait`: its size in bytes.
    fn poll_one(&mut self, wait: Duration) -> Option<Result<usize, KafkaError>> {
        // The message borrows the consumer, so the consumer leaves `self` split from what the
        // message is put into.
        let Self {
            consumer,
            sources,
            readers_of,
            stats,
            ..
        } = self;
        match consumer.poll(wait)? {
            Ok(message) => {
                let message = TakenMessage::of(&message);
                Some(Ok(take(sources, readers_of, stats, &message)))
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn emit(&mut self) -> PortResult<Vec<SourceBatch>> {
        let mut batches = Vec::new();
        for source in &mut self.sources {
            let Some(batch) = source.emit()? else {
                continue;
            };
            for (partition, next) in &batch.read_up_to {
                self.positions.insert(partition.clone(), *next);
            }
            batches.push(batch);
        }
        Ok(batches)
    }
}
