//! The scoring stage with little memory: it asks for less at a time, and every event is scored.

use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::memory::{Budget, Part};
use forebay_pipeline::Pipeline;
use forebay_testkit::{Fate, Point, wait_until};

use forebay_sim::oracle::Oracle;
use forebay_sim::world::{Process, Setup, World};

use crate::stage::noted;

#[test]
fn with_memory_for_few_features_at_a_time_every_event_is_scored_in_smaller_chunks() {
    let world = World::with_events(Setup::default(), 600, 9);
    let fate = Arc::new(Fate::default());
    let mut parts = world.parts(&fate, 1);
    let budget = Budget::whole(128);
    parts.reader = Arc::new(world.reader().drawing_on(Arc::clone(&budget)));
    let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
    let process = Process { pipeline, fate };
    wait_until("all is done", || world.is_done());
    process.stop().expect("nothing is in the way");
    assert!(budget.refused(Part::Scoring) > 0, "it had to ask for less");
    assert_eq!(budget.used_bytes(Part::Scoring), 0, "nothing leaks");
    let waiting = Oracle::of(&world).predictions.len();
    assert_eq!(world.publisher.published().len(), waiting, "each once");
    assert!(noted(&world).is_empty());
}

#[test]
fn with_memory_for_few_rows_at_a_time_or_for_less_than_one_every_event_is_scored() {
    for pool_bytes in [256 << 10, 16 << 10] {
        let world = World::with_events(Setup::default(), 600, 9);
        let fate = Arc::new(Fate::default());
        let mut parts = world.parts(&fate, 1);
        let budget = Budget::shared(pool_bytes);
        parts.memory = Arc::clone(&budget);
        // All events wait together for the model.
        fate.take_away(Point::Score, ErrorKind::Unavailable);
        let pipeline = Pipeline::start(parts, world.settings()).expect("it starts");
        let process = Process { pipeline, fate };
        wait_until("all is read", || {
            world.log.is_read()
                && world.store.unfinished().0 == Oracle::of(&world).predictions.len()
        });
        process.fate.restore(Point::Score);
        wait_until("all is done", || world.is_done());
        process.stop().expect("nothing is in the way");
        assert!(budget.refused(Part::Scoring) > 0, "it had to ask for less");
        assert_eq!(budget.used_bytes(Part::Scoring), 0, "nothing leaks");
        let waiting = Oracle::of(&world).predictions.len();
        assert_eq!(world.publisher.published().len(), waiting, "each once");
        assert!(noted(&world).is_empty());
    }
}
