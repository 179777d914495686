//! An archive says from where it has every record: one that was lost is known for a stump where the
//! log has lost its head too, and for whole where the log gives everything again. A gap that
//! somebody accepted makes a stump only of a table that lacks what the state had applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::ErrorKind;
use forebay_core::ports::{
    Archive, Beginnings, CompiledView, FillWriter, StateProgress, ViewStates,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::time::MINUTE_US;
use forebay_core::view::{ViewId, Window};
use forebay_pipeline::backfill::{Filling, Until, backfill};
use forebay_pipeline::{PipelineError, SourceState};
use forebay_testkit::{
    Fate, MemoryArchive, PlainView, Point, StoredRow, TableFault, unbounded_budget, wait_until,
};

use forebay_sim::world::{EVENTS, LEFT_OUT, Process, RECENT, Setup, TOPIC, World};

const ADDED: ViewId = 9;

fn world(events: usize) -> World {
    let setup = Setup {
        scored: false,
        ..Setup::default()
    };
    World::with_events(setup, events, 47)
}

/// Fill a view like [`RECENT`].
fn fill(world: &World) -> Result<usize, PipelineError> {
    let preceding_us = MINUTE_US;
    let source = &world.sources[0];
    let view = PlainView::new(ADDED, source, "k", "x", Window::Range { preceding_us });
    let view = view.leaving_out(LEFT_OUT);
    world
        .store
        .register_view(Arc::clone(view.spec()))
        .expect("a new view");
    let stores = (
        &world.archive as &dyn Archive,
        &world.store as &dyn FillWriter,
        &unbounded_budget(),
    );
    let mut filling = Filling::of(&world.store, ADDED).expect("in memory");
    let pass = (&mut filling, Until::Each);
    futures::executor::block_on(backfill(&view, source, stores, pass, |_| {}))
}

fn rows(world: &World, view: ViewId) -> Vec<Vec<StoredRow>> {
    let mut rows = world.store.rows(view);
    rows.iter_mut().flatten().for_each(|row| row.view = 0);
    rows
}

fn beginnings(world: &World) -> Beginnings {
    let snapshot = futures::executor::block_on(world.archive.snapshot(EVENTS));
    snapshot.expect("a table").beginnings
}

fn applied(marks: &[(i32, i64)]) -> Applied {
    let progress = |next_offset| PartitionProgress {
        next_offset,
        ..PartitionProgress::default()
    };
    let marks = marks.iter();
    Applied(
        marks
            .map(|(partition, next)| (TopicPartition::new(TOPIC, *partition), progress(*next)))
            .collect(),
    )
}

fn is_halted(process: &Process) -> bool {
    let status = process.pipeline.status();
    let state = status.sources.get(EVENTS).map(|status| &status.state);
    matches!(state, Some(SourceState::Halted(_)))
}

#[test]
fn an_archive_that_is_lost_is_whole_again_where_the_log_gives_everything_again() {
    let mut world = world(80);
    world.finish(1);
    assert_eq!(beginnings(&world).from, applied(&[(0, 0), (1, 0)]));
    world.archive = MemoryArchive::new(&Arc::default());
    world.finish(2);
    assert_eq!(beginnings(&world).cut, [].into());
    fill(&world).expect("whole");
    assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
}

#[test]
fn an_archive_that_is_lost_is_a_stump_where_the_log_has_lost_its_head() {
    let mut world = world(80);
    world.finish(1);
    world.archive = MemoryArchive::new(&Arc::default());
    world.log.delete_before(TOPIC, 0, 12);
    // A restart more changes nothing.
    for run in 2..4 {
        world.append_events(10, run);
        world.finish(run);
        let found = beginnings(&world);
        assert_eq!(found.from, applied(&[(0, 12), (1, 0)]));
        assert_eq!(found.cut, [(TopicPartition::new(TOPIC, 0), 12)].into());
        let error = fill(&world).expect_err("a stump");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        let words = error.to_string();
        for needle in [EVENTS, "offset 12", TOPIC, "-0", "backup"] {
            assert!(words.contains(needle), "{needle}: {words}");
        }
        world.store.drop_view(ADDED).expect("nothing was filled");
    }
}

#[test]
fn an_accepted_gap_makes_no_stump_of_the_archive() {
    let world = world(60);
    world.finish(1);
    let end = world.store.applied(0);
    let end = end.next_offset(&TopicPartition::new(TOPIC, 0));
    world.append_events(60, 2);
    world.log.delete_before(TOPIC, 0, end + 5);
    let process = world.start(Fate::default(), 2);
    wait_until("the source is halted", || is_halted(&process));
    process.accept_gaps(EVENTS, None).expect("a gap");
    wait_until("the log is read", || world.is_done());
    process.stop().expect("nothing is in the way");
    assert_eq!(beginnings(&world).from, applied(&[(0, 0), (1, 0)]));
    assert_eq!(beginnings(&world).cut, [].into());
    fill(&world).expect("whole but for what live state lacks too");
    assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
}

#[test]
fn a_gap_of_what_the_state_has_and_the_archive_not_makes_a_stump_and_live_views_stay_right() {
    let world = world(60);
    world.finish(1);
    let place = TopicPartition::new(TOPIC, 0);
    let archived = world.archive.marks(EVENTS).next_offset(&place);
    // The state takes more, and the process dies before the archive has it.
    world.append_events(60, 2);
    let fate = Fate::default();
    fate.take_away(Point::Append, ErrorKind::Unavailable);
    let process = world.start(fate, 2);
    let ends = world.log.ends(TOPIC);
    wait_until("the state has all", || {
        let applied = (0..world.setup.shards).map(|shard| world.store.applied(shard));
        let mut next = applied.map(|applied| applied.next_offset(&place));
        next.all(|next| next == ends[0])
    });
    drop(process.stop());
    let live = rows(&world, RECENT);
    assert_eq!(world.archive.marks(EVENTS).next_offset(&place), archived);
    let lost_to = archived + 5;
    world.log.delete_before(TOPIC, 0, lost_to);
    let process = world.start(Fate::default(), 3);
    wait_until("the source is halted", || is_halted(&process));
    let lag = process.pipeline.status().sources[EVENTS].partitions[0].lag;
    let needed = u64::try_from(ends[0] - archived).expect("the archive is behind");
    assert_eq!(lag, Some(needed), "the archive needs them");
    let accepted = process.accept_gaps(EVENTS, None).expect("a gap");
    assert_eq!(accepted[0].gap.applied_to, lost_to, "views have them");
    wait_until("the log is read", || world.is_done());
    process.stop().expect("nothing is in the way");
    assert_eq!(rows(&world, RECENT), live);
    assert_eq!(beginnings(&world).from, applied(&[(0, 0), (1, 0)]));
    // A restart more changes nothing.
    for run in 4..6 {
        world.append_events(10, run);
        world.finish(run);
        assert_eq!(beginnings(&world).cut, [(place.clone(), lost_to)].into());
        let error = fill(&world).expect_err("it lacks what live views have");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        let (words, below) = (error.to_string(), format!("below offset {lost_to}"));
        for needle in [EVENTS, &below, TOPIC, "-0", "--data-dir"] {
            assert!(words.contains(needle), "{needle}: {words}");
        }
        world.store.drop_view(ADDED).expect("nothing was filled");
    }
}

#[test]
fn what_the_log_loses_before_the_first_append_is_a_gap() {
    let world = world(60);
    // A process that noted where the table begins, and died.
    let source = &world.sources[0];
    let opened = world.archive.open_table(EVENTS, source.archive_schema());
    futures::executor::block_on(opened).expect("opened");
    let begun = Beginnings {
        from: applied(&[(0, 0), (1, 0)]),
        ..Beginnings::default()
    };
    futures::executor::block_on(world.archive.begin(EVENTS, &begun, &BTreeMap::new()))
        .expect("noted");
    world.log.delete_before(TOPIC, 0, 3);
    let process = world.start(Fate::default(), 2);
    wait_until("the source is halted", || is_halted(&process));
    process.stop().expect("nothing is in the way");
    assert!(world.archive.rows(EVENTS).is_empty());
}

#[test]
fn a_note_beside_a_table_that_hangs_is_sent_once_and_holds_back_its_source_alone() {
    let world = world(40);
    let fate = Fate::default();
    fate.break_table(EVENTS, TableFault::NoteHangs);
    let process = world.start(fate, 1);
    wait_until("the source waits for its table", || {
        let status = process.pipeline.status();
        let reason = status.sources[EVENTS].state.reason().map(str::to_owned);
        reason.is_some_and(|why| why.contains("has not answered for"))
    });
    // Time for some looks more.
    std::thread::sleep(Duration::from_secs(2));
    let sent = process.fate.calls(Point::Note);
    assert_eq!(sent, 1, "no second one beside it");
    assert_eq!(beginnings(&world), Beginnings::default());
    process.fate.mend_table(EVENTS);
    wait_until("all is archived", || world.is_done());
    process.stop().expect("nothing is in the way");
    assert_eq!(beginnings(&world).from, applied(&[(0, 0), (1, 0)]));
}

#[test]
fn a_topic_made_anew_halts_its_source_also_while_a_note_beside_its_table_hangs() {
    let world = world(40);
    let process = world.start(Fate::default(), 1);
    wait_until("all is read", || world.is_done());
    let before = process.fate.calls(Point::Note);
    process.fate.break_table(EVENTS, TableFault::NoteHangs);
    world.log.grow(TOPIC, 3);
    wait_until("the note is on its way", || {
        process.fate.calls(Point::Note) > before
    });
    world.log.delete_topic(TOPIC);
    world.log.create_topic(TOPIC, 3);
    wait_until("the source is halted", || is_halted(&process));
    process.fate.mend_table(EVENTS);
    process.stop().expect("nothing is in the way");
}
