//! Over a new state beside a kept archive, what only the archive has is read before its source is:
//! that read holds up its source alone, whatever becomes of it, and no stop.

use std::time::{Duration, Instant};

use forebay_core::ErrorKind;
use forebay_core::ports::Scan;
use forebay_core::time::SECOND_US;
use forebay_pipeline::SourceState;
use forebay_sim::world::{EVENTS, Process, RECENT, Setup, TOPIC, World, event_source};
use forebay_testkit::{Fate, MemoryStore, StoredRow, TableFault, wait_until};

use crate::identity::{OTHER, OTHER_TOPIC, halted, others_go_on, reads, state};

/// A new state over an archive that has events of which the log has lost half; another source
/// beside. And the rows of the state before.
fn new_state() -> (World, Vec<Vec<StoredRow>>) {
    let setup = Setup {
        scored: false,
        far_ahead: true,
        ..Setup::default()
    };
    let mut world = World::with_events(setup, 160, 41);
    world.sources.push(event_source(OTHER, OTHER_TOPIC));
    world.log.create_topic(OTHER_TOPIC, 1);
    world.finish(1);
    let before = world.store.rows(RECENT);
    world.store = MemoryStore::new(world.setup.shards, 0, &Fate::default().into());
    for (partition, end) in world.log.ends(TOPIC).into_iter().enumerate() {
        world.log.delete_before(TOPIC, partition, end / 2);
    }
    (world, before)
}

/// All that the log has is read, and dated as it was.
fn goes_on(world: &World, process: Process, before: &[Vec<StoredRow>]) {
    reads(&process, EVENTS);
    wait_until("all is read", || {
        world.log.is_assigned(TOPIC) && world.is_done()
    });
    process.stop().expect("nothing is in the way");
    let (mut seen, mut late) = (0, 0);
    for (shard, rows) in world.store.rows(RECENT).into_iter().enumerate() {
        for row in rows {
            assert!(before[shard].contains(&row), "{row:?} is dated otherwise");
            seen += 1;
            late += usize::from(row.late);
        }
    }
    assert!(seen > 40 && late > 0, "{seen} rows, {late} of them late");
}

fn waits(process: &Process) {
    wait_until("the source waits for its first rows", || {
        let state = state(process, EVENTS);
        matches!(state, SourceState::Waiting(why) if why.contains("below the beginning"))
    });
}

/// The scans of the archived events, in order.
fn scans(world: &World) -> Vec<Scan> {
    let scans = world.archive.scans().into_iter();
    let of_events = scans.filter(|(table, _)| table == EVENTS);
    of_events.map(|(_, scan)| scan).collect()
}

#[test]
fn a_read_of_what_only_the_archive_has_that_hangs_halts_its_source_alone_until_it_goes_on() {
    let (world, before) = new_state();
    let fate = Fate::default();
    fate.break_table(EVENTS, TableFault::ReadHangs);
    let process = world.start(fate, 2);
    waits(&process);
    others_go_on(&world, &process);
    world.clock.advance(10 * SECOND_US);
    let reason = halted(&process, EVENTS);
    assert!(reason.contains("has given nothing for"), "{reason}");
    others_go_on(&world, &process);
    assert_eq!(scans(&world).len(), 1, "nobody asks again beside it");
    process.fate.mend_table(EVENTS);
    goes_on(&world, process, &before);
}

#[test]
fn a_stop_ends_a_read_of_what_only_the_archive_has_that_hangs() {
    let (world, before) = new_state();
    let fate = Fate::default();
    fate.break_table(EVENTS, TableFault::ReadHangs);
    let process = world.start(fate, 2);
    waits(&process);
    let began = Instant::now();
    process.stop().expect("a read is in no stop's way");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    goes_on(&world, world.start(Fate::default(), 3), &before);
}

#[test]
fn a_read_of_what_only_the_archive_has_that_fails_is_shown_with_its_words_and_tried_again() {
    for kind in [ErrorKind::Unavailable, ErrorKind::DataLoss] {
        let (world, before) = new_state();
        let fate = Fate::default();
        fate.break_table(EVENTS, TableFault::ReadFails(kind));
        let process = world.start(fate, 2);
        waits(&process);
        world.clock.advance(10 * SECOND_US);
        let reason = halted(&process, EVENTS);
        assert!(reason.contains("reads of table events"), "{reason}");
        wait_until("it is tried again, and the status says so", || {
            let failing = process.pipeline.status().failing;
            let mut failing = failing.into_iter();
            failing.any(|(what, why)| what.contains(EVENTS) && why.contains("broken by the test"))
                && scans(&world).len() > 2
        });
        others_go_on(&world, &process);
        process.fate.mend_table(EVENTS);
        goes_on(&world, process, &before);
    }
}

#[test]
fn a_read_of_what_only_the_archive_has_that_breaks_off_goes_on_from_where_it_was() {
    let (world, before) = new_state();
    let fate = Fate::default();
    let breaks = TableFault::ReadBreaks(ErrorKind::Unavailable);
    fate.break_table(EVENTS, breaks);
    let process = world.start(fate, 2);
    // Each try gets a batch further: it ends though none is whole.
    goes_on(&world, process, &before);
    let from = scans(&world).into_iter().map(|scan| {
        let starts = scan.from.0.values().map(|progress| progress.next_offset);
        starts.sum::<i64>()
    });
    let from: Vec<i64> = from.collect();
    assert!(
        from.len() > 2 && from.is_sorted_by(|a, b| a < b),
        "{from:?}"
    );
}

#[test]
fn what_only_the_archive_has_is_read_once_and_where_it_has_nothing_more_it_is_not() {
    let (world, before) = new_state();
    goes_on(&world, world.start(Fate::default(), 2), &before);
    assert_eq!(scans(&world).len(), 1);
    // A state that has all that the archive has.
    goes_on(&world, world.start(Fate::default(), 3), &before);
    assert_eq!(scans(&world).len(), 1);
}
