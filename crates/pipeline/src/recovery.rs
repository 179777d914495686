//! Where a restart begins: a pure decision over facts already read. The reader starts each
//! partition at the smallest offset that any shard or the archive still needs; each of them drops
//! what it already has.
//!
//! The watermarks go on where they were: the shard whose need it was had recorded the greatest
//! event time below it. The archive records no event times, so where its need alone is the
//! smallest, rows up to the first shard's mark may miss their `_late` flag. No value depends on
//! that: every shard has those rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;

use crate::error::PipelineError;

/// Facts about state and log, read at start.
#[derive(Debug, Default)]
pub struct Facts {
    /// Progress of each shard.
    pub shards: Vec<Arc<Applied>>,
    /// Progress of each topic's archive table, by topic.
    pub archives: BTreeMap<String, Applied>,
    /// All partitions that will be read, with the oldest offset that the log holds.
    pub begins: BTreeMap<TopicPartition, i64>,
    /// Cluster that the state follows; None in a new state.
    pub known_cluster: Option<String>,
    /// Cluster that answers now.
    pub found_cluster: String,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Where to start each partition.
    pub starts: BTreeMap<TopicPartition, i64>,
    /// What the shards have recorded of each of them, in no order.
    pub recorded: BTreeMap<TopicPartition, Vec<PartitionProgress>>,
    /// Of each of them the greatest progress that any shard had: how far the reader must get before
    /// recovered pending scores see what they would have seen.
    pub reached: Applied,
    /// Partitions of which some sink has read more than the log's beginning, and another nothing at
    /// all: that one gets what the log still holds.
    pub behind: Vec<TopicPartition>,
}

/// Decide.
///
/// # Errors
/// [`PipelineError::OtherLog`] when the state follows another cluster.
pub fn plan(facts: &Facts) -> Result<Plan, PipelineError> {
    if let Some(known) = &facts.known_cluster
        && *known != facts.found_cluster
    {
        return Err(PipelineError::OtherLog {
            known: known.clone(),
            found: facts.found_cluster.clone(),
        });
    }
    let mut plan = Plan::default();
    for (partition, begin) in &facts.begins {
        let shards: Vec<Option<PartitionProgress>> = facts
            .shards
            .iter()
            .map(|applied| applied.0.get(partition).copied())
            .collect();
        let archive = facts
            .archives
            .get(&*partition.topic)
            .and_then(|applied| applied.0.get(partition));
        let marks = shards
            .iter()
            .flatten()
            .chain(archive)
            .map(|progress| progress.next_offset);
        let new = shards.iter().any(Option::is_none) || archive.is_none();
        if new && marks.clone().any(|mark| mark > *begin) && *begin > 0 {
            plan.behind.push(partition.clone());
        }
        // A sink that has no mark starts where the log does, wherever that is; one that has goes on
        // from it.
        let start = marks.chain(new.then_some(*begin)).min().unwrap_or(*begin);
        plan.starts.insert(partition.clone(), start);
        let recorded: Vec<PartitionProgress> = shards.into_iter().flatten().collect();
        recorded
            .iter()
            .for_each(|progress| plan.reached.advance(partition, *progress));
        plan.recorded.insert(partition.clone(), recorded);
    }
    Ok(plan)
}

/// Refuse two sources over one topic: watermarks and marks belong to the topic's partitions, and a
/// topic's records have one event time.
///
/// # Errors
/// [`PipelineError::SharedTopic`].
pub fn check_topics(sources: &[Arc<SourceDef>]) -> Result<(), PipelineError> {
    let mut readers: BTreeMap<&str, &str> = BTreeMap::new();
    for source in sources {
        if let Some(first) = readers.insert(&source.topic, &source.name)
            && first != source.name
        {
            let (topic, first, second) =
                (source.topic.clone(), first.to_owned(), source.name.clone());
            return Err(PipelineError::SharedTopic {
                topic,
                first,
                second,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use forebay_core::progress::PartitionProgress;

    use super::*;

    fn applied(offsets: &[(i32, i64)]) -> Applied {
        let mut applied = Applied::default();
        for (partition, next_offset) in offsets {
            let progress = PartitionProgress {
                next_offset: *next_offset,
                max_event_time_us: Some(*next_offset),
            };
            applied.advance(&TopicPartition::new("t", *partition), progress);
        }
        applied
    }

    fn facts(shards: &[&[(i32, i64)]], archive: &[(i32, i64)]) -> Facts {
        Facts {
            shards: shards.iter().map(|s| Arc::new(applied(s))).collect(),
            archives: BTreeMap::from([("t".to_owned(), applied(archive))]),
            begins: BTreeMap::from([
                (TopicPartition::new("t", 0), 0),
                (TopicPartition::new("t", 1), 0),
            ]),
            known_cluster: Some("c".into()),
            found_cluster: "c".into(),
        }
    }

    #[test]
    fn a_restart_begins_at_the_smallest_need() {
        type Offsets = &'static [(i32, i64)];
        // Shards, archive, where partitions 0 and 1 start.
        let cases: [(&[Offsets], Offsets, [i64; 2]); 5] = [
            (&[&[], &[]], &[], [0, 0]),
            (&[&[(0, 9)], &[(0, 7)]], &[(0, 8)], [7, 0]),
            (&[&[(0, 9)], &[(0, 9)]], &[(0, 5)], [5, 0]),
            (
                &[&[(0, 9), (1, 4)], &[(0, 9), (1, 4)]],
                &[(0, 9), (1, 3)],
                [9, 3],
            ),
            (&[&[(0, 9)], &[]], &[(0, 9)], [0, 0]),
        ];
        for (shards, archive, expected) in cases {
            let plan = plan(&facts(shards, archive)).expect("same cluster");
            assert_eq!(
                plan.starts.values().copied().collect::<Vec<_>>(),
                expected,
                "{shards:?} {archive:?}"
            );
            assert!(plan.behind.is_empty());
        }
    }

    #[test]
    fn a_sink_without_a_mark_starts_where_the_log_does_and_one_with_a_mark_goes_on_from_it() {
        let decide = |shards: &[&[(i32, i64)]], archive: &[(i32, i64)]| {
            let mut facts = facts(shards, archive);
            facts.begins.insert(TopicPartition::new("t", 0), 50);
            let plan = plan(&facts).expect("same cluster");
            (plan.starts[&TopicPartition::new("t", 0)], plan.behind.len())
        };
        assert_eq!(
            decide(&[&[], &[]], &[]),
            (50, 0),
            "a new state over a log that has lost its head"
        );
        assert_eq!(
            decide(&[&[(0, 80)], &[(0, 80)]], &[]),
            (50, 1),
            "a crash before the first append"
        );
        assert_eq!(
            decide(&[&[(0, 80)], &[]], &[(0, 80)]),
            (50, 1),
            "a crash before the second shard's first epoch"
        );
        assert_eq!(decide(&[&[(0, 80)], &[(0, 80)]], &[(0, 60)]), (60, 0));
        // Below the log's beginning: the reader refuses it as a gap.
        assert_eq!(decide(&[&[(0, 80)], &[(0, 40)]], &[(0, 60)]), (40, 0));
    }

    #[test]
    fn only_partitions_that_are_read_have_to_be_reached() {
        let mut facts = facts(&[&[(0, 9)], &[(0, 7)]], &[]);
        let gone = TopicPartition::new("a_source_that_was_dropped", 0);
        let progress = PartitionProgress {
            next_offset: 5,
            max_event_time_us: None,
        };
        let mut applied = Applied::clone(&facts.shards[0]);
        applied.advance(&gone, progress);
        facts.shards[0] = Arc::new(applied);
        let plan = plan(&facts).expect("same cluster");
        assert_eq!(plan.reached.next_offset(&TopicPartition::new("t", 0)), 9);
        assert!(!plan.reached.0.contains_key(&gone) && !plan.starts.contains_key(&gone));
        assert_eq!(plan.recorded[&TopicPartition::new("t", 0)].len(), 2);
    }

    #[test]
    fn two_sources_over_one_topic_are_refused() {
        let source =
            |name: &str, topic: &str| Arc::new(SourceDef::json(name, topic, Vec::new(), 0));
        check_topics(&[source("a", "t"), source("b", "u")]).expect("a topic each");
        let error = check_topics(&[source("a", "t"), source("b", "t")])
            .expect_err("one topic")
            .to_string();
        assert!(
            error.contains("'a'") && error.contains("'b'") && error.contains("'t'"),
            "{error}"
        );
    }

    #[test]
    fn another_cluster_is_refused_with_both_names() {
        let mut facts = facts(&[&[]], &[]);
        facts.found_cluster = "other".into();
        let error = plan(&facts).expect_err("another log");
        assert!(
            error.to_string().contains("'c'") && error.to_string().contains("'other'"),
            "{error}"
        );
    }
}
