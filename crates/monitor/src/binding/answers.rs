//! Which events of the scored sources wait for an answer, and which need not any more: what
//! `control` tells of notes, and what it asks where predictions may be lost. Counts nothing.

use std::ops::Range;

use forebay_core::invariant;
use forebay_core::offsets::OffsetSet;
use forebay_core::prediction::Role;

use super::{MonitorBinding, WatchedDeployment};

impl MonitorBinding {
    /// Events of `deployment` at these offsets get no prediction.
    pub fn settle(
        &mut self,
        (deployment, role): (&str, Role),
        (topic, partition): (&str, i32),
        offsets: impl Iterator<Item = Range<i64>>,
    ) {
        let scopes = &self.scopes;
        let feed = self.deployments.iter_mut().find(|feed| {
            feed.watched.deployment == deployment && feed.watched.scored.topic == topic
        });
        if let Some(feed) = feed.filter(|_| role == Role::Live) {
            let partition = feed.partition(partition, scopes);
            for run in offsets {
                let mut from = run.start;
                for scored in partition.scope.within(run.clone()) {
                    invariant!(
                        ScopeInsideRun,
                        from <= scored.start && scored.start < scored.end && scored.end <= run.end,
                        "{scored:?} of {run:?}"
                    );
                    from = scored.end;
                    partition.answered.answer_all(&scored);
                }
            }
        }
    }

    /// Events that wait for their answers: of each deployment by partition of its scored source.
    pub fn awaited(&self) -> impl Iterator<Item = (&WatchedDeployment, i32, OffsetSet)> {
        self.deployments.iter().flat_map(|feed| {
            let waiting = feed.partitions.iter();
            waiting.map(|(number, p)| (&feed.watched, *number, p.answered.unanswered()))
        })
    }
}
