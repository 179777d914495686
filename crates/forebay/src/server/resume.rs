//! Starts ingest with bound definitions, and stops it: views, models and services are published,
//! what lives in memory is rebuilt from the archive, then the pipeline runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use forebay_control::{
    AlarmPublisher, Aside, BeginError, Beginning, Begun, CHECKPOINT_ROWS, MonitorObserver,
    Monitors, Outcome, Phase, Which, alarm_queue, change_scopes, furthest, take_over,
    touched_topics,
};
use forebay_core::error::with_causes;
use forebay_core::memory::Part;
use forebay_core::ports::{Checkpoints, Runtime};
use forebay_core::source::SourceDef;
use forebay_core::{PortError, PortResult};
use forebay_engine::Catalog;
use forebay_kafka::{KafkaPublisher, encode_rows};
use forebay_offline::{DeltaArchive, dead_letter_batch};
use forebay_online::RocksStore;
use forebay_pipeline::archive::FlushRule;
use forebay_pipeline::prediction::RecordEncoder;
use forebay_pipeline::{Pipeline, PipelineParts, PipelineSettings, Stopped, SystemRuntime};

use super::app::{App, Running};
use super::checkpoint_files::CheckpointFiles;
use super::scorer::RoutedScorer;
use super::tables::CaughtUp;
use super::topics::{TopicMaker, Wanted};
use super::transition::Transition;
use super::wiring::{Binding, Models, Wiring};
use crate::settings::Settings;

/// Predictions as JSON, by the encoder whose inverse reads them.
#[derive(Debug)]
struct JsonEncoder;

impl RecordEncoder for JsonEncoder {
    fn encode(&self, rows: &arrow_array::RecordBatch) -> PortResult<Vec<Vec<u8>>> {
        Ok(encode_rows(rows)?)
    }
}

impl App {
    /// What `catalog` runs on. Publishes nothing.
    pub(super) fn bind(&self, catalog: &Catalog, binding: Binding<'_>) -> Result<Wiring> {
        let models = Models {
            store: &self.models,
            root: &self.settings.server.model_root,
        };
        Wiring::of(catalog, models, self.settings.monitor.options(), binding)
    }

    /// Finish what was read, and stop ingest; nothing where it does not run. How it ended.
    pub(super) fn pause(&self) -> Result<Stopped> {
        self.table_looks.forget_reads();
        let (pipeline, alarms, monitors) = {
            let mut running = self.running.lock();
            running.aside = Aside::default();
            let monitors = Arc::clone(&running.monitors);
            (running.pipeline.take(), running.alarms.take(), monitors)
        };
        let Some(pipeline) = pipeline else {
            return Ok(Stopped::default());
        };
        let stopped = self.runtime.block_on(pipeline.stop());
        if stopped.is_whole() {
            // The archive has all that the monitors have.
            monitors.save();
        }
        alarms.map_or(Ok(()), AlarmPublisher::finish)?;
        Ok(stopped)
    }

    /// Make the topics and tables that are missing. A new one of another shape is refused here.
    pub(super) fn prepare(&self, wiring: &Wiring) -> Result<()> {
        let wanted = Wanted::of(wiring, &self.settings.kafka, self.broker.is_embedded());
        *self.topics.lock() = Some(TopicMaker::start(&self.broker, wanted)?);
        Ok(self.make_tables(wiring)?)
    }

    /// Register views, rebuild what lives in memory, and start ingest: without the sources whose
    /// tables cannot be used, and not at all where all need one that cannot.
    pub(super) fn resume(&self, catalog: Catalog, mut wiring: Wiring) -> Result<()> {
        for view in catalog.views().values() {
            take_over(self.store.as_ref(), view.spec())?;
        }
        let checkpoints = self.checkpoints()?;
        self.models.publish(wiring.models.clone());
        for (model, version, fingerprint) in &wiring.fingerprints {
            self.scorer.expect(model, *version, fingerprint);
        }
        self.tell_gaps(catalog.sources().values())?;
        // From here on reads are answered, whatever ingest still waits for.
        self.reader
            .replace_services(catalog.services().values().cloned().collect());
        self.sink.replace_sources(catalog.sources().clone());
        if self.life.phase() == Phase::Starting && !catalog.services().is_empty() {
            self.answers();
        }
        let caught_up = match self.catch_up(&mut wiring, &checkpoints)? {
            Outcome::Begins(caught_up, aside) => (caught_up, aside),
            Outcome::Stands(table, aside) => {
                self.stand(catalog, wiring, (table, aside));
                return Ok(());
            }
        };
        self.begin_ingest(catalog, wiring, (caught_up, checkpoints))
    }

    /// Start ingest from where monitors and filter are.
    fn begin_ingest(
        &self,
        catalog: Catalog,
        wiring: Wiring,
        (((monitors, begun), aside), checkpoints): ((CaughtUp, Aside), Arc<dyn Checkpoints>),
    ) -> Result<()> {
        let runtime: Arc<dyn Runtime> = Arc::new(SystemRuntime::new(self.runtime.clone()));
        let (raise, outgoing) = alarm_queue(&monitors.announced(), checkpoints);
        let (watched, marks) = (Arc::clone(&monitors), Arc::clone(&self.marks));
        let observer = MonitorObserver::new(watched, marks, raise, Arc::clone(&runtime));
        let (sources, reading) = (wiring.witnessed(), self.broker.watched("reader"));
        let parts = PipelineParts {
            log: self.broker.log(reading, &self.read, self.shares.fetched)?,
            inspector: self.broker.inspector()?,
            notes: Arc::<RocksStore>::clone(&self.store),
            store: Arc::<RocksStore>::clone(&self.store),
            archive: Arc::<DeltaArchive>::clone(&self.archive),
            publisher: Arc::<KafkaPublisher>::clone(&self.publisher),
            reader: Arc::new(self.reader.drawing_as(Part::Scoring)),
            scorer: Arc::<RoutedScorer>::clone(&self.scorer),
            encoder: Arc::new(JsonEncoder),
            dead_letter_rows: dead_letter_batch,
            sources: wiring.sources,
            unusable: aside.why.clone(),
            prediction_sources: wiring.prediction_sources,
            repeats: begun.repeats,
            marks: begun.marks,
            archived_marks: begun.archived_marks,
            views: catalog.views().values().cloned().collect(),
            deployments: wiring.deployments,
            watermarks: Arc::clone(&self.marks),
            clock: Arc::clone(&self.steady_clock),
            counters: Arc::clone(&self.counters),
            observers: vec![Box::new(observer)],
            runtime: Arc::clone(&runtime),
            memory: Arc::clone(&self.budget),
        };
        let recovered = furthest(self.store.as_ref());
        let pipeline = Pipeline::start(parts, pipeline_settings(&self.settings))?;
        self.sink.follow(pipeline.own_topics());
        // Ingest runs by now: alarms that cannot be published are no reason to give it up.
        let alarms = AlarmPublisher::start(outgoing, pipeline.publisher(), &runtime)
            .inspect_err(tell_unpublished)
            .ok();
        *self.running.lock() = Running {
            catalog: Some(catalog),
            pipeline: Some(pipeline),
            recovered,
            monitors,
            alarms,
            suspended: wiring.suspended,
            sources,
            aside,
        };
        Ok(())
    }

    fn checkpoints(&self) -> Result<Arc<dyn Checkpoints>> {
        let files = CheckpointFiles::open(&self.settings.server.data_dir)?;
        Ok(Arc::new(files))
    }

    /// The monitors, each as far as its checkpoint.
    pub(super) fn begin_monitors(
        &self,
        wiring: &Wiring,
        checkpoints: &Arc<dyn Checkpoints>,
    ) -> PortResult<Monitors> {
        let scopes = change_scopes(
            checkpoints.as_ref(),
            &scored(wiring),
            &furthest(self.store.as_ref()),
        )?;
        let (parts, checkpoints) = (&wiring.monitors, Arc::clone(checkpoints));
        Monitors::begin(parts, &scopes, checkpoints, CHECKPOINT_ROWS, &self.budget)
    }

    /// The sources that `change` leaves to be read, and of which others score the events from there
    /// on.
    pub(super) fn scored_by_others(&self, change: &Transition) -> Result<Vec<Arc<SourceDef>>> {
        let Some(wiring) = &change.wiring else {
            return Ok(Vec::new());
        };
        let topics = touched_topics(self.checkpoints()?.as_ref(), &scored(wiring))?;
        let read = change.of(Which::Sources).sources();
        let sources = wiring
            .sources
            .iter()
            .filter(|source| topics.contains(&source.topic) && read.contains_key(&source.name));
        Ok(sources.cloned().collect())
    }

    /// Bring the monitors and the filter of repeats as far as the archive is, without the tables in
    /// `aside`.
    pub(super) fn catch_up_monitors(
        &self,
        wiring: &Wiring,
        checkpoints: &Arc<dyn Checkpoints>,
        monitors: &Monitors,
        aside: &BTreeMap<String, String>,
    ) -> Result<Begun, BeginError> {
        let beginning = Beginning {
            archive: self.archive.as_ref(),
            store: self.store.as_ref(),
            notes: self.store.as_ref(),
            checkpoints,
            sources: &wiring.sources,
            unusable: aside,
            prediction_sources: &wiring.prediction_sources,
            marks: &self.marks,
            runtime: &SystemRuntime::new(self.runtime.clone()),
        };
        let begun = beginning.catch_up(monitors)?;
        tracing::info!(
            rows = begun.rows,
            "monitors and the filter of repeats have read what the archive has beyond their checkpoints"
        );
        Ok(begun)
    }
}

/// Each deployment of `wiring` with the topic of its source.
fn scored(wiring: &Wiring) -> Vec<(&str, &str)> {
    let topic_of = |name: &str| {
        let source = wiring.sources.iter().find(|source| source.name == name);
        source.map(|source| source.topic.as_str())
    };
    let deployments = wiring.deployments.iter();
    let scored = deployments.filter_map(|d| Some((d.def().name.as_str(), topic_of(d.source())?)));
    scored.collect()
}

fn tell_unpublished(error: &PortError) {
    let words = with_causes(error);
    tracing::error!(
        error = words,
        "alarms are not published until the next start"
    );
}

fn pipeline_settings(settings: &Settings) -> PipelineSettings {
    PipelineSettings {
        epoch_max_rows: settings.ingest.epoch_max_rows,
        epoch_wait: settings.ingest.epoch_wait(),
        flush: FlushRule {
            interval: Duration::from_millis(settings.ingest.archive_flush_ms),
            max_bytes: settings.ingest.archive_flush_mib << 20,
        },
        history_us: settings.history_us(),
        writer_threads: settings.ingest.writer_threads,
        scoring: settings.inference.scoring_limits(),
    }
}
