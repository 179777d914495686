//! What is decided about time by a clock: idleness by time that passes, whatever the wall clock is
//! set to, and the hold of a partition that a topic gets, whatever ends the process meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::ports::{Runtime, StateProgress};
use forebay_core::progress::TopicPartition;
use forebay_core::time::{HOUR_US, MINUTE_US, Micros, SECOND_US};
use forebay_core::watermark::{Hold, MarkFact};
use forebay_sim::faults::{End, Faults, Rates};
use forebay_sim::runtime::{SimRuntime, simulate};
use forebay_sim::server::Server;
use forebay_sim::world::{START_US, Setup, TOPIC, World, event};

const IDLE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);

/// A world with one row in each of two partitions, a minute apart.
fn world() -> Arc<World> {
    let world = World::new(Setup {
        scored: false,
        idle_timeout_us: 30 * SECOND_US,
        ..Setup::default()
    });
    append(&world, 0, START_US);
    append(&world, 1, START_US + MINUTE_US);
    Arc::new(world)
}

fn append(world: &World, partition: usize, time_us: Micros) {
    let values = event(Some("a"), time_us, Some(0.5), 0);
    world.log.append(TOPIC, partition, Ok(values));
}

fn server(world: &Arc<World>, faults: Faults) -> Arc<Server> {
    Server::new(world, &Arc::default(), &Arc::new(faults), 1)
}

/// The holds of `partition` that any shard or the archive has.
fn holds(world: &World, partition: i32) -> Vec<Hold> {
    let place = TopicPartition::new(TOPIC, partition);
    let shards = 0..world.setup.shards;
    let records = shards.flat_map(|shard| world.store.marks(shard).expect("in memory"));
    let records = records.chain(world.archived_marks());
    let of_place = records.filter(|record| record.partition == place);
    of_place
        .filter_map(|record| match record.fact {
            MarkFact::Hold(hold) => Some(hold),
            MarkFact::Bound(_) => None,
        })
        .collect()
}

/// A process that runs until both partitions are idle; how long they had rested by then.
fn run_until_idle(world: &Arc<World>, runtime: &SimRuntime, stepped_us: Micros) -> Duration {
    let server = server(world, Faults::none(runtime));
    server.begin().expect("it starts");
    let is_read = || world.log.is_assigned(TOPIC) && world.log.is_read();
    assert!(runtime.wait_until(LONG, is_read));
    let read = runtime.elapsed();
    runtime.pause(IDLE / 3);
    world.clock_stepped_us.store(stepped_us, Ordering::SeqCst);
    let is_held = || !holds(world, 0).is_empty();
    assert!(runtime.wait_until(LONG, is_held), "nothing becomes idle");
    let rested = runtime.elapsed() - read;
    server.pause().expect("nothing is in the way");
    rested
}

#[test]
fn a_wall_clock_that_is_set_an_hour_on_or_back_makes_no_partition_idle_sooner_or_later() {
    for stepped_us in [0, HOUR_US, -HOUR_US] {
        let (rested, report) = simulate(5, move |runtime| {
            run_until_idle(&world(), &runtime, stepped_us)
        });
        assert_eq!(report.failure, None);
        let rested = rested.expect("it ends");
        // Ends are asked for every three seconds of a log that rests, and recorded within one.
        let longest = IDLE + Duration::from_secs(5);
        assert!(
            (IDLE..longest).contains(&rested),
            "{stepped_us}: {rested:?}"
        );
    }
}

#[test]
fn while_nobody_answers_for_a_partition_it_is_not_idle_and_then_it_rests_anew() {
    let (rested, report) = simulate(7, |runtime| {
        let world = world();
        let server = server(&world, Faults::none(&runtime));
        server.begin().expect("it starts");
        let is_read = || world.log.is_assigned(TOPIC) && world.log.is_read();
        assert!(runtime.wait_until(LONG, is_read));
        world.log.set_down(true);
        runtime.pause(4 * IDLE);
        let is_held = || !holds(&world, 0).is_empty();
        assert!(!is_held(), "its end is not known");
        world.log.set_down(false);
        let back = runtime.elapsed();
        assert!(runtime.wait_until(LONG, is_held), "nothing becomes idle");
        let rested = runtime.elapsed() - back;
        server.pause().expect("nothing is in the way");
        rested
    });
    assert_eq!(report.failure, None);
    let rested = rested.expect("it ends");
    let longest = IDLE + Duration::from_secs(15);
    assert!((IDLE..longest).contains(&rested), "{rested:?}");
}

/// A process that ends at call number `call` after its topic has got a partition, and one that goes
/// on. Whether it has ended there.
fn grow(runtime: &SimRuntime, call: u64) -> bool {
    let world = world();
    run_until_idle(&world, runtime, 0);
    world.log.grow(TOPIC, 3);
    append(&world, 2, START_US);
    let faults = Faults::new(runtime, call, Rates::default(), End::AtCall(call));
    let faults = Arc::new(faults);
    let crashing = Server::new(&world, &Arc::default(), &faults, call);
    if crashing.begin().is_ok() {
        runtime.wait_until(IDLE / 3, || faults.is_over());
    }
    let ended = faults.is_over();
    faults.kill();
    // What it answers nobody hears.
    let _unheard = crashing.pause();
    let server = server(&world, Faults::none(runtime));
    server.begin().expect("it starts");
    let is_done = || world.log.is_assigned(TOPIC) && world.is_done();
    assert!(runtime.wait_until(LONG, is_done), "not done in time");
    server.pause().expect("nothing is in the way");
    let (held, mark_us) = (holds(&world, 2), START_US + MINUTE_US);
    assert!(
        held.iter()
            .any(|hold| (hold.at, hold.mark_us) == (0, mark_us)),
        "ended at call {call}: {held:?}, where the source stood at {mark_us}"
    );
    ended
}

#[test]
fn a_partition_that_a_topic_gets_is_held_whatever_call_ends_the_process_meanwhile() {
    let mut ended = 0;
    for call in 0..150 {
        let (over, report) = simulate(6, move |runtime| grow(&runtime, call));
        assert_eq!(report.failure, None, "ended at call {call}");
        ended += u64::from(over == Some(true));
    }
    assert!(ended > 50, "{ended}");
}
