//! How monitors and the filter of repeats begin: from their checkpoints, and from what the archive
//! has beyond them. Read before ingest starts, in the order of event time.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use forebay_core::ErrorKind;
use forebay_core::ports::{Archive, Scan, TableScan};
use forebay_core::progress::{PartitionProgress, TopicPartition};
use forebay_core::settlement::SETTLEMENT_TABLE;
use forebay_core::source::SourceDef;
use forebay_monitor::SourceRows;
use forebay_pipeline::repeats::Repeats;
use forebay_pipeline::settlements;

use super::app::App;
use super::archived;
use super::checkpoint_files::{CheckpointFiles, change_scopes};
use super::monitoring::Monitors;
use super::replaying::ArchivedTables;
use super::wiring::Wiring;

impl App {
    /// The monitors, each as far as its checkpoint.
    pub(super) fn begin_monitors(&self, wiring: &Wiring) -> Result<Monitors> {
        let files = CheckpointFiles::open(&self.settings.server.data_dir)?;
        let topics: HashMap<&str, &str> = wiring
            .sources
            .iter()
            .map(|source| (source.name.as_str(), source.topic.as_str()))
            .collect();
        let scored: Vec<(&str, &str)> = wiring
            .deployments
            .iter()
            .filter_map(|d| Some((d.def().name.as_str(), *topics.get(d.source())?)))
            .collect();
        let scopes = change_scopes(&files, &scored, &self.applied())?;
        Monitors::begin(&wiring.monitors, &scopes, Arc::new(files))
    }

    /// The filter of repeats and the monitors' counts: from their checkpoints, and what the archive
    /// has beyond them.
    pub(super) fn catch_up_monitors(
        &self,
        wiring: &Wiring,
        monitors: &Monitors,
    ) -> Result<Repeats> {
        let files = CheckpointFiles::open(&self.settings.server.data_dir)?;
        let mut repeats = Repeats::open(Arc::new(files));
        let is_prediction = |source: &SourceDef| wiring.prediction_sources.contains(&source.name);
        let mut tables = Vec::new();
        for source in &wiring.sources {
            let progress = self.runtime.block_on(self.archive.progress(&source.name))?;
            if is_prediction(source) {
                repeats.note_archived(&progress);
            }
            let read = monitors.reads(&source.name);
            if read {
                let partitions: Vec<i32> = progress.0.keys().map(|p| p.partition).collect();
                monitors.expect(source, &partitions);
            }
            // One past what all that read this source have of a partition.
            let known = |place: &TopicPartition| {
                let monitors = monitors.covered(source, place.partition);
                let repeats = is_prediction(source).then(|| repeats.decided_to(place));
                monitors.into_iter().chain(repeats).min()
            };
            let mut scan = Scan::default().in_log_order();
            let mut is_behind = false;
            for (place, progress) in &progress.0 {
                let Some(next_offset) = known(place) else {
                    continue;
                };
                is_behind |= next_offset < progress.next_offset;
                let from = PartitionProgress {
                    next_offset,
                    ..*progress
                };
                scan.from.advance(place, from);
            }
            if is_behind {
                let rows = self.archive.scan(&source.name, scan);
                let rows = self.runtime.block_on(rows)?;
                let rows = archived::blocking(self.runtime.clone(), rows);
                tables.push((Arc::clone(source), rows));
            }
        }
        self.settle_archived(monitors)?;
        // At equal times events go before their predictions.
        tables.sort_by_key(|(source, _)| is_prediction(source));
        let mut tables = ArchivedTables::new(tables)?;
        while let Some((source, rows)) = tables.next()? {
            if is_prediction(&source) {
                repeats.note(&rows)?;
            }
            if monitors.reads(&source.name) {
                monitors.catch_up(&SourceRows::archived(&source, rows)?);
            }
        }
        Ok(repeats)
    }

    /// Events without a prediction, all of them: they are few, and said again change nothing.
    fn settle_archived(&self, monitors: &Monitors) -> Result<()> {
        let scan = self.archive.scan(SETTLEMENT_TABLE, Scan::default());
        let rows = match self.runtime.block_on(scan) {
            Ok(rows) => rows,
            // Nothing was ever settled.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for rows in archived::blocking(self.runtime.clone(), rows) {
            monitors.settle(&settlements::read(&rows?)?);
        }
        Ok(())
    }
}
