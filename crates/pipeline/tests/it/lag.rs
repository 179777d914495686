//! Lag is the last stable offset less what is applied, and unknown where nobody can tell: never
//! zero while ingest stands.

use forebay_pipeline::{SourceState, SourceStatus};
use forebay_sim::world::{EVENTS, Process, START_US, TOPIC, World, event};
use forebay_testkit::{Fate, wait_until};

use crate::identity::{applied, halted, make_anew, reads, world};

fn status(process: &Process) -> SourceStatus {
    let sources = process.pipeline.status().sources;
    sources.get(EVENTS).cloned().unwrap_or_default()
}

/// What waits in all, and in each partition.
fn lag(process: &Process) -> (Option<u64>, Vec<Option<u64>>) {
    let status = status(process);
    let partitions = status.partitions.iter();
    (status.lag_records, partitions.map(|p| p.lag).collect())
}

fn append(world: &World, partition: usize, count: i64) {
    for number in 0..count {
        let row = event(Some("z"), START_US, Some(0.5), number);
        world.log.append(TOPIC, partition, Ok(row));
    }
}

#[test]
fn the_lag_of_a_topic_made_anew_with_fewer_records_while_it_is_read_is_unknown() {
    for hide_ids in [false, true] {
        let world = world(40);
        if hide_ids {
            world.log.hide_ids();
        }
        let process = world.start(Fate::default(), 1);
        wait_until("all is applied", || lag(&process).0 == Some(0));
        make_anew(&world, 2, 1);
        halted(&process, EVENTS);
        assert_eq!(lag(&process), (None, vec![None, None]));
        process.stop().expect("others are in order");
    }
}

#[test]
fn a_log_that_retention_has_emptied_unread_has_a_lag_until_the_gap_is_accepted() {
    let world = world(20);
    world.finish(1);
    append(&world, 0, 20);
    let last = world.log.records(TOPIC, 0).last().expect("some").offset;
    world.log.delete_before(TOPIC, 0, last + 1);
    let waits = u64::try_from(last + 1 - applied(&world, TOPIC, 0)).expect("it is behind");
    let process = world.start(Fate::default(), 2);
    halted(&process, EVENTS);
    assert_eq!(lag(&process), (Some(waits), vec![Some(waits), Some(0)]));
    process.accept_gaps(EVENTS, Some(0)).expect("there is one");
    reads(&process, EVENTS);
    wait_until("nothing waits any more", || lag(&process).0 == Some(0));
    process.stop().expect("nothing is in the way");
}

#[test]
fn without_a_broker_nobody_can_tell_what_waits_at_a_start_and_later() {
    let world = world(40);
    world.log.set_down(true);
    let process = world.start(Fate::default(), 1);
    for _ in 0..2 {
        wait_until("the source waits", || {
            matches!(status(&process).state, SourceState::Waiting(_))
        });
        let (all, partitions) = lag(&process);
        assert_eq!(all, None);
        assert!(partitions.iter().all(Option::is_none), "{partitions:?}");
        world.log.set_down(false);
        reads(&process, EVENTS);
        wait_until("all is applied", || lag(&process).0 == Some(0));
        world.log.set_down(true);
        append(&world, 1, 5);
    }
    world.log.set_down(false);
    process.stop().expect("nothing is in the way");
}

#[test]
fn of_a_topic_that_is_missing_at_a_start_nobody_can_tell_what_waits() {
    let world = world(40);
    world.finish(1);
    for run in 2..4 {
        // Read before and deleted, then never there.
        world.log.delete_topic(TOPIC);
        let process = world.start(Fate::default(), run);
        halted(&process, EVENTS);
        assert_eq!(lag(&process), (None, Vec::new()));
        process.stop().expect("others are in order");
    }
}
