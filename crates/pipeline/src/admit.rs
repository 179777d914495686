//! Which rows of a decoded batch every view and deployment of its source can take, and what the
//! views make of them. A row on which an expression fails or whose key is over its limit becomes a
//! dead letter. Bisection finds it, so that its neighbours stay.
//!
//! A rejected row is rejected for the whole source: no other view folds it, because archive and
//! online state must hold the same rows. This also holds for the keys of a deployment, which are
//! those that route its score and those by which it asks views, also views of other sources: a row
//! with an invalid one could never be scored.
//!
//! Pure, and a function of each row alone: where a batch is cut changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::dead_letter::DeadLetterReason;
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::key::KeyBuffer;
use forebay_core::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES;
use forebay_core::ports::{CompiledView, DeadLetter, SourceBatch};
use forebay_core::view::FoldBatch;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::contain::contain;
use crate::deployment::Deployment;
use crate::error::PipelineError;
use crate::prediction::RecordEncoder;
use crate::repeats::keep_rows;

/// What one view makes of a run of rows of a batch.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its rows; they name the rows of the whole batch.
    pub fold: Arc<FoldBatch>,
    /// Their encoded keys.
    pub keys: Arc<KeyBuffer>,
}

/// A batch of which every row is taken.
#[derive(Debug)]
pub struct Admitted {
    /// The batch. What was refused has joined its dead letters.
    pub batch: SourceBatch,
    /// For each view of the batch's source what it folds; nearly always one piece.
    pub folds: Vec<(Arc<dyn CompiledView>, Vec<Piece>)>,
    /// For each deployment on the batch's source the sticky keys of the rows.
    pub sticky: Vec<(Deployment, KeyBuffer)>,
}

/// Refused rows of a batch and why.
type Refused = BTreeMap<usize, String>;

/// Sort out the rows of `batch`.
///
/// # Errors
/// A view fails for another reason than its data.
pub(crate) fn admit(
    views: &[Arc<dyn CompiledView>],
    deployments: &[Deployment],
    encoder: &dyn RecordEncoder,
    batch: SourceBatch,
) -> Result<Admitted, PipelineError> {
    let name = &batch.source.name;
    let views: Vec<&Arc<dyn CompiledView>> =
        views.iter().filter(|v| v.spec().source == *name).collect();
    let deployments: Vec<&Deployment> = deployments.iter().filter(|d| d.source() == name).collect();
    let mut refused = Refused::new();
    let taken = take(&views, &deployments, &batch.rows, &mut refused)?;
    if refused.is_empty() {
        let (folds, sticky) = taken;
        return Ok(Admitted {
            batch,
            folds,
            sticky,
        });
    }
    let records = batch.rows.num_rows() + batch.dead_letters.len();
    let batch = reject(batch, &refused, encoder)?;
    invariant!(
        RecordsKept,
        batch.rows.num_rows() + batch.dead_letters.len() == records,
        "source {}: {} rows and {} dead letters of {records} records",
        batch.source.name,
        batch.rows.num_rows(),
        batch.dead_letters.len()
    );
    let mut again = Refused::new();
    let (folds, sticky) = take(&views, &deployments, &batch.rows, &mut again)?;
    match again.into_values().next() {
        None => Ok(Admitted {
            batch,
            folds,
            sticky,
        }),
        Some(why) => Err(PortError::internal(format!(
            "a row was taken with its neighbours and refused without: {why}"
        ))
        .into()),
    }
}

type Taken = (
    Vec<(Arc<dyn CompiledView>, Vec<Piece>)>,
    Vec<(Deployment, KeyBuffer)>,
);

fn take(
    views: &[&Arc<dyn CompiledView>],
    deployments: &[&Deployment],
    rows: &RecordBatch,
    refused: &mut Refused,
) -> Result<Taken, PipelineError> {
    let mut folds = Vec::with_capacity(views.len());
    for view in views {
        let who = format!("view '{}'", view.spec().name);
        let pieces = halve(rows, 0, &who, refused, &mut |rows, first| {
            fold(view.as_ref(), rows, first)
        })?;
        folds.push((Arc::clone(view), pieces));
    }
    let mut sticky = Vec::with_capacity(deployments.len());
    for deployment in deployments {
        let who = format!("deployment '{}'", deployment.def().name);
        halve(rows, 0, &who, refused, &mut |rows, _| {
            deployment.check_keys(rows)
        })?;
        let keys = halve(rows, 0, &who, refused, &mut |rows, _| {
            deployment.sticky_keys(rows)
        })?;
        // Cut in pieces only where rows are refused: then they are taken again without those.
        sticky.extend(
            keys.into_iter()
                .next()
                .map(|keys| ((*deployment).clone(), keys)),
        );
    }
    Ok((folds, sticky))
}

/// Fold `rows` of a view's source, the first of which is row `first` of its batch.
///
/// # Errors
/// An expression fails on the data or panics, or a key is over its limit.
fn fold(view: &dyn CompiledView, rows: &RecordBatch, first: usize) -> PortResult<Piece> {
    let mut fold = contain("folding", || view.fold(rows))?;
    let keys = KeyBuffer::encode(&fold.keys)?;
    let first = RowIndex::at(first).number();
    if first > 0 {
        fold.source_rows.iter_mut().for_each(|row| *row += first);
    }
    Ok(Piece {
        fold: Arc::new(fold),
        keys: Arc::new(keys),
    })
}

/// Fold all of `rows`, in as few pieces as its data allow.
///
/// # Errors
/// Of a row that the view does not take: its index and the words.
pub(crate) fn fold_whole(
    view: &dyn CompiledView,
    rows: &RecordBatch,
) -> PortResult<Result<Vec<Piece>, (usize, String)>> {
    let mut refused = Refused::new();
    let who = format!("view '{}'", view.spec().name);
    let pieces = halve(rows, 0, &who, &mut refused, &mut |rows, first| {
        fold(view, rows, first)
    })?;
    Ok(refused.pop_first().map_or(Ok(pieces), Err))
}

/// `take` over `rows`; where it fails on the data, over both halves, down to the rows that fail
/// alone. An expression may fail on a batch and on none of its rows (a branch that no row alone
/// would take): then the pieces are the answer.
fn halve<T>(
    rows: &RecordBatch,
    first: usize,
    who: &str,
    refused: &mut Refused,
    take: &mut impl FnMut(&RecordBatch, usize) -> PortResult<T>,
) -> PortResult<Vec<T>> {
    match take(rows, first) {
        Ok(taken) => Ok(vec![taken]),
        Err(error) if !is_of_data(&error) || rows.num_rows() == 0 => Err(error),
        Err(error) if rows.num_rows() == 1 => {
            refused
                .entry(first)
                .or_insert_with(|| format!("{who}: {error}"));
            Ok(Vec::new())
        }
        Err(_) => {
            let half = rows.num_rows() / 2;
            let mut taken = halve(&rows.slice(0, half), first, who, refused, take)?;
            taken.extend(halve(
                &rows.slice(half, rows.num_rows() - half),
                first + half,
                who,
                refused,
                take,
            )?);
            Ok(taken)
        }
    }
}

fn is_of_data(error: &PortError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidArgument | ErrorKind::OutOfRange | ErrorKind::ResourceExhausted
    )
}

/// `batch` without its `refused` rows, which become dead letters.
fn reject(
    batch: SourceBatch,
    refused: &Refused,
    encoder: &dyn RecordEncoder,
) -> Result<SourceBatch, PipelineError> {
    let mut letters = Vec::with_capacity(refused.len());
    for (row, why) in refused {
        let mut payload = encoder
            .encode(&batch.rows.slice(*row, 1))?
            .pop()
            .unwrap_or_default();
        payload.truncate(DEAD_LETTER_PAYLOAD_MAX_BYTES);
        letters.push(DeadLetter {
            source: batch.source.name.clone(),
            partition: batch.origin.partitions[batch.origin.partition[*row] as usize].clone(),
            offset: batch.origin.offset[*row],
            kafka_time_us: batch.origin.kafka_time_us[*row],
            payload,
            reason: DeadLetterReason::Refused.label(),
            detail: why.clone(),
        });
    }
    let kept: Vec<u32> = RowIndex::all(batch.rows.num_rows())
        .filter(|row| !refused.contains_key(&row.index()))
        .map(RowIndex::number)
        .collect();
    let mut batch = keep_rows(batch, &kept)?;
    batch.dead_letters.extend(letters);
    Ok(batch)
}
