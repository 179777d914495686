//! Which events a deployment scores: those from where it was deployed on, up to where it was
//! dropped or suspended. Recorded once, before the first of them is read, so that monitors and the
//! filter of repeats wait for predictions of those alone, live and in a rebuild alike. Pure data;
//! the binary keeps it beside the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::invariant;
use crate::progress::Applied;

/// By deployment and topic of its source the spans of the log that it scores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoringScopes {
    deployments: BTreeMap<String, BTreeMap<String, Vec<Span>>>,
}

/// From one vector of offsets to another; a partition that a vector does not name stands at 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: BTreeMap<i32, i64>,
    /// None: until further notice.
    to: Option<BTreeMap<i32, i64>>,
}

impl ScoringScopes {
    /// Only `current` (deployment and topic of its source) score from here on, where `applied` was
    /// read. Returns whether anything changed.
    pub fn change(&mut self, current: &[(&str, &str)], applied: &Applied) -> bool {
        let before = self.clone();
        let here = |topic: &str| -> BTreeMap<i32, i64> {
            let partitions = applied.0.iter().filter(|(p, _)| *p.topic == *topic);
            partitions
                .map(|(p, progress)| (p.partition, progress.next_offset))
                .collect()
        };
        for (deployment, topics) in &mut self.deployments {
            for (topic, spans) in topics {
                let goes_on = current.contains(&(deployment.as_str(), topic.as_str()));
                if let Some(open) = spans.last_mut().filter(|s| !goes_on && s.to.is_none()) {
                    open.to = Some(here(topic));
                }
            }
        }
        for (deployment, topic) in current {
            let topics = self
                .deployments
                .entry((*deployment).to_owned())
                .or_default();
            let spans = topics.entry((*topic).to_owned()).or_default();
            if spans.last().is_none_or(|span| span.to.is_some()) {
                let from = here(topic);
                spans.push(Span { from, to: None });
            }
            // An open span before the last would have every later event scored.
            let mut closed = spans.iter().rev().skip(1);
            invariant!(
                OneSpanOpen,
                closed.all(|span| span.to.is_some()),
                "deployment '{deployment}' over {topic}: {} spans",
                spans.len()
            );
        }
        *self != before
    }

    /// Topics of which [`Self::change`] to `current` has other events scored.
    #[must_use]
    pub fn touched(&self, current: &[(&str, &str)]) -> BTreeSet<String> {
        let known = self.deployments.iter();
        let known = known.flat_map(|(deployment, topics)| {
            let of_deployment = topics.iter();
            of_deployment.map(move |(topic, spans)| (deployment.as_str(), topic.as_str(), spans))
        });
        let open = known.filter(|(.., spans)| spans.last().is_some_and(|span| span.to.is_none()));
        let open: BTreeSet<_> = open.map(|(name, topic, _)| (name, topic)).collect();
        let current = current.iter().copied().collect();
        let changed = open.symmetric_difference(&current);
        changed.map(|(_, topic)| (*topic).to_owned()).collect()
    }

    /// All that is known of `deployment`, as text: equal texts say the same.
    #[must_use]
    pub fn describe(&self, deployment: &str) -> String {
        format!("{:?}", self.deployments.get(deployment))
    }

    /// The offsets of one partition that `deployment` scores.
    #[must_use]
    pub fn of(&self, deployment: &str, topic: &str, partition: i32) -> ScoredOffsets {
        let spans = self.deployments.get(deployment).and_then(|t| t.get(topic));
        let at = |offsets: &BTreeMap<i32, i64>| offsets.get(&partition).copied().unwrap_or(0);
        let ranges = spans.into_iter().flatten().map(|span| {
            let to = span.to.as_ref().map_or(i64::MAX, at);
            at(&span.from)..to
        });
        ScoredOffsets(ranges.collect())
    }
}

/// Offsets of one partition that a deployment scores; few ranges, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScoredOffsets(Vec<Range<i64>>);

impl ScoredOffsets {
    /// Whether the event at `offset` is scored.
    #[must_use]
    pub fn contains(&self, offset: i64) -> bool {
        self.0.iter().any(|range| range.contains(&offset))
    }

    /// Those of `offsets` that are scored.
    pub fn within(&self, offsets: Range<i64>) -> impl Iterator<Item = Range<i64>> + '_ {
        let cut =
            move |range: &Range<i64>| range.start.max(offsets.start)..range.end.min(offsets.end);
        self.0.iter().map(cut).filter(|range| !range.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{PartitionProgress, TopicPartition};

    fn applied(next_offset: i64) -> Applied {
        let progress = PartitionProgress {
            next_offset,
            max_event_time_us: None,
            last: None,
        };
        let place = TopicPartition::new("events", 0);
        Applied(BTreeMap::from([(place, progress)]))
    }

    #[test]
    fn a_deployment_scores_while_it_is_there_and_again_when_it_comes_back() {
        let mut scopes = ScoringScopes::default();
        let d = [("d", "events")];
        let events = BTreeSet::from(["events".to_owned()]);
        assert_eq!(scopes.touched(&d), events);
        assert!(scopes.change(&d, &applied(10)));
        assert!(!scopes.change(&d, &applied(15)), "it was there already");
        assert_eq!(scopes.touched(&d), BTreeSet::new());
        assert_eq!(scopes.touched(&[]), events);
        assert!(scopes.change(&[], &applied(20)));
        assert_eq!(scopes.touched(&[]), BTreeSet::new());
        assert!(scopes.change(&d, &applied(30)));
        let scored = scopes.of("d", "events", 0);
        let is_scored = [9, 10, 19, 20, 29, 30, 1_000].map(|offset| scored.contains(offset));
        assert_eq!(is_scored, [false, true, true, false, false, true, true]);
        let cut: Vec<_> = scored.within(15..40).collect();
        assert_eq!(cut, [15..20, 30..40]);
        assert!(scopes.of("d", "events", 7).contains(0), "a new partition");
        assert!(!scopes.of("d", "others", 0).contains(0));
        let text = serde_json::to_string(&scopes).expect("JSON");
        let read: ScoringScopes = serde_json::from_str(&text).expect("its own text");
        assert_eq!(read, scopes);
    }
}
