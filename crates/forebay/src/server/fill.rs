//! Fills a new view from the archive, up to what the shards have applied: first waits until the
//! archive has got that far, and until a new state says where it begins. Writes to the online store
//! alone; how far a fill is goes to `status` and to the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use forebay_core::ports::{Archive, CompiledView, OnlineStore};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_engine::Catalog;
use forebay_pipeline::backfill::{Filling, Until, backfill};
use forebay_pipeline::not_begun;

use super::app::App;

/// How long an apply waits for the archive to reach what the shards have applied.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// How long an apply waits for a new state to say where it begins: its shards do so within a second
/// once the source is read. Of one that is halted it waits only for the next look at its log.
const BEGIN_MAX: Duration = Duration::from_secs(15);
const HALTED_MAX: Duration = Duration::from_secs(3);
/// Passes over the archive while ingest goes on; each folds what came during the one before.
const PASSES_MAX: usize = 8;
/// What a pass may leave for the time in which ingest stands: about as many rows as it folded,
/// which take well under a second.
const PASS_FEW_ROWS: usize = 4_096;
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
        let begun = Instant::now();
        loop {
            if read_now {
                self.flush_now()?;
            }
            let progress = self.archive.progress(&source.name);
            let archived = self.wait_for("reading the archive's progress", progress)??;
            let reached = |(p, progress): &(&TopicPartition, &PartitionProgress)| {
                archived.next_offset(p) >= progress.next_offset
            };
            if needed.iter().all(reached) {
                break;
            }
            if !read_now {
                bail!(
                    "topic {} was read before by a source of another name, and the archive of {} lacks those events; \
                     give the source its old name, or use an empty data directory",
                    source.topic,
                    source.name
                );
            }
            let halted = self.halts().into_iter().find(|h| h.source == source.name);
            if let Some(halt) = halted
                && begun.elapsed() > HALTED_MAX
            {
                bail!(
                    "the archive of source {} is behind its state, and the source is halted: {}; mend that, then again",
                    source.name,
                    halt.reason
                );
            }
            if begun.elapsed() > CATCH_UP_MAX || !self.stop.wait(CATCH_UP_POLL) {
                bail!(
                    "the archive of source {} did not reach the state within {CATCH_UP_MAX:?}; try again when \
                     ingest has caught up",
                    source.name
                );
            }
        }
        // Of a source that only the new definitions read, all that the log has comes from there.
        if read_now {
            self.wait_begun(source)
        } else {
            Ok(())
        }
    }

    /// Wait until every shard has a mark of each partition that the archive has. A new state beside
    /// an archive has none before its source is read, and until then nobody knows which of the
    /// archived rows the log brings again.
    fn wait_begun(&self, source: &SourceDef) -> Result<()> {
        let progress = self.archive.progress(&source.name);
        let archived = self.wait_for("reading the archive's progress", progress)??;
        let started = Instant::now();
        loop {
            let shards = 0..self.store.shards();
            let shards: Vec<_> = shards.map(|shard| self.store.applied(shard)).collect();
            let Some(place) = not_begun(source, &archived, &shards) else {
                return Ok(());
            };
            let halted = self.halts().into_iter().find(|halt| {
                halt.source == source.name && halt.partition.is_none_or(|p| p == place.partition)
            });
            let max = halted.as_ref().map_or(BEGIN_MAX, |_| HALTED_MAX);
            if started.elapsed() > max || !self.stop.wait(CATCH_UP_POLL) {
                let status = self.status().sources.remove(&source.name);
                let waits = status.and_then(|status| Some(status.state.reason()?.to_owned()));
                let why = halted.map(|halt| halt.reason).or(waits);
                bail!(
                    "the state is new and has read nothing of {}-{} yet, so that nobody knows what \
                     of the archive of source {} the log brings again: {}; try again when it is read",
                    place.topic,
                    place.partition,
                    source.name,
                    why.as_deref().unwrap_or("ingest has not begun to read it")
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

    /// Fold into a new view what the archive has, in passes while ingest goes on, until what came
    /// during a pass is little.
    pub(super) fn fill_beside(
        &self,
        next: &Catalog,
        view: &Arc<dyn CompiledView>,
        filling: &mut Filling,
    ) -> Result<()> {
        let Some(source) = next.sources().get(&view.spec().source) else {
            return Ok(());
        };
        for _ in 0..PASSES_MAX {
            self.flush_now()?;
            let snapshot = self.archive.snapshot(&source.name);
            let snapshot = self.wait_for("opening the archive", snapshot)??;
            let until = Until::Shared(&snapshot.applied);
            let done = self.pass(source, view, (filling, until), snapshot.rows)?;
            if done <= PASS_FEW_ROWS {
                break;
            }
        }
        Ok(())
    }

    /// Fold the rest into it, up to what each shard has applied. Ingest stands.
    pub(super) fn fill_rest(
        &self,
        next: &Catalog,
        view: &Arc<dyn CompiledView>,
        filling: &mut Filling,
    ) -> Result<()> {
        let spec = view.spec();
        let Some(source) = next.sources().get(&spec.source) else {
            return Ok(());
        };
        let rows = self.pass(source, view, (filling, Until::Each), 0)?;
        let (view, version) = (&spec.name, spec.version);
        tracing::info!(
            view,
            version,
            rows,
            "filled; these came while the rest was done"
        );
        Ok(())
    }

    /// One pass. A stop ends it.
    fn pass(
        &self,
        source: &Arc<SourceDef>,
        view: &Arc<dyn CompiledView>,
        (filling, until): (&mut Filling, Until<'_>),
        rows: u64,
    ) -> Result<usize> {
        let stores: (&dyn Archive, &dyn OnlineStore) = (self.archive.as_ref(), self.store.as_ref());
        let name = view.spec().name.as_str();
        let (counted, started) = (self.metrics.backfill_rows.with([name]), Instant::now());
        let (shown, expected) = (
            self.metrics.backfill_done_rows.with([name]),
            self.metrics.backfill_expected_rows.with([name]),
        );
        let earlier = filling.rows();
        let rows = rows.max(earlier);
        let mut before = 0;
        let told = |done| {
            counted.add((done - before) as u64);
            before = done;
            let done = earlier + done as u64;
            self.life.filled(done, rows);
            shown.set(done as f64);
            expected.set(rows.max(done) as f64);
        };
        let pass = backfill(view.as_ref(), source, stores, (filling, until), told);
        let done: Result<usize> = self.runtime.block_on(async {
            tokio::select! {
                done = pass => Ok(done?),
                () = self.stop.asked() => bail!("the server is stopping; the fill was given up"),
            }
        });
        let duration = self.metrics.backfill_duration.with([name]);
        duration.observe_duration(started.elapsed());
        done
    }

    /// No fill of the view `name` is under way any more.
    pub(super) fn fill_is_over(&self, name: &str) {
        self.metrics.backfill_done_rows.with([name]).set(0.0);
        self.metrics.backfill_expected_rows.with([name]).set(0.0);
    }
}
