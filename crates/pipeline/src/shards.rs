//! The shard writers: a few threads, each the only writer of its shards, fed by bounded queues so
//! that one slow shard holds back the reader and nothing else. An epoch is released to scoring when
//! every shard has committed it, so that an event's own effects are in the features it is scored
//! with. A commit that fails is tried again: a failed one has written nothing, and a shard drops
//! what it has.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use forebay_core::PortError;
use forebay_core::error::with_causes;
use forebay_core::invariant;
use forebay_core::memory::Reservation;
use forebay_core::ports::{EpochWriter, Runtime, ShardWrite};
use forebay_core::progress::TopicPartition;
use tokio::sync::mpsc;

use crate::error::{PipelineError, first_cause};
use crate::retry::Retry;
use crate::room::Room;
use crate::runtime::{Thread, block_on};
use crate::score::released::Released;
use crate::status::Counters;

/// Epochs that may wait for one writer.
const QUEUE_EPOCHS: usize = 2;

/// An epoch on its way through the shards.
#[derive(Debug)]
struct Ticket {
    open_writes: AtomicUsize,
    number: u64,
    released: Arc<Released>,
    /// What its rows hold, until every shard has them.
    _memory: Reservation,
}

impl Ticket {
    /// One of its writers is done, `now`.
    fn written(&self, now: Duration) {
        let open = self.open_writes.fetch_sub(1, Ordering::AcqRel);
        invariant!(EpochEndsOnce, open > 0, "epoch {}", self.number);
        if open == 1 {
            self.released.finish(self.number, now);
        }
    }
}

struct Job {
    writes: Vec<(u16, ShardWrite)>,
    ticket: Arc<Ticket>,
}

/// Runs the commits of all shards.
#[derive(Debug)]
pub(crate) struct ShardWriters {
    runtime: Arc<dyn Runtime>,
    queues: Vec<mpsc::Sender<Job>>,
    threads: Vec<Thread<Result<(), PortError>>>,
    released: Arc<Released>,
    room: Room,
}

impl ShardWriters {
    /// Start `threads` writers over `store`. `released` hears of finished epochs; what waits takes
    /// `room`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        runtime: &Arc<dyn Runtime>,
        store: &Arc<dyn EpochWriter>,
        threads: usize,
        released: &Arc<Released>,
        counters: &Arc<Counters>,
        stopping: &Arc<AtomicBool>,
        room: Room,
    ) -> Result<Self, PipelineError> {
        let mut writers = Self {
            runtime: Arc::clone(runtime),
            queues: Vec::new(),
            threads: Vec::new(),
            released: Arc::clone(released),
            room,
        };
        for number in 0..threads.max(1) {
            let (queue, jobs) = mpsc::channel(QUEUE_EPOCHS);
            let writer = Writer {
                runtime: Arc::clone(runtime),
                store: Arc::clone(store),
                counters: Arc::clone(counters),
                stopping: Arc::clone(stopping),
            };
            let name = format!("shard-writer-{number}");
            let thread = Thread::spawn(runtime, &name, move || writer.run(jobs))?;
            writers.queues.push(queue);
            writers.threads.push(thread);
        }
        Ok(writers)
    }

    /// Queue one epoch, which reads up to `ends`: `writes` by shard; empty ones are left out by the
    /// caller. Blocks while the queues are full, or there is no memory for what would wait in them:
    /// the writers need none to go on, and give back what they are done with.
    ///
    /// # Errors
    /// A writer has stopped.
    pub(crate) fn submit(
        &self,
        writes: Vec<(u16, ShardWrite)>,
        ends: Vec<(TopicPartition, i64)>,
    ) -> Result<(), PipelineError> {
        invariant!(
            WritesByShard,
            writes.is_sorted_by(|a, b| a.0 < b.0),
            "{} writes",
            writes.len()
        );
        let gone = || self.queues.iter().any(mpsc::Sender::is_closed);
        let memory = self
            .room
            .take(epoch_bytes(&writes), self.runtime.as_ref(), gone)
            .ok_or(PipelineError::ThreadGone("shard writer"))?;
        let number = self.released.begin(ends);
        if writes.is_empty() {
            self.released.finish(number, self.runtime.elapsed());
            return Ok(());
        }
        let mut by_thread: Vec<Vec<(u16, ShardWrite)>> =
            self.queues.iter().map(|_| Vec::new()).collect();
        for (shard, write) in writes {
            by_thread[usize::from(shard) % self.queues.len()].push((shard, write));
        }
        let busy = by_thread.iter().filter(|w| !w.is_empty()).count();
        let ticket = Arc::new(Ticket {
            open_writes: AtomicUsize::new(busy),
            number,
            released: Arc::clone(&self.released),
            _memory: memory,
        });
        for (queue, writes) in self.queues.iter().zip(by_thread) {
            if !writes.is_empty() {
                let job = Job {
                    writes,
                    ticket: Arc::clone(&ticket),
                };
                block_on(self.runtime.as_ref(), queue.send(job))
                    .map_err(|_| PipelineError::ThreadGone("shard writer"))?;
            }
        }
        Ok(())
    }

    /// Finish what is queued, stop the threads, and return their first error.
    ///
    /// # Errors
    /// The first error of a commit.
    pub(crate) fn stop(self) -> Result<(), PipelineError> {
        drop(self.queues);
        first_cause(self.threads.into_iter().map(|thread| match thread.join() {
            Some(result) => result.map_err(PipelineError::from),
            None => Err(PipelineError::ThreadGone("shard writer")),
        }))
    }
}

/// What the rows and the pending scores of `writes` hold. Shards fold rows of the same batches.
fn epoch_bytes(writes: &[(u16, ShardWrite)]) -> usize {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for fold in writes.iter().flat_map(|(_, write)| &write.folds) {
        bytes += size_of_val(fold.rows.as_slice());
        if seen.insert(Arc::as_ptr(&fold.batch)) {
            bytes += fold.batch.memory_bytes() + fold.keys.memory_bytes();
        }
    }
    let pending = writes.iter().flat_map(|(_, write)| &write.pending);
    bytes + pending.map(|score| score.request.len()).sum::<usize>()
}

/// One thread's share.
struct Writer {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn EpochWriter>,
    counters: Arc<Counters>,
    stopping: Arc<AtomicBool>,
}

impl Writer {
    fn run(self, mut jobs: mpsc::Receiver<Job>) -> Result<(), PortError> {
        let runtime = self.runtime.as_ref();
        let retry = Retry {
            runtime,
            stopping: &self.stopping,
            counters: &self.counters,
        };
        while let Some(job) = block_on(runtime, jobs.recv()) {
            for (shard, write) in job.writes {
                let started = runtime.elapsed();
                let commit = || self.store.commit(shard, &write);
                if let Err(error) = retry.run("a shard's write", commit) {
                    let words = with_causes(&error);
                    tracing::error!(
                        shard,
                        error = words,
                        "a shard cannot be written; ingest stops, reads go on"
                    );
                    self.counters.fail(&error);
                    return Err(error);
                }
                let took = runtime.elapsed().saturating_sub(started);
                self.counters.commit.record(took);
            }
            job.ticket.written(runtime.elapsed());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run in real time")]
mod tests {
    use forebay_core::ErrorKind;
    use forebay_core::memory::{Budget, Part};
    use forebay_core::prediction::{PendingScore, PredictionKey, Role};
    use forebay_testkit::{Fate, MemoryStore, Point, wait_until};

    use super::*;
    use crate::runtime::for_tests;

    const REQUEST_BYTES: usize = 1_000;

    /// An epoch of shard 0 with one event that waits for a score.
    fn epoch(offset: i64) -> Vec<(u16, ShardWrite)> {
        let key = PredictionKey {
            deployment: "d".to_owned(),
            model_version: 1,
            role: Role::Live,
            topic: "t".to_owned(),
            partition: 0,
            offset,
        };
        let score = PendingScore {
            key,
            event_time_us: 0,
            request: vec![7; REQUEST_BYTES],
        };
        let write = ShardWrite {
            pending: vec![Arc::new(score)],
            ..ShardWrite::default()
        };
        vec![(0, write)]
    }

    fn writers(budget: &Arc<Budget>, fate: &Arc<Fate>) -> ShardWriters {
        let runtime: Arc<dyn Runtime> = Arc::new(for_tests());
        let store: Arc<dyn EpochWriter> = Arc::new(MemoryStore::new(1, 0, fate));
        let writers = ShardWriters::start(
            &runtime,
            &store,
            1,
            &Arc::default(),
            &Arc::default(),
            &Arc::default(),
            Room::of(budget),
        );
        writers.expect("a thread")
    }

    #[test]
    fn an_epoch_holds_memory_until_every_shard_has_it_and_the_next_one_waits_for_it() {
        // Room for an epoch, and for a part of the next.
        let budget = Budget::whole(REQUEST_BYTES * 3 / 2 * 4);
        let others = budget.reserve(Part::Answers, REQUEST_BYTES * 3 / 2 * 3);
        let others = others.expect("free");
        let fate = Arc::new(Fate::default());
        fate.take_away(Point::Commit, ErrorKind::Unavailable);
        let writers = writers(&budget, &fate);
        writers.submit(epoch(0), Vec::new()).expect("queued");
        assert_eq!(budget.used_bytes(Part::Ingest), REQUEST_BYTES);
        std::thread::scope(|scope| {
            let next = scope.spawn(|| writers.submit(epoch(1), Vec::new()));
            wait_until("the next one asks", || budget.refused(Part::Ingest) > 2);
            assert!(!next.is_finished());
            fate.restore(Point::Commit);
            next.join().expect("no panic").expect("queued");
        });
        writers.stop().expect("all was written");
        assert_eq!(budget.used_bytes(Part::Ingest), 0, "nothing leaks");
        drop(others);
    }

    #[test]
    #[should_panic(expected = "invariant writes_by_shard is broken")]
    fn two_writes_of_an_epoch_for_one_shard_are_told() {
        let budget = Budget::whole(1 << 20);
        let writers = writers(&budget, &Arc::default());
        let writes = [epoch(0), epoch(1)].concat();
        drop(writers.submit(writes, Vec::new()));
    }
}
