//! Answers about a log in memory: what it is, where it begins and ends, which record stands at an
//! offset. They fail while the test has the broker away or refuses a topic, and change with what
//! the test does to the log.

use std::collections::BTreeMap;

use forebay_core::ports::{FirstRecord, LogBounds, LogFault, LogInspector, TopicFacts};
use forebay_core::progress::TopicPartition;
use forebay_core::{ErrorKind, PortError, PortResult};

use super::{Contents, MemoryLog, away, digest};

/// Answers about a [`MemoryLog`].
#[derive(Debug)]
pub struct MemoryInspector {
    log: MemoryLog,
}

impl MemoryInspector {
    pub(super) fn of(log: &MemoryLog) -> Self {
        Self { log: log.clone() }
    }

    fn ask<T>(&self, answer: impl FnOnce(&Contents) -> PortResult<T>) -> PortResult<T> {
        let contents = self.log.contents.0.lock();
        if contents.down {
            return Err(away());
        }
        answer(&contents)
    }
}

impl LogInspector for MemoryInspector {
    fn cluster_id(&mut self) -> PortResult<String> {
        self.ask(|contents| Ok(contents.cluster.clone()))
    }

    fn topic(&mut self, topic: &str) -> PortResult<Option<TopicFacts>> {
        self.ask(|contents| {
            let Some(found) = contents.topics.get(topic) else {
                return Ok(None);
            };
            if found.refused {
                return Err(PortError::new(
                    ErrorKind::FailedPrecondition,
                    "the test refuses it",
                ));
            }
            let count = i32::try_from(found.partitions.len()).expect("few partitions");
            Ok(Some(TopicFacts {
                id: contents.tells_ids.then(|| found.id.to_string()),
                partitions: (0..count).collect(),
            }))
        })
    }

    fn bounds(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, LogBounds>> {
        self.ask(|contents| {
            let bounds = |place: &TopicPartition| {
                let bounds = LogBounds {
                    begin: contents.partition(place)?.begin,
                    last_stable: contents.end(place)?,
                };
                Some((place.clone(), bounds))
            };
            Ok(partitions.iter().filter_map(bounds).collect())
        })
    }

    fn first_records(
        &mut self,
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<BTreeMap<TopicPartition, FirstRecord>> {
        self.ask(|contents| {
            let first = |(place, at): (&TopicPartition, &i64)| {
                let partition = contents.partition(place)?;
                let record = partition.records.iter().find(|r| r.offset >= *at);
                let first = match (contents.fault(place, *at), record) {
                    (Some(LogFault::Unreadable { why, .. }), _) => FirstRecord::Unreadable(why),
                    (_, Some(record)) => FirstRecord::Record(digest(record)),
                    (_, None) => FirstRecord::End,
                };
                Some((place.clone(), first))
            };
            Ok(from.iter().filter_map(first).collect())
        })
    }
}
