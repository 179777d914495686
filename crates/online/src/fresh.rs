//! Which scores and notes of an epoch a shard has not applied before: those of events at or above
//! the offsets up to which it has read. `commit` queues them.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::ports::ShardWrite;
use forebay_core::prediction::PendingScore;
use forebay_core::progress::TopicPartition;
use forebay_core::settlement::Unscored;

use crate::writer::Writer;

/// Where each partition of a write's scores was read up to before, looked up once a partition.
#[derive(Debug)]
struct NextOffsets<'a> {
    writer: &'a Writer,
    known: HashMap<(&'a str, i32), i64>,
}

impl<'a> NextOffsets<'a> {
    fn new(writer: &'a Writer) -> Self {
        Self {
            writer,
            known: HashMap::new(),
        }
    }

    fn of(&mut self, topic: &'a str, partition: i32) -> i64 {
        *self.known.entry((topic, partition)).or_insert_with(|| {
            let place = TopicPartition::new(topic, partition);
            self.writer.progress.applied.next_offset(&place)
        })
    }
}

/// The scores and the notes of an epoch that the shard has not applied before.
pub(crate) fn fresh(
    writer: &Writer,
    write: &ShardWrite,
) -> (Vec<Arc<PendingScore>>, Vec<Unscored>) {
    (fresh_pending(writer, write), fresh_notes(writer, write))
}

/// The scores of events that the shard has not applied before. Each event's are in one write, once.
fn fresh_pending(writer: &Writer, write: &ShardWrite) -> Vec<Arc<PendingScore>> {
    let mut next = NextOffsets::new(writer);
    write
        .pending
        .iter()
        .filter(|score| score.key.offset >= next.of(&score.key.topic, score.key.partition))
        .cloned()
        .collect()
}

/// The notes on events that the shard has not applied before.
fn fresh_notes(writer: &Writer, write: &ShardWrite) -> Vec<Unscored> {
    let mut next = NextOffsets::new(writer);
    let mut fresh = Vec::new();
    for note in &write.unscored {
        let offsets = note
            .offsets
            .from_offset(next.of(&note.topic, note.partition));
        if offsets.count() > 0 {
            fresh.push(Unscored {
                offsets,
                ..note.clone()
            });
        }
    }
    fresh
}
