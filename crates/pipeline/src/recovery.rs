//! Where a restart begins: a pure decision over facts already read. The reader starts each partition at the smallest
//! offset that any shard or the archive still needs; each of them drops what it already has.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::progress::{Applied, TopicPartition};

use crate::error::PipelineError;

/// Facts about the state, read at start.
#[derive(Debug, Default)]
pub struct Facts {
    /// Progress of each shard.
    pub shards: Vec<Arc<Applied>>,
    /// Progress of each topic's archive table, by topic.
    pub archives: BTreeMap<String, Applied>,
    /// All partitions that will be read.
    pub partitions: Vec<TopicPartition>,
    /// Cluster that the state follows; None in a new state.
    pub known_cluster: Option<String>,
    /// Cluster that answers now.
    pub found_cluster: String,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where to start each partition that some sink has read before; the others start at the log's beginning, wherever
    /// that is.
    pub starts: BTreeMap<TopicPartition, i64>,
    /// The greatest progress that any shard had: where recovered maxima are taken over, and how far the reader must get
    /// before recovered pending scores see what they would have seen.
    pub reached: Applied,
}

/// Decide.
///
/// # Errors
/// [`PipelineError::OtherLog`] when the state follows another cluster.
pub fn plan(facts: &Facts) -> Result<Plan, PipelineError> {
    if let Some(known) = &facts.known_cluster
        && *known != facts.found_cluster
    {
        return Err(PipelineError::OtherLog { known: known.clone(), found: facts.found_cluster.clone() });
    }
    let mut starts = BTreeMap::new();
    for partition in &facts.partitions {
        let shards = facts.shards.iter().map(|applied| applied.next_offset(partition));
        let archive = facts.archives.get(&*partition.topic).map_or(0, |applied| applied.next_offset(partition));
        let needs: Vec<i64> = shards.chain([archive]).collect();
        // Once any sink has read the partition, the others need it from their own mark on, be it 0.
        if needs.iter().any(|need| *need > 0) {
            starts.insert(partition.clone(), needs.into_iter().min().unwrap_or(0));
        }
    }
    let mut reached = Applied::default();
    for applied in &facts.shards {
        for (partition, progress) in &applied.0 {
            reached.advance(partition, *progress);
        }
    }
    Ok(Plan { starts, reached })
}

#[cfg(test)]
mod tests {
    use forebay_core::progress::PartitionProgress;

    use super::*;

    fn applied(offsets: &[(i32, i64)]) -> Applied {
        let mut applied = Applied::default();
        for (partition, next_offset) in offsets {
            let progress = PartitionProgress { next_offset: *next_offset, max_event_time_us: Some(*next_offset) };
            applied.advance(&TopicPartition::new("t", *partition), progress);
        }
        applied
    }

    fn facts(shards: &[&[(i32, i64)]], archive: &[(i32, i64)]) -> Facts {
        Facts {
            shards: shards.iter().map(|s| Arc::new(applied(s))).collect(),
            archives: BTreeMap::from([("t".to_owned(), applied(archive))]),
            partitions: vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)],
            known_cluster: Some("c".into()),
            found_cluster: "c".into(),
        }
    }

    #[test]
    fn a_restart_begins_at_the_smallest_need() {
        type Offsets = &'static [(i32, i64)];
        let cases: [(&[Offsets], Offsets, Offsets); 4] = [
            (&[&[(0, 9)], &[(0, 7)]], &[(0, 8)], &[(0, 7)]),
            (&[&[(0, 9)], &[(0, 9)]], &[(0, 5)], &[(0, 5)]),
            (&[&[(0, 9), (1, 4)], &[(0, 9), (1, 4)]], &[(0, 9)], &[(0, 9)]),
            (&[&[(0, 9)], &[]], &[(0, 9)], &[(0, 0)]),
        ];
        for (shards, archive, expected) in cases {
            let plan = plan(&facts(shards, archive)).expect("same cluster");
            let expected = expected.iter().map(|(p, o)| (TopicPartition::new("t", *p), *o)).collect();
            assert_eq!(plan.starts, expected);
        }
    }

    #[test]
    fn another_cluster_is_refused_with_both_names() {
        let mut facts = facts(&[&[]], &[]);
        facts.found_cluster = "other".into();
        let error = plan(&facts).expect_err("another log");
        assert!(error.to_string().contains("'c'") && error.to_string().contains("'other'"), "{error}");
    }
}
