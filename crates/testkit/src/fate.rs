//! Fault injection for the in-memory adapters of one process: outages, lost replies, panics, tables
//! of the archive that take nothing, and a kill at the n-th write, before or after its effect.
//! After the kill nothing is written any more, as after `kill -9`; a new [`Fate`] over the same
//! contents is the next start.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

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
    /// A note beside a table of the archive that has a fault; it meets no other.
    Note,
}

impl Point {
    /// Whether something lasting happens here, so that the process may be killed before or after
    /// it.
    fn is_write(self) -> bool {
        !matches!(self, Self::Poll | Self::Score | Self::Note)
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

/// What is wrong with one table of the archive, for appends unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFault {
    /// They fail, and do nothing.
    Fails(ErrorKind),
    /// They panic.
    Panics,
    /// They do not end.
    Hangs,
    /// What it holds cannot be read.
    Shut,
    /// Reads of its rows fail.
    ReadFails(ErrorKind),
    /// They end behind their first rows.
    ReadBreaks(ErrorKind),
    /// They do not end.
    ReadHangs,
    /// Nobody answers what it holds.
    Silent,
    /// Notes beside it do not end.
    NoteHangs,
}

/// The faults of one process, shared by its adapters.
#[derive(Debug)]
pub struct Fate {
    writes: AtomicU64,
    last_write: AtomicU64,
    reply_lost: AtomicBool,
    outages: Mutex<HashMap<Point, Outage>>,
    calls: Mutex<HashMap<Point, u64>>,
    panics: Mutex<HashSet<Point>>,
    tables: Mutex<HashMap<String, TableFault>>,
    /// Appends, reads and notes that hang.
    hung: Mutex<Vec<Waker>>,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            writes: AtomicU64::new(0),
            last_write: AtomicU64::new(u64::MAX),
            reply_lost: AtomicBool::new(false),
            outages: Mutex::default(),
            calls: Mutex::default(),
            panics: Mutex::default(),
            tables: Mutex::default(),
            hung: Mutex::default(),
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

    /// Calls at `point` panic until [`Self::restore`].
    pub fn panic_at(&self, point: Point) {
        self.panics.lock().insert(point);
    }

    /// `point` works again.
    pub fn restore(&self, point: Point) {
        self.outages.lock().remove(&point);
        self.panics.lock().remove(&point);
    }

    /// `table` has `fault` until [`Self::mend_table`].
    pub fn break_table(&self, table: &str, fault: TableFault) {
        self.tables.lock().insert(table.to_owned(), fault);
    }

    /// `table` works again.
    pub fn mend_table(&self, table: &str) {
        self.tables.lock().remove(table);
        self.hung.lock().drain(..).for_each(Waker::wake);
    }

    /// Whether what `table` holds cannot be read.
    pub(crate) fn is_shut(&self, table: &str) -> bool {
        self.tables.lock().get(table) == Some(&TableFault::Shut)
    }

    /// An append to `table` begins, as far as fate allows.
    ///
    /// # Errors
    /// Fate strikes.
    ///
    /// # Panics
    /// The test wants it.
    pub(crate) async fn meet_table(&self, table: &str) -> PortResult<()> {
        match self.fault_of(table, TableFault::Hangs).await {
            Some(TableFault::Fails(kind)) => {
                let words = format!("table {table} is broken by the test");
                Err(PortError::new(kind, words))
            }
            Some(TableFault::Panics) => panic!("table {table} panics as the test wants"),
            _ => Ok(()),
        }
    }

    /// A read of `table` begins, as far as fate allows. What it ends with behind its first rows.
    ///
    /// # Errors
    /// Fate strikes.
    pub(crate) async fn meet_read(&self, table: &str) -> PortResult<Option<ErrorKind>> {
        match self.fault_of(table, TableFault::ReadHangs).await {
            Some(TableFault::ReadFails(kind)) => {
                let words = format!("reads of table {table} are broken by the test");
                Err(PortError::new(kind, words))
            }
            Some(TableFault::ReadBreaks(kind)) => Ok(Some(kind)),
            _ => Ok(None),
        }
    }

    /// Wait until `table` answers.
    pub(crate) async fn answers(&self, table: &str) {
        self.fault_of(table, TableFault::Silent).await;
    }

    /// A note beside `table` begins, and ends where the test lets it.
    pub(crate) async fn meet_note(&self, table: &str) {
        if self.tables.lock().contains_key(table) {
            *self.calls.lock().entry(Point::Note).or_default() += 1;
        }
        self.fault_of(table, TableFault::NoteHangs).await;
    }

    /// What is wrong with `table`, once that is not `hangs`.
    async fn fault_of(&self, table: &str, hangs: TableFault) -> Option<TableFault> {
        let look = |context: &mut Context<'_>| {
            let tables = self.tables.lock();
            let fault = tables.get(table).copied();
            if fault == Some(hangs) {
                self.hung.lock().push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(fault)
        };
        poll_fn(look).await
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
    ///
    /// # Panics
    /// The test wants it.
    pub fn meet<T>(&self, point: Point, act: impl FnOnce() -> PortResult<T>) -> PortResult<T> {
        *self.calls.lock().entry(point).or_default() += 1;
        let panics = self.panics.lock().contains(&point);
        assert!(!panics, "{point:?} panics as the test wants");
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
