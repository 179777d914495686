//! What a process of Forebay does with a broken invariant (`forebay_core::invariant`): keep it,
//! log it once for each id, as an error, since any is a defect, and count it in
//! `forebay_invariant_violations_total` once the process has metrics. `forebay_core` calls. Nothing
//! here stops the process: state and answers are guarded by typed errors, the checks tell that a
//! guard has a hole. A command ends with the exit code of a defect ([`InvariantReport::words`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use forebay_core::invariant::{self, Invariant};

use crate::names::Metrics;

/// The violations of one process.
#[derive(Debug, Default)]
pub struct InvariantReport {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// By id: how many, and the words of the first.
    broken: BTreeMap<&'static str, (u64, String)>,
    metrics: Option<Arc<Metrics>>,
}

impl InvariantReport {
    /// The report of this process, which has every violation from the first call on.
    pub fn of_process() -> &'static Self {
        static REPORT: OnceLock<InvariantReport> = OnceLock::new();
        REPORT.get_or_init(|| {
            invariant::install(Box::new(|invariant, words| {
                Self::of_process().violation(invariant, words);
            }));
            Self::default()
        })
    }

    /// Count in `metrics` from now on, and there what was found before.
    pub fn count_in(&self, metrics: Arc<Metrics>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, (count, _)) in &found.broken {
            metrics.invariant_violations.with([*id]).add(*count);
        }
        found.metrics = Some(metrics);
    }

    /// What was found so far, for the end of a command; None where nothing was.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let first =
            |(id, (count, words)): (&&str, &(u64, String))| format!("{id} ({count}): {words}");
        let broken: Vec<String> = found.broken.iter().map(first).collect();
        (!broken.is_empty()).then(|| {
            let broken = broken.join("; ");
            format!(
                "a defect of Forebay, do not use what was written: invariants are broken: {broken}"
            )
        })
    }

    /// Keep a violation that a check found. Returns whether it is the first of its id, which is
    /// the one that is logged.
    fn violation(&self, invariant: Invariant, words: fmt::Arguments<'_>) -> bool {
        let id = invariant.id();
        let first = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(metrics) = &found.metrics {
                metrics.invariant_violations.with([id]).inc();
            }
            let (count, first_words) = found.broken.entry(id).or_default();
            *count += 1;
            if *count == 1 {
                *first_words = words.to_string();
            }
            *count == 1
        };
        if first {
            tracing::error!(
                invariant = id,
                sentence = invariant.sentence(),
                "an invariant is broken, which is a defect of Forebay: {words}; further ones of this kind are only counted"
            );
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_counted_and_the_first_of_each_id_logged() {
        let metrics = Arc::new(Metrics::new().expect("the table is valid"));
        let count =
            |invariant: Invariant| metrics.invariant_violations.with([invariant.id()]).value();
        let report = InvariantReport::default();
        let of = |invariant| report.violation(invariant, format_args!("4 after 5"));
        assert_eq!(report.words(), None);
        assert!(of(Invariant::OffsetsNeverFall), "before there are metrics");
        report.count_in(Arc::clone(&metrics));
        assert_eq!(count(Invariant::OffsetsNeverFall), 1);
        assert!(!of(Invariant::OffsetsNeverFall));
        assert!(of(Invariant::EpochsAscend));
        assert_eq!(count(Invariant::OffsetsNeverFall), 2);
        assert_eq!(count(Invariant::EpochsAscend), 1);
        let words = report.words().expect("some are broken");
        assert!(
            words.contains("epochs_ascend (1): 4 after 5; offsets_never_fall (2): 4 after 5"),
            "{words}"
        );
    }

    /// The only test of this process that breaks one through the macro.
    #[test]
    fn a_broken_invariant_comes_to_the_report_of_the_process() {
        let report = InvariantReport::of_process();
        let (old, new) = (5, 4);
        forebay_core::invariant!(TimeNeverFalls, new >= old, "{old} became {new}");
        let words = InvariantReport::of_process().words().expect("it is kept");
        assert!(
            words.contains("time_never_falls (1): 5 became 4"),
            "{words}"
        );
        assert_eq!(report.words(), Some(words));
    }
}
