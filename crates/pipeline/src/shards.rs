//! The shard writers: a few threads, each the only writer of its shards, fed by bounded queues so
//! that one slow shard holds back the reader and nothing else. An epoch is released to scoring when
//! every shard has committed it, so that an event's own effects are in the features it is scored
//! with. A commit that fails is tried again: a failed one has written nothing, and a shard drops
//! what it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use forebay_core::PortError;
use forebay_core::invariant;
use forebay_core::ports::{EpochWriter, Runtime, ShardWrite};
use forebay_core::progress::TopicPartition;
use tokio::sync::mpsc;

use crate::error::{PipelineError, first_cause};
use crate::retry::Retry;
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
}

impl ShardWriters {
    /// Start `threads` writers over `store`. `released` hears of finished epochs.
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
    ) -> Result<Self, PipelineError> {
        let mut writers = Self {
            runtime: Arc::clone(runtime),
            queues: Vec::new(),
            threads: Vec::new(),
            released: Arc::clone(released),
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
    /// caller. Blocks while the queues are full.
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
                    tracing::error!(shard, %error, "a shard cannot be written; ingest stops, reads go on");
                    self.counters.failed.store(true, Ordering::Relaxed);
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
