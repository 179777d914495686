//! Shards that are apart are brought to the same events before a change of what is scored.
//!
//! Each shard scores its events under the definitions with which it reads them, but which events a
//! deployment scores is recorded by offsets alone ([`change_scopes`](crate::change_scopes)), from
//! the furthest shard on. A shard that is behind, after a crash or a stop in which a write of it
//! failed, would read the events in between under the other definitions: monitors would wait for
//! predictions that never come, or get some of events that no deployment scores.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::ports::StateProgress;
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;

use super::caught_up::{CATCH_UP_POLL, furthest};
use super::{FillError, Filler};
use crate::step::{Step, Which};

/// How often ingest is begun anew for it: a stop may leave shards apart again, because what it
/// finishes is new to them.
const ROUNDS_MAX: usize = 3;
/// How long one round reads on.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// A shard that lacks events of a partition which another one has.
#[derive(Debug, PartialEq, Eq)]
struct Behind {
    shard: u16,
    place: TopicPartition,
    has: i64,
    furthest: i64,
}

/// The shard that is furthest behind another one in a partition of `sources`, where any is.
fn behind(store: &dyn StateProgress, sources: &[Arc<SourceDef>]) -> Option<Behind> {
    let furthest = furthest(store);
    let is_meant = |place: &TopicPartition| sources.iter().any(|s| *s.topic == *place.topic);
    let mut most: Option<Behind> = None;
    for shard in 0..store.shards() {
        let applied = store.applied(shard);
        for (place, progress) in furthest.0.iter().filter(|(place, _)| is_meant(place)) {
            let (has, furthest) = (applied.next_offset(place), progress.next_offset);
            let lacks = most.as_ref().map_or(0, |most| most.furthest - most.has);
            if furthest - has > lacks {
                let place = place.clone();
                most = Some(Behind {
                    shard,
                    place,
                    has,
                    furthest,
                });
            }
        }
    }
    most
}

impl Filler<'_> {
    /// Bring all shards to the same events of `sources`, which the definitions before read, and
    /// which others score from here on. Ingest stands; where shards are apart it reads on with the
    /// definitions before, and stands again, each by a step that `carry_out` does.
    ///
    /// One whose last write is not decided may have more than it says, which its next write tells.
    /// Where none follows although ingest ran, it was not one of events.
    ///
    /// # Errors
    /// A step fails, the shards stay apart, or the server stops.
    pub fn level(
        &self,
        sources: &[Arc<SourceDef>],
        carry_out: &mut dyn FnMut(&Step) -> PortResult<()>,
    ) -> Result<(), FillError> {
        let mut why = None;
        let is_level = || behind(self.store, sources).is_none() && self.store.is_settled();
        for _ in 0..ROUNDS_MAX {
            if sources.is_empty() || is_level() {
                return Ok(());
            }
            carry_out(&Step::Resume(Which::Sources))?;
            let read_on = self.read_on(sources, is_level);
            carry_out(&Step::Pause)?;
            why = read_on?;
            if why.is_some() {
                break;
            }
        }
        let Some(behind) = behind(self.store, sources) else {
            return Ok(());
        };
        let stops = || "every stop of ingest leaves it behind".to_owned();
        Err(FillError::Apart {
            shard: behind.shard,
            topic: behind.place.topic.to_string(),
            partition: behind.place.partition,
            has: behind.has,
            furthest: behind.furthest,
            why: why.or_else(|| self.host.trouble()).unwrap_or_else(stops),
        })
    }

    /// Let ingest go on until `is_level`; why that does not come about, where it does not.
    fn read_on(
        &self,
        sources: &[Arc<SourceDef>],
        is_level: impl Fn() -> bool,
    ) -> Result<Option<String>, FillError> {
        let began = self.runtime.elapsed();
        while !is_level() {
            let waited = self.runtime.elapsed().saturating_sub(began);
            let mut stands = sources.iter().filter_map(|s| self.stands(s, waited));
            if let Some(stands) = stands.next() {
                return Ok(Some(self.host.trouble().unwrap_or(stands)));
            }
            if waited > ROUND_MAX {
                let mut waits = sources.iter().filter_map(|s| self.host.waits_for(&s.name));
                let why = self.host.trouble().or_else(|| waits.next());
                let unread = || format!("its events were not read within {ROUND_MAX:?}");
                return Ok(Some(why.unwrap_or_else(unread)));
            }
            if !self.stop.wait(CATCH_UP_POLL) {
                let what = "bringing all shards to the same events";
                return Err(FillError::Stopped { what });
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
