//! Fault injection for the in-memory adapters of one process: outages, lost replies, and a kill at
//! the n-th write, before or after its effect. After the kill nothing is written any more, as after
//! `kill -9`; a new [`Fate`] over the same contents is the next start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay_core::{ErrorKind, PortError, PortResult};
use parking_lot::Mutex;

/// Where fate strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// A poll of the log.
    Poll,
    /// An epoch's write to a shard.
    Commit,
    /// The second write of a score.
    Settle,
    /// The removal of what was acknowledged.
    ClearOutbox,
    /// The removal of notes that the archive has.
    ClearNotes,
    /// An append to the archive.
    Append,
    /// A send to the broker.
    Publish,
    /// A question to a model.
    Score,
}

impl Point {
    /// Whether something lasting happens here, so that the process may be killed before or after
    /// it.
    fn is_write(self) -> bool {
        !matches!(self, Self::Poll | Self::Score)
    }
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    kind: ErrorKind,
    /// Calls that still fail.
    left: u64,
    /// It is done and then reported as failed.
    reply_lost: bool,
}

/// The faults of one process, shared by its adapters.
#[derive(Debug)]
pub struct Fate {
    writes: AtomicU64,
    last_write: AtomicU64,
    reply_lost: AtomicBool,
    outages: Mutex<HashMap<Point, Outage>>,
    calls: Mutex<HashMap<Point, u64>>,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            writes: AtomicU64::new(0),
            last_write: AtomicU64::new(u64::MAX),
            reply_lost: AtomicBool::new(false),
            outages: Mutex::default(),
            calls: Mutex::default(),
        }
    }
}

impl Fate {
    /// The process ends at its write number `write`, from 0: before it is done, or after it and
    /// before anybody hears.
    #[must_use]
    pub fn killed_at(write: u64, done: bool) -> Self {
        Self {
            last_write: AtomicU64::new(write),
            reply_lost: AtomicBool::new(done),
            ..Self::default()
        }
    }

    /// The next `times` calls at `point` fail with `kind`, and do nothing.
    pub fn fail(&self, point: Point, kind: ErrorKind, times: u64) {
        self.outages.lock().insert(
            point,
            Outage {
                kind,
                left: times,
                reply_lost: false,
            },
        );
    }

    /// The next `times` calls at `point` do what they should and then report `kind`.
    pub fn lose_replies(&self, point: Point, kind: ErrorKind, times: u64) {
        self.outages.lock().insert(
            point,
            Outage {
                kind,
                left: times,
                reply_lost: true,
            },
        );
    }

    /// Calls at `point` fail with `kind` until [`Self::restore`].
    pub fn take_away(&self, point: Point, kind: ErrorKind) {
        self.fail(point, kind, u64::MAX);
    }

    /// `point` works again.
    pub fn restore(&self, point: Point) {
        self.outages.lock().remove(&point);
    }

    /// Calls at `point` so far, failed ones too.
    #[must_use]
    pub fn calls(&self, point: Point) -> u64 {
        self.calls.lock().get(&point).copied().unwrap_or(0)
    }

    /// Writes that were begun so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.writes() > self.last_write.load(Ordering::SeqCst)
    }

    /// Do `act` at `point`, as far as fate allows.
    ///
    /// # Errors
    /// Fate strikes, or `act` fails.
    pub fn meet<T>(&self, point: Point, act: impl FnOnce() -> PortResult<T>) -> PortResult<T> {
        *self.calls.lock().entry(point).or_default() += 1;
        if point.is_write() {
            let number = self.writes.fetch_add(1, Ordering::SeqCst);
            let last = self.last_write.load(Ordering::SeqCst);
            if number > last {
                return Err(killed());
            }
            if number == last {
                if self.reply_lost.load(Ordering::SeqCst) {
                    act()?;
                }
                return Err(killed());
            }
        }
        let Some(outage) = self.strike(point) else {
            return act();
        };
        if outage.reply_lost {
            act()?;
        }
        Err(PortError::new(
            outage.kind,
            format!("{point:?} is taken away by the test"),
        ))
    }

    fn strike(&self, point: Point) -> Option<Outage> {
        let mut outages = self.outages.lock();
        let outage = outages.get_mut(&point)?;
        let struck = *outage;
        outage.left = outage
            .left
            .saturating_sub(u64::from(outage.left != u64::MAX));
        if struck.left == 0 {
            outages.remove(&point);
            return None;
        }
        Some(struck)
    }
}

fn killed() -> PortError {
    PortError::internal("the process was killed by the test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_its_end_a_process_writes_nothing() {
        for done in [false, true] {
            let fate = Fate::killed_at(1, done);
            let mut written = Vec::new();
            for number in 0..3 {
                let outcome = fate.meet(Point::Commit, || {
                    written.push(number);
                    Ok(())
                });
                assert_eq!(outcome.is_ok(), number == 0);
            }
            assert_eq!(written, if done { vec![0, 1] } else { vec![0] });
            assert!(fate.is_over());
            assert!(fate.meet(Point::Score, || Ok(())).is_ok(), "no write");
        }
    }

    #[test]
    fn an_outage_lasts_as_long_as_the_test_says() {
        let fate = Fate::default();
        fate.fail(Point::Append, ErrorKind::Unavailable, 2);
        let outcomes: Vec<bool> = (0..3)
            .map(|_| fate.meet(Point::Append, || Ok(())).is_ok())
            .collect();
        assert_eq!(outcomes, [false, false, true]);
        fate.take_away(Point::Append, ErrorKind::Unavailable);
        assert!((0..9).all(|_| fate.meet(Point::Append, || Ok(())).is_err()));
        fate.restore(Point::Append);
        assert!(fate.meet(Point::Append, || Ok(())).is_ok());
        assert_eq!(fate.calls(Point::Append), 13);
    }
}
