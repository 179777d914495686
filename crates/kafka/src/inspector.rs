//! Questions to the broker about the log itself: the cluster, the topic's id and partitions, where
//! each begins and ends, which record stands at an offset. A client of its own asks them, so that
//! no answer holds up the reader; it fetches as little as the protocol allows and commits nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use forebay_core::ports::{FirstRecord, LogBounds, LogFault, LogInspector, TopicFacts};
use forebay_core::progress::{RecordDigest, TopicPartition};
use forebay_core::{PortResult, invariant};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client::ClientEvents;
use crate::error::Error;
use crate::native::events::{EventQueue, Notice};
use crate::native::topic_id::topic_id;
use crate::reader::assignment::{assign, partition_list, unassign};
use crate::reader::faults::{Meaning, meaning};
use crate::settings::ReaderSettings;

/// Partitions that one question for offsets names at least, where there are as many. The client
/// library looks for each answer in the list of what was asked from its beginning, so a question
/// costs the square of its length.
const ASKED_AT_ONCE: usize = 128;
/// Questions one after the other at most, whatever the number of partitions.
const QUESTIONS_MAX: usize = 16;

/// Answers about a log behind a Kafka broker.
pub struct KafkaInspector {
    settings: ReaderSettings,
    // Before the consumer, which it must not outlive: fields drop in order.
    queue: EventQueue,
    consumer: BaseConsumer<ClientEvents>,
    /// Whom to ask for topic ids; None: the controller.
    describer: Option<i32>,
    /// Partitions without a leader, as of the last look at their topics. The client would wait for
    /// one until the question times out, and answer for no partition at all.
    leaderless: BTreeSet<TopicPartition>,
}

impl fmt::Debug for KafkaInspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaInspector")
            .field("client", &self.settings.client)
            .finish_non_exhaustive()
    }
}

impl KafkaInspector {
    /// For the brokers of `settings`. Does not wait for them.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub fn new(settings: ReaderSettings) -> Result<Self, Error> {
        let (queue, consumer) = EventQueue::open(
            &settings.inspector_config()?,
            ClientEvents::of(&settings.client),
        )?;
        Ok(Self {
            settings,
            queue,
            consumer,
            describer: None,
            leaderless: BTreeSet::new(),
        })
    }

    /// Ask this broker for topic ids: the embedded one never answers as controller.
    #[must_use]
    pub fn describing_by(mut self, broker: i32) -> Self {
        self.describer = Some(broker);
        self
    }

    /// The partitions of `topic`, ascending; None where it is not there.
    pub(crate) fn partitions(&self, topic: &str) -> Result<Option<Vec<i32>>, Error> {
        let found = self.led_partitions(topic)?;
        Ok(found.map(|found| found.into_iter().map(|(partition, _)| partition).collect()))
    }

    /// [`Self::partitions`], each with whether it has a leader.
    fn led_partitions(&self, topic: &str) -> Result<Option<Vec<(i32, bool)>>, Error> {
        let client = &self.settings.client;
        let action = || format!("asking for the partitions of `{topic}`");
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), client.request_timeout)
            .map_err(|e| client.question_failed(action(), e))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        let found_partitions = found.partitions().iter();
        let mut partitions: Vec<(i32, bool)> = found_partitions
            .map(|p| (p.id(), p.leader() >= 0))
            .collect();
        partitions.sort_unstable();
        match found.error().map(RDKafkaErrorCode::from) {
            None if !partitions.is_empty() => Ok(Some(partitions)),
            None
            | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Ok(None)
            }
            Some(code) => Err(client.question_failed(action(), KafkaError::MetadataFetch(code))),
        }
    }

    /// At most [`QUESTIONS_MAX`] questions, each to every broker. Partitions that nobody answers
    /// for are left out.
    pub(crate) fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        which: Offset,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let client = &self.settings.client;
        let action = "asking where the log begins and ends";
        let deadline = Instant::now() + client.request_timeout;
        let mut offsets = BTreeMap::new();
        let at_once = partitions.len().div_ceil(QUESTIONS_MAX).max(ASKED_AT_ONCE);
        for some in partitions.chunks(at_once) {
            let asked = partition_list(some.iter().map(|partition| (partition, which)))?;
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self
                .consumer
                .offsets_for_times(asked, left)
                .map_err(|e| client.question_failed(action, e))?;
            invariant!(
                PartsMakeTheWhole,
                answer.count() == some.len(),
                "{} partitions, asked for {}",
                answer.count(),
                some.len()
            );
            let answered = answer.elements();
            offsets.extend(
                answered
                    .iter()
                    .filter_map(|element| match element.offset() {
                        Offset::Offset(offset) if element.error().is_ok() => {
                            let place = TopicPartition::new(element.topic(), element.partition());
                            Some((place, offset))
                        }
                        _ => None,
                    }),
            );
        }
        Ok(offsets)
    }

    /// [`LogInspector::first_records`], the consumer assigned.
    ///
    /// An answer of the broker has the first batch of one partition alone, since no more bytes are
    /// asked for, and each holds up the fetches of all others until its records are polled. So a
    /// partition that has answered is given back at its next record: else the first with a long
    /// backlog is fetched again and again, and others get no turn.
    fn read_first(
        &self,
        from: &BTreeMap<TopicPartition, i64>,
    ) -> BTreeMap<TopicPartition, FirstRecord> {
        let client = &self.settings.client;
        let deadline = Instant::now() + client.request_timeout;
        let mut found: BTreeMap<TopicPartition, FirstRecord> = BTreeMap::new();
        let mut given_back = BTreeSet::new();
        while found.len() < from.len() {
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            let polled = self.queue.poll(wait, |record| {
                let place = TopicPartition::new(record.topic, record.partition);
                let digest = RecordDigest::of(
                    record.offset,
                    record.kafka_time_us,
                    record.key,
                    record.payload,
                );
                (place, digest)
            });
            let (place, first) = match polled {
                Some(Ok((place, digest))) => (place, FirstRecord::Record(digest)),
                Some(Err(Notice::End { place, .. })) => (place, FirstRecord::End),
                Some(Err(Notice::Error {
                    error,
                    place: Some(place),
                    why,
                    ..
                })) => {
                    let at = from.get(&place).copied();
                    match meaning(client, error, at, &why) {
                        Meaning::Halts(LogFault::Unreadable { why, .. }) => {
                            (place, FirstRecord::Unreadable(why))
                        }
                        Meaning::Halts(_) => (place, FirstRecord::End),
                        Meaning::Heals | Meaning::Away(_) | Meaning::Broken(_) => continue,
                    }
                }
                Some(Err(Notice::Error { place: None, .. })) | None => continue,
            };
            // The first answer counts; of an earlier assignment none is asked for.
            let Some(asked) = from.get(&place) else {
                continue;
            };
            if let FirstRecord::Record(digest) = &first {
                invariant!(
                    ReadsFromWhereAsked,
                    digest.offset >= *asked,
                    "{place:?}: offset {}, asked from {asked}",
                    digest.offset
                );
            }
            match found.entry(place) {
                Entry::Vacant(vacant) => drop(vacant.insert(first)),
                Entry::Occupied(known) if !given_back.contains(known.key()) => {
                    given_back.insert(known.key().clone());
                    // Where it fails the answers count all the same.
                    let _left = unassign(&self.consumer, known.key());
                }
                Entry::Occupied(_) => {}
            }
        }
        found
    }
}

impl LogInspector for KafkaInspector {
    fn cluster_id(&mut self) -> PortResult<String> {
        let client = &self.settings.client;
        let id = self
            .consumer
            .client()
            .fetch_cluster_id(client.request_timeout);
        Ok(id.ok_or_else(|| client.unreachable("asking for the cluster id", None))?)
    }

    fn topic(&mut self, topic: &str) -> PortResult<Option<TopicFacts>> {
        let Some(found) = self.led_partitions(topic)? else {
            return Ok(None);
        };
        self.leaderless.retain(|place| &*place.topic != topic);
        let without = found.iter().filter(|(_, is_led)| !is_led);
        let without = without.map(|(partition, _)| TopicPartition::new(topic, *partition));
        self.leaderless.extend(without);
        let partitions = found.into_iter().map(|(partition, _)| partition).collect();
        let timeout = self.settings.client.request_timeout;
        Ok(Some(TopicFacts {
            id: topic_id(&self.consumer, topic, self.describer, timeout),
            partitions,
        }))
    }

    fn bounds(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, LogBounds>> {
        let led = partitions.iter().filter(|p| !self.leaderless.contains(p));
        let led: Vec<TopicPartition> = led.cloned().collect();
        if led.is_empty() {
            return Ok(BTreeMap::new());
        }
        let begins = self.list_offsets(&led, Offset::Beginning)?;
        let ends = self.list_offsets(&led, Offset::End)?;
        let bounds = ends.into_iter().filter_map(|(place, last_stable)| {
            let begin = *begins.get(&place)?;
            Some((place, LogBounds { begin, last_stable }))
        });
        Ok(bounds.collect())
    }

    fn first_records(
        &mut self,
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<BTreeMap<TopicPartition, FirstRecord>> {
        if from.is_empty() {
            return Ok(BTreeMap::new());
        }
        // What an earlier question left in the queue.
        while self.queue.poll(Duration::ZERO, |_| ()).is_some() {}
        assign(&self.consumer, from)?;
        let found = self.read_first(from);
        invariant!(
            ReadsFromWhereAsked,
            found.keys().all(|place| from.contains_key(place)),
            "{} partitions, asked for {}",
            found.len(),
            from.len()
        );
        assign(&self.consumer, &BTreeMap::new())?;
        Ok(found)
    }
}
