//! Gives up pending scores that wait for longer than their features are kept: their model cannot be
//! asked, or their topic takes nothing. What is pending holds back expiry of every view, so that an
//! outage without end must not hold it for ever. Reads and counts; [`super::stage`] writes.

use std::collections::BTreeMap;

use forebay_core::PortResult;
use forebay_core::limits::{
    PENDING_SCORE_MAX_AGE_US, SCORING_CHUNK_MAX_BYTES, SCORING_CHUNK_MAX_ROWS,
};
use forebay_core::ports::Settled;
use forebay_core::prediction::Arm;
use forebay_core::settlement::{ScoreOutcome, UnscoredReason};
use forebay_core::time::Micros;

use crate::score::bounded::{Bound, known};
use crate::score::lane::Lane;
use crate::score::settle::is_expired;

/// Why pending scores of `lane` are given up although nothing fails of what scores them: there is
/// no room at `topic`, which takes nothing, and the event of the oldest is of `oldest_us`. None
/// where they wait on: a topic that is slow makes room at last, however old the events of a replay
/// are.
pub(crate) fn unsent(lane: &Lane, topic: &str, oldest_us: Option<Micros>) -> Option<String> {
    let watermark_us = lane.watermark_us();
    if !is_expired(oldest_us?, watermark_us, PENDING_SCORE_MAX_AGE_US) {
        return None;
    }
    let words = lane.publishing_failure(topic)?;
    Some(format!("its topic takes nothing: {words}"))
}

/// The ends, by shard, of the scores at the head of the queue of `arm` whose features are kept no
/// longer; `cause` says why they were not scored before.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn expired(
    lane: &Lane,
    arm: Arm,
    cause: &str,
) -> PortResult<BTreeMap<u16, Vec<Settled>>> {
    let watermark_us = lane.watermark_us();
    let words = format!("the event is older than PENDING_SCORE_MAX_AGE_US and {cause}");
    let mut settled: BTreeMap<u16, Vec<Settled>> = BTreeMap::new();
    let store = &lane.parts.store;
    for shard in 0..store.shards() {
        let mut bound = Bound::of(SCORING_CHUNK_MAX_ROWS, SCORING_CHUNK_MAX_BYTES);
        let pending = |from, count| store.pending(shard, &lane.name, arm, from, count);
        let oldest = bound.read(0, pending, known)?;
        let expired = oldest.into_iter().filter(|entry| {
            is_expired(
                entry.score.event_time_us,
                watermark_us,
                PENDING_SCORE_MAX_AGE_US,
            )
        });
        let given_up: Vec<Settled> = expired
            .map(|entry| Settled {
                entry,
                outcome: ScoreOutcome::Unscored(UnscoredReason::Expired, words.clone()),
            })
            .collect();
        if !given_up.is_empty() {
            let count = given_up.len() as u64;
            lane.count_unscored(UnscoredReason::Expired.label(), count);
            settled.insert(shard, given_up);
        }
    }
    Ok(settled)
}
