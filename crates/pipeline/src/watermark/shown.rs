//! The watermarks that readers see before a broker has said where reading goes on: those that the
//! state has recorded. Writes to the published watermarks alone, which never fall.

use std::sync::Arc;

use forebay_core::PortResult;
use forebay_core::ports::{LogNotes, StateProgress};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::watermark::{MarkFact, MarkRecord};

use super::{PublishedWatermarks, Watermarks};
use crate::recovery::Plan;

/// Show what is recorded of `source`. Of a topic with a partition of which nothing is recorded
/// nothing is shown: its first rows may be older than any seen so far.
///
/// # Errors
/// The note of its topic cannot be read.
pub fn show_recorded(
    source: &SourceDef,
    (store, notes): (&dyn StateProgress, &dyn LogNotes),
    records: &[MarkRecord],
    published: &Arc<PublishedWatermarks>,
) -> PortResult<()> {
    let Some(note) = notes.topic_note(&source.topic)? else {
        return Ok(());
    };
    let mut plan = Plan::default();
    for shard in 0..store.shards() {
        let applied = store.applied(shard);
        let of_topic = applied
            .0
            .iter()
            .filter(|(place, _)| *place.topic == *source.topic);
        for (place, progress) in of_topic {
            let start = plan
                .starts
                .entry(place.clone())
                .or_insert(progress.next_offset);
            *start = progress.next_offset.min(*start);
            plan.recorded
                .entry(place.clone())
                .or_default()
                .push(*progress);
        }
    }
    for record in records {
        // A partition that was held counts, though nobody has read a record of it.
        if let MarkFact::Hold(hold) = record.fact
            && *record.partition.topic == *source.topic
        {
            let start = plan.starts.entry(record.partition.clone());
            start.or_insert(hold.at);
        }
    }
    let is_known = |number: i32| {
        let place = TopicPartition::new(source.topic.as_str(), number);
        plan.starts.contains_key(&place)
    };
    if (0..note.partitions).all(is_known) {
        let nothing = Applied::default();
        Watermarks::recovered(&plan, records, &nothing, Arc::clone(published)).publish(source);
    }
    Ok(())
}
