//! What views and deployments make of a decoded batch of their source: which rows each view folds,
//! and by which key each deployment routes and asks.
//!
//! Every row is an event of the source: archive, watermarks and observers see it, whoever cannot
//! take it. A view leaves out the rows on which one of its expressions fails, and those whose key
//! is over its limit, and no other view does. A deployment notes rows whose key it cannot ask by as
//! ones that get no score.
//!
//! A view may also fail by no fault of a row: what a row gives is an error of the engine, or its
//! code panics. It folds nothing from then on, and every shard sets it aside with the first
//! progress beyond these rows; its source, and all other views, go on.
//!
//! Pure, and what is left out is a function of each row alone: neither where a batch is cut nor
//! what came before changes it, so that a fill, a training set and a restart leave out the same
//! rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::error::with_causes;
use forebay_core::fault::{FaultKind, RowFault};
use forebay_core::key::KeyBuffer;
use forebay_core::ports::{CompiledView, SourceBatch};
use forebay_core::view::{FoldBatch, ViewId, ViewSpec};
use forebay_core::{PortError, PortResult};

use crate::contain::contain;
use crate::deployment::{Deployment, DeploymentKeys};
use crate::error::PipelineError;

/// Words of a view's failure that are kept, bytes.
const FAILURE_MAX_BYTES: usize = 1_024;

/// What one view makes of the rows of a batch.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its rows; they name the rows of the whole batch.
    pub fold: Arc<FoldBatch>,
    /// Their encoded keys; NULL where one is over its limit.
    pub keys: Arc<KeyBuffer>,
    /// The rows of the batch that the view leaves out, ascending.
    pub left_out: Vec<RowFault>,
}

/// A batch and what is made of it.
#[derive(Debug)]
pub struct Admitted {
    /// The batch.
    pub batch: SourceBatch,
    /// For each view of the batch's source what it folds; None where it has failed.
    pub folds: Vec<(Arc<dyn CompiledView>, Option<Piece>)>,
    /// For each deployment on the batch's source the keys of the rows.
    pub keys: Vec<(Deployment, DeploymentKeys)>,
    /// Views that have failed, and why.
    pub failed: Vec<(ViewId, Arc<str>)>,
}

/// Run views and deployments over `batch`. Views that have `failed` before fold nothing.
///
/// # Errors
/// The keys of a deployment cannot be encoded.
pub(crate) fn admit(
    (views, failed): (&[Arc<dyn CompiledView>], &BTreeSet<ViewId>),
    deployments: &[Deployment],
    batch: SourceBatch,
) -> Result<Admitted, PipelineError> {
    let name = &batch.source.name;
    let (mut folds, mut now_failed) = (Vec::new(), Vec::new());
    for view in views.iter().filter(|view| view.spec().source == *name) {
        let is_run = !failed.contains(&view.spec().id) && batch.rows.num_rows() > 0;
        let piece = is_run.then(|| fold(view.as_ref(), &batch.rows));
        let piece = piece.transpose().unwrap_or_else(|error| {
            now_failed.push((view.spec().id, failure(view.spec(), &error)));
            None
        });
        folds.push((Arc::clone(view), piece));
    }
    let deployments = deployments.iter().filter(|d| d.source() == name);
    let keys = deployments.map(|d| Ok((d.clone(), d.keys(&batch.rows)?)));
    let keys = keys.collect::<PortResult<_>>()?;
    Ok(Admitted {
        batch,
        folds,
        keys,
        failed: now_failed,
    })
}

/// What is said of a view that has failed with `error`.
fn failure(view: &ViewSpec, error: &PortError) -> Arc<str> {
    tracing::error!(
        view = view.name,
        version = view.version,
        error = with_causes(error),
        "a view fails, and is set aside; everything else goes on"
    );
    let mut words = error.message().to_owned();
    words.truncate(words.floor_char_boundary(FAILURE_MAX_BYTES));
    format!("its SQL fails ({words}); correct it and apply it").into()
}

/// What `view` makes of `rows` of its source.
///
/// # Errors
/// The view fails, or panics.
pub(crate) fn fold(view: &dyn CompiledView, rows: &RecordBatch) -> PortResult<Piece> {
    let fold = contain("folding", || view.fold(rows))?;
    let (keys, too_long) = KeyBuffer::encode_within(&fold.keys)?;
    let mut left_out = fold.left_out.clone();
    if !too_long.is_empty() {
        let names: Vec<&str> = view.spec().key.iter().map(|c| c.name.as_str()).collect();
        let what: Arc<str> = format!("key ({})", names.join(", ")).into();
        left_out.extend(too_long.iter().map(|row| RowFault {
            row: fold.source_rows[row.index()],
            kind: FaultKind::Key,
            what: Arc::clone(&what),
        }));
        left_out.sort_by_key(|fault| fault.row);
    }
    Ok(Piece {
        fold: Arc::new(fold),
        keys: Arc::new(keys),
        left_out,
    })
}

#[cfg(test)]
mod tests;
