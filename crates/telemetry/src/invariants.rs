//! What a process of Forebay does with a broken invariant (`forebay_core::invariant`): count it in
//! `forebay_invariant_violations_total`, and log it once for each id, as an error, since any is a
//! defect. `forebay_core` calls; the counter and the log are the way out. Nothing here stops the
//! process: state and answers are guarded by typed errors, the checks tell that a guard has a hole.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::invariant::{self, Invariant};

use crate::names::Metrics;

/// Counts and logs violations.
#[derive(Debug)]
pub struct InvariantReport {
    metrics: Arc<Metrics>,
    logged: Mutex<HashSet<Invariant>>,
}

impl InvariantReport {
    /// A report into `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            logged: Mutex::default(),
        }
    }

    /// Report a violation that a check found. Returns whether it is the first of its id, which is
    /// the one that is logged.
    fn violation(&self, invariant: Invariant, words: fmt::Arguments<'_>) -> bool {
        let id = invariant.id();
        self.metrics.invariant_violations.with([id]).inc();
        let first = self
            .logged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(invariant);
        if first {
            tracing::error!(
                invariant = id,
                sentence = invariant.sentence(),
                "an invariant is broken, which is a defect of Forebay: {words}; further ones of this kind are only counted"
            );
        }
        first
    }

    /// Make this the hook of the process. Returns whether there was none before: the first counts.
    pub fn install(self) -> bool {
        invariant::install(Box::new(move |invariant, words| {
            self.violation(invariant, words);
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_counted_and_the_first_of_each_id_logged() {
        let metrics = Arc::new(Metrics::new().expect("the table is valid"));
        let report = InvariantReport::new(Arc::clone(&metrics));
        let logged = [
            Invariant::OffsetsNeverFall,
            Invariant::OffsetsNeverFall,
            Invariant::EpochsAscend,
        ]
        .map(|invariant| report.violation(invariant, format_args!("4 after 5")));
        assert_eq!(logged, [true, false, true]);
        let count =
            |invariant: Invariant| metrics.invariant_violations.with([invariant.id()]).value();
        assert_eq!(count(Invariant::OffsetsNeverFall), 2);
        assert_eq!(count(Invariant::EpochsAscend), 1);
    }
}
