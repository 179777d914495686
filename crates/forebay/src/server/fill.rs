//! What the fill of a view (`control`) asks of this server: ingest as it runs now, and metrics for
//! how far the fill is.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Result;
use forebay_control::{FillError, FillHost, Filler, Stop};
use forebay_core::PortError;
use forebay_core::limits::FILL_REST_MAX_ROWS;
use forebay_core::ports::{StateHealth, StoreHealth};
use forebay_core::progress::Applied;
use forebay_pipeline::archive::Archiver;
use forebay_pipeline::gaps::Listed;
use forebay_pipeline::{Pipeline, SystemRuntime};

use super::app::App;

impl App {
    /// Let `fill` run over this server, until it stops.
    pub(super) fn with_filler<T>(
        &self,
        fill: impl FnOnce(&Filler<'_>) -> Result<T, FillError>,
    ) -> Result<T> {
        self.with_filler_until(&self.stop, fill)
    }

    /// Let `fill` run over this server, until `stop`.
    pub(super) fn with_filler_until<T>(
        &self,
        stop: &Stop,
        fill: impl FnOnce(&Filler<'_>) -> Result<T, FillError>,
    ) -> Result<T> {
        let filler = Filler {
            host: self,
            archive: self.archive.as_ref(),
            store: self.store.as_ref(),
            memory: &self.budget,
            runtime: &SystemRuntime::new(self.runtime.clone()),
            life: &self.life,
            stop,
            rest_max_rows: FILL_REST_MAX_ROWS,
        };
        Ok(fill(&filler).map_err(PortError::from)?)
    }

    /// Refuse a view of `source` where its table is set aside: nothing can be read of it.
    pub(super) fn refuse_aside(&self, source: &str) -> Result<()> {
        let Some(why) = self.running.lock().aside.why.get(source).cloned() else {
            return Ok(());
        };
        let error = FillError::Standing {
            source_name: source.to_owned(),
            why: format!("its table cannot be used ({why})"),
        };
        Err(PortError::from(error).into())
    }

    /// No fill of the view `name` is under way any more.
    pub(super) fn fill_is_over(&self, name: &str) {
        self.metrics.backfill_done_rows.remove([name]);
        self.metrics.backfill_expected_rows.remove([name]);
    }
}

impl FillHost for App {
    fn is_ingesting(&self) -> bool {
        App::is_ingesting(self)
    }

    fn archiver(&self) -> Option<Archiver> {
        let running = self.running.lock();
        running.pipeline.as_ref().map(Pipeline::archiver)
    }

    fn recovered(&self, source: &str) -> Option<Applied> {
        let running = self.running.lock();
        let catalog = running.catalog.as_ref()?;
        let is_read = catalog.sources().contains_key(source);
        is_read.then(|| running.recovered.clone())
    }

    fn limit_ingest(&self, rows_per_s: Option<NonZeroU64>) {
        if let Some(pipeline) = &self.running.lock().pipeline {
            pipeline.limit_rows(rows_per_s);
        }
    }

    fn halts(&self) -> Vec<Listed> {
        App::halts(self)
    }

    fn waits_for(&self, source: &str) -> Option<String> {
        let status = self.status().sources.remove(source)?;
        Some(status.state.reason()?.to_owned())
    }

    fn trouble(&self) -> Option<String> {
        match self.store.health() {
            StoreHealth::Well => self.status().failed,
            StoreHealth::Troubled { why } | StoreHealth::Lost { why } => Some(why),
        }
    }

    fn folded(&self, view: &str, rows: u64, done: u64, expected: u64) {
        self.metrics.backfill_rows.with([view]).add(rows);
        self.metrics
            .backfill_done_rows
            .with([view])
            .set(done as f64);
        self.metrics
            .backfill_expected_rows
            .with([view])
            .set(expected as f64);
    }

    fn passed(&self, view: &str, took: Duration) {
        let duration = self.metrics.backfill_duration.with([view]);
        duration.observe_duration(took);
    }
}
