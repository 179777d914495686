//! The archive knows the log that its rows came from: where the state is lost and the archive kept,
//! another log under the topic's name is not taken for the one before, and the same one goes on.

use std::collections::BTreeMap;

use forebay_core::ports::{Archive, LogIdentity, LogNotes, TableSnapshot};
use forebay_core::progress::TopicPartition;
use forebay_sim::oracle::check;
use forebay_sim::world::{EVENTS, TOPIC, World};
use forebay_testkit::{Fate, MemoryLog, wait_until};

use crate::identity::{applied, halted, make_anew, others_go_on, reads, world};

/// The state is gone, and what lay beside it.
fn lose_state(world: &mut World) {
    let fresh = World::new(world.setup.clone());
    (world.store, world.checkpoints) = (fresh.store, fresh.checkpoints);
}

fn snapshot(world: &World) -> TableSnapshot {
    futures::executor::block_on(world.archive.snapshot(EVENTS)).expect("a table")
}

/// Nothing of the log that is found was taken over.
fn nothing_is_taken(world: &World, archived: &TableSnapshot) {
    for partition in 0..2 {
        assert_eq!(applied(world, TOPIC, partition), 0);
    }
    assert_eq!(world.store.topic_note(TOPIC).expect("in memory"), None);
    let now = snapshot(world);
    assert_eq!((now.rows, now.last), (archived.rows, archived.last.clone()));
}

#[test]
fn a_topic_made_anew_is_not_taken_for_the_archives_where_the_state_is_lost() {
    for (hide_ids, partitions, records) in [
        (false, 2, 500),
        (false, 2, 1),
        (true, 2, 500),
        (true, 2, 1),
        (true, 1, 500),
    ] {
        let mut world = world(40);
        if hide_ids {
            world.log.hide_ids();
        }
        world.finish(1);
        let archived = snapshot(&world);
        assert!(archived.rows > 0);
        lose_state(&mut world);
        make_anew(&world, partitions, records);
        for run in 2..4 {
            let process = world.start(Fate::default(), run);
            let reason = halted(&process, EVENTS);
            assert!(
                reason.contains(TOPIC) && reason.contains("--data-dir"),
                "{reason}"
            );
            others_go_on(&world, &process);
            process.stop().expect("others are in order");
        }
        nothing_is_taken(&world, &archived);
    }
}

#[test]
fn another_cluster_is_not_taken_for_the_archives_where_the_state_is_lost() {
    let mut world = world(40);
    world.finish(1);
    let archived = snapshot(&world);
    lose_state(&mut world);
    let own = std::mem::replace(&mut world.log, MemoryLog::new("another"));
    for source in &world.sources {
        world.log.create_topic(&source.topic, 2);
    }
    world.append_events(90, 3);
    let process = world.start(Fate::default(), 2);
    let reason = halted(&process, EVENTS);
    assert!(
        reason.contains("'cluster'") && reason.contains("'another'"),
        "{reason}"
    );
    process.stop().expect("nothing is in the way");
    nothing_is_taken(&world, &archived);
    assert_eq!(world.store.log_identity().expect("in memory"), None);
    // The remedy: back to the cluster that is followed.
    world.log = own;
    world.finish(3);
    check(&world, true);
}

#[test]
fn a_source_that_is_new_beside_the_archive_follows_no_other_cluster() {
    let mut world = world(40);
    world.finish(1);
    lose_state(&mut world);
    let other = world.sources.last().expect("there are").name.clone();
    world.archive.forget_log(&other);
    world.log = MemoryLog::new("another");
    for source in &world.sources {
        world.log.create_topic(&source.topic, 2);
    }
    let process = world.start(Fate::default(), 2);
    assert!(halted(&process, &other).contains("'another'"));
    process.stop().expect("nothing is in the way");
}

#[test]
fn the_same_log_goes_on_over_a_new_state_and_no_row_is_archived_twice() {
    let mut world = world(40);
    world.finish(1);
    let before = snapshot(&world);
    lose_state(&mut world);
    world.append_events(30, 5);
    world.finish(2);
    check(&world, true);
    let after = snapshot(&world);
    assert_eq!(after.rows, world.archive.rows(EVENTS).len() as u64);
    assert!(after.rows > before.rows);
    assert_eq!(after.logs, before.logs);
    for partition in 0..2 {
        let number = usize::try_from(partition).expect("small");
        let last = world
            .log
            .records(TOPIC, number)
            .last()
            .expect("some")
            .offset;
        assert_eq!(
            after.last[&TopicPartition::new(TOPIC, partition)].offset,
            last
        );
    }
}

#[test]
fn an_archive_of_an_earlier_build_takes_over_the_log_that_it_is_found_with() {
    let mut world = world(40);
    world.finish(1);
    let known = snapshot(&world).logs;
    let expected = LogIdentity {
        cluster: Some("cluster".to_owned()),
        partitions: 2,
        ..known[TOPIC].clone()
    };
    assert!(expected.id.is_some());
    assert_eq!(known, BTreeMap::from([(TOPIC.to_owned(), expected)]));
    world.archive.forget_log(EVENTS);
    // Once beside its state, once where that is lost.
    for run in 2..4 {
        let process = world.start(Fate::default(), run);
        reads(&process, EVENTS);
        wait_until("it is noted", || snapshot(&world).logs == known);
        process.stop().expect("nothing is in the way");
        world.archive.forget_log(EVENTS);
        lose_state(&mut world);
    }
    world.finish(4);
    lose_state(&mut world);
    make_anew(&world, 2, 500);
    let process = world.start(Fate::default(), 5);
    halted(&process, EVENTS);
    process.stop().expect("others are in order");
}
