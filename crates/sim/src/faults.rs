//! What goes wrong in a simulated process: at each call of a port the seed may let another thread
//! go first, let time pass, take the part away for a while, lose a reply, or end the process. The
//! scheduler may end it too, at any task switch, whatever its tasks wait for then. An ended process
//! goes on running and reaches nothing lasting any more, which is what `kill -9` leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use forebay_core::ports::Runtime;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_testkit::Random;
use parking_lot::Mutex;

use crate::runtime::SimRuntime;

/// Of a write that is refused for good.
pub(crate) const REFUSED: &str = "the shard takes no writes any more";

/// What can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The reader of the log.
    Log,
    /// Answers about the log.
    Inspector,
    /// The online store's writes.
    Store,
    /// The archive.
    Archive,
    /// The way to the topics of live predictions and of alarms.
    Publisher,
    /// The way to the topic of shadows.
    ShadowPublisher,
    /// The models.
    Scorer,
    /// Reads of features.
    Reader,
    /// Where checkpoints lie.
    Checkpoints,
    /// Values as of given instants.
    PointInTime,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing lasting.
    None,
    /// Something lasting, all of it or nothing.
    Write,
    /// The same for one shard: where nobody hears of it, the next one finds it.
    ShardWrite,
}

/// How often something goes wrong, in calls out of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// A part is away for a while.
    pub outages: usize,
    /// A call takes long.
    pub delays: usize,
    /// It is done and reported as failed.
    pub lost_replies: usize,
    /// A write of an epoch is refused for good, which ends ingest.
    pub refusals: usize,
    /// A read ends between two batches; of so many batches.
    pub breaks: usize,
    /// A model answers with another number of scores than it was asked for.
    pub lies: usize,
    /// It panics, asked for several rows at once: asked for one alone it answers, so that no row is
    /// set aside for it.
    pub panics: usize,
}

/// What a model does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misdeed {
    /// It answers with so many scores and margins.
    Lies {
        /// Scores.
        scores: usize,
        /// Margins.
        margins: usize,
    },
    /// It panics.
    Panics,
}

/// What models have done in one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Answers of another length than the question.
    pub lies: u64,
    /// Panics.
    pub panics: u64,
    /// Questions about several rows of which one is at fault.
    pub halved: u64,
}

/// Where a process ends, if the seed ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nowhere.
    Never,
    /// At this call of a port, which may still be done.
    AtCall(u64),
    /// At this task switch: between any two awaits of any task.
    AtSwitch(u64),
}

/// How many processes the seed has ended, by where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crashes {
    /// At a call of a port.
    pub at_calls: u64,
    /// At a task switch.
    pub at_switches: u64,
}

/// The faults of one process, drawn from its seed.
#[derive(Debug)]
pub struct Faults {
    runtime: SimRuntime,
    random: Mutex<Random>,
    rates: Rates,
    /// Until when each part is away.
    away: Mutex<BTreeMap<Part, Duration>>,
    calls: AtomicU64,
    /// A table of the archive that is away, and until when.
    shut: Mutex<Option<(String, Duration)>>,
    /// Whether nothing more goes wrong.
    calm: AtomicBool,
    /// The call at which the process ends.
    last_call: u64,
    /// Whether that one is still done.
    last_is_done: bool,
    /// Whether the process was ended: from outside, at a call, or by the scheduler.
    over: AtomicBool,
    at_call: AtomicBool,
    at_switch: Arc<AtomicBool>,
    deeds: Mutex<Deeds>,
    undecided: AtomicU64,
    broken_reads: AtomicU64,
    /// What the store takes for each row of a fill.
    fold_takes: Duration,
}

/// What is to happen to a call.
enum Fate {
    Done,
    DoneAndLost,
    DoneAndOver,
    Failed(PortError),
}

impl Faults {
    /// None at all.
    #[must_use]
    pub fn none(runtime: &SimRuntime) -> Self {
        Self::new(runtime, 0, Rates::default(), End::Never)
    }

    /// As often as `rates` say; the process ends at `end`.
    #[must_use]
    pub fn new(runtime: &SimRuntime, seed: u64, rates: Rates, end: End) -> Self {
        let at_switch = Arc::default();
        let switches = match end {
            End::AtSwitch(switches) => switches,
            // Whatever was to end the process before is over.
            End::Never | End::AtCall(_) => u64::MAX,
        };
        runtime.end_after(switches, &at_switch);
        let last_call = match end {
            End::AtCall(call) => call,
            End::Never | End::AtSwitch(_) => u64::MAX,
        };
        Self {
            runtime: runtime.clone(),
            random: Mutex::new(Random::new(seed)),
            rates,
            away: Mutex::default(),
            calls: AtomicU64::new(0),
            shut: Mutex::default(),
            calm: AtomicBool::new(false),
            last_call,
            last_is_done: seed.is_multiple_of(2),
            over: AtomicBool::new(false),
            at_call: AtomicBool::new(false),
            at_switch,
            deeds: Mutex::default(),
            undecided: AtomicU64::new(0),
            broken_reads: AtomicU64::new(0),
            fold_takes: Duration::ZERO,
        }
    }

    /// The same with a store that takes so long for each row of a fill.
    #[must_use]
    pub fn with_slow_fills(self, fold_takes: Duration) -> Self {
        Self { fold_takes, ..self }
    }

    /// A fill folds so many rows.
    pub(crate) fn fold(&self, rows: usize) {
        let takes = self.fold_takes * u32::try_from(rows).expect("few rows");
        if !takes.is_zero() {
            self.runtime.pause(takes);
        }
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.at_switch.load(Ordering::SeqCst)
    }

    /// Whether the seed has ended the process, and where.
    #[must_use]
    pub fn crashes(&self) -> Crashes {
        let at_call = self.at_call.load(Ordering::SeqCst);
        // A process that had ended at a call runs on: then the switch ends nothing.
        let at_switch = self.at_switch.load(Ordering::SeqCst) && !at_call;
        Crashes {
            at_calls: at_call.into(),
            at_switches: at_switch.into(),
        }
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// This table of the archive is away for so long.
    pub fn shut(&self, table: &str, lasts: Duration) {
        *self.shut.lock() = Some((table.to_owned(), self.runtime.elapsed() + lasts));
    }

    /// `part` is away for so long.
    pub(crate) fn take_away(&self, part: Part, lasts: Duration) {
        let until = self.runtime.elapsed() + lasts;
        self.away.lock().insert(part, until);
    }

    /// Whether `table` is there.
    pub(crate) fn is_there(&self, table: &str) -> PortResult<()> {
        let shut = self.shut.lock();
        match &*shut {
            Some((name, until)) if name == table && self.runtime.elapsed() < *until => {
                let words = format!("table {table} is away");
                Err(PortError::new(ErrorKind::Unavailable, words))
            }
            _ => Ok(()),
        }
    }

    /// Nothing more goes wrong; what is away comes back when it was to.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    fn rates(&self) -> Rates {
        match self.calm.load(Ordering::SeqCst) {
            true => Rates::default(),
            false => self.rates,
        }
    }

    /// A write of an epoch that is refused for good.
    pub(crate) fn refuse(&self) -> PortResult<()> {
        let refusals = self.rates().refusals;
        if refusals == 0 || self.is_over() || self.random.lock().below(1_000) >= refusals {
            return Ok(());
        }
        Err(PortError::new(ErrorKind::FailedPrecondition, REFUSED))
    }

    /// What a model does instead of answering for `rows` rows, if it does not answer.
    pub(crate) fn misdeed(&self, rows: usize) -> Option<Misdeed> {
        let (rates, mut random) = (self.rates(), self.random.lock());
        if rows > 0 && random.below(1_000) < rates.lies {
            self.note_deed(|deeds| deeds.lies += 1);
            let (less, more) = (rows - 1, rows + 1);
            let lies = [(less, rows), (rows, more), (more, more), (0, 0)];
            let (scores, margins) = lies[random.below(lies.len())];
            return Some(Misdeed::Lies { scores, margins });
        }
        if rows > 1 && random.below(1_000) < rates.panics {
            self.note_deed(|deeds| {
                deeds.panics += 1;
                deeds.halved += 1;
            });
            return Some(Misdeed::Panics);
        }
        None
    }

    /// A model has done something.
    pub(crate) fn note_deed(&self, note: impl FnOnce(&mut Deeds)) {
        note(&mut self.deeds.lock());
    }

    /// What models have done.
    #[must_use]
    pub fn deeds(&self) -> Deeds {
        *self.deeds.lock()
    }

    /// End the process now.
    pub fn kill(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// The runtime that all of this runs on.
    #[must_use]
    pub fn runtime(&self) -> &SimRuntime {
        &self.runtime
    }

    /// Do `act`, as far as the seed allows.
    ///
    /// # Errors
    /// The part is away, the reply is lost, the process has ended, or `act` fails.
    pub fn meet<T>(
        &self,
        part: Part,
        effect: Effect,
        act: impl FnOnce() -> PortResult<T>,
    ) -> PortResult<T> {
        self.pass();
        self.act(self.decide(part, effect), act)
    }

    /// [`Self::meet`] without holding a thread.
    ///
    /// # Errors
    /// As there.
    pub async fn meet_async<T>(
        &self,
        part: Part,
        effect: Effect,
        act: impl Future<Output = PortResult<T>> + Send,
    ) -> PortResult<T> {
        let pause = self.delay().unwrap_or_default();
        self.runtime.sleep(pause).await;
        let fate = self.decide(part, effect);
        if let Fate::Failed(error) = fate {
            return Err(error);
        }
        let outcome = act.await;
        self.act(fate, || outcome)
    }

    /// [`Self::meet`] for a write of one shard of `part`, which hears whether its reply is lost.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn meet_write<T>(
        &self,
        part: Part,
        act: impl FnOnce(bool) -> PortResult<T>,
    ) -> PortResult<T> {
        self.pass();
        match self.decide(part, Effect::ShardWrite) {
            Fate::DoneAndLost => {
                self.undecided.fetch_add(1, Ordering::SeqCst);
                act(true)
            }
            fate => self.act(fate, || act(false)),
        }
    }

    /// Writes of shards that were done and reported as failed.
    #[must_use]
    pub fn undecided(&self) -> u64 {
        self.undecided.load(Ordering::SeqCst)
    }

    /// Time passes before a call, or another thread goes first.
    fn pass(&self) {
        match self.delay() {
            Some(pause) => self.runtime.pause(pause),
            None => self.runtime.pass(),
        }
    }

    /// One more batch of what a call has begun to read of `part`, which may be away by now. Counts
    /// as no call: how many batches there are is the part's.
    ///
    /// # Errors
    /// It is away, or the process has ended.
    pub(crate) fn read_on(&self, part: Part) -> PortResult<()> {
        if self.is_over() {
            return Err(killed());
        }
        let breaks = self.rates().breaks;
        let is_broken = breaks > 0 && self.random.lock().below(1_000) < breaks;
        if is_broken || self.is_away(part) {
            self.broken_reads.fetch_add(1, Ordering::SeqCst);
            return Err(away(part));
        }
        Ok(())
    }

    /// Reads that have ended behind their beginning.
    #[must_use]
    pub fn broken_reads(&self) -> u64 {
        self.broken_reads.load(Ordering::SeqCst)
    }

    fn act<T>(&self, fate: Fate, act: impl FnOnce() -> PortResult<T>) -> PortResult<T> {
        match fate {
            Fate::Done => act(),
            Fate::DoneAndLost => act().and_then(|_| Err(lost())),
            Fate::DoneAndOver => act().and_then(|_| Err(killed())),
            Fate::Failed(error) => Err(error),
        }
    }

    fn delay(&self) -> Option<Duration> {
        let mut random = self.random.lock();
        let slow = random.below(1_000) < self.rates().delays;
        let millis = slow.then(|| 1 + random.below(400))?;
        Some(Duration::from_millis(millis as u64))
    }

    fn decide(&self, part: Part, effect: Effect) -> Fate {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_over() {
            return Fate::Failed(killed());
        }
        if call >= self.last_call {
            self.at_call.store(true, Ordering::SeqCst);
            self.kill();
            return if self.last_is_done {
                Fate::DoneAndOver
            } else {
                Fate::Failed(killed())
            };
        }
        if self.is_away(part) {
            return Fate::Failed(away(part));
        }
        let lost = match effect {
            Effect::None => false,
            Effect::Write => matches!(
                part,
                Part::Archive | Part::Publisher | Part::ShadowPublisher
            ),
            Effect::ShardWrite => part == Part::Store,
        };
        if lost && self.random.lock().below(1_000) < self.rates().lost_replies {
            return Fate::DoneAndLost;
        }
        Fate::Done
    }

    /// Whether `part` is away; it may go now.
    fn is_away(&self, part: Part) -> bool {
        let (mut away, now) = (self.away.lock(), self.runtime.elapsed());
        if let Some(until) = away.get(&part) {
            if now < *until {
                return true;
            }
            away.remove(&part);
        }
        let mut random = self.random.lock();
        if random.below(1_000) >= self.rates().outages {
            return false;
        }
        let seconds = [0, 1, 5, 40][random.below(4)];
        let lasts = Duration::from_millis(seconds * 1_000 + random.below(1_000) as u64);
        away.insert(part, now + lasts);
        true
    }
}

fn away(part: Part) -> PortError {
    PortError::new(ErrorKind::Unavailable, format!("{part:?} is away"))
}

fn lost() -> PortError {
    PortError::new(ErrorKind::MaybeWritten, "the reply was lost")
}

fn killed() -> PortError {
    PortError::internal("the process has ended")
}
