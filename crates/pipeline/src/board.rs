//! What the watch over the log and the ingest thread exchange: decisions one way, positions and
//! faults the other. Commands about gaps and waits for the cluster go through it too. The lock is
//! held for moments only, and never across a call to the broker.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::invariant;
use forebay_core::ports::{LogBounds, LogFault, Runtime};
use forebay_core::progress::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::error::PipelineError;
use crate::gaps::{Accepted, GapRequest};
use crate::recovery::Decision;
use crate::runtime::{block_on, within};
use crate::watermark::Answered;

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Vec<Accepted>, PipelineError>>;
/// Where the reader stands, and what it has met.
pub(crate) type Heard = (
    BTreeMap<TopicPartition, i64>,
    BTreeMap<TopicPartition, LogFault>,
);

/// What the watch and the ingest thread tell each other. Locked for moments only.
#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    wake: Notify,
    /// Signalled when the cluster is known to be the one that the state follows.
    known: Notify,
}

/// The end of a partition, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownEnd {
    /// One past its last record that may be read.
    pub(crate) last_stable: i64,
    /// When it was asked for; None where nobody answered in the last look.
    pub(crate) answered: Option<Answered>,
}

#[derive(Debug, Default)]
struct State {
    /// Decisions that ingest has not taken yet.
    decisions: Option<BTreeMap<String, Decision>>,
    /// The newest ones, for commands that list or accept gaps.
    newest: BTreeMap<String, Decision>,
    bounds: BTreeMap<TopicPartition, LogBounds>,
    /// Partitions for which a broker answered in the last look, and since when it has in each.
    answered: BTreeMap<TopicPartition, Answered>,
    /// Where ingest stands.
    reader: BTreeMap<TopicPartition, i64>,
    faults: BTreeMap<TopicPartition, (LogFault, Duration)>,
    requests: Vec<(GapRequest, Reply)>,
    /// By source its accepted gaps.
    gaps: BTreeMap<String, usize>,
    look_now: bool,
    /// Whether the reader has moved since the last look.
    moved: bool,
    stopping: bool,
    cluster_known: bool,
    /// By source its topic, where another log stands under its name, and why: until it is read
    /// again, whatever a look in between cannot see.
    other_logs: BTreeMap<String, (String, String)>,
}

impl Board {
    /// Decisions that were not taken yet.
    pub(crate) fn take(&self) -> Option<BTreeMap<String, Decision>> {
        self.state.lock().decisions.take()
    }

    /// Tell where the reader stands.
    pub(crate) fn stand(&self, reader: BTreeMap<TopicPartition, i64>) {
        let mut state = self.state.lock();
        if state.reader != reader {
            state.reader = reader;
            self.note_move(&mut state);
        }
    }

    /// Tell that the reader moves: a watch that has nothing to do looks soon.
    pub(crate) fn moves(&self) {
        self.note_move(&mut self.state.lock());
    }

    fn note_move(&self, state: &mut State) {
        if !std::mem::replace(&mut state.moved, true) {
            self.wake.notify_waiters();
        }
    }

    /// Tell what the reader has met; the watch looks at once.
    pub(crate) fn report(&self, faults: Vec<(TopicPartition, LogFault)>, now: Duration) {
        let mut state = self.state.lock();
        for (place, fault) in faults {
            state.faults.insert(place, (fault, now));
        }
        state.look_now = true;
        self.wake.notify_waiters();
    }

    /// Where each partition ended when somebody answered for it last.
    pub(crate) fn ends(&self) -> BTreeMap<TopicPartition, KnownEnd> {
        let state = self.state.lock();
        let end = |(place, bounds): (&TopicPartition, &LogBounds)| {
            let end = KnownEnd {
                last_stable: bounds.last_stable,
                answered: state.answered.get(place).copied(),
            };
            (place.clone(), end)
        };
        state.bounds.iter().map(end).collect()
    }

    /// `source` has so many accepted gaps.
    pub(crate) fn note_gaps(&self, source: &str, gaps: usize) {
        if gaps > 0 {
            self.state.lock().gaps.insert(source.to_owned(), gaps);
        }
    }

    /// By source its accepted gaps; those that have none are absent.
    pub(crate) fn gaps(&self) -> BTreeMap<String, usize> {
        self.state.lock().gaps.clone()
    }

    /// The newest decision for each source.
    pub(crate) fn decisions(&self) -> BTreeMap<String, Decision> {
        self.state.lock().newest.clone()
    }

    /// Why `topic` is not the one that the state follows, as far as the looks so far know.
    pub(crate) fn other_log(&self, topic: &str) -> Option<String> {
        let state = self.state.lock();
        let mut others = state.other_logs.values();
        others.find_map(|(other, why)| (other == topic).then(|| why.clone()))
    }

    /// Wait, `longest` at most, until the broker is known to be of the cluster that the state
    /// follows. False when it is not, or nobody knows.
    pub(crate) fn wait_for_cluster(&self, runtime: &dyn Runtime, longest: Duration) -> bool {
        let known = self.known.notified();
        let waits = |state: &State| !state.cluster_known && !state.stopping;
        if waits(&self.state.lock()) {
            block_on(runtime, within(runtime, longest, known));
        }
        self.state.lock().cluster_known
    }

    pub(crate) fn know_cluster(&self, known: bool) {
        let mut state = self.state.lock();
        state.cluster_known = known;
        if known {
            self.known.notify_waiters();
        }
    }

    /// Have the watch accept gaps. The answer comes when it is written down.
    pub(crate) fn ask(
        &self,
        request: GapRequest,
    ) -> oneshot::Receiver<Result<Vec<Accepted>, PipelineError>> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.state.lock();
        state.requests.push((request, reply));
        state.look_now = true;
        self.wake.notify_waiters();
        answer
    }

    /// Whether [`Self::stop`] was called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        // Dropping the senders ends the wait of the commands that have asked.
        state.requests.clear();
        self.wake.notify_waiters();
        self.known.notify_waiters();
    }

    /// Wait for the next look: `least` after this one where the reader moves, else `most`, and not
    /// at all where somebody asks. False when there is none.
    pub(crate) fn rest(&self, runtime: &dyn Runtime, least: Duration, most: Duration) -> bool {
        let from = runtime.elapsed();
        loop {
            // Register for the wake-up before reading the state, so that none in between is lost.
            let woken = self.wake.notified();
            let now = runtime.elapsed();
            invariant!(TimeNeverFalls, from <= now, "{from:?} to {now:?}");
            let rested = now.saturating_sub(from);
            let until = {
                let mut state = self.state.lock();
                let until = if state.moved { least } else { most };
                if state.stopping || state.look_now || rested >= until {
                    (state.look_now, state.moved) = (false, false);
                    return !state.stopping;
                }
                until
            };
            block_on(runtime, within(runtime, until - rested, woken));
        }
    }

    /// A look is done, which began at `looked`.
    pub(crate) fn publish(
        &self,
        decisions: BTreeMap<String, Decision>,
        bounds: BTreeMap<TopicPartition, LogBounds>,
        looked: Duration,
    ) {
        let mut state = self.state.lock();
        for (source, decision) in &decisions {
            match decision {
                Decision::Halt(why) => {
                    if let Some(topic) = why.other_log() {
                        let other = (topic.to_owned(), why.to_string());
                        state.other_logs.insert(source.clone(), other);
                    }
                }
                Decision::Read(_) => drop(state.other_logs.remove(source)),
                Decision::Wait(_) => {}
            }
        }
        let before = std::mem::take(&mut state.answered);
        for place in bounds.keys() {
            let since = before.get(place).map_or(looked, |answered| answered.since);
            invariant!(
                TimeNeverFalls,
                since <= looked,
                "{place:?} answers since {since:?}, looked at {looked:?}"
            );
            let answered = Answered {
                since,
                last: looked,
            };
            state.answered.insert(place.clone(), answered);
        }
        // What nobody answers for keeps its last known end.
        state.bounds.extend(bounds);
        state.newest.clone_from(&decisions);
        state.decisions = Some(decisions);
    }

    /// Where the reader stands and what it has met; what has rested since `rested` is tried again.
    pub(crate) fn heard(&self, now: Duration, rests: Duration) -> Heard {
        let mut state = self.state.lock();
        let faults = state
            .faults
            .iter()
            .map(|(place, (fault, _))| (place.clone(), fault.clone()))
            .collect();
        state.faults.retain(|_, (fault, met)| {
            !matches!(fault, LogFault::PositionLost { .. }) && now.saturating_sub(*met) < rests
        });
        (state.reader.clone(), faults)
    }

    /// Gaps that somebody wants to accept.
    pub(crate) fn requests(&self) -> Vec<(GapRequest, Reply)> {
        std::mem::take(&mut self.state.lock().requests)
    }

    /// Something is done that the watch waits for: it looks at once.
    pub(crate) fn look_now(&self) {
        self.state.lock().look_now = true;
        self.wake.notify_waiters();
    }

    /// A gap was accepted: what was met is tried again at once.
    pub(crate) fn passed(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.look_now = true;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run in real time")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::runtime::for_tests;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    /// How long a rest takes during which `told` is done.
    fn rest(board: &Board, told: impl FnOnce(&Board) + Send) -> Duration {
        let runtime = for_tests();
        let from = runtime.elapsed();
        std::thread::scope(|scope| {
            scope.spawn(|| told(board));
            board.rest(&runtime, SHORT, LONG);
        });
        runtime.elapsed() - from
    }

    #[test]
    fn a_watch_over_a_log_that_rests_is_woken_when_the_reader_moves_or_somebody_asks() {
        let board = Board::default();
        let at = |offset| BTreeMap::from([(TopicPartition::new("t", 0), offset)]);
        let moved = rest(&board, |board| board.stand(at(1)));
        assert!(SHORT <= moved && moved < LONG / 2, "{moved:?}");
        let moved = rest(&board, Board::moves);
        assert!(SHORT <= moved && moved < LONG / 2, "{moved:?}");
        let fault = LogFault::Refused { why: String::new() };
        let place = TopicPartition::new("t", 0);
        let asked = rest(&board, |board| {
            board.report(vec![(place, fault)], Duration::ZERO);
        });
        assert!(asked < LONG / 2, "{asked:?}");
        let runtime = Arc::new(for_tests());
        board.stand(at(1));
        let (from, short) = (runtime.elapsed(), 2 * SHORT);
        assert!(board.rest(runtime.as_ref(), Duration::ZERO, short));
        assert!(runtime.elapsed() - from >= short, "nothing has moved");
        board.stop();
        assert!(!board.rest(runtime.as_ref(), LONG, LONG));
    }
}
