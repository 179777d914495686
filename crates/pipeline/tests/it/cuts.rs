//! Arrival order and batch cuts change nothing that shards and archive hold: whatever the seed of
//! the reader, the size of an epoch, the number of shards and writers, each world is what its log
//! says.

use forebay_testkit::{Fate, wait_until};
use proptest::prelude::*;

use forebay_sim::oracle::check;
use forebay_sim::world::{Setup, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn shards_and_archive_hold_what_the_log_says(
        events in 0..80_usize, log_seed: u64, reader_seed: u64,
        partitions in 1..4_usize, shards in 1..6_u16, writer_threads in 1..4_usize, epoch_max_rows in 1..40_usize,
    ) {
        let setup = Setup { partitions, shards, writer_threads, epoch_max_rows, ..Setup::default() };
        let world = World::with_events(setup, events, log_seed);
        world.finish(reader_seed);
        check(&world, true);
    }
}

#[test]
fn events_that_come_while_it_runs_are_read() {
    let world = World::new(Setup::default());
    let process = world.start(Fate::default(), 5);
    for part in 0..6 {
        world.append_events(10, part);
        wait_until("the part is read", || world.log.is_read());
    }
    wait_until("all is done", || world.is_done());
    let status = process.pipeline.status();
    process.stop().expect("nothing is in the way");
    check(&world, true);
    assert!(status.failed.is_none() && status.epochs > 5, "{status:?}");
}
