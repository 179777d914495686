//! What to ask: request rows from recent events of a service's sources, and instants where mistakes
//! hide, one microsecond to either side of window edges and times to live. A function of the seed,
//! so that a report can be repeated.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, Schema};
use arrow_select::interleave::interleave_record_batch;
use forebay_core::invariant;
use forebay_core::ports::{Scan, TableScan};
use forebay_core::progress::Applied;
use forebay_core::source::SourceDef;
use forebay_core::time::{HOUR_US, Micros};
use forebay_core::view::{ServiceSpec, Window};
use futures::TryStreamExt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::TrainingError;

/// How many more events are read than are asked about.
const POOL_FACTOR: usize = 8;
/// Most events that are read for a sample.
const POOL_MAX_ROWS: usize = 400_000;

/// Request rows and the instant of each.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    /// The service's request columns.
    pub(crate) request: RecordBatch,
    /// As of when, one for each row.
    pub(crate) at_us: Vec<Micros>,
}

/// A number that depends on the seed and the place alone.
fn draw(seed: u64, place: usize, salt: u64) -> u64 {
    xxh3_64_with_seed(
        &[(place as u64).to_le_bytes(), salt.to_le_bytes()].concat(),
        seed,
    )
}

/// `rows` questions from the newest events of `source`, whose archive covers `applied`. None where
/// the archive has no events yet.
pub(crate) async fn questions(
    service: &ServiceSpec,
    source: &SourceDef,
    tables: &dyn TableScan,
    applied: &Applied,
    rows: usize,
    seed: u64,
) -> Result<Option<Questions>, TrainingError> {
    let columns = request_sources(service, source);
    let time = source.columns[source.time_column].name.as_str();
    let mut names: Vec<&str> = columns.iter().flatten().copied().collect();
    names.push(time);
    names.sort_unstable();
    names.dedup();
    let pool_rows = rows.saturating_mul(POOL_FACTOR).min(POOL_MAX_ROWS);
    let scan = Scan::columns(names).below(applied.clone());
    let pool = newest(tables, &source.name, scan, pool_rows).await?;
    let places = pool
        .iter()
        .enumerate()
        .flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)));
    // The rows with the smallest draws are a sample without repeats.
    let mut picked: Vec<(u64, (usize, usize))> = places
        .enumerate()
        .map(|(number, place)| (draw(seed, number, 0), place))
        .collect();
    if picked.is_empty() {
        return Ok(None);
    }
    picked.sort_unstable();
    picked.truncate(rows);
    let picked: Vec<(usize, usize)> = picked.into_iter().map(|(_, place)| place).collect();
    let pool: Vec<&RecordBatch> = pool.iter().collect();
    let picked = interleave_record_batch(&pool, &picked)
        .map_err(TrainingError::arrow("join sampled events"))?;
    let times = picked
        .column_by_name(time)
        .ok_or_else(|| TrainingError::Answer(format!("no column `{time}`")))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let newest_us = (0..times.len())
        .map(|row| times.value(row))
        .max()
        .unwrap_or(0);
    let edges = edges(service);
    let at_us: Vec<Micros> = (0..times.len())
        .map(|row| instant(times.value(row), newest_us, &edges, seed, row))
        .collect();
    invariant!(
        BudgetKept,
        at_us.len() <= rows,
        "{} questions, {rows} were asked for",
        at_us.len()
    );
    let request = request(service, &columns, &picked)?;
    invariant!(
        InstantPerRow,
        at_us.len() == request.num_rows(),
        "{} instants for {} rows",
        at_us.len(),
        request.num_rows()
    );
    Ok(Some(Questions { request, at_us }))
}

/// About the `max_rows` newest rows of `table`: those within a distance of the ends of its
/// partitions that is doubled until there are enough.
async fn newest(
    tables: &dyn TableScan,
    table: &str,
    scan: Scan,
    max_rows: usize,
) -> Result<Vec<RecordBatch>, TrainingError> {
    let ends = scan.below.clone().unwrap_or_default();
    let mut distance = i64::try_from(max_rows.div_ceil(ends.0.len().max(1)))
        .map_err(|e| TrainingError::Invalid(format!("a sample of {max_rows} rows: {e}")))?;
    loop {
        let mut from = ends.clone();
        for progress in from.0.values_mut() {
            progress.next_offset = progress.next_offset.saturating_sub(distance).max(0);
        }
        let whole = from.0.values().all(|progress| progress.next_offset == 0);
        let scan = Scan {
            from,
            ..scan.clone()
        };
        let mut rows = tables.scan(table, scan).await?;
        let (mut batches, mut count) = (Vec::new(), 0);
        // Holes in the offsets make a distance hold fewer rows than it is long, never more.
        while let Some(batch) = rows.try_next().await? {
            count += batch.num_rows();
            batches.push(batch);
        }
        if whole || count >= max_rows {
            return Ok(batches);
        }
        distance = distance.saturating_mul(2);
    }
}

/// For each request column the column of `source` that gives it: the key of a view on that source,
/// else the same name. None where it has none of that type.
fn request_sources<'a>(service: &'a ServiceSpec, source: &'a SourceDef) -> Vec<Option<&'a str>> {
    let mut columns: Vec<Option<&str>> = vec![None; service.request.len()];
    for view in service
        .views
        .iter()
        .filter(|v| v.view.source == source.name)
    {
        for (key, request) in view.view.key.iter().zip(&view.key_columns) {
            columns[*request] = Some(&key.name);
        }
    }
    for (column, request) in columns.iter_mut().zip(&service.request) {
        let name = column.unwrap_or(&request.name);
        let found = source
            .columns
            .iter()
            .find(|c| c.name == name && c.data_type == request.data_type);
        *column = found.map(|c| c.name.as_str());
    }
    columns
}

fn request(
    service: &ServiceSpec,
    from: &[Option<&str>],
    events: &RecordBatch,
) -> Result<RecordBatch, TrainingError> {
    let fields: Vec<Field> = service
        .request
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true))
        .collect();
    let columns = service.request.iter().zip(from).map(|(column, from)| {
        let found = from
            .and_then(|name| events.column_by_name(name))
            .map(Arc::clone);
        found.unwrap_or_else(|| new_null_array(&column.data_type, events.num_rows()))
    });
    let columns: Vec<ArrayRef> = columns.collect();
    let options = RecordBatchOptions::new().with_row_count(Some(events.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(TrainingError::arrow("make request rows"))
}

/// Distances from an event at which a value changes with no new event.
fn edges(service: &ServiceSpec) -> Vec<Micros> {
    let mut edges: Vec<Micros> = Vec::new();
    for view in &service.views {
        edges.extend(view.view.ttl_us);
        edges.extend(view.view.aggregates.iter().filter_map(|a| match a.window {
            Window::Range { preceding_us } => Some(preceding_us),
            Window::Lifetime => None,
        }));
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// An instant near `event_us`: at it, just before it, at an edge, just past one, anywhere up to the
/// farthest, or now.
fn instant(event_us: Micros, newest_us: Micros, edges: &[Micros], seed: u64, row: usize) -> Micros {
    let chosen = |salt: u64| {
        let index = draw(seed, row, salt) % (edges.len() as u64).max(1);
        let index = usize::try_from(index).expect("below a length");
        edges.get(index).copied().unwrap_or(HOUR_US)
    };
    let farthest = edges.last().copied().unwrap_or(HOUR_US).max(1);
    event_us.saturating_add(match draw(seed, row, 1) % 6 {
        0 => 0,
        1 => -1,
        2 => chosen(2),
        3 => chosen(3).saturating_add(1),
        4 => {
            let anywhere = draw(seed, row, 4) % farthest.unsigned_abs();
            i64::try_from(anywhere).expect("below `farthest`, which is an i64")
        }
        _ => return newest_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_repeat_for_a_seed_and_meet_every_edge() {
        let edges = [HOUR_US, 24 * HOUR_US];
        let all = |seed| {
            (0..500)
                .map(|row| instant(0, 7, &edges, seed, row))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        for wanted in [
            0,
            -1,
            HOUR_US,
            HOUR_US + 1,
            24 * HOUR_US,
            24 * HOUR_US + 1,
            7,
        ] {
            assert!(all(1).contains(&wanted), "{wanted}");
        }
    }
}
