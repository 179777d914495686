//! Partitions of the log that one table has events of, numbered in the order in which they are met,
//! so that an event carries four bytes of its place. Both lowerings ask while they read a table;
//! cuts of applied offsets are looked up by number.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::progress::{Applied, TopicPartition};

use super::EventBatch;

/// The (topic, partition) pairs of one table, numbered.
#[derive(Debug)]
pub(crate) struct Places {
    topic: Arc<str>,
    places: Vec<TopicPartition>,
    numbers: HashMap<TopicPartition, u32>,
}

impl Places {
    /// Of a table whose rows, where they do not say otherwise, are of `topic`.
    pub(crate) fn new(topic: &str) -> Self {
        Self {
            topic: topic.into(),
            places: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// The number of each row of `batch`.
    pub(crate) fn of(&mut self, batch: &EventBatch) -> Vec<u32> {
        let mut last: Option<(Option<&str>, i32, u32)> = None;
        let place = |row: usize| {
            let topic = batch.topic.as_ref().map(|topics| topics.value(row));
            let partition = batch.partition.value(row);
            match last {
                Some((t, p, number)) if t == topic && p == partition => number,
                _ => {
                    let number = self.number(topic, partition);
                    last = Some((topic, partition, number));
                    number
                }
            }
        };
        (0..batch.rows.num_rows()).map(place).collect()
    }

    fn number(&mut self, topic: Option<&str>, partition: i32) -> u32 {
        let topic = topic.map_or_else(|| Arc::clone(&self.topic), Arc::from);
        let place = TopicPartition::new(topic, partition);
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        let number = u32::try_from(self.places.len()).expect("partitions are numbered by i32");
        self.places.push(place.clone());
        self.numbers.insert(place, number);
        number
    }

    /// The partition of this number.
    pub(crate) fn get(&self, number: u32) -> &TopicPartition {
        &self.places[number as usize]
    }

    /// For each cut the next offset of each place.
    pub(crate) fn next_offsets(&self, cuts: &[Arc<Applied>]) -> Vec<Vec<i64>> {
        cuts.iter()
            .map(|cut| {
                self.places
                    .iter()
                    .map(|place| cut.next_offset(place))
                    .collect()
            })
            .collect()
    }
}
