//! Questions to the broker about the log itself: its partitions, where they begin and end, and
//! whether an offset to start from lies between. And the three orders to the consumer that follow
//! from the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaLog;
use crate::error::Error;

/// Where one partition's log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogBounds {
    /// Oldest offset that it holds.
    pub(super) low: i64,
    /// One past its newest record.
    pub(super) high: i64,
}

impl LogBounds {
    /// Whether reading may start at `offset`.
    pub(super) fn admit(self, partition: &TopicPartition, offset: i64) -> Result<(), Error> {
        let partition = partition.clone();
        if offset < self.low {
            return Err(Error::Gap {
                partition,
                offset,
                low: self.low,
            });
        }
        if offset > self.high {
            return Err(Error::LogShorter {
                partition,
                offset,
                high: self.high,
            });
        }
        Ok(())
    }
}

impl KafkaLog {
    /// The partitions of `topic`, ascending.
    pub(super) fn topic_partitions(&self, topic: &str) -> Result<Vec<i32>, Error> {
        let client = &self.settings.client;
        let action = || format!("asking for the partitions of `{topic}`");
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), client.request_timeout)
            .map_err(|e| client.question_failed(action(), e))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let mut partitions: Vec<i32> = found
            .map(|found| found.partitions().iter().map(|p| p.id()).collect())
            .unwrap_or_default();
        match found
            .and_then(|found| found.error())
            .map(RDKafkaErrorCode::from)
        {
            None if !partitions.is_empty() => {}
            None
            | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Err(Error::UnknownTopic {
                    topic: topic.into(),
                    bootstrap: client.bootstrap.clone(),
                });
            }
            Some(code) => {
                return Err(client.question_failed(action(), KafkaError::MetadataFetch(code)));
            }
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Check `from` against the log: exactly one entry for each partition of each source's topic,
    /// each within its log.
    pub(super) fn start_positions(
        &self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let topics: BTreeSet<&str> = sources.iter().map(|source| source.topic.as_str()).collect();
        let mut there = BTreeSet::new();
        for topic in &topics {
            let topic_name: Arc<str> = (*topic).into();
            let partitions = self.topic_partitions(topic)?;
            there.extend(
                partitions
                    .into_iter()
                    .map(|p| TopicPartition::new(Arc::clone(&topic_name), p)),
            );
        }
        let positions = match_partitions(&topics, &there, from)?;
        let bounds = self.log_bounds(&there.into_iter().collect::<Vec<_>>())?;
        for (partition, offset) in &positions {
            match bounds.get(partition) {
                Some(bounds) => bounds.admit(partition, *offset)?,
                None => {
                    return Err(self
                        .settings
                        .client
                        .unreachable("asking where the log begins and ends", None));
                }
            }
        }
        Ok(positions)
    }

    /// Where each of `partitions` begins and ends.
    pub(super) fn log_bounds(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, LogBounds>, Error> {
        let lows = self.log_begins(partitions)?;
        let highs = self.log_ends(partitions)?;
        let bounds = highs.into_iter().filter_map(|(partition, high)| {
            let low = *lows.get(&partition)?;
            Some((partition, LogBounds { low, high }))
        });
        Ok(bounds.collect())
    }

    /// The oldest offset that the log holds of each of `partitions`.
    pub(super) fn log_begins(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        self.list_offsets(partitions, Offset::Beginning)
    }

    /// One past the newest record of each of `partitions`.
    pub(super) fn log_ends(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        self.list_offsets(partitions, Offset::End)
    }

    /// One question to each broker for all its partitions (`fetch_watermarks` would ask for each
    /// partition twice).
    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        which: Offset,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let client = &self.settings.client;
        let action = "asking where the log begins and ends";
        let asked = partition_list(partitions.iter().map(|partition| (partition, which)))?;
        let answer = self
            .consumer
            .offsets_for_times(asked, client.request_timeout)
            .map_err(|e| client.question_failed(action, e))?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element
                .error()
                .map_err(|e| client.question_failed(action, e))?;
            let Offset::Offset(offset) = element.offset() else {
                return Err(client.unreachable(action, None));
            };
            offsets.insert(
                TopicPartition::new(element.topic(), element.partition()),
                offset,
            );
        }
        Ok(offsets)
    }

    pub(super) fn assign_positions(
        &self,
        positions: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), Error> {
        let list = partition_list(
            positions
                .iter()
                .map(|(partition, offset)| (partition, Offset::Offset(*offset))),
        )?;
        let assigned = self.consumer.assign(&list);
        assigned.map_err(|e| Error::Client {
            action: "being assigned its partitions".into(),
            source: Box::new(e),
        })?;
        if self.paused && !positions.is_empty() {
            self.pause_list(&list, false)?;
        }
        Ok(())
    }

    pub(super) fn pause_consumer(&self, paused: bool) -> Result<(), Error> {
        let list = partition_list(
            self.positions
                .iter()
                .map(|(partition, offset)| (partition, Offset::Offset(*offset))),
        )?;
        self.pause_list(&list, paused)
    }

    fn pause_list(&self, list: &TopicPartitionList, paused: bool) -> Result<(), Error> {
        let done = if paused {
            self.consumer.pause(list)
        } else {
            self.consumer.resume(list)
        };
        done.map_err(|e| Error::Client {
            action: if paused {
                "being paused".into()
            } else {
                "being resumed".into()
            },
            source: Box::new(e),
        })
    }
}

/// `from`, cut down to `topics`, where it names exactly the partitions that are `there`.
fn match_partitions(
    topics: &BTreeSet<&str>,
    there: &BTreeSet<TopicPartition>,
    from: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, i64>, Error> {
    let wanted: BTreeMap<TopicPartition, i64> = from
        .iter()
        .filter(|(partition, _)| topics.contains(&*partition.topic))
        .map(|(partition, offset)| (partition.clone(), *offset))
        .collect();
    if let Some(gone) = wanted.keys().find(|partition| !there.contains(*partition)) {
        return Err(Error::Partitions {
            partition: gone.clone(),
            problem: "was read before and is not there any more: the topic was made anew; start from a fresh state folder",
        });
    }
    if let Some(new) = there
        .iter()
        .find(|partition| !wanted.contains_key(*partition))
    {
        return Err(Error::Partitions {
            partition: new.clone(),
            problem: "has no offset to start from: give one for every partition of the topic (0 for a new one)",
        });
    }
    Ok(wanted)
}

fn partition_list<'a>(
    partitions: impl Iterator<Item = (&'a TopicPartition, Offset)>,
) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(&partition.topic, partition.partition, offset)
            .map_err(|e| Error::Client {
                action: format!(
                    "taking offset {offset:?} of {}-{}",
                    partition.topic, partition.partition
                ),
                source: Box::new(e),
            })?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, number: i32) -> TopicPartition {
        TopicPartition::new(topic, number)
    }

    #[test]
    fn an_offset_is_admitted_within_the_log_and_at_its_end() {
        let bounds = LogBounds { low: 10, high: 20 };
        for (offset, admitted) in [(9, false), (10, true), (15, true), (20, true), (21, false)] {
            assert_eq!(
                bounds.admit(&partition("t", 0), offset).is_ok(),
                admitted,
                "{offset}"
            );
        }
        let gap = bounds
            .admit(&partition("t", 0), 4)
            .expect_err("below")
            .to_string();
        assert!(
            gap.contains("t-0") && gap.contains("6 records were deleted"),
            "{gap}"
        );
        let shorter = bounds
            .admit(&partition("t", 0), 21)
            .expect_err("above")
            .to_string();
        assert!(
            shorter.contains("made anew") && shorter.contains("fresh state"),
            "{shorter}"
        );
    }

    #[test]
    fn offsets_must_name_exactly_the_partitions_of_the_topics_read() {
        let topics = BTreeSet::from(["t"]);
        let there = BTreeSet::from([partition("t", 0), partition("t", 1)]);
        let from =
            |entries: &[(&str, i32)]| entries.iter().map(|(t, p)| (partition(t, *p), 7)).collect();
        let exact: BTreeMap<_, _> = from(&[("t", 0), ("t", 1)]);
        assert_eq!(
            match_partitions(&topics, &there, &exact).expect("exact"),
            exact
        );
        let other_topic = from(&[("other", 5), ("t", 0), ("t", 1)]);
        assert_eq!(
            match_partitions(&topics, &there, &other_topic).expect("ignored"),
            exact
        );
        assert!(
            match_partitions(&topics, &there, &from(&[("t", 0)]))
                .expect_err("lacks one")
                .to_string()
                .contains("t-1")
        );
        let error = match_partitions(&topics, &there, &from(&[("t", 0), ("t", 1), ("t", 2)]))
            .expect_err("one too many");
        assert!(error.to_string().contains("t-2"), "{error}");
    }
}
