//! Which worker gets the next batch: a pure decision over facts already read. Power of two choices
//! by predicted completion; credits bound what is in flight, so that stale figures cannot herd
//! batches onto one worker, and the figures of an idle worker fade, so that one slow answer does
//! not starve it.

use std::time::Duration;

use crate::random::SplitMix64;

/// In this time without a question the cost that was measured of a worker counts half.
const FIGURES_HALVE_IN: Duration = Duration::from_secs(10);

/// What is known of one worker that may take the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Rows sent and not answered, or waiting there for others, whichever is more.
    pub(super) pending_rows: u64,
    /// Rows that this pool has in flight there.
    pub(super) in_flight_rows: u64,
    /// Cost of one row; 0 when nothing was measured yet.
    pub(super) us_per_row: f64,
    /// Cost of one batch beside its rows.
    pub(super) fixed_us: f64,
}

impl Candidate {
    /// Of a worker that was not asked yet.
    pub(super) const UNKNOWN: Self = Self {
        pending_rows: 0,
        in_flight_rows: 0,
        us_per_row: 0.0,
        fixed_us: 0.0,
    };

    /// As it stands after `idle` without a question.
    pub(super) fn faded(self, idle: Duration) -> Self {
        let left = (-idle.as_secs_f64() / FIGURES_HALVE_IN.as_secs_f64()).exp2();
        Self {
            us_per_row: self.us_per_row * left,
            fixed_us: self.fixed_us * left,
            ..self
        }
    }

    /// When a batch of `rows` would be back, microseconds from now.
    fn predicted_us(&self, rows: u64) -> f64 {
        (self.pending_rows + rows) as f64 * self.us_per_row + self.fixed_us
    }

    /// A worker with nothing in flight takes any batch, so that a batch larger than the credits is
    /// not stuck.
    fn has_credit(&self, rows: u64, credit_rows: u64) -> bool {
        self.in_flight_rows == 0 || self.in_flight_rows + rows <= credit_rows
    }
}

/// Index of the worker that takes a batch of `rows`; None when none has the credit.
pub(super) fn choose(
    candidates: &[Candidate],
    rows: u64,
    credit_rows: u64,
    random: &mut SplitMix64,
) -> Option<usize> {
    let open: Vec<usize> = (0..candidates.len())
        .filter(|i| candidates[*i].has_credit(rows, credit_rows))
        .collect();
    if open.len() < 2 {
        return open.first().copied();
    }
    // The remainders are below the lengths, which fit usize.
    let first = (random.next() % open.len() as u64) as usize;
    let step = (random.next() % (open.len() as u64 - 1)) as usize + 1;
    let (one, other) = (open[first], open[(first + step) % open.len()]);
    let later = candidates[other].predicted_us(rows) < candidates[one].predicted_us(rows);
    Some(if later { other } else { one })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forebay_core::limits::WORKER_CREDIT_ROWS;

    use super::{Candidate, SplitMix64, choose};

    fn worker(pending_rows: u64, us_per_row: f64) -> Candidate {
        Candidate {
            pending_rows,
            in_flight_rows: pending_rows,
            us_per_row,
            fixed_us: 100.0,
        }
    }

    #[test]
    fn of_two_the_one_that_answers_first_is_chosen() {
        let credit = WORKER_CREDIT_ROWS as u64;
        let mut random = SplitMix64::new(1);
        for _ in 0..50 {
            assert_eq!(
                choose(
                    &[worker(1_000, 1.0), worker(10, 1.0)],
                    64,
                    credit,
                    &mut random
                ),
                Some(1)
            );
            // Twice the queue at a quarter of the cost is still sooner.
            assert_eq!(
                choose(
                    &[worker(2_000, 1.0), worker(1_000, 4.0)],
                    64,
                    credit,
                    &mut random
                ),
                Some(0)
            );
        }
    }

    #[test]
    fn the_slowest_of_many_is_never_chosen_and_equals_share() {
        let credit = WORKER_CREDIT_ROWS as u64;
        let mut random = SplitMix64::new(7);
        let workers = [
            worker(10, 1.0),
            worker(10, 1.0),
            worker(10, 50.0),
            worker(10, 1.0),
        ];
        let mut taken = [0; 4];
        for _ in 0..4_000 {
            taken[choose(&workers, 64, credit, &mut random).expect("credit")] += 1;
        }
        assert_eq!(taken[2], 0);
        assert!(
            [taken[0], taken[1], taken[3]].iter().all(|n| *n > 1_000),
            "{taken:?}"
        );
    }

    #[test]
    fn a_slow_worker_is_asked_again_after_a_while() {
        let credit = WORKER_CREDIT_ROWS as u64;
        let mut random = SplitMix64::new(5);
        let mut after = |idle_s| {
            let workers = [
                worker(0, 1.0),
                worker(0, 50.0).faded(Duration::from_secs(idle_s)),
            ];
            choose(&workers, 64, credit, &mut random)
        };
        assert_eq!(after(0), Some(0));
        assert_eq!(after(20), Some(0));
        assert_eq!(after(120), Some(1));
    }

    #[test]
    fn without_credit_nobody_is_chosen_but_an_idle_worker_takes_any_batch() {
        let credit = WORKER_CREDIT_ROWS as u64;
        let mut random = SplitMix64::new(3);
        assert_eq!(
            choose(
                &[worker(credit - 63, 1.0), worker(credit, 1.0)],
                64,
                credit,
                &mut random
            ),
            None
        );
        assert_eq!(
            choose(
                &[worker(credit, 1.0), worker(credit - 64, 9.0)],
                64,
                credit,
                &mut random
            ),
            Some(1)
        );
        assert_eq!(
            choose(
                &[worker(credit, 1.0), worker(0, 9.0)],
                100_000,
                credit,
                &mut random
            ),
            Some(1)
        );
        assert_eq!(choose(&[], 1, credit, &mut random), None);
    }
}
