//! Which archived rows of its source a view leaves out, and why: what `forebay dead-letters --view`
//! lists. Nothing of it is stored, since whether a row is left out follows from the row and the
//! view's text alone (`admit`): the fold of ingest is run over the archive once more, so the answer
//! is that of the stream, of a fill and of a training set, and a corrected view has none at once.
//!
//! Rows come as a bounded stream; nothing is folded into any state.

use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::fault::FaultKind;
use forebay_core::invariant;
use forebay_core::limits::EPOCH_MAX_ROWS;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{CompiledView, Scan, TableScan};
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use futures::TryStreamExt;

use crate::admit::fold;
use crate::backfill::{PLACE, nullable_schema, origin_of, source_rows};
use crate::error::PipelineError;

/// A row that a view leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOutRow {
    /// Where it stands.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp.
    pub kafka_time_us: Option<Micros>,
    /// Why.
    pub kind: FaultKind,
    /// The expression that fails, as it is written; of a key its columns.
    pub what: Arc<str>,
}

/// Which rows of the archive are asked about.
#[derive(Debug, Clone, Default)]
pub struct Among {
    /// At and above these offsets.
    pub from: Applied,
    /// Below these, and of no other partition; None: all.
    pub below: Option<Applied>,
}

/// Show `see` each of the archived rows `among` the table of `source` in `tables` that `view`
/// leaves out, in the order of the log within a partition. Returns how many rows were looked at.
///
/// # Errors
/// The table is not there (`NotFound`) or cannot be read; the view fails by no fault of a row;
/// there is no memory for the scan.
pub async fn left_out_rows(
    view: &dyn CompiledView,
    source: &SourceDef,
    (tables, memory): (&dyn TableScan, &Arc<Budget>),
    among: Among,
    mut see: impl FnMut(LeftOutRow) + Send,
) -> Result<u64, PipelineError> {
    let own = view.reads().iter();
    let own = own.map(|index| source.columns[*index].name.as_str());
    let scan = Scan {
        from: among.from,
        below: among.below,
        ..Scan::columns(own.chain(PLACE)).in_log_order()
    };
    let scan = scan.drawing(memory, Part::PointInTime);
    let mut rows = tables.scan(&source.name, scan).await?;
    let (schema, mut looked_at) = (nullable_schema(source), 0);
    while let Some(batch) = rows.try_next().await? {
        for from in (0..batch.num_rows()).step_by(EPOCH_MAX_ROWS) {
            let slice = batch.slice(from, EPOCH_MAX_ROWS.min(batch.num_rows() - from));
            let rows = source_rows(view, source, &schema, &slice)?;
            looked_at += slice.num_rows() as u64;
            of_batch(view, &rows, &slice, &mut see)?;
        }
    }
    Ok(looked_at)
}

/// Of `rows`, which stand where `archived` says.
fn of_batch(
    view: &dyn CompiledView,
    rows: &RecordBatch,
    archived: &RecordBatch,
    see: &mut (impl FnMut(LeftOutRow) + Send),
) -> Result<(), PipelineError> {
    let origin = origin_of(archived)?;
    invariant!(
        OriginColumnsAgree,
        origin.offset.len() == rows.num_rows() && origin.partition.len() == rows.num_rows(),
        "view {}: {} offsets for {} rows",
        view.spec().name,
        origin.offset.len(),
        rows.num_rows()
    );
    for fault in fold(view, rows)?.left_out {
        let row = fault.row as usize;
        see(LeftOutRow {
            partition: origin.partitions[origin.partition[row] as usize].clone(),
            offset: origin.offset[row],
            kafka_time_us: origin.kafka_time_us[row],
            kind: fault.kind,
            what: fault.what,
        });
    }
    Ok(())
}
