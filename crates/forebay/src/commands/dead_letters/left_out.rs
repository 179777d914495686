//! The rows that a feature view leaves out, as entries of a list: found by running the view in
//! force over the archive, with key and headers from the log where that still holds the records.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use forebay_core::ErrorKind;
use forebay_core::ports::{CompiledView, TableScan};
use forebay_core::source::SourceDef;
use forebay_pipeline::PipelineError;
use forebay_pipeline::left_out::{Among, LeftOutRow, left_out_rows};

use super::log::looked_up;
use super::opened::Opened;
use super::select::Entry;
use crate::exit;

/// Show `see` the rows `among` the archived ones of its source that `view` leaves out.
///
/// # Errors
/// The archive cannot be read, or the view fails by no fault of a row.
pub(super) async fn rows(
    opened: &Opened,
    view: &dyn CompiledView,
    among: Among,
    mut see: impl FnMut(Entry) + Send,
) -> Result<()> {
    let spec = view.spec();
    let source = opened.source(&spec.source)?;
    let entry = |row: LeftOutRow| entry(source, &spec.name, &row);
    let archive: &dyn TableScan = &opened.archive;
    let tables = (archive, &opened.memory);
    let done = left_out_rows(view, source, tables, among, |row| see(entry(row))).await;
    match done {
        Ok(_) => Ok(()),
        // A source without an archived row yet.
        Err(PipelineError::Port(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("cannot run feature view {} over the archive", spec.name)),
    }
}

fn entry(source: &SourceDef, view: &str, row: &LeftOutRow) -> Entry {
    let text = format!("{}: {}", row.what, row.kind);
    Entry {
        source: source.name.clone(),
        topic: row.partition.topic.to_string(),
        partition: row.partition.partition,
        offset: row.offset,
        at_us: row.kafka_time_us,
        reason: row.kind.label().to_owned(),
        view: Some(view.to_owned()),
        text,
        key: None,
        headers: None,
    }
}

/// Give `entries`, which are of one topic, key and headers of their records. Why the log cannot be
/// asked, where it cannot; a record that it no longer holds stays without.
pub(super) fn name<'a>(
    opened: &Opened,
    entries: impl Iterator<Item = &'a mut Entry>,
) -> Option<String> {
    let mut entries: BTreeMap<(i32, i64), &mut Entry> = entries
        .map(|entry| ((entry.partition, entry.offset), entry))
        .collect();
    let topic = entries.values().next()?.topic.clone();
    let mut wanted: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    for (partition, offset) in entries.keys() {
        wanted.entry(*partition).or_default().insert(*offset);
    }
    match looked_up(opened, &topic, &wanted) {
        Ok(records) => {
            for record in records {
                if let Some(entry) = entries.get_mut(&(record.partition, record.offset)) {
                    entry.key = record.key;
                    entry.headers = Some(record.headers);
                }
            }
            None
        }
        Err(error) => Some(exit::words(&error)),
    }
}
