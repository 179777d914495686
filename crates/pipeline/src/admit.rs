//! Which rows of a decoded batch every view and deployment of its source can take, and what the
//! views make of them. A row on which an expression fails or whose key is over its limit becomes a
//! dead letter. Bisection finds it, so that its neighbours stay.
//!
//! A rejected row is rejected for the whole source: no other view folds it, because archive and
//! online state must hold the same rows. This also holds for the keys of a deployment, which are
//! those that route its score and those by which it asks views, also views of other sources: a row
//! with an invalid one could never be scored.
//!
//! A view may also fail by no fault of a row: its SQL fails on a row of NULLs too (a time zone that
//! does not exist), or what a row gives is an error of the engine. It folds nothing from then on,
//! and every shard sets it aside with the first progress beyond these rows; its source, and all
//! other views, go on. One that fails on NULLs refuses no row. Any other refuses the rows that it
//! always did, also once it is set aside.
//!
//! Pure, and what is refused is a function of each row alone: neither where a batch is cut nor what
//! came before changes it, so that a row which is read again is refused again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use forebay_core::dead_letter::DeadLetterReason;
use forebay_core::error::with_causes;
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::key::KeyBuffer;
use forebay_core::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES;
use forebay_core::ports::{CompiledView, DeadLetter, SourceBatch};
use forebay_core::value::{Value, array_from_values};
use forebay_core::view::{FoldBatch, ViewId, ViewSpec};
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::contain::contain;
use crate::deployment::Deployment;
use crate::error::PipelineError;
use crate::prediction::RecordEncoder;
use crate::repeats::keep_rows;

/// Words of a view's failure that are kept, bytes.
const FAILURE_MAX_BYTES: usize = 1_024;

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
    /// Views that have failed, and why; each has nothing to fold.
    pub failed: Vec<(ViewId, Arc<str>)>,
}

/// Refused rows of a batch and why.
type Refused = BTreeMap<usize, String>;

/// What views and deployments take of the rows of a batch.
#[derive(Default)]
struct Taken {
    folds: Vec<(Arc<dyn CompiledView>, Vec<Piece>)>,
    sticky: Vec<(Deployment, KeyBuffer)>,
    failed: Vec<(ViewId, Arc<str>)>,
    refused: Refused,
}

/// Sort out the rows of `batch`. Views that have `failed` before fold nothing.
///
/// # Errors
/// The keys of a deployment, or a refused record, cannot be encoded.
pub(crate) fn admit(
    (views, failed): (&[Arc<dyn CompiledView>], &BTreeSet<ViewId>),
    deployments: &[Deployment],
    encoder: &dyn RecordEncoder,
    batch: SourceBatch,
) -> Result<Admitted, PipelineError> {
    let name = &batch.source.name;
    let views: Vec<&Arc<dyn CompiledView>> =
        views.iter().filter(|v| v.spec().source == *name).collect();
    let deployments: Vec<&Deployment> = deployments.iter().filter(|d| d.source() == name).collect();
    let taken = take((&views, failed), &deployments, &batch.rows)?;
    if taken.refused.is_empty() {
        return Ok(taken.of(batch));
    }
    let records = batch.rows.num_rows() + batch.dead_letters.len();
    let batch = reject(batch, &taken.refused, encoder)?;
    invariant!(
        RecordsKept,
        batch.rows.num_rows() + batch.dead_letters.len() == records,
        "source {}: {} rows and {} dead letters of {records} records",
        batch.source.name,
        batch.rows.num_rows(),
        batch.dead_letters.len()
    );
    let mut known = failed.clone();
    known.extend(taken.failed.iter().map(|(view, _)| *view));
    let mut again = take((&views, &known), &deployments, &batch.rows)?;
    again.failed.extend(taken.failed);
    match again.refused.values().next() {
        None => Ok(again.of(batch)),
        Some(why) => Err(PortError::internal(format!(
            "a row was taken with its neighbours and refused without: {why}"
        ))
        .into()),
    }
}

impl Taken {
    fn of(self, batch: SourceBatch) -> Admitted {
        Admitted {
            batch,
            folds: self.folds,
            sticky: self.sticky,
            failed: self.failed,
        }
    }

    /// What `view` folds of `rows`; nothing where it fails, or has `failed` before.
    fn fold(&mut self, view: &Arc<dyn CompiledView>, rows: &RecordBatch, failed: bool) {
        let spec = view.spec();
        let (mut pieces, fault) = fold_sound(view.as_ref(), rows, &mut self.refused);
        if let Some(error) = fault.as_ref().filter(|_| !failed) {
            tracing::error!(
                view = spec.name,
                version = spec.version,
                error = with_causes(error),
                "a view fails, and is set aside; everything else goes on"
            );
            let mut words = error.message().to_owned();
            words.truncate(words.floor_char_boundary(FAILURE_MAX_BYTES));
            let why = format!("its SQL fails ({words}); correct it and apply it");
            self.failed.push((spec.id, why.into()));
        }
        if failed || fault.is_some() {
            pieces.clear();
        }
        self.folds.push((Arc::clone(view), pieces));
    }
}

/// What `view` folds of `rows`, and why it has failed, where that is no row's fault. What single
/// rows give joins `refused`.
fn fold_sound(
    view: &dyn CompiledView,
    rows: &RecordBatch,
    refused: &mut Refused,
) -> (Vec<Piece>, Option<PortError>) {
    if rows.num_rows() == 0 {
        return (Vec::new(), None);
    }
    let who = format!("view '{}'", view.spec().name);
    if let Ok(piece) = fold(view, rows, 0) {
        refuse_left_out(refused, &who, &piece);
        return (vec![piece], None);
    }
    let on_nulls = nulls_of(view.spec(), rows).and_then(|nulls| fold(view, &nulls, 0));
    if let Err(error) = on_nulls {
        return (Vec::new(), Some(error));
    }
    let mut fault = None;
    let mut judge = |row: usize, error: PortError| {
        if is_of_data(&error) {
            refuse(refused, row, &who, &error);
        } else {
            fault.get_or_insert(error);
        }
        Ok(())
    };
    let take = &mut |rows: &RecordBatch, first| fold(view, rows, first);
    match halve(rows, 0, take, &mut judge) {
        Ok(pieces) => {
            for piece in &pieces {
                refuse_left_out(refused, &who, piece);
            }
            (pieces, fault)
        }
        Err(error) => (Vec::new(), Some(error)),
    }
}

/// `who` refuses the rows that its fold leaves out.
fn refuse_left_out(refused: &mut Refused, who: &str, piece: &Piece) {
    for fault in &piece.fold.left_out {
        invariant!(
            FoldedOrLeftOut,
            piece.fold.source_rows.binary_search(&fault.row).is_err(),
            "{who}: row {}",
            fault.row
        );
        let row = fault.row as usize;
        let kept = refused.entry(row);
        kept.or_insert_with(|| format!("{who}: {}", fault.what));
    }
}

/// One row of the columns of `rows`: NULL, but for times and an empty key of `view`.
///
/// # Errors
/// A type that no column has.
fn nulls_of(view: &ViewSpec, rows: &RecordBatch) -> PortResult<RecordBatch> {
    let is_key = |name: &str| view.key.iter().any(|column| column.name == name);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for field in rows.schema_ref().fields() {
        let is_time = matches!(field.data_type(), DataType::Timestamp(..));
        let value = match field.data_type() {
            DataType::Boolean if is_key(field.name()) => Value::Bool(false),
            DataType::Int32 | DataType::Int64 if is_key(field.name()) => Value::Int(0),
            DataType::Utf8 if is_key(field.name()) => Value::Text("".into()),
            _ if is_time => Value::Timestamp(0),
            _ => Value::Null,
        };
        columns.push(array_from_values(field.data_type(), [value].iter())?);
        fields.push(field.as_ref().clone().with_nullable(true));
    }
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns)
        .map_err(|error| PortError::internal(format!("a row of NULLs: {error}")))
}

fn take(
    (views, failed): (&[&Arc<dyn CompiledView>], &BTreeSet<ViewId>),
    deployments: &[&Deployment],
    rows: &RecordBatch,
) -> Result<Taken, PipelineError> {
    let mut taken = Taken::default();
    for view in views {
        taken.fold(view, rows, failed.contains(&view.spec().id));
    }
    let refused = &mut taken.refused;
    for deployment in deployments {
        let who = format!("deployment '{}'", deployment.def().name);
        let mut judge = |row, error| refuse_or_fail(refused, row, &who, error);
        let check = &mut |rows: &RecordBatch, _| deployment.check_keys(rows);
        halve(rows, 0, check, &mut judge)?;
        let sticky = &mut |rows: &RecordBatch, _| deployment.sticky_keys(rows);
        let keys = halve(rows, 0, sticky, &mut judge)?;
        // Cut in pieces only where rows are refused: then they are taken again without those.
        let keys = keys.into_iter().next();
        taken
            .sticky
            .extend(keys.map(|keys| ((*deployment).clone(), keys)));
    }
    Ok(taken)
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
        fold.left_out
            .iter_mut()
            .for_each(|fault| fault.row += first);
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
    let mut judge = |row, error| refuse_or_fail(&mut refused, row, &who, error);
    let take = &mut |rows: &RecordBatch, first| fold(view, rows, first);
    let pieces = halve(rows, 0, take, &mut judge)?;
    for piece in &pieces {
        refuse_left_out(&mut refused, &who, piece);
    }
    Ok(refused.pop_first().map_or(Ok(pieces), Err))
}

/// `take` over `rows`; where it fails, over both halves, down to the rows that fail alone, of which
/// `judge` hears. An expression may fail on a batch and on none of its rows (a branch that no row
/// alone would take): then the pieces are the answer.
///
/// # Errors
/// Those of `judge`; it fails without a row.
fn halve<T>(
    rows: &RecordBatch,
    first: usize,
    take: &mut impl FnMut(&RecordBatch, usize) -> PortResult<T>,
    judge: &mut impl FnMut(usize, PortError) -> PortResult<()>,
) -> PortResult<Vec<T>> {
    match (take(rows, first), rows.num_rows()) {
        (Ok(taken), _) => Ok(vec![taken]),
        (Err(error), 0) => Err(error),
        (Err(error), 1) => judge(first, error).map(|()| Vec::new()),
        (Err(_), count) => {
            let half = count / 2;
            let mut taken = halve(&rows.slice(0, half), first, take, judge)?;
            let rest = rows.slice(half, count - half);
            taken.extend(halve(&rest, first + half, take, judge)?);
            Ok(taken)
        }
    }
}

/// `who` refuses `row`, unless another has.
fn refuse(refused: &mut Refused, row: usize, who: &str, error: &PortError) {
    let kept = refused.entry(row);
    kept.or_insert_with(|| format!("{who}: {error}"));
}

/// As [`refuse`].
///
/// # Errors
/// The one that it was, where it is not of the row.
fn refuse_or_fail(
    refused: &mut Refused,
    row: usize,
    who: &str,
    error: PortError,
) -> PortResult<()> {
    if !is_of_data(&error) {
        return Err(error);
    }
    refuse(refused, row, who, &error);
    Ok(())
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

#[cfg(test)]
mod tests;
