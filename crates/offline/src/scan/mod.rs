//! Reads a table as a stream of batches.
//!
//! # Order
//! A file of ours holds the rows of one or more appends in the order in which they arrived, which
//! is log order within each partition, and appends have strictly ascending `_ingest_time`. So files
//! sorted by `_ingest_time` are in log order, and a scan reads one after the other. Another
//! writer's `OPTIMIZE` may mix rows: files whose times overlap are read together and sorted, and so
//! are the rows of one file without our order tag, unless they are in order append by append (see
//! `runs`). The stream checks the order that it promises.
//!
//! # Memory
//! One file's bytes and one batch; of files that must be sorted, their projected rows, all of which
//! are charged to the scan (see `held`).
//!
//! # Trust
//! Every file is compared with the checksum of its commit before a byte of it is decoded.

mod held;
mod order;
mod plan;
mod runs;
mod source;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use forebay_core::PortError;
use forebay_core::ports::{RowStream, Scan, ScanOrder, TableSnapshot};
use futures::TryStreamExt;
use futures::stream::{self, BoxStream};

use crate::archive::DeltaArchive;
use crate::blocking::blocking;
use crate::error::OfflineError;
use crate::facts::{FileFacts, files_of};
use crate::table::Table;
use order::LogOrder;
use plan::Plan;
use source::Source;
pub(crate) use source::read_checked;

impl DeltaArchive {
    pub(crate) async fn snapshot_of(&self, name: &str) -> Result<TableSnapshot, OfflineError> {
        let table = self.table(name).await?;
        let mut current = table.current.lock().await;
        self.refresh(&table, &mut current).await?;
        let rows = files_of(name, &current.state)?.iter().map(|f| f.rows).sum();
        Ok(TableSnapshot {
            id: current.state.metadata().id().to_owned(),
            version: i64::try_from(current.state.version()).expect("Delta versions are i64"),
            schema: Arc::clone(&table.schema),
            rows,
            applied: current.marks.applied(),
            beginnings: current.marks.beginnings().clone(),
            logs: current.marks.logs().clone(),
            last: current.marks.last().clone(),
        })
    }

    pub(crate) async fn scan_table(
        &self,
        name: &str,
        scan: Scan,
    ) -> Result<RowStream, OfflineError> {
        let table = self.table(name).await?;
        let mut files = {
            let mut current = table.current.lock().await;
            self.refresh(&table, &mut current).await?;
            files_of(name, &current.state)?
        };
        files.retain(|file| file.may_hold(&scan));
        let rows = read_files(&table, scan, files);
        Ok(Box::pin(rows.map_err(PortError::from)))
    }
}

/// What `scan` asks of `files` of `table`, which are sorted as [`files_of`] sorts them.
pub(crate) fn read_files(table: &Table, scan: Scan, files: Vec<FileFacts>) -> FileRows {
    let plan = Plan {
        table: table.name.clone(),
        store: table.log.0.object_store(None),
        schema: projected(table, &scan),
        scan,
    };
    rows(plan, files)
}

fn projected(table: &Table, scan: &Scan) -> SchemaRef {
    let Some(columns) = &scan.columns else {
        return Arc::clone(&table.schema);
    };
    let field = |name: &String| {
        let (index, _) = table.schema.column_with_name(name)?;
        Some(Arc::clone(&table.schema.fields()[index]))
    };
    Arc::new(Schema::new(
        columns.iter().filter_map(field).collect::<Vec<_>>(),
    ))
}

/// Rows of files, batch by batch.
pub(crate) type FileRows = BoxStream<'static, Result<RecordBatch, OfflineError>>;

struct State {
    plan: Arc<Plan>,
    /// Files that are read together.
    groups: VecDeque<Vec<FileFacts>>,
    source: Option<Source>,
    order: LogOrder,
}

/// The rows of `files`, which are sorted as [`files_of`] sorts them.
fn rows(plan: Plan, files: Vec<FileFacts>) -> FileRows {
    let groups = match plan.scan.order {
        ScanOrder::Any => files.into_iter().map(|file| vec![file]).collect(),
        ScanOrder::Log => order::groups(files),
    };
    let state = State {
        plan: Arc::new(plan),
        groups,
        source: None,
        order: LogOrder::default(),
    };
    Box::pin(stream::try_unfold(state, |mut state| async move {
        loop {
            let Some(mut source) = state.source.take() else {
                let Some(group) = state.groups.pop_front() else {
                    return Ok(None);
                };
                state.source = Some(Source::open(&state.plan, group).await?);
                continue;
            };
            let plan = Arc::clone(&state.plan);
            // The check travels with the batch: it must see every one, in order.
            let mut order = std::mem::take(&mut state.order);
            let step = blocking(move || {
                let batch = source.next(&plan, &mut order);
                (batch, source, order)
            });
            let (batch, source, order) = step
                .await
                .map_err(|e| OfflineError::lost_task(&state.plan.table, e))?;
            state.order = order;
            if let Some(batch) = batch? {
                state.source = Some(source);
                if batch.num_rows() > 0 {
                    return Ok(Some((batch, state)));
                }
            }
        }
    }))
}
