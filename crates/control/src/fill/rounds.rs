//! The last part of a fill beside ingest: rounds over all new views, each of which folds what came
//! during the one before, until so little is left that ingest need stand for a moment only. Where
//! events come as fast as a round folds them, rounds do not shrink; then ingest is slowed, to half
//! of what the fill folds, so that the next one does. Where [`FILL_ROUNDS_MAX`] of them do not
//! catch up the change is refused: ingest would stand for longer than a moment.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::limits::FILL_ROUNDS_MAX;
use forebay_core::ports::CompiledView;
use forebay_core::source::SourceDef;
use forebay_pipeline::backfill::Filling;

use super::{FillError, Filler};

/// How long the fold of what is left may take, by the speed of the fill so far.
const REST_MAX: Duration = Duration::from_millis(500);

/// Wait before each: a shard that no row touches says once a second where it is, and a limit must
/// have had an effect before it is judged.
const ROUND_WAIT: Duration = Duration::from_millis(1_200);

/// The part of the rest's bound that a pass must have folded for its speed to be that of its rows,
/// and not of what a pass costs without any.
const MEASURED_PART: u64 = 8;

/// How the fill of the views of one change goes.
#[derive(Debug, Default)]
pub struct Course {
    /// Rows and time of the largest pass.
    largest: (u64, Duration),
    /// Rows that the first passes have folded, then those that the last round had to.
    last: u64,
    /// Under which limit ingest runs.
    limit: Option<NonZeroU64>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Little is left.
    Done,
    /// A round, with ingest as it is.
    Round,
    /// A round, with ingest at so many rows a second.
    Slower(NonZeroU64),
}

impl Course {
    /// A first pass has folded `rows` in `took`.
    pub(super) fn began(&mut self, rows: u64, took: Duration) {
        self.last += rows;
        self.folded(rows, took);
    }

    fn folded(&mut self, rows: u64, took: Duration) {
        if rows >= self.largest.0 {
            self.largest = (rows, took);
        }
    }

    /// Rows a second, where a pass has folded enough of them to tell, of `most` that may be left.
    fn speed(&self, most: u64) -> Option<f64> {
        let (rows, took) = self.largest;
        (rows >= most / MEASURED_PART).then(|| rows as f64 / took.as_secs_f64().max(1e-6))
    }

    /// Rows that may be left for the time in which ingest stands, of `most` however fast the fill
    /// is: half, as many may come again before ingest stands.
    fn rest(&self, most: u64) -> u64 {
        let speed = self.speed(most);
        let in_time = speed.map_or(f64::INFINITY, |speed| speed * REST_MAX.as_secs_f64());
        (in_time.min(most as f64) / 2.0).max(1.0) as u64
    }

    /// `lacking` rows of `views` views are to be folded, and at most `most` may be left.
    fn next(&mut self, lacking: u64, (views, most): (usize, u64)) -> Next {
        if lacking <= self.rest(most) {
            return Next::Done;
        }
        let is_halved = lacking <= self.last / 2;
        self.last = lacking;
        let Some(speed) = self.speed(most).filter(|_| !is_halved) else {
            return Next::Round;
        };
        // Each row that comes is folded into every view.
        let half = speed / 2.0 / views.max(1) as f64;
        let half = half as u64;
        let slower = self.limit.map_or(half, |limit| limit.get() / 2);
        // So few come in a round that they may be left: slower would not help, and ingest would
        // stand all but in name.
        let enough = self.rest(most) / 2;
        let limit = slower.max(enough).min(half);
        let limit = NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN);
        self.limit = Some(limit);
        Next::Slower(limit)
    }
}

impl Filler<'_> {
    /// Fold what came meanwhile into all of `views`, until what is left for the time in which
    /// ingest stands is at most [`Filler::rest_max_rows`]. Ingest may be slowed by then, and is
    /// until [`Filler::release`], or until it starts anew.
    ///
    /// # Errors
    /// As [`Filler::beside`]; [`FillError::Outrun`] after [`FILL_ROUNDS_MAX`] rounds.
    pub fn catch_up_with_ingest(
        &self,
        views: &[(Arc<SourceDef>, Arc<dyn CompiledView>)],
        course: &mut Course,
    ) -> Result<(), FillError> {
        let mut lacking = self.lacking(views)?;
        // A limit is halved in each that does not shrink, down to what a round may leave. What is
        // left after as many is not what ingest brings: shards stay behind the archive.
        for _ in 0..FILL_ROUNDS_MAX {
            // Ingest has ended: what is left delays nothing, and a shard that it has left behind
            // would never be caught up with.
            if !self.host.is_ingesting() {
                return Ok(());
            }
            match course.next(lacking, (views.len(), self.rest_max_rows)) {
                Next::Done => return Ok(()),
                Next::Round => {}
                Next::Slower(limit) => {
                    tracing::info!(
                        lacking,
                        limit,
                        "events come faster than they are filled in: ingest is slowed, to so many \
                         rows a second"
                    );
                    self.host.limit_ingest(Some(limit));
                }
            }
            if !self.stop.wait(ROUND_WAIT) {
                return Err(FillError::Stopped { what: "the fill" });
            }
            for (source, view) in views {
                let (rows, took) = self.pass_beside(source, view.as_ref())?;
                course.folded(rows, took);
            }
            lacking = self.lacking(views)?;
        }
        let most = course.rest(self.rest_max_rows);
        if lacking <= most {
            return Ok(());
        }
        Err(FillError::Outrun {
            left: lacking,
            most,
        })
    }

    /// The change is over, whatever came of it: ingest reads as fast as it goes.
    pub fn release(&self) {
        self.host.limit_ingest(None);
    }

    /// Rows that were read by now and that `views` lack.
    fn lacking(&self, views: &[(Arc<SourceDef>, Arc<dyn CompiledView>)]) -> Result<u64, FillError> {
        let mut lacking = 0;
        for (source, view) in views {
            self.flush(source)?;
            let filling = Filling::of(self.store, view.spec().id)?;
            let progress = self.archive.progress(&source.name);
            let archived = self.ask(source, "reading the archive", progress)?;
            lacking += filling.lacks(source, &archived);
        }
        Ok(lacking)
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::limits::FILL_REST_MAX_ROWS;

    use super::*;

    fn course(rows: u64, seconds: u64) -> Course {
        let mut course = Course::default();
        course.began(rows, Duration::from_secs(seconds));
        course
    }

    #[test]
    fn rounds_go_on_while_they_shrink_and_ingest_is_slowed_when_they_do_not() {
        let limit = |rows| Next::Slower(NonZeroU64::new(rows).expect("not 0"));
        // 10,000 rows a second are folded.
        let mut course = course(1_000_000, 100);
        let mut next = |lacking| course.next(lacking, (2, FILL_REST_MAX_ROWS));
        assert_eq!(next(400_000), Next::Round, "it shrinks");
        assert_eq!(next(300_000), limit(2_500), "half, for two views");
        assert_eq!(next(200_000), limit(1_250), "and half of that");
        assert_eq!(next(50_000), Next::Round);
        assert_eq!(next(FILL_REST_MAX_ROWS), Next::Round);
        assert_eq!(next(FILL_REST_MAX_ROWS / 2), Next::Done);
    }

    #[test]
    fn of_a_slow_fill_less_is_left_than_of_a_fast_one() {
        let next = |course: &mut Course, lacking| course.next(lacking, (1, FILL_REST_MAX_ROWS));
        assert_eq!(next(&mut course(100_000, 1), 2_000), Next::Done);
        // 100 rows a second: 50 take as long as ingest may stand.
        let mut slow = course(100_000, 1_000);
        assert_eq!(next(&mut slow, 2_000), Next::Round);
        assert_eq!(next(&mut slow, 26), Next::Round);
        assert_eq!(next(&mut slow, 25), Next::Done);
    }

    #[test]
    fn what_a_pass_costs_without_rows_is_not_taken_for_the_speed_of_a_fill() {
        let next = |course: &mut Course, lacking| course.next(lacking, (1, FILL_REST_MAX_ROWS));
        assert_eq!(next(&mut Course::default(), 0), Next::Done);
        let mut few = course(1, 2);
        assert_eq!(
            next(&mut few, 9_000),
            Next::Round,
            "nothing is slowed by it"
        );
        assert_eq!(next(&mut few, 2_000), Next::Done);
    }

    #[test]
    fn however_slow_a_fill_is_ingest_moves() {
        let mut course = course(1_000, 100_000);
        for _ in 0..9 {
            course.next(100, (1, FILL_REST_MAX_ROWS));
        }
        assert_eq!(course.limit, Some(NonZeroU64::MIN));
    }
}
