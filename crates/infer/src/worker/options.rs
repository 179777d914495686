//! How a pool of workers asks: bounds and waits, with defaults from the named limits. Read by the
//! pool and its routes.

use std::time::Duration;

use forebay_core::limits::{
    WORKER_ANSWER_MAX_MS, WORKER_BATCH_MAX_ROWS, WORKER_CREDIT_ROWS, WORKERS_ASK_MAX_MS,
};

/// Settings of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolOptions {
    /// Rows in flight on one stream.
    pub credit_rows: usize,
    /// Rows of one batch; bigger requests are split.
    pub batch_max_rows: usize,
    /// How long opening a stream may take.
    pub connect_timeout: Duration,
    /// How long one worker may take for one batch before another one is asked.
    pub answer_timeout: Duration,
    /// How long to wait for a worker when none is known.
    pub worker_timeout: Duration,
    /// How long one call may take in all.
    pub deadline: Duration,
    /// How long a worker is left alone after its first failure; doubles with each further one, up
    /// to 10 s.
    pub ejection: Duration,
    /// Seed of the choices; internal, since it only breaks ties.
    pub seed: u64,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            credit_rows: WORKER_CREDIT_ROWS,
            batch_max_rows: WORKER_BATCH_MAX_ROWS,
            connect_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_millis(WORKER_ANSWER_MAX_MS),
            worker_timeout: Duration::from_secs(5),
            deadline: Duration::from_millis(WORKERS_ASK_MAX_MS),
            ejection: Duration::from_millis(100),
            seed: 0,
        }
    }
}
