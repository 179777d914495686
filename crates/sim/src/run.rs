//! One seed: a world whose shape follows from it, processes that are disturbed, killed and started
//! again while events go on coming, a last one that nothing disturbs, and the oracle's verdict.
//!
//! Everything that a run decides comes from the seed, so a seed that fails is played again as it was.

use std::sync::Arc;
use std::time::Duration;

use forebay_pipeline::{Pipeline, PipelineParts, runtime::block_on};
use forebay_testkit::{FakeScorer, Fate, Random};

use crate::faults::{Faults, Rates};
use crate::faulty::{
    FaultyArchive, FaultyInspector, FaultyLog, FaultyPublisher, FaultyReader, FaultyScorer,
    FaultyStore,
};
use crate::oracle::check;
use crate::runtime::{Report, SimRuntime, simulate};
use crate::world::{Setup, World};

/// Virtual time in which a process that nothing disturbs must be done.
const DONE_MAX: Duration = Duration::from_secs(3_600);
/// Virtual time in which a process must have stopped.
const STOP_MAX: Duration = Duration::from_secs(60);

/// Play `seed`. The report names what failed.
#[must_use]
pub fn play(seed: u64) -> Report {
    let (_, report) = simulate(seed, move |runtime| Run::new(seed, &runtime).play());
    report
}

/// One seed under way.
struct Run {
    runtime: SimRuntime,
    random: Random,
    world: Arc<World>,
}

impl Run {
    fn new(seed: u64, runtime: &SimRuntime) -> Self {
        // Not the numbers that the runtime draws from.
        let mut random = Random::new(!seed);
        let setup = Setup {
            partitions: 1 + random.below(3),
            shards: u16::try_from(1 + random.below(4)).expect("few"),
            writer_threads: 1 + random.below(3),
            epoch_max_rows: 1 + random.below(20),
            scored: random.below(4) > 0,
            shadow: random.below(2) == 0,
            ..Setup::default()
        };
        let world = World::with_events(setup, random.below(30), random.bits());
        Self {
            runtime: runtime.clone(),
            random,
            world: Arc::new(world),
        }
    }

    fn play(mut self) {
        for _ in 0..self.random.below(4) {
            self.disturbed();
            self.cut_power();
        }
        self.undisturbed();
        check(&self.world, false);
    }

    /// A process under faults, with events that come meanwhile. It is killed, or stops.
    fn disturbed(&mut self) {
        let rates = Rates {
            outages: [0, 5, 30][self.random.below(3)],
            delays: [0, 20, 200][self.random.below(3)],
            lost_replies: [0, 50][self.random.below(2)],
        };
        let last_call = match self.random.below(3) {
            0 => u64::MAX,
            _ => self.random.below(400) as u64,
        };
        let faults = Faults::new(&self.runtime, self.random.bits(), rates, last_call);
        let faults = Arc::new(faults);
        let parts = parts(&self.world, &faults, self.random.bits());
        let pipeline = match Pipeline::start(parts, self.world.settings()) {
            Ok(pipeline) => pipeline,
            // A part was away, or the process ended as it began.
            Err(_) => return,
        };
        for _ in 0..self.random.below(6) {
            self.world
                .append_events(self.random.below(12), self.random.bits());
            let pause = Duration::from_millis(self.random.below(3_000) as u64);
            self.runtime.wait_until(pause, || faults.is_over());
        }
        let running = pipeline.is_ingesting();
        assert!(
            running || faults.is_over(),
            "an outage that passes has ended ingest: {:?}",
            pipeline.status()
        );
        let stopped = self.stop(pipeline);
        assert!(
            stopped.is_ok() || faults.calls() > 0,
            "a stop that nothing disturbs fails: {stopped:?}"
        );
        faults.kill();
    }

    /// The last writes of a shard may be lost with the power.
    fn cut_power(&mut self) {
        if self.random.below(2) == 0 {
            return;
        }
        for shard in 0..usize::from(self.world.setup.shards) {
            let most = self.world.store.writes(shard).min(6);
            let lost = self.random.below(most + 1);
            self.world.store.lose_writes(shard, lost);
        }
    }

    /// A process that does all that is left.
    fn undisturbed(&mut self) {
        let faults = Arc::new(Faults::none(&self.runtime));
        let parts = parts(&self.world, &faults, self.random.bits());
        let pipeline = Pipeline::start(parts, self.world.settings()).expect("it starts");
        let done = self.runtime.wait_until(DONE_MAX, || self.world.is_done());
        assert!(done, "not done in time: {:?}", pipeline.status());
        let stopped = self.stop(pipeline);
        stopped.expect("nothing is in the way of the stop");
    }

    /// Stop within the time that a stop may take.
    fn stop(&self, pipeline: Pipeline) -> Result<(), forebay_pipeline::PipelineError> {
        use forebay_core::ports::Runtime;
        let began = self.runtime.elapsed();
        let stopped = block_on(&self.runtime, pipeline.stop());
        let took = self.runtime.elapsed() - began;
        assert!(took <= STOP_MAX, "the stop took {took:?}");
        stopped
    }
}

/// What a process runs on: the world's parts, under faults.
fn parts(world: &World, faults: &Arc<Faults>, seed: u64) -> PipelineParts {
    let calm = Arc::<Fate>::default();
    let store = Arc::new(FaultyStore::new(world.store.clone(), faults));
    let scorer = FakeScorer::new(&calm, None);
    PipelineParts {
        log: Box::new(FaultyLog::new(world.log.reader(seed, &calm), faults)),
        inspector: Box::new(FaultyInspector::new(world.log.inspector(), faults)),
        notes: Arc::<FaultyStore<_>>::clone(&store),
        store,
        archive: Arc::new(FaultyArchive::new(world.archive.clone(), faults)),
        publisher: Arc::new(FaultyPublisher::new(world.publisher.clone(), faults)),
        reader: Arc::new(FaultyReader::new(world.reader(), faults)),
        scorer: Arc::new(FaultyScorer::new(scorer, faults)),
        runtime: Arc::new(faults.runtime().clone()),
        ..world.parts(&calm, seed)
    }
}
