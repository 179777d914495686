//! What the archive says: which offsets have a row, a dead letter or an accepted gap, and the
//! digests of the rows that are compared with the log. Tables are read as streams, whichever order
//! is cheapest; what stays in memory are intervals of offsets, and 16 bytes for each row compared.

use std::collections::{BTreeMap, HashSet};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use forebay_core::offsets::OffsetSet;
use forebay_core::ports::{Scan, TableScan};
use forebay_core::progress::TopicPartition;
use forebay_core::source::{SourceDef, meta};
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::TryStreamExt;

use super::judge::PartitionFacts;
use super::rows::{Places, digests};
use crate::error::TrainingError;

/// Facts by partition.
pub(super) type Facts = BTreeMap<TopicPartition, PartitionFacts>;

/// The digests of the rows that are compared: by partition sorted (offset, digest).
pub(super) type Digests = BTreeMap<TopicPartition, Vec<(i64, u64)>>;

const PLACE: [&str; 3] = [meta::TOPIC, meta::PARTITION, meta::OFFSET];

/// The batches of `table` that `scan` asks for; none where there is no such table.
async fn each(
    tables: &dyn TableScan,
    table: &str,
    scan: Scan,
    mut take: impl FnMut(&RecordBatch) -> Result<(), TrainingError> + Send,
) -> Result<(), TrainingError> {
    let mut rows = match tables.scan(table, scan).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        rows => rows?,
    };
    while let Some(batch) = rows.try_next().await? {
        take(&batch)?;
    }
    Ok(())
}

/// Which offsets of `source` have a row, and which more than one.
pub(super) async fn rows(
    tables: &dyn TableScan,
    source: &SourceDef,
    facts: &mut Facts,
) -> Result<(), TrainingError> {
    each(tables, &source.name, Scan::columns(PLACE), |batch| {
        let places = Places::of(batch)?;
        for (place, from, to) in places.runs() {
            let facts = facts.entry(place).or_default();
            let offsets = &places.offset.values()[from..to];
            // A run without a hole is one step, whatever its length.
            let mut at = 0;
            while at < offsets.len() {
                let ascends = |pair: &&[i64]| pair[1] == pair[0] + 1;
                let length = 1 + offsets[at..].windows(2).take_while(ascends).count();
                let (first, end) = (offsets[at], offsets[at + length - 1] + 1);
                facts.doubled.extend(&facts.archived.within(first, end));
                facts.archived.insert_range(first, end);
                at += length;
            }
        }
        Ok(())
    })
    .await
}

/// Which offsets of `source` are dead letters.
pub(super) async fn letters(
    tables: &dyn TableScan,
    table: &str,
    source: &SourceDef,
    facts: &mut Facts,
) -> Result<(), TrainingError> {
    let scan = Scan::columns(PLACE.into_iter().chain(["source"]));
    each(tables, table, scan, |batch| {
        let places = Places::of(batch)?;
        let names = batch.column_by_name("source");
        let names = names
            .and_then(|names| names.as_string_opt::<i32>())
            .ok_or_else(|| unfit(table))?;
        for (place, from, to) in places.runs() {
            let facts = facts.entry(place).or_default();
            let of_source = (from..to).filter(|row| names.value(*row) == source.name);
            for row in of_source {
                facts.letters.insert(places.offset.value(row));
            }
        }
        Ok(())
    })
    .await
}

/// Which offsets are accepted gaps, as the archive remembers them.
pub(super) async fn gaps(
    tables: &dyn TableScan,
    table: &str,
    source: &SourceDef,
    facts: &mut Facts,
) -> Result<(), TrainingError> {
    each(tables, table, Scan::default(), |batch| {
        let places = Places::of(batch)?;
        let long = |name: &str| {
            let column = batch.column_by_name(name);
            column
                .and_then(|column| column.as_primitive_opt::<Int64Type>())
                .ok_or_else(|| unfit(table))
        };
        let (begins, ends) = (long("from_offset")?, long("to_offset")?);
        for (place, from, to) in places.runs() {
            if *place.topic != *source.topic {
                continue;
            }
            let facts = facts.entry(place).or_default();
            for row in from..to {
                facts.gaps.insert_range(begins.value(row), ends.value(row));
            }
        }
        Ok(())
    })
    .await
}

/// The digests of the rows of `source` at the offsets in `wanted`.
pub(super) async fn row_digests(
    tables: &dyn TableScan,
    source: &SourceDef,
    wanted: &BTreeMap<TopicPartition, OffsetSet>,
) -> Result<Digests, TrainingError> {
    let own: Vec<&str> = source.columns.iter().map(|c| c.name.as_str()).collect();
    let scan = Scan::columns(own.iter().copied().chain(PLACE));
    let mut found = Digests::new();
    each(tables, &source.name, scan, |batch| {
        let places = Places::of(batch)?;
        let mut digests_of = None;
        for (place, from, to) in places.runs() {
            let Some(wanted) = wanted.get(&place) else {
                continue;
            };
            let rows = (from..to).filter(|row| wanted.contains(places.offset.value(*row)));
            let rows: Vec<usize> = rows.collect();
            if rows.is_empty() {
                continue;
            }
            if digests_of.is_none() {
                digests_of = Some(digests(batch, &own)?);
            }
            let digests = digests_of.as_deref().unwrap_or_default();
            let pairs = rows
                .iter()
                .map(|row| (places.offset.value(*row), digests[*row]));
            found.entry(place).or_default().extend(pairs);
        }
        Ok(())
    })
    .await?;
    found.values_mut().for_each(|pairs| pairs.sort_unstable());
    Ok(found)
}

/// Which of `identities` (digests over `columns`) rows of `source` have.
pub(super) async fn identities(
    tables: &dyn TableScan,
    source: &SourceDef,
    columns: &[&str],
    identities: &HashSet<u64>,
) -> Result<HashSet<u64>, TrainingError> {
    let mut found = HashSet::new();
    if identities.is_empty() {
        return Ok(found);
    }
    let scan = Scan::columns(columns.iter().copied());
    each(tables, &source.name, scan, |batch| {
        let digests = digests(batch, columns)?;
        found.extend(digests.into_iter().filter(|d| identities.contains(d)));
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Read all of `table` for the checksums of its files alone.
pub(super) async fn check_files(tables: &dyn TableScan, table: &str) -> Result<(), TrainingError> {
    each(tables, table, Scan::default(), |_| Ok(())).await
}

fn unfit(table: &str) -> TrainingError {
    TrainingError::Port(PortError::internal(format!(
        "table {table} of the archive has other columns; was it written by Forebay?"
    )))
}

/// The words of a file that is damaged; another error is handed on.
pub(super) fn damage(outcome: Result<(), TrainingError>) -> PortResult<Option<String>> {
    match outcome {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::DataLoss => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
