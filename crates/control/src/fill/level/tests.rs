//! Two shards in memory, whose ingest is what the steps do to them: when levelling reads on, when
//! it gives up, and what it says then. Waits in real time, but for moments only.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::memory::Budget;
use forebay_core::ports::{EpochWriter, Runtime, ShardWrite};
use forebay_core::progress::{Applied, PartitionProgress};
use forebay_pipeline::SystemRuntime;
use forebay_pipeline::archive::Archiver;
use forebay_pipeline::gaps::Listed;
use forebay_testkit::{Fate, MemoryArchive, MemoryStore};

use super::super::FillHost;
use super::*;
use crate::life::Life;
use crate::stop::Stop;

/// A server whose ingest runs between two steps.
#[derive(Default)]
struct Host {
    is_ingesting: AtomicBool,
    trouble: Option<String>,
}

impl FillHost for Host {
    fn is_ingesting(&self) -> bool {
        self.is_ingesting.load(Ordering::Relaxed)
    }

    fn archiver(&self) -> Option<Archiver> {
        None
    }

    fn recovered(&self, _: &str) -> Option<Applied> {
        None
    }

    fn limit_ingest(&self, _: Option<NonZeroU64>) {}

    fn halts(&self) -> Vec<Listed> {
        Vec::new()
    }

    fn waits_for(&self, _: &str) -> Option<String> {
        None
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn folded(&self, _: &str, _: u64, _: u64, _: u64) {}

    fn passed(&self, _: &str, _: Duration) {}
}

fn events() -> [Arc<SourceDef>; 1] {
    [Arc::new(SourceDef::json("events", "topic", Vec::new(), 0))]
}

/// `shard` has read the partition of the topic up to `next_offset`.
fn read(store: &MemoryStore, shard: u16, next_offset: i64) {
    let progress = PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last: None,
    };
    let write = ShardWrite {
        progress: vec![(TopicPartition::new("topic", 0), progress)],
        ..ShardWrite::default()
    };
    store.commit(shard, &write).expect("in memory");
}

/// What levelling two shards comes to, and its steps, where the first has read up to 9 and the
/// other up to `has`; `effect` is what else a step does.
fn levelled(
    has: i64,
    trouble: Option<&str>,
    effect: impl Fn(&MemoryStore, &Step, &AtomicBool),
) -> (Result<(), FillError>, Vec<Step>) {
    let system = tokio::runtime::Runtime::new().expect("a runtime");
    let runtime: Arc<dyn Runtime> = Arc::new(SystemRuntime::new(system.handle().clone()));
    let fate = Arc::<Fate>::default();
    let store = MemoryStore::new(2, 0, &fate);
    read(&store, 0, 9);
    read(&store, 1, has);
    let host = Host {
        trouble: trouble.map(str::to_owned),
        ..Host::default()
    };
    let filler = Filler {
        host: &host,
        archive: &MemoryArchive::new(&fate),
        store: &store,
        memory: &Budget::whole(0),
        runtime: runtime.as_ref(),
        life: &Life::default(),
        stop: &Stop::new(Arc::clone(&runtime)),
        rest_max_rows: 0,
    };
    let mut steps = Vec::new();
    let outcome = filler.level(&events(), &mut |step| {
        let runs = matches!(step, Step::Resume(_));
        host.is_ingesting.store(runs, Ordering::Relaxed);
        effect(&store, step, &host.is_ingesting);
        steps.push(step.clone());
        Ok(())
    });
    (outcome, steps)
}

#[test]
fn shards_that_are_apart_read_on_and_level_ones_or_other_topics_take_no_step() {
    let (level, steps) = levelled(9, None, |_, _, _| {});
    level.expect("they are level");
    assert_eq!(steps, []);
    let round = [Step::Resume(Which::Sources), Step::Pause];
    let (level, steps) = levelled(4, None, |store, step, _| {
        if *step == round[0] {
            read(store, 1, 9);
        }
    });
    level.expect("the other has read on");
    assert_eq!(steps, round);
    let store = MemoryStore::new(2, 0, &Arc::default());
    read(&store, 0, 9);
    assert_eq!(behind(&store, &[]), None);
    let expected = Behind {
        shard: 1,
        place: TopicPartition::new("topic", 0),
        has: 0,
        furthest: 9,
    };
    assert_eq!(behind(&store, &events()), Some(expected));
}

#[test]
fn a_shard_that_cannot_be_written_is_named_with_its_cause_and_one_that_falls_behind_tried_again() {
    let trouble = "shard 1: no space left on device";
    let (refused, steps) = levelled(4, Some(trouble), |_, _, runs| {
        runs.store(false, Ordering::Relaxed);
    });
    let refused = refused.expect_err("ingest has ended");
    let words = refused.to_string();
    for named in [
        "shard 1 has read topic-0 up to offset 4",
        "up to 9",
        trouble,
        "mend that",
    ] {
        assert!(words.contains(named), "{words}");
    }
    assert_eq!(steps.len(), 2, "it is not tried where ingest has ended");
    // Whatever it reads, the first one has more when ingest has stopped.
    let (refused, steps) = levelled(4, None, |store, step, _| {
        let has = store
            .applied(0)
            .next_offset(&TopicPartition::new("topic", 0));
        match step {
            Step::Pause => read(store, 0, has + 1),
            _ => read(store, 1, has),
        }
    });
    let words = refused.expect_err("they stay apart").to_string();
    assert!(words.contains("every stop of ingest"), "{words}");
    assert_eq!(steps.len(), 2 * ROUNDS_MAX);
}
