//! When an arm of a deployment takes no more events: its pending scores on disk have reached their
//! limit, because its model cannot be asked or does not keep up. Until half of them are gone each
//! event that is routed to it gets a note instead of a pending score, so that state stays bounded,
//! ingest goes on, and every event is accounted for. Each arm has the limit for itself: a shadow
//! that fails takes no room from the live one, nor from itself where it becomes live. Owned by the
//! ingest thread; looks at the store once an epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::limits::{
    OUTBOX_MAX_RECORDS, PENDING_SCORES_MAX_BYTES, PENDING_SCORES_MAX_RECORDS, SCORING_CALL_MAX_MS,
    SCORING_CHUNKS_MAX,
};
use forebay_core::ports::{PendingLoad, ScoreLoad, ScoreQueue};
use forebay_core::prediction::Arm;

use crate::deployment::Deployment;
use crate::status::Counters;

/// How much of one deployment may wait and be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoringLimits {
    /// Pending scores of one arm on disk.
    pub pending_records: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Records that wait for one topic before no more is scored for it.
    pub outbox_records: usize,
    /// Chunks that one arm asks its model for at once.
    pub chunks: usize,
    /// How long one question to a model may take.
    pub call_max: Duration,
}

impl Default for ScoringLimits {
    fn default() -> Self {
        Self {
            pending_records: PENDING_SCORES_MAX_RECORDS,
            pending_bytes: PENDING_SCORES_MAX_BYTES,
            outbox_records: OUTBOX_MAX_RECORDS,
            chunks: SCORING_CHUNKS_MAX,
            call_max: Duration::from_millis(SCORING_CALL_MAX_MS),
        }
    }
}

/// Whether an arm with `load` is suspended, given whether it was.
fn suspends(load: &PendingLoad, limits: &ScoringLimits, was: bool) -> bool {
    let (records, bytes) = if was {
        (limits.pending_records / 2, limits.pending_bytes / 2)
    } else {
        (limits.pending_records, limits.pending_bytes)
    };
    load.scores > 0 && (load.scores >= records || load.bytes >= bytes)
}

/// Which arms take no events at present.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    limits: ScoringLimits,
    /// The suspended arms by deployment, with the words of their notes.
    suspended: BTreeMap<String, BTreeMap<Arm, String>>,
}

impl Intake {
    /// Nobody is suspended.
    pub(crate) fn new(limits: ScoringLimits) -> Self {
        Self {
            limits,
            suspended: BTreeMap::new(),
        }
    }

    /// Why `arm` of `deployment` takes no events now; None where it does.
    pub(crate) fn suspended(&self, deployment: &str, arm: Arm) -> Option<&str> {
        let arms = self.suspended.get(deployment)?;
        arms.get(&arm).map(String::as_str)
    }

    /// Look at what waits for the arms of `deployments`, and decide anew.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(crate) fn look<'a>(
        &mut self,
        deployments: impl IntoIterator<Item = &'a Deployment>,
        store: &dyn ScoreQueue,
        counters: &Counters,
    ) -> PortResult<()> {
        let mut loads: BTreeMap<String, ScoreLoad> = BTreeMap::new();
        for shard in 0..store.shards() {
            for (name, load) in store.score_load(shard)? {
                let known = loads.entry(name).or_default();
                *known = std::mem::take(known).and(&load);
            }
        }
        for deployment in deployments {
            let name = deployment.def().name.as_str();
            for arm in deployment.arms() {
                let load = loads.get(name).map(|load| load.of(arm));
                let load = load.unwrap_or_default();
                let was = self.suspended(name, arm).is_some();
                let is = suspends(&load, &self.limits, was);
                if is != was {
                    self.switch((deployment, arm), is.then_some(&load), counters);
                }
            }
        }
        Ok(())
    }

    fn switch(
        &mut self,
        (deployment, arm): (&Deployment, Arm),
        full: Option<&PendingLoad>,
        counters: &Counters,
    ) {
        let (name, version) = (deployment.def().name.as_str(), arm.version);
        let mut deployments = counters.deployments.lock();
        let status = deployments.entry(name.to_owned()).or_default();
        let Some(load) = full else {
            if let Some(arms) = self.suspended.get_mut(name) {
                arms.remove(&arm);
            }
            status.suspended.remove(&arm);
            tracing::info!(
                deployment = name,
                version,
                "scores its source's events again"
            );
            return;
        };
        let cause = status.trouble(arm, &deployment.topic_of(arm.role));
        let cause = cause.map_or_else(
            || "its model does not keep up".to_owned(),
            |trouble| trouble.to_owned(),
        );
        let words = format!(
            "{} scores ({} bytes) were pending, the limit of pending_max_records and pending_max_mib in [inference]: {cause}",
            load.scores, load.bytes
        );
        tracing::error!(
            deployment = name,
            version,
            reason = words,
            "is suspended: events get a note and no score until half of what waits is scored"
        );
        status.suspended.insert(arm, words.clone());
        let arms = self.suspended.entry(name.to_owned()).or_default();
        arms.insert(arm, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_suspended_at_the_limit_and_goes_on_below_half_of_it() {
        let limits = ScoringLimits {
            pending_records: 100,
            pending_bytes: 1_000,
            ..ScoringLimits::default()
        };
        // Records, bytes, whether it was suspended, whether it is.
        let table = [
            (0, 0, false, false),
            (0, 0, true, false),
            (99, 999, false, false),
            (100, 0, false, true),
            (1, 1_000, false, true),
            (99, 0, true, true),
            (50, 0, true, true),
            (49, 499, true, false),
            (49, 500, true, true),
        ];
        for (scores, bytes, was, is) in table {
            let load = PendingLoad {
                scores,
                bytes,
                oldest_us: None,
            };
            let decided = suspends(&load, &limits, was);
            assert_eq!(decided, is, "{scores} records, {bytes} bytes, {was}");
        }
    }

    #[test]
    fn the_limits_are_the_named_ones_unless_the_settings_say_less() {
        let limits = ScoringLimits::default();
        let at = |scores, bytes| {
            let load = PendingLoad {
                scores,
                bytes,
                oldest_us: None,
            };
            suspends(&load, &limits, false)
        };
        assert!(at(PENDING_SCORES_MAX_RECORDS, 0) && !at(PENDING_SCORES_MAX_RECORDS - 1, 0));
        assert!(at(1, PENDING_SCORES_MAX_BYTES) && !at(1, PENDING_SCORES_MAX_BYTES - 1));
        assert_eq!(limits.outbox_records, OUTBOX_MAX_RECORDS);
        assert_eq!(limits.chunks, SCORING_CHUNKS_MAX);
        assert_eq!(limits.call_max.as_millis(), u128::from(SCORING_CALL_MAX_MS));
    }
}
