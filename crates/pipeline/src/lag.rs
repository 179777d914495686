//! What waits in the log of a source, partition by partition, as of one look: the last stable
//! offset less what every shard has applied; where a gap halts the source, less what lies below the
//! gap, which the archive may need alone. Where that cannot be said (nobody answers, or another
//! log stands under the topic's name) it is None and never 0: zero says that all is applied. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::ports::LogBounds;
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;

use crate::halt::{Halt, HaltReason};
use crate::recovery::{Decision, FoundLog, SourceFacts, pass_gaps};
use crate::status::PartitionStatus;

/// Whether the offsets of the log that was found are those of the one that was read.
fn is_own_log(decision: &Decision) -> bool {
    !matches!(decision, Decision::Halt(reason) if !matches!(reason, HaltReason::Gap { .. }))
}

/// The partitions of a source. What nobody answers for keeps what was known of it `before`, but for
/// its lag.
pub(crate) fn partitions(
    facts: &SourceFacts,
    decision: &Decision,
    before: Vec<PartitionStatus>,
) -> Vec<PartitionStatus> {
    let unknown = |known: PartitionStatus| PartitionStatus { lag: None, ..known };
    let FoundLog::There { topic, bounds, .. } = &facts.found else {
        return before.into_iter().map(unknown).collect();
    };
    let status = |partition: &i32| match bounds.get(partition) {
        Some(bounds) => of_partition(facts, *partition, *bounds, decision),
        None => {
            let known = before.iter().find(|known| known.partition == *partition);
            PartitionStatus {
                partition: *partition,
                waiting: Some(format!("nobody answers for {}-{partition}", facts.topic)),
                ..unknown(known.cloned().unwrap_or_default())
            }
        }
    };
    topic.partitions.iter().map(status).collect()
}

/// What waits in all of `partitions`; None where that is not known of each, or of none.
pub(crate) fn of_source(partitions: &[PartitionStatus]) -> Option<u64> {
    let all = partitions.iter().map(|partition| partition.lag);
    all.sum::<Option<u64>>().filter(|_| !partitions.is_empty())
}

fn of_partition(
    facts: &SourceFacts,
    partition: i32,
    bounds: LogBounds,
    decision: &Decision,
) -> PartitionStatus {
    let halted = match decision {
        Decision::Read(plan) => plan.halted.get(&partition),
        Decision::Wait(_) | Decision::Halt(_) => None,
    };
    let place = TopicPartition::new(Arc::clone(&facts.topic), partition);
    let shards = facts.shards.iter();
    let applied = shards.clone().map(|shard| shard.next_offset(&place)).min();
    // A shard without a mark begins where the log does. What was deleted before it was read waits
    // until somebody accepts the gap: a log that retention has emptied is not one that is read.
    let done = shards.map(|shard| match shard.0.get(&place) {
        Some(progress) => pass_gaps(&facts.note.gaps, partition, progress.next_offset),
        None => bounds.begin,
    });
    let gaps = match decision {
        Decision::Halt(HaltReason::Gap { gaps, .. }) => gaps.as_slice(),
        _ => &[],
    };
    let gap = gaps.iter().find(|gap| gap.partition == partition);
    let done = done.chain(gap.map(|gap| gap.from));
    let waits = bounds.last_stable - done.min().unwrap_or(bounds.begin);
    let lag = u64::try_from(waits).ok().filter(|_| is_own_log(decision));
    PartitionStatus {
        partition,
        applied: applied.unwrap_or_default(),
        last_stable: bounds.last_stable,
        // A damaged log may hold more than its own end tells.
        lag: lag.filter(|lag| *lag > 0 || halted.is_none()),
        halted: halted.map(Halt::from),
        waiting: None,
    }
}

/// Log the halts of `partitions` that `told` does not have.
pub(crate) fn tell_halts(
    told: &mut BTreeMap<TopicPartition, Halt>,
    source: &SourceDef,
    partitions: &[PartitionStatus],
) {
    for part in partitions {
        let place = TopicPartition::new(source.topic.as_str(), part.partition);
        let Some(halt) = part
            .halted
            .as_ref()
            .filter(|h| told.get(&place) != Some(*h))
        else {
            continue;
        };
        tracing::error!(
            source = source.name,
            partition = part.partition,
            code = halt.code,
            reason = halt.reason,
            "a partition is halted; others are read, and it is tried again"
        );
        told.insert(place, halt.clone());
    }
}
