//! Fills a new view from the archive, up to what the shards have applied: first waits until the
//! archive has got that far. Writes to the online store alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use forebay_core::ports::{Archive, CompiledView, OnlineStore};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_engine::Catalog;
use forebay_pipeline::backfill::backfill;

use super::app::App;

/// How long an apply waits for the archive to reach what the shards have applied.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// Time between two looks.
const CATCH_UP_POLL: Duration = Duration::from_millis(100);

impl App {
    /// Wait until the archive covers what the shards had applied of the source of `view`: a crash
    /// leaves it behind them, and it can fill a view only when it is not. (A clean stop archives
    /// all that was read.)
    pub(super) fn catch_up(&self, next: &Catalog, view: &Arc<dyn CompiledView>) -> Result<()> {
        let Some(source) = next.sources().get(&view.spec().source) else {
            return Ok(());
        };
        let (recovered, read_now) = {
            let running = self.running.lock();
            let sources = running.catalog.as_ref().map(Catalog::sources);
            let read_now = sources.is_some_and(|sources| sources.contains_key(&source.name));
            (running.recovered.clone(), read_now)
        };
        let applied = if read_now { recovered } else { self.applied() };
        let needed: Vec<_> = applied
            .0
            .iter()
            .filter(|(p, _)| *p.topic == *source.topic)
            .collect();
        let deadline = Instant::now() + CATCH_UP_MAX;
        loop {
            if read_now {
                self.flush()?;
            }
            let progress = self.archive.progress(&source.name);
            let archived = self.wait_for("reading the archive's progress", progress)??;
            let reached = |(p, progress): &(&TopicPartition, &PartitionProgress)| {
                archived.next_offset(p) >= progress.next_offset
            };
            if needed.iter().all(reached) {
                return Ok(());
            }
            if !read_now {
                bail!(
                    "topic {} was read before by a source of another name, and the archive of {} lacks those events; \
                     give the source its old name, or use an empty data directory",
                    source.topic,
                    source.name
                );
            }
            if Instant::now() > deadline || !self.stop.wait(CATCH_UP_POLL) {
                bail!(
                    "the archive of source {} did not reach the state within {CATCH_UP_MAX:?}; apply again when \
                     ingest has caught up",
                    source.name
                );
            }
        }
    }

    /// The furthest that any shard is, by partition.
    pub(super) fn applied(&self) -> Applied {
        let mut reached = Applied::default();
        for shard in 0..self.store.shards() {
            for (partition, progress) in &self.store.applied(shard).0 {
                reached.advance(partition, *progress);
            }
        }
        reached
    }

    /// Fill a new view from the archive, up to what the shards have applied.
    pub(super) fn fill(&self, next: &Catalog, view: &Arc<dyn CompiledView>) -> Result<()> {
        let spec = view.spec();
        let Some(source) = next.sources().get(&spec.source) else {
            return Ok(());
        };
        let snapshot = self.archive.snapshot(&source.name);
        let snapshot = self.wait_for("opening the archive", snapshot)??;
        let archive = self.archive.as_ref();
        let told = |done| self.life.filled(done as u64, snapshot.rows);
        let fill = backfill(view.as_ref(), source, archive, self.store.as_ref(), told);
        let done = self.runtime.block_on(fill)?;
        if done > 0 {
            let (view, version) = (&spec.name, spec.version);
            tracing::info!(view, version, rows = done, "filled from the archive");
        }
        Ok(())
    }
}
