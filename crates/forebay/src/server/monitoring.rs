//! The monitors of a process: fed by the pipeline with every decoded batch (predictions, labels), rebuilt at start from
//! the archive, read by metrics and summaries. Alarms leave as records for the alert topic, at least once and with
//! deterministic ids. No statistics here: `monitor` has them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{BooleanArray, RecordBatch};
use forebay_core::definition::MonitorDef;
use forebay_core::ports::{CompiledLabel, Publisher, SourceBatch};
use forebay_core::prediction::OutboxRecord;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_monitor::{Monitor, MonitorOptions, MonitorReport, ReferenceProfile};
use forebay_pipeline::{BatchObserver, PublishedWatermarks};
use parking_lot::Mutex;

/// One monitor with where its rows come from.
#[derive(Debug)]
pub struct Watch {
    name: String,
    /// Sources that carry its model's predictions.
    predictions: Vec<String>,
    /// Source and expression of its labels.
    labels: Option<(Arc<SourceDef>, Arc<dyn CompiledLabel>)>,
    monitor: Mutex<Monitor>,
}

/// All monitors of a process.
#[derive(Debug, Default)]
pub struct Watches {
    watches: Vec<Watch>,
}

/// Where the reference profile of a monitor lies: beside the model version that it was made for.
#[must_use]
pub fn profile_path(model_dir: &Path, reference: &str) -> PathBuf {
    model_dir.join(format!("reference-{reference}.json"))
}

impl Watch {
    /// A monitor as defined, with the profile at `profile`.
    ///
    /// # Errors
    /// The profile is missing or damaged, or contradicts the definition; the text says how to make one.
    pub fn open(
        def: MonitorDef,
        profile: &Path,
        predictions: Vec<String>,
        labels: Option<(Arc<SourceDef>, Arc<dyn CompiledLabel>)>,
    ) -> Result<Self> {
        let text = std::fs::read_to_string(profile).with_context(|| {
            format!(
                "monitor '{}' has no reference at {}; make it with: forebay profile {} --training-set FILE --model DIR",
                def.name,
                profile.display(),
                def.reference
            )
        })?;
        let reference: ReferenceProfile =
            serde_json::from_str(&text).with_context(|| format!("{} is not a reference profile", profile.display()))?;
        let name = def.name.clone();
        let monitor = Monitor::new(def, reference, MonitorOptions::default())?;
        Ok(Self { name, predictions, labels, monitor: Mutex::new(monitor) })
    }

    fn takes(&self, source: &str) -> bool {
        self.predictions.iter().any(|name| name == source) || self.label_source() == Some(source)
    }

    fn label_source(&self) -> Option<&str> {
        self.labels.as_ref().map(|(source, _)| source.name.as_str())
    }

    /// Count the rows of `source`.
    fn observe(&self, source: &str, rows: &RecordBatch) -> Result<()> {
        if self.predictions.iter().any(|name| name == source) {
            self.monitor.lock().observe_predictions(rows)?;
        }
        if let Some((labels, expression)) = self.labels.as_ref().filter(|(labels, _)| labels.name == source) {
            let label: BooleanArray = expression.evaluate(rows)?;
            let times = rows.column(labels.time_column).as_primitive::<TimestampMicrosecondType>();
            self.monitor.lock().observe_labels(rows, &label, times)?;
        }
        Ok(())
    }

    /// The smaller of the watermarks of predictions and labels.
    fn watermark(&self, marks: &PublishedWatermarks) -> Option<Micros> {
        let sources = self.predictions.iter().map(String::as_str).chain(self.label_source());
        sources.map(|source| marks.of(source)).collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

impl Watches {
    /// These monitors.
    #[must_use]
    pub fn new(watches: Vec<Watch>) -> Self {
        Self { watches }
    }

    /// Count archived rows of `source`, before the pipeline starts.
    ///
    /// # Errors
    /// The archive's columns are not those of the source.
    pub fn rebuild(&self, source: &str, rows: &[RecordBatch]) -> Result<()> {
        for watch in self.watches.iter().filter(|w| w.takes(source)) {
            for batch in rows {
                watch.observe(source, batch).with_context(|| format!("monitor '{}' over the archive", watch.name))?;
            }
        }
        Ok(())
    }

    /// Sources that any monitor reads.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.watches.iter().flat_map(|w| w.predictions.iter().map(String::as_str).chain(w.label_source()))
    }

    /// What every monitor knows now.
    #[must_use]
    pub fn reports(&self) -> Vec<MonitorReport> {
        self.watches.iter().map(|w| w.monitor.lock().snapshot()).collect()
    }
}

/// The pipeline's end: counts batches, advances windows, hands out alarms.
#[derive(Debug)]
pub struct MonitorObserver {
    watches: Arc<Watches>,
    marks: Arc<PublishedWatermarks>,
    alerts: Sender<OutboxRecord>,
}

impl MonitorObserver {
    /// An observer and the alarms that it will raise.
    #[must_use]
    pub fn new(watches: Arc<Watches>, marks: Arc<PublishedWatermarks>) -> (Self, Receiver<OutboxRecord>) {
        let (alerts, raised) = channel();
        (Self { watches, marks, alerts }, raised)
    }

    fn step(&self, watch: &Watch, batch: &SourceBatch) -> Result<()> {
        watch.observe(&batch.source.name, &batch.rows)?;
        let Some(watermark) = watch.watermark(&self.marks) else { return Ok(()) };
        let events = watch.monitor.lock().advance(watermark);
        for event in events {
            if let Some(record) = event.outbox_record()?
                && self.alerts.send(record).is_err()
            {
                tracing::warn!(monitor = watch.name, "an alarm was not published: the publisher has stopped");
            }
        }
        Ok(())
    }
}

impl BatchObserver for MonitorObserver {
    fn observe(&mut self, batch: &SourceBatch, _watermark_us: Option<Micros>) {
        for watch in self.watches.watches.iter().filter(|w| w.takes(&batch.source.name)) {
            if let Err(error) = self.step(watch, batch) {
                // Monitoring must never stop the data path: the batch is archived, and a restart counts it again.
                tracing::error!(monitor = watch.name, error = format!("{error:#}"), "a batch was not counted");
            }
        }
    }
}

/// Publish alarms until every observer is gone. Failures are tried again, since ids make repeats harmless.
pub fn publish_alerts(raised: &Receiver<OutboxRecord>, publisher: &dyn Publisher) {
    while let Ok(record) = raised.recv() {
        let mut records = vec![record];
        records.extend(raised.try_iter());
        for attempt in 1..=5_u32 {
            match publisher.publish(&records) {
                Ok(()) => break,
                Err(error) if error.kind().is_retriable() && attempt < 5 => {
                    tracing::warn!(%error, attempt, "alarms were not published and are tried again");
                    std::thread::sleep(std::time::Duration::from_millis(200 * u64::from(attempt)));
                }
                Err(error) => tracing::error!(%error, alarms = records.len(), "alarms were not published"),
            }
        }
    }
}
