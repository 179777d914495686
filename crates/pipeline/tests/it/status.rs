//! What the pipeline tells of itself: the lag of each source under its own name, and counters that
//! go on where a pipeline is stopped and another one started, as each change of definitions does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::ports::{EventLog, SourceBatch};
use forebay_core::progress::TopicPartition;
use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortResult};
use forebay_pipeline::{Counters, Pipeline};
use forebay_testkit::{Fate, Point, wait_until};

use crate::world::{EVENTS, PREDICTIONS, Process, Setup, TOPIC, World};

fn start(world: &World, counters: &Arc<Counters>, fate: Fate, seed: u64) -> Process {
    let fate = Arc::new(fate);
    let mut parts = world.parts(&fate, seed);
    parts.counters = Arc::clone(counters);
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    Process { pipeline, fate }
}

/// A log whose partitions of [`TOPIC`] end three records beyond what can be read.
#[derive(Debug)]
struct Longer(Box<dyn EventLog>);

impl EventLog for Longer {
    fn partitions(&mut self, topic: &str) -> PortResult<Vec<i32>> {
        self.0.partitions(topic)
    }

    fn begin_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> PortResult<BTreeMap<TopicPartition, i64>> {
        self.0.begin_offsets(partitions)
    }

    fn assign(
        &mut self,
        sources: &[Arc<SourceDef>],
        from: &BTreeMap<TopicPartition, i64>,
    ) -> PortResult<()> {
        self.0.assign(sources, from)
    }

    fn poll(&mut self, max_rows: usize, timeout: Duration) -> PortResult<Vec<SourceBatch>> {
        self.0.poll(max_rows, timeout)
    }

    fn set_paused(&mut self, paused: bool) -> PortResult<()> {
        self.0.set_paused(paused)
    }

    fn end_offsets(&mut self) -> PortResult<BTreeMap<TopicPartition, i64>> {
        let ends = self.0.end_offsets()?.into_iter();
        Ok(ends
            .map(|(place, end)| {
                if *place.topic == *TOPIC {
                    (place, end + 3)
                } else {
                    (place, end)
                }
            })
            .collect())
    }

    fn cluster_id(&mut self) -> PortResult<String> {
        self.0.cluster_id()
    }
}

#[test]
fn the_lag_of_a_source_is_that_of_its_topic() {
    assert_ne!(EVENTS, TOPIC, "a source need not be named as its topic");
    let world = World::with_events(
        Setup {
            partitions: 2,
            ..Setup::default()
        },
        40,
        83,
    );
    let fate = Arc::new(Fate::default());
    let mut parts = world.parts(&fate, 1);
    parts.log = Box::new(Longer(parts.log));
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    let process = Process { pipeline, fate };
    wait_until("all is done", || world.is_done());
    let lag = |name: &str| process.pipeline.status().sources[name].lag_records;
    wait_until("it is measured at the end", || {
        (lag(EVENTS), lag(PREDICTIONS)) == (6, 0)
    });
    process.stop().expect("nothing is in the way");
}

#[test]
fn counters_outlive_a_pipeline_and_what_describes_it_does_not() {
    let world = World::with_events(Setup::default(), 40, 89);
    let counters = Arc::new(Counters::default());
    let fate = Fate::default();
    fate.take_away(Point::Settle, ErrorKind::FailedPrecondition);
    let process = start(&world, &counters, fate, 1);
    wait_until("it fails", || counters.failed.load(Ordering::Relaxed));
    process.stop().expect_err("scores could not be written");
    let before = counters.snapshot();
    assert!(
        before.failed && before.rows > 0 && before.scores_waiting > 0,
        "{before:?}"
    );
    counters
        .sources
        .lock()
        .insert("dropped".to_owned(), before.sources[EVENTS]);

    let process = start(&world, &counters, Fate::default(), 2);
    assert!(
        !process.pipeline.status().failed,
        "the new pipeline has not failed"
    );
    wait_until("all is done", || world.is_done());
    let after = process.pipeline.status();
    process.stop().expect("nothing is in the way");
    assert!(
        after.rows >= before.rows && after.sources[EVENTS].rows >= before.sources[EVENTS].rows,
        "{after:?}"
    );
    assert!(after.commits > before.commits);
    assert_eq!(
        after.sources.keys().map(String::as_str).collect::<Vec<_>>(),
        [EVENTS, PREDICTIONS]
    );
    assert_eq!(
        counters.snapshot().scores_waiting,
        0,
        "none is counted twice"
    );
}
