//! What is halted in the running pipeline, and the acceptance of gaps. Nothing is decided here: the
//! pipeline's watch over the log does both. What is accepted goes from here to the answers, which
//! speak of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use forebay_core::ports::{AcceptedGap, LogNotes};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use forebay_pipeline::gaps::{Accepted, Listed};
use forebay_serve::LogGap;
use tokio::time::timeout;

use super::App;

/// How long an acceptance may take: probes of a damaged stretch, an append, a synced write.
const ACCEPT_MAX: Duration = Duration::from_secs(120);

impl App {
    /// Sources and partitions that are not read, and why.
    #[must_use]
    pub(crate) fn halts(&self) -> Vec<Listed> {
        let running = self.running.lock();
        running
            .pipeline
            .as_ref()
            .map(forebay_pipeline::Pipeline::halts)
            .unwrap_or_default()
    }

    /// Have answers speak of the gaps that are accepted of `sources`, and of no others.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(in crate::server) fn tell_gaps<'a>(
        &self,
        sources: impl Iterator<Item = &'a Arc<SourceDef>>,
    ) -> Result<()> {
        let mut all = BTreeMap::new();
        for source in sources {
            let note = self.store.topic_note(&source.topic)?.unwrap_or_default();
            let gaps = note.gaps.iter().filter_map(|gap| told(&source.topic, gap));
            all.insert(source.name.clone(), gaps.collect());
        }
        self.gaps.replace(all);
        Ok(())
    }

    /// Accept the gaps of `source`, or of one of its partitions.
    ///
    /// # Errors
    /// There is none, a store fails, or ingest does not run.
    pub(crate) fn accept_gaps(
        &self,
        source: &str,
        partition: Option<i32>,
    ) -> Result<Vec<Accepted>> {
        let now_us = self.clock.now_us();
        let answer = {
            let running = self.running.lock();
            let pipeline = running.pipeline.as_ref();
            let pipeline = pipeline.context("ingest does not run; try again when it does")?;
            pipeline.accept_gaps(source, partition, now_us)
        };
        let (gaps, catalog) = (Arc::clone(&self.gaps), self.catalog());
        // A task, since an acceptance holds also when nobody waits for it any more.
        let accepting = self.runtime.spawn(async move {
            let accepted = answer.await;
            for a in accepted.iter().flatten().flatten() {
                // The state notes it by topic: it holds for each source that reads it.
                let sources = catalog.sources().values();
                for source in sources.filter(|source| source.topic == a.topic) {
                    gaps.add(&source.name, told(&a.topic, &a.gap).as_slice());
                }
            }
            accepted
        });
        let accepted = self
            .runtime
            .block_on(async { timeout(ACCEPT_MAX, accepting).await });
        Ok(accepted
            .context("the gap was not accepted in time; look with `forebay gap list`")?
            .context("the acceptance was given up; look with `forebay gap list`")?
            .context("ingest has stopped meanwhile; try again when it runs")??)
    }
}

/// What answers say of `gap`: what views lack of it, and not what the archive alone does. None
/// where views have all.
fn told(topic: &str, gap: &AcceptedGap) -> Option<LogGap> {
    let from = gap.from.max(gap.applied_to);
    (from < gap.to).then(|| LogGap {
        place: TopicPartition::new(topic, gap.partition),
        from,
        to: gap.to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_tell_of_a_gap_what_the_views_lack_and_not_what_they_had_applied() {
        let told_of = |applied_to| {
            let gap = AcceptedGap {
                partition: 3,
                from: 4,
                to: 7,
                applied_to,
                accepted_us: 0,
            };
            told("clicks", &gap).map(|gap| (gap.place.partition, gap.from, gap.to))
        };
        assert_eq!(told_of(4), Some((3, 4, 7)));
        assert_eq!(told_of(6), Some((3, 6, 7)));
        assert_eq!(told_of(7), None);
    }
}
