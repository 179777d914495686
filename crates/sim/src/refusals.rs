//! Events that never get a prediction, whatever goes well: the model refuses the event, or panics
//! on it, or the topic refuses the prediction. It follows from the event alone, so that a score
//! that a power cut has taken back ends as it did before. [`RefusingModel`] and the publisher of a
//! world act by it, the oracle expects the notes.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use async_trait::async_trait;
use forebay_core::ports::{Scorer, Scores};
use forebay_core::prediction::{OutboxRecord, PredictionKey};
use forebay_core::settlement::UnscoredReason;
use forebay_core::{PortError, PortResult};

use crate::faults::Faults;
use crate::world::id_of;

/// Of so many events each version of the model refuses one.
const REFUSED_OF: i64 = 5;

/// The words of a topic that refuses a prediction.
const REFUSED_WORDS: &str = "the topic refuses it";

/// Who refuses what for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// The model refuses events, each of its versions others.
    pub of_the_model: bool,
    /// It panics on them.
    pub in_panic: bool,
    /// The topics of predictions refuse some.
    pub of_the_topic: bool,
}

impl Refusals {
    /// Why the event of `key`, whose column `n` is `number`, never gets a prediction; None where it
    /// gets one.
    #[must_use]
    pub fn reason(&self, key: &PredictionKey, number: i64) -> Option<UnscoredReason> {
        if self.of_the_model && is_refused_by(key.model_version, number) {
            return Some(UnscoredReason::RowRefused);
        }
        let refuses = self.of_the_topic && is_refused_id(&key.id());
        refuses.then_some(UnscoredReason::PredictionRefused)
    }

    /// Why `record` is refused by its topic, if it is.
    #[must_use]
    pub fn words(&self, record: &OutboxRecord) -> Option<String> {
        let refuses = self.of_the_topic && is_refused_id(&id_of(&record.headers));
        refuses.then(|| REFUSED_WORDS.to_owned())
    }
}

fn is_refused_by(version: u32, number: i64) -> bool {
    (number + i64::from(version)).rem_euclid(REFUSED_OF) == 0
}

/// A quarter of all.
fn is_refused_id(id: &str) -> bool {
    id.as_bytes()[0] < b'4'
}

/// A model whose margins say which of its versions has answered. It gets the column `n` of each
/// event as its last feature and may refuse some by it; what it does not refuse, `inner` scores by
/// the other features.
#[derive(Debug)]
pub struct RefusingModel<S> {
    inner: S,
    refusals: Refusals,
    faults: Arc<Faults>,
}

impl<S> RefusingModel<S> {
    /// `inner` for the events that `refusals` leave, in the process of `faults`.
    pub fn new(inner: S, refusals: Refusals, faults: &Arc<Faults>) -> Self {
        Self {
            inner,
            refusals,
            faults: Arc::clone(faults),
        }
    }
}

#[async_trait]
impl<S: Scorer> Scorer for RefusingModel<S> {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        if !self.refusals.of_the_model {
            return Ok(signed(
                version,
                self.inner.score(model, version, features).await?,
            ));
        }
        let others = features.num_columns().saturating_sub(1);
        let numbers = features.column(others).as_primitive::<Int64Type>().values();
        let refused = numbers.iter().find(|n| is_refused_by(version, **n));
        if let Some(number) = refused {
            let (rows, panics) = (numbers.len(), self.refusals.in_panic);
            self.faults.note_deed(|deeds| {
                deeds.halved += u64::from(rows > 1);
                deeds.panics += u64::from(panics);
            });
            let words = format!("version {version} refuses the event {number}");
            if panics {
                // No hook is called: it would print each one.
                std::panic::resume_unwind(Box::new(words));
            }
            return Err(PortError::invalid(words));
        }
        let others: Vec<usize> = (0..others).collect();
        let features = features.project(&others);
        let features = features.map_err(|error| PortError::internal(error.to_string()))?;
        Ok(signed(
            version,
            self.inner.score(model, version, features).await?,
        ))
    }
}

/// Between the margins of one version and the next, for the same features.
pub(crate) const SIGNATURE: f64 = 1_000_000.0;

/// `scores` whose margins say which version has answered.
fn signed(version: u32, mut scores: Scores) -> Scores {
    let signature = SIGNATURE * f64::from(version);
    scores
        .margin
        .iter_mut()
        .for_each(|margin| *margin += signature);
    scores
}
