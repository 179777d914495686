//! Restarts: a process killed at any of its writes, before or after it is done, and a power cut
//! that takes the last writes of every shard. The next process must lead to what an undisturbed one
//! leads to.

use forebay_testkit::{Fate, Random, wait_until};
use proptest::prelude::*;

use forebay_sim::oracle::check;
use forebay_sim::world::{Setup, World};

/// Kill a process at its write `number`, and finish with the next ones. False where it was done
/// before that write.
fn survives_a_kill_at(number: u64, done: bool, setup: &Setup, events: usize) -> bool {
    let world = World::with_events(setup.clone(), events, 7);
    let process = world.start(Fate::killed_at(number, done), number);
    wait_until("the process ends or is done", || {
        process.fate.is_over() || world.is_done()
    });
    let killed = process.fate.is_over();
    let stopped = process.stop();
    // The last writes are those of stopping itself.
    let killed = killed || stopped.is_err();
    world.finish(number + 1);
    check(&world, !killed);
    killed
}

#[test]
fn a_kill_before_any_write_loses_and_doubles_nothing() {
    let writes = (0..)
        .take_while(|write| survives_a_kill_at(*write, false, &Setup::default(), 40))
        .count();
    assert!(
        writes > 30,
        "only {writes} writes were there to be killed at"
    );
}

#[test]
fn a_kill_after_any_write_loses_and_doubles_nothing() {
    let writes = (0..)
        .take_while(|write| survives_a_kill_at(*write, true, &Setup::default(), 40))
        .count();
    assert!(
        writes > 30,
        "only {writes} writes were there to be killed at"
    );
}

#[test]
fn a_kill_at_any_write_with_a_shadow_version_in_one_shard_changes_nothing() {
    let setup = Setup {
        shadow: true,
        shards: 1,
        writer_threads: 1,
        partitions: 1,
        ..Setup::default()
    };
    let writes = (0..)
        .step_by(3)
        .take_while(|write| survives_a_kill_at(*write, *write % 2 == 0, &setup, 60))
        .count();
    assert!(
        writes > 5,
        "only {writes} writes were there to be killed at"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Kills and power cuts one after another; events go on coming between them.
    #[test]
    fn any_history_of_kills_and_power_cuts_ends_where_the_log_says(seed: u64, disturbances in 1..4_usize) {
        let mut random = Random::new(seed);
        let setup = Setup {
            partitions: 1 + random.below(3),
            shards: u16::try_from(1 + random.below(5)).expect("few"),
            writer_threads: 1 + random.below(3),
            epoch_max_rows: 1 + random.below(20),
            shadow: random.below(2) == 0,
            ..Setup::default()
        };
        let shards = usize::from(setup.shards);
        let world = World::with_events(setup, 20, random.bits());
        for _ in 0..disturbances {
            let fate = Fate::killed_at(random.below(40) as u64, random.below(2) == 0);
            let process = world.start(fate, random.bits());
            wait_until("the process ends or is done", || process.fate.is_over() || world.is_done());
            let _killed = process.stop();
            for shard in 0..shards {
                let most = world.store.writes(shard);
                world.store.lose_writes(shard, random.below(most.min(6) + 1));
            }
            world.append_events(8, random.bits());
        }
        world.finish(random.bits());
        check(&world, false);
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_read_again() {
    let world = World::with_events(Setup::default(), 60, 3);
    world.finish(1);
    check(&world, true);
    let rows = world.observed.lock().len();
    let process = world.start(Fate::default(), 2);
    wait_until("it is read, and there is nothing", || world.is_done());
    let status = process.pipeline.status();
    process.stop().expect("nothing is in the way");
    assert_eq!((status.rows, status.epochs), (0, 0));
    assert_eq!(
        world.observed.lock().len(),
        rows,
        "observers see nothing twice"
    );
    world.append_events(30, 4);
    world.finish(3);
    check(&world, true);
}
