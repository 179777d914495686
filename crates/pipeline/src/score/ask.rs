//! One question to a model: decode the rows of pending scores, read their features as of each
//! event, ask under a deadline, and make outbox records of the answer. Panics are contained: they
//! are the fault of the rows, which are found by halving. Keeps nothing between two questions.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use forebay_core::ports::{At, FeatureAnswer, PendingEntry, Scores};
use forebay_core::prediction::PendingScore;
use forebay_core::settlement::ScoreOutcome;
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::FutureExt;
use futures::future::{AbortHandle, abortable};
use parking_lot::Mutex;

use crate::contain::contain;
use crate::deployment::Deployment;
use crate::error::PipelineError;
use crate::pending::decode_rows;
use crate::prediction::{AppliedTexts, Scored, outbox_records};
use crate::runtime::within;
use crate::score::lane::Lane;

/// A model's answer, there or not yet.
#[derive(Debug)]
pub(crate) struct Answer {
    slot: Arc<Mutex<Option<PortResult<Scores>>>>,
    call: AbortHandle,
}

/// What is known of rows before the model answers.
#[derive(Debug)]
pub(crate) struct Prepared {
    rows: RecordBatch,
    answer: FeatureAnswer,
    applied: AppliedTexts,
}

/// How asking for rows went: the end of each.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) each: Vec<ScoreOutcome>,
    /// Those of them that do not name what their features had applied.
    pub(crate) without_offsets: u64,
}

impl Outcomes {
    /// And those of the rows behind.
    pub(crate) fn and(mut self, rest: Self) -> Self {
        self.each.extend(rest.each);
        self.without_offsets += rest.without_offsets;
        self
    }
}

impl Answer {
    /// Whether it is there.
    pub(crate) fn is_there(&self) -> bool {
        self.slot.lock().is_some()
    }

    /// The answer, once.
    pub(crate) fn take(&self) -> Option<PortResult<Scores>> {
        self.slot.lock().take()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // What nobody waits for any more is not computed on.
        self.call.abort();
    }
}

/// Decode the rows, read their features, and say what these had applied: while the model thinks,
/// the store may forget it.
///
/// # Errors
/// Bytes of a row, a key or an instant are at fault; the reader fails.
pub(crate) fn prepare(
    lane: &Lane,
    deployment: &Deployment,
    entries: &[(u16, PendingEntry)],
) -> Result<Prepared, PipelineError> {
    contain("scoring", || {
        let pending = scores_of(entries);
        let rows = decode_rows(&deployment.row_columns(), &pending)?;
        let request: RecordBatch =
            rows.project(&(0..deployment.request_columns()).collect::<Vec<_>>())?;
        let times: Vec<i64> = pending.iter().map(|p| p.event_time_us).collect();
        let service = deployment.service();
        let at = At::PerRow(&times);
        let answer = lane.parts.reader.read(service.as_ref(), &request, at)?;
        let counter = &lane.parts.counters.feature_rows;
        counter.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        let (state, topics) = (lane.parts.state.as_ref(), &lane.parts.topics);
        let applied = AppliedTexts::of(service.spec(), &answer, state, topics)?;
        Ok(Prepared {
            rows,
            answer,
            applied,
        })
    })
}

/// Ask the model, under a deadline. The bell rings when it has answered.
pub(crate) fn ask(
    lane: &Lane,
    deployment: &Deployment,
    version: u32,
    prepared: &Prepared,
) -> Answer {
    let scorer = Arc::clone(&lane.parts.scorer);
    let model = deployment.def().model.clone();
    let features = prepared.answer.features.clone();
    let runtime = Arc::clone(&lane.parts.runtime);
    let patience = lane.parts.limits.call_max;
    let question = async move {
        let call = scorer.score(&model, version, features);
        let answered = within(runtime.as_ref(), patience, call).await;
        answered.unwrap_or_else(|| {
            let words = format!("model {model} version {version} did not answer in {patience:?}");
            Err(PortError::new(ErrorKind::DeadlineExceeded, words))
        })
    };
    let (call, handle) = abortable(AssertUnwindSafe(question).catch_unwind());
    let answer = Answer {
        slot: Arc::default(),
        call: handle,
    };
    let (slot, bell) = (Arc::clone(&answer.slot), Arc::clone(&lane.bell));
    let answered = async move {
        let scores = match call.await {
            Ok(Ok(scores)) => scores,
            Ok(Err(_panic)) => Err(panicked()),
            Err(_aborted) => Err(cut_off()),
        };
        *slot.lock() = Some(scores);
        bell.ring();
    };
    lane.parts
        .runtime
        .spawn_task("question", Box::pin(answered));
    answer
}

/// The outbox records of rows that the model has answered.
///
/// # Errors
/// Another number of answers than rows; a row that makes no record.
pub(crate) fn records(
    lane: &Lane,
    deployment: &Deployment,
    entries: &[(u16, PendingEntry)],
    prepared: &Prepared,
    scores: &Scores,
) -> Result<Outcomes, PipelineError> {
    contain("scoring", || {
        check_rows(scores, entries.len())?;
        let scored = Scored {
            deployment,
            pending: &scores_of(entries),
            rows: &prepared.rows,
            answer: &prepared.answer,
            applied: &prepared.applied,
            scores,
        };
        let records = outbox_records(&scored, lane.parts.encoder.as_ref())?;
        Ok(Outcomes {
            each: records.into_iter().map(ScoreOutcome::Scored).collect(),
            without_offsets: prepared.applied.without_offsets,
        })
    })
}

fn scores_of(entries: &[(u16, PendingEntry)]) -> Vec<Arc<PendingScore>> {
    let scores = entries.iter().map(|(_, entry)| Arc::clone(&entry.score));
    scores.collect()
}

/// Refuse an answer that does not have one score for each row: the model is at fault.
fn check_rows(scores: &Scores, rows: usize) -> PortResult<()> {
    if scores.score.len() == rows && scores.margin.len() == rows {
        return Ok(());
    }
    let words = format!(
        "the model answered {} scores and {} margins for {rows} rows",
        scores.score.len(),
        scores.margin.len()
    );
    Err(PortError::internal(words))
}

/// A panic of the model is the fault of the rows, which are found by halving.
fn panicked() -> PortError {
    let words = "scoring panicked, which is a defect of Forebay: please report it with the log";
    tracing::error!("{words}");
    PortError::new(ErrorKind::OutOfRange, words)
}

/// Nobody waits for the answer any more.
fn cut_off() -> PortError {
    PortError::new(ErrorKind::Unavailable, "scoring was cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_length_is_an_error_and_no_rows_fault() {
        let scores = |margin: usize, score: usize| Scores {
            margin: vec![0.0; margin],
            score: vec![0.0; score],
        };
        assert!(check_rows(&scores(3, 3), 3).is_ok());
        for wrong in [scores(2, 3), scores(3, 4), scores(0, 0)] {
            let error = check_rows(&wrong, 3).expect_err("another length");
            assert!(!error.kind().is_of_the_data(), "{error}");
        }
    }
}
