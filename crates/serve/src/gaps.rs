//! The gaps that answers speak of: offsets of a topic that a person accepted as never to be read.
//! Whoever accepts one, or changes the definitions, says so here; an answer takes from it
//! what the sources of its service have. Almost always that is nothing, and costs one atomic load.

use std::collections::{BTreeMap, BTreeSet};

use arc_swap::ArcSwap;
use forebay_core::invariant;
use forebay_core::progress::TopicPartition;
use forebay_core::view::ServiceSpec;
use serde::{Deserialize, Serialize};

/// Offsets of one partition that nobody will read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogGap {
    /// The partition.
    #[serde(flatten)]
    pub place: TopicPartition,
    /// First offset that is missing.
    pub from: i64,
    /// One past the last.
    pub to: i64,
}

/// The accepted gaps of the sources that are served.
#[derive(Debug, Default)]
pub struct LogGaps(ArcSwap<BTreeMap<String, Vec<LogGap>>>);

impl LogGaps {
    /// These from now on, by source.
    pub fn replace(&self, mut gaps: BTreeMap<String, Vec<LogGap>>) {
        invariant!(
            GapBeginsBeforeItsEnd,
            gaps.values().flatten().all(|gap| gap.from < gap.to),
            "{gaps:?}"
        );
        gaps.retain(|_, of_source| !of_source.is_empty());
        self.0.store(gaps.into());
    }

    /// These too, of `source`.
    pub fn add(&self, source: &str, gaps: &[LogGap]) {
        self.0.rcu(|before| {
            let mut all = BTreeMap::clone(before);
            let of_source = all.entry(source.to_owned()).or_default();
            of_source.extend_from_slice(gaps);
            all
        });
    }

    /// Those behind `service`, ascending; one of a topic that two sources read is there once.
    pub(crate) fn behind(&self, service: &ServiceSpec) -> Vec<LogGap> {
        let gaps = self.0.load();
        if gaps.is_empty() {
            return Vec::new();
        }
        let sources = service.views.iter().map(|binding| &binding.view.source);
        let found: BTreeSet<&LogGap> = sources
            .filter_map(|source| gaps.get(source))
            .flatten()
            .collect();
        found.into_iter().cloned().collect()
    }
}
