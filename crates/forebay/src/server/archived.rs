//! The archive's rows as an iterator, for threads that may block: what repeats and monitors catch
//! up with at start. Each step waits on the runtime for one batch; nothing here writes.

use anyhow::Result;
use arrow_array::RecordBatch;
use forebay_core::ports::RowStream;
use futures::StreamExt;
use tokio::runtime::Handle;

/// The batches of `rows`, one by one. Not for threads of `runtime` itself.
pub(crate) fn blocking(
    runtime: Handle,
    mut rows: RowStream,
) -> impl Iterator<Item = Result<RecordBatch>> {
    std::iter::from_fn(move || Some(runtime.block_on(rows.next())?.map_err(Into::into)))
}
