//! `[inference]`: defaults, bounds, and the limits of scoring and the options of the workers' pool,
//! written out without a default so that none can be reached from code alone. Owns no key (those
//! are in [`super`], from which the pages are written) and asks nobody: `server` does.

use std::time::Duration;

use anyhow::{Result, ensure};
use forebay_core::limits::{
    OUTBOX_MAX_RECORDS, PENDING_SCORES_MAX_BYTES, PENDING_SCORES_MAX_RECORDS, SCORING_CALL_MAX_MS,
    SCORING_CHUNK_MAX_ROWS, SCORING_CHUNKS_MAX, WORKER_ANSWER_MAX_MS, WORKER_BATCH_MAX_ROWS,
    WORKER_CREDIT_ROWS, WORKERS_ASK_MAX_MS,
};
use forebay_infer::PoolOptions;
use forebay_pipeline::ScoringLimits;

use super::{Inference, within};

/// Longest `inference.call_timeout_ms`: ten minutes.
const CALL_TIMEOUT_MAX_MS: u64 = 600_000;
/// Most `inference.concurrent_calls`: each holds its rows and features.
const CONCURRENT_CALLS_MAX: usize = 64;
/// Longest `inference.worker_ejection_ms`: the longest pause that it grows to.
const EJECTION_MAX_MS: u64 = 10_000;

impl Default for Inference {
    fn default() -> Self {
        Self {
            workers: Vec::new(),
            local_scoring: true,
            pending_max_records: PENDING_SCORES_MAX_RECORDS,
            pending_max_mib: PENDING_SCORES_MAX_BYTES >> 20,
            outbox_max_records: OUTBOX_MAX_RECORDS,
            concurrent_calls: SCORING_CHUNKS_MAX,
            call_timeout_ms: SCORING_CALL_MAX_MS,
            workers_timeout_ms: WORKERS_ASK_MAX_MS,
            worker_wait_ms: 5_000,
            worker_connect_timeout_ms: 2_000,
            worker_answer_timeout_ms: WORKER_ANSWER_MAX_MS,
            worker_ejection_ms: 100,
            worker_credit_rows: WORKER_CREDIT_ROWS,
            worker_batch_max_rows: WORKER_BATCH_MAX_ROWS,
        }
    }
}

impl Inference {
    /// Refuse values that contradict limits or one another.
    pub(super) fn validate(&self) -> Result<()> {
        within(
            "inference.pending_max_records",
            self.pending_max_records,
            1,
            PENDING_SCORES_MAX_RECORDS,
        )?;
        within(
            "inference.pending_max_mib",
            self.pending_max_mib,
            1,
            PENDING_SCORES_MAX_BYTES >> 20,
        )?;
        // With less room than one request can bring, nothing would be scored.
        within(
            "inference.outbox_max_records",
            self.outbox_max_records,
            SCORING_CHUNK_MAX_ROWS,
            OUTBOX_MAX_RECORDS,
        )?;
        within(
            "inference.concurrent_calls",
            self.concurrent_calls,
            1,
            CONCURRENT_CALLS_MAX,
        )?;
        self.validate_times()?;
        within(
            "inference.worker_batch_max_rows",
            self.worker_batch_max_rows,
            1,
            WORKER_BATCH_MAX_ROWS,
        )?;
        within(
            "inference.worker_credit_rows",
            self.worker_credit_rows,
            1,
            WORKER_CREDIT_ROWS,
        )?;
        ensure!(
            self.worker_batch_max_rows <= self.worker_credit_rows,
            "inference.worker_credit_rows = {} has no room for a batch of inference.worker_batch_max_rows = {}; raise the \
             first, or lower the second",
            self.worker_credit_rows,
            self.worker_batch_max_rows
        );
        Ok(())
    }

    fn validate_times(&self) -> Result<()> {
        within(
            "inference.call_timeout_ms",
            self.call_timeout_ms,
            2,
            CALL_TIMEOUT_MAX_MS,
        )?;
        within(
            "inference.worker_ejection_ms",
            self.worker_ejection_ms,
            1,
            EJECTION_MAX_MS,
        )?;
        let (call_ms, workers_ms) = (self.call_timeout_ms, self.workers_timeout_ms);
        ensure!(
            (1..=call_ms / 2).contains(&workers_ms),
            "inference.workers_timeout_ms = {workers_ms} is outside 1..={}, half of inference.call_timeout_ms; lower the \
             first, or raise the second: this process scores in what is left",
            call_ms / 2
        );
        for (key, ms) in [
            ("worker_wait_ms", self.worker_wait_ms),
            ("worker_connect_timeout_ms", self.worker_connect_timeout_ms),
            ("worker_answer_timeout_ms", self.worker_answer_timeout_ms),
        ] {
            ensure!(
                (1..=workers_ms).contains(&ms),
                "inference.{key} = {ms} is outside 1..={workers_ms}, which is inference.workers_timeout_ms; lower the \
                 first, or raise the second"
            );
        }
        Ok(())
    }

    /// How much of one deployment may wait and be under way.
    pub(crate) fn scoring_limits(&self) -> ScoringLimits {
        ScoringLimits {
            pending_records: self.pending_max_records,
            pending_bytes: self.pending_max_mib << 20,
            outbox_records: self.outbox_max_records,
            chunks: self.concurrent_calls,
            call_max: Duration::from_millis(self.call_timeout_ms),
        }
    }

    /// How workers are asked.
    pub(crate) fn pool_options(&self) -> PoolOptions {
        PoolOptions {
            credit_rows: self.worker_credit_rows,
            batch_max_rows: self.worker_batch_max_rows,
            connect_timeout: Duration::from_millis(self.worker_connect_timeout_ms),
            answer_timeout: Duration::from_millis(self.worker_answer_timeout_ms),
            worker_timeout: Duration::from_millis(self.worker_wait_ms),
            deadline: Duration::from_millis(self.workers_timeout_ms),
            ejection: Duration::from_millis(self.worker_ejection_ms),
            // No setting: it only breaks ties between workers, and tests repeat a choice by it.
            seed: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reaches_its_option() {
        let inference = Inference {
            pending_max_records: 3,
            pending_max_mib: 5,
            outbox_max_records: 5_003,
            concurrent_calls: 7,
            call_timeout_ms: 211,
            workers_timeout_ms: 103,
            worker_wait_ms: 11,
            worker_connect_timeout_ms: 13,
            worker_answer_timeout_ms: 17,
            worker_ejection_ms: 19,
            worker_credit_rows: 29,
            worker_batch_max_rows: 23,
            ..Inference::default()
        };
        inference.validate().expect("within its bounds");
        let ms = Duration::from_millis;
        let limits = ScoringLimits {
            pending_records: 3,
            pending_bytes: 5 << 20,
            outbox_records: 5_003,
            chunks: 7,
            call_max: ms(211),
        };
        assert_eq!(inference.scoring_limits(), limits);
        let pool = inference.pool_options();
        assert_eq!((pool.credit_rows, pool.batch_max_rows), (29, 23));
        assert_eq!(
            (pool.connect_timeout, pool.answer_timeout),
            (ms(13), ms(17))
        );
        assert_eq!((pool.worker_timeout, pool.deadline), (ms(11), ms(103)));
        assert_eq!(pool.ejection, ms(19));
    }

    #[test]
    fn the_defaults_are_those_of_scoring_and_of_the_pool() {
        let inference = Inference::default();
        assert_eq!(inference.scoring_limits(), ScoringLimits::default());
        let (ours, theirs) = (inference.pool_options(), PoolOptions::default());
        assert_eq!(ours, theirs);
    }

    #[test]
    fn values_that_leave_one_another_no_room_are_refused_with_the_way_out() {
        type Set = fn(&mut Inference);
        let cases: [(Set, &str, Set); 5] = [
            (
                |i| i.call_timeout_ms = 19_999,
                "inference.workers_timeout_ms = 10000 is outside 1..=9999",
                |i| i.workers_timeout_ms = 9_999,
            ),
            (
                |i| i.workers_timeout_ms = 4_999,
                "inference.worker_wait_ms = 5000 is outside 1..=4999",
                |i| (i.worker_wait_ms, i.worker_answer_timeout_ms) = (4_999, 4_999),
            ),
            (
                |i| i.worker_answer_timeout_ms = 10_001,
                "inference.worker_answer_timeout_ms = 10001 is outside 1..=10000",
                |i| (i.workers_timeout_ms, i.call_timeout_ms) = (10_001, 30_000),
            ),
            (
                |i| i.worker_credit_rows = 8_191,
                "inference.worker_credit_rows = 8191 has no room",
                |i| i.worker_batch_max_rows = 8_191,
            ),
            (
                |i| i.outbox_max_records = SCORING_CHUNK_MAX_ROWS - 1,
                "inference.outbox_max_records = 4095 is outside 4096..=100000",
                |i| i.outbox_max_records = SCORING_CHUNK_MAX_ROWS,
            ),
        ];
        for (set, named, mend) in cases {
            let mut inference = Inference::default();
            set(&mut inference);
            let error = inference.validate().expect_err("refused").to_string();
            assert!(error.starts_with(named), "{error}");
            mend(&mut inference);
            inference.validate().expect("as the error says");
        }
    }
}
