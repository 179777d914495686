//! The orders to a consumer that say which partitions it reads and from where. Shared by the reader
//! and the inspector.

use std::collections::BTreeMap;

use forebay_core::progress::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::ClientEvents;
use crate::error::Error;

/// Read these partitions and no others.
pub(crate) fn assign(
    consumer: &BaseConsumer<ClientEvents>,
    from: &BTreeMap<TopicPartition, i64>,
) -> Result<(), Error> {
    let assigned = consumer.assign(&offsets(from)?);
    assigned.map_err(|e| failed("being assigned its partitions", e))
}

/// Read `place` no more.
pub(crate) fn unassign(
    consumer: &BaseConsumer<ClientEvents>,
    place: &TopicPartition,
) -> Result<(), Error> {
    let mut list = TopicPartitionList::new();
    list.add_partition(&place.topic, place.partition);
    let done = consumer.incremental_unassign(&list);
    done.map_err(|e| failed("giving a partition back", e))
}

/// Pause or resume these partitions.
pub(crate) fn pause(
    consumer: &BaseConsumer<ClientEvents>,
    places: &BTreeMap<TopicPartition, i64>,
    paused: bool,
) -> Result<(), Error> {
    let list = offsets(places)?;
    if paused {
        let done = consumer.pause(&list);
        done.map_err(|e| failed("being paused", e))
    } else {
        let done = consumer.resume(&list);
        done.map_err(|e| failed("being resumed", e))
    }
}

fn offsets(from: &BTreeMap<TopicPartition, i64>) -> Result<TopicPartitionList, Error> {
    partition_list(
        from.iter()
            .map(|(partition, offset)| (partition, Offset::Offset(*offset))),
    )
}

fn failed(action: &str, error: rdkafka::error::KafkaError) -> Error {
    Error::Client {
        action: action.into(),
        source: Box::new(error),
    }
}

pub(crate) fn partition_list<'a>(
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
