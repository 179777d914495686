//! The fill of a new view from the archive: goes on with one that was cut off ([`begun`]); waits
//! until the archive has what the shards have applied ([`caught_up`]), and until a new state says
//! where it begins; folds beside ingest what is archived, then in [`rounds`] what came meanwhile,
//! and what is left while ingest stands; [`level`] brings shards together that are apart before
//! other events are scored. Writes to the online store alone; how far it is goes to [`Life`] and to
//! its [`FillHost`]. The binary and the simulation run this code.
//!
//! Everything here blocks, on the runtime that it is given, and ends soon after a [`Stop`].

mod begun;
mod caught_up;
mod error;
mod level;
mod rounds;

use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::memory::Budget;
use forebay_core::ports::{Archive, CompiledView, FillWriter, Runtime};
use forebay_core::progress::Applied;
use forebay_core::source::SourceDef;
use forebay_pipeline::PipelineError;
use forebay_pipeline::archive::Archiver;
use forebay_pipeline::backfill::{Filling, Until, backfill};
use forebay_pipeline::gaps::Listed;
use forebay_pipeline::runtime::block_on;
use futures::future::{Either, select};

use crate::life::Life;
use crate::stop::Stop;
pub use begun::{Leftovers, begin_states, delete_leftovers, take_over};
pub use caught_up::{furthest, log_stop};
pub use error::FillError;
pub use rounds::Course;

/// How long one flush of the archive, one look at it, or what a pass reads next of it may take
/// before the change fails with it.
const ASK_MAX: Duration = Duration::from_secs(60);

/// Between two tries of a pass that was refused memory: as long as a few answers take.
const MEMORY_POLL: Duration = Duration::from_millis(500);

/// The server around a fill: what it asks of ingest, and where it reports its progress.
pub trait FillHost: Send + Sync {
    /// Whether ingest runs.
    fn is_ingesting(&self) -> bool;

    /// The way to the archive of what was read; None where ingest does not run.
    fn archiver(&self) -> Option<Archiver>;

    /// What the shards had applied when ingest started. None where the definitions in force do not
    /// read `source`.
    fn recovered(&self, source: &str) -> Option<Applied>;

    /// Let ingest read so many rows a second at most; None: as fast as it goes. Nothing where it
    /// does not run.
    fn limit_ingest(&self, rows_per_s: Option<NonZeroU64>);

    /// What is not read, and why.
    fn halts(&self) -> Vec<Listed>;

    /// Why `source` is not read yet, in words, where that is known.
    fn waits_for(&self, source: &str) -> Option<String>;

    /// What is wrong with the state, or why ingest has ended, in words; None where nothing is.
    fn trouble(&self) -> Option<String>;

    /// `rows` more archived rows were folded into `view`: `done` of `expected` so far.
    fn folded(&self, view: &str, rows: u64, done: u64, expected: u64);

    /// A pass over the archive for `view` took so long.
    fn passed(&self, view: &str, took: Duration);
}

/// What fills run on.
#[derive(Clone, Copy)]
pub struct Filler<'a> {
    /// The server around it.
    pub host: &'a dyn FillHost,
    /// Where the rows come from.
    pub archive: &'a dyn Archive,
    /// Where they go.
    pub store: &'a dyn FillWriter,
    /// Memory for what is read and folded.
    pub memory: &'a Arc<Budget>,
    /// What to wait on.
    pub runtime: &'a dyn Runtime,
    /// Where the rows done are shown.
    pub life: &'a Life,
    /// What ends a fill early.
    pub stop: &'a Stop,
    /// Rows at most that may be left for the time in which ingest stands
    /// ([`FILL_REST_MAX_ROWS`](forebay_core::limits::FILL_REST_MAX_ROWS)).
    pub rest_max_rows: u64,
}

impl std::fmt::Debug for Filler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filler").finish_non_exhaustive()
    }
}

impl Filler<'_> {
    /// Fold into `view` what the archive has of `source` by now, while ingest goes on.
    ///
    /// # Errors
    /// The archive does not get as far as the state, one of them fails, the view refuses a row, or
    /// the server stops.
    pub fn beside(
        &self,
        source: &Arc<SourceDef>,
        view: &dyn CompiledView,
        course: &mut Course,
    ) -> Result<(), FillError> {
        self.catch_up(source)?;
        let (rows, took) = self.pass_beside(source, view)?;
        course.began(rows, took);
        Ok(())
    }

    /// One pass while ingest goes on: rows, and how long they took.
    fn pass_beside(
        &self,
        source: &Arc<SourceDef>,
        view: &dyn CompiledView,
    ) -> Result<(u64, Duration), FillError> {
        let mut filling = Filling::of(self.store, view.spec().id)?;
        self.flush(source)?;
        let snapshot = self.archive.snapshot(&source.name);
        let snapshot = self.ask(source, "opening the archive", snapshot)?;
        let until = Until::Shared(&snapshot.applied);
        let started = self.runtime.elapsed();
        let rows = self.pass(source, view, (&mut filling, until), snapshot.rows)?;
        let took = self.runtime.elapsed().saturating_sub(started);
        Ok((rows as u64, took))
    }

    /// Fold the rest into it, up to what each shard has applied. Ingest stands. Returns the
    /// archived rows that were read for it in all.
    ///
    /// # Errors
    /// As [`Self::beside`].
    pub fn rest(&self, source: &Arc<SourceDef>, view: &dyn CompiledView) -> Result<u64, FillError> {
        let spec = view.spec();
        let mut filling = Filling::of(self.store, spec.id)?;
        let rows = self.pass(source, view, (&mut filling, Until::Each), 0)?;
        tracing::info!(
            view = spec.name,
            version = spec.version,
            rows,
            "filled; these came while the rest was done"
        );
        Ok(filling.rows())
    }

    /// One pass. A stop ends it.
    fn pass(
        &self,
        source: &Arc<SourceDef>,
        view: &dyn CompiledView,
        (filling, until): (&mut Filling, Until<'_>),
        expected: u64,
    ) -> Result<usize, FillError> {
        let (name, started) = (view.spec().name.as_str(), self.runtime.elapsed());
        let mut all = 0;
        let outcome = loop {
            let earlier = filling.rows();
            let expected = expected.max(earlier);
            let mut before = 0;
            let batches = AtomicUsize::new(0);
            let mut told = |done: usize| {
                batches.fetch_add(1, Ordering::Relaxed);
                let rows = (done - before) as u64;
                (before, all) = (done, all + done - before);
                let done = earlier + done as u64;
                self.life.filled(done, expected);
                self.host.folded(name, rows, done, expected.max(done));
            };
            // A fill that goes on after a crash is shown where it was.
            told(0);
            let parts = (self.archive, self.store, self.memory);
            let pass = backfill(view, source, parts, (&mut *filling, until), told);
            let pass = self.while_it_moves(&batches, pass);
            match self.unless_stopped("the fill", pass)? {
                None => return Err(slow(source, "reading the archive")),
                Some(Err(error)) if error.kind() == ErrorKind::ResourceExhausted => {
                    self.wait_for_memory(name, &error)?;
                }
                Some(outcome) => break outcome,
            }
        };
        let took = self.runtime.elapsed().saturating_sub(started);
        self.host.passed(name, took);
        outcome?;
        Ok(all)
    }

    /// A pass was refused memory, and has noted how far it is. What others hold comes back: answers
    /// are sent, rows appended.
    fn wait_for_memory(&self, view: &str, error: &PipelineError) -> Result<(), FillError> {
        tracing::info!(view, %error, "the fill waits for memory");
        if self.stop.wait(MEMORY_POLL) {
            Ok(())
        } else {
            Err(FillError::Stopped { what: "the fill" })
        }
    }

    /// Append to the archive all that was read of `source`; nothing where ingest does not run.
    fn flush(&self, source: &SourceDef) -> Result<(), FillError> {
        match self.host.archiver() {
            Some(archiver) => {
                let flush = archiver.flush_of(&source.name);
                self.ask(source, "a flush of the archive", flush)
            }
            None => Ok(()),
        }
    }

    /// What `work` over the table of `source` gives, unless it takes too long or the server stops
    /// meanwhile; `what` names it.
    fn ask<T, E>(
        &self,
        source: &SourceDef,
        what: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, FillError>
    where
        FillError: From<E>,
    {
        let work = pin!(work);
        let limited = select(work, self.runtime.sleep(ASK_MAX));
        match self.unless_stopped(what, limited)? {
            Either::Left((outcome, _)) => Ok(outcome?),
            Either::Right(_) => Err(slow(source, what)),
        }
    }

    /// What `work` gives, which counts its `batches`; None where it has read none for [`ASK_MAX`].
    async fn while_it_moves<F: Future>(&self, batches: &AtomicUsize, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        loop {
            let before = batches.load(Ordering::Relaxed);
            match select(work.as_mut(), self.runtime.sleep(ASK_MAX)).await {
                Either::Left((output, _)) => return Some(output),
                Either::Right(_) if batches.load(Ordering::Relaxed) == before => return None,
                Either::Right(_) => {}
            }
        }
    }

    fn unless_stopped<F: Future>(
        &self,
        what: &'static str,
        work: F,
    ) -> Result<F::Output, FillError> {
        let (work, asked) = (pin!(work), pin!(self.stop.asked()));
        match block_on(self.runtime, select(work, asked)) {
            Either::Left((output, _)) => Ok(output),
            Either::Right(_) => Err(FillError::Stopped { what }),
        }
    }
}

fn slow(source: &SourceDef, what: &'static str) -> FillError {
    FillError::Slow {
        what,
        source_name: source.name.clone(),
    }
}
