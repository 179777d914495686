//! A view that is added later and filled from the archive holds the rows, with the watermarks, that
//! it would hold had it been there from the first event; a shard that a crash left behind the
//! archive gets the rest from the log, and a new state what only the archive still has.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::ErrorKind;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{
    Archive, Beginnings, CompiledView, FillWriter, ScanOrder, StateProgress, ViewStates,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::MINUTE_US;
use forebay_core::value::Value;
use forebay_core::view::{ViewId, Window};
use forebay_pipeline::backfill::{Filling, Until, backfill};
use forebay_pipeline::{PipelineError, not_begun};
use forebay_testkit::{Fate, MemoryStore, PlainView, StoredRow, unbounded_budget, wait_until};

use forebay_sim::oracle::check;
use forebay_sim::world::{EVENTS, LEFT_OUT, RECENT, Setup, TOPIC, World};

const ADDED: ViewId = 9;

/// A view like [`RECENT`], which refuses nothing.
fn added(world: &World) -> PlainView {
    PlainView::new(
        ADDED,
        &world.sources[0],
        "k",
        "x",
        Window::Range {
            preceding_us: MINUTE_US,
        },
    )
    .leaving_out(LEFT_OUT)
}

/// How far the fill of the view is.
fn filling(world: &World) -> Filling {
    Filling::of(&world.store, ADDED).expect("in memory")
}

fn fill(world: &World, view: &PlainView) -> Result<usize, PipelineError> {
    world
        .store
        .register_view(Arc::clone(view.spec()))
        .expect("a new view");
    let mut told = 0;
    let rows = futures::executor::block_on(backfill(
        view,
        &world.sources[0],
        (&world.archive, &world.store, &unbounded_budget()),
        (&mut filling(world), Until::Each),
        |done| told = done,
    ));
    if let Ok(rows) = rows {
        assert_eq!(told, rows);
    }
    rows
}

fn rows(world: &World, view: ViewId) -> Vec<Vec<StoredRow>> {
    let mut rows = world.store.rows(view);
    rows.iter_mut().flatten().for_each(|row| row.view = 0);
    rows
}

#[test]
fn a_view_filled_beside_ingest_in_any_number_of_passes_is_what_it_would_have_been() {
    let world = World::new(Setup::default());
    let view = added(&world);
    world
        .store
        .register_view(Arc::clone(view.spec()))
        .expect("a new view");
    let mut filling = filling(&world);
    let mut done = 0;
    for (run, seed) in [(1, 67), (2, 68), (3, 69)] {
        world.append_events(50, seed);
        let process = world.start(Fate::default(), run);
        // A pass that finds shards and archive wherever they are by now.
        for _ in 0..4 {
            let archived = futures::executor::block_on(world.archive.progress(EVENTS));
            let archived = archived.expect("in memory");
            done += pass(&world, &view, &mut filling, Until::Shared(&archived));
        }
        wait_until("the log is read", || world.is_done());
        process.stop().expect("nothing is in the way");
    }
    done += pass(&world, &view, &mut filling, Until::Each);
    assert_eq!(done, world.archive.rows(EVENTS).len(), "every row once");
    assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
    assert!(
        rows(&world, ADDED).iter().flatten().any(|row| row.late),
        "late rows are late here too"
    );
}

fn pass(world: &World, view: &PlainView, filling: &mut Filling, until: Until<'_>) -> usize {
    let stores = (
        &world.archive as &dyn Archive,
        &world.store as &dyn FillWriter,
        &unbounded_budget(),
    );
    let pass = backfill(view, &world.sources[0], stores, (filling, until), |_| {});
    futures::executor::block_on(pass).expect("it takes all rows")
}

#[test]
fn a_view_filled_from_the_archive_is_what_it_would_have_been() {
    let world = World::with_events(Setup::default(), 80, 67);
    world.finish(1);
    let view = added(&world);
    let before: Vec<_> = (0..3).map(|shard| world.store.applied(shard)).collect();
    assert_eq!(
        fill(&world, &view).expect("it takes all rows"),
        world.archive.rows(EVENTS).len()
    );
    assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
    assert!(
        rows(&world, ADDED).iter().flatten().any(|row| row.late),
        "late rows are late here too"
    );
    assert_eq!(
        before,
        (0..3)
            .map(|shard| world.store.applied(shard))
            .collect::<Vec<_>>(),
        "marks stay"
    );
}

#[test]
fn a_shard_behind_the_archive_gets_the_rest_from_the_log_once() {
    let mut world = World::with_events(Setup::default(), 80, 71);
    world.finish(1);
    for shard in 0..3 {
        world
            .store
            .lose_writes(shard, (world.store.writes(shard) * shard) / 3);
    }
    let view = added(&world);
    fill(&world, &view).expect("it takes all rows");
    world.views.push(Arc::new(view));
    world.finish(2);
    check(&world, false);
    assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
}

/// Shards that stand at places of their own, with the view made known.
fn unequal_shards(seed: u64) -> (World, PlainView) {
    let world = World::with_events(Setup::default(), 120, seed);
    world.finish(1);
    for shard in 0..3 {
        world
            .store
            .lose_writes(shard, (world.store.writes(shard) * (shard + 1)) / 4);
    }
    let view = added(&world);
    world
        .store
        .register_view(Arc::clone(view.spec()))
        .expect("a new view");
    (world, view)
}

#[test]
fn a_fill_that_reached_the_end_of_every_shard_goes_on_behind_it() {
    let mut late = 0;
    for seed in 71..91 {
        let (world, view) = unequal_shards(seed);
        pass(&world, &view, &mut filling(&world), Until::Each);
        // Definitions were not changed after all: the shards read on without the view.
        world.finish(2);
        pass(&world, &view, &mut filling(&world), Until::Each);
        assert_eq!(rows(&world, ADDED), rows(&world, RECENT), "seed {seed}");
        late += rows(&world, ADDED)
            .iter()
            .flatten()
            .filter(|r| r.late)
            .count();
    }
    assert!(late > 20, "{late} rows were late");
}

#[test]
fn what_a_fill_lacks_is_what_the_archive_has_also_where_a_shard_is_behind() {
    let (world, view) = unequal_shards(71);
    let archived = futures::executor::block_on(world.archive.progress(EVENTS));
    let archived = archived.expect("in memory");
    let all: i64 = archived.0.values().map(|p| p.next_offset).sum();
    let lacks = || filling(&world).lacks(&world.sources[0], &archived);
    assert_eq!(lacks(), all.unsigned_abs());
    pass(
        &world,
        &view,
        &mut filling(&world),
        Until::Shared(&archived),
    );
    let shards: Vec<_> = (0..3).map(|shard| world.store.applied(shard)).collect();
    let shared = |place: &TopicPartition| shards.iter().map(|s| s.next_offset(place)).min();
    let passed: i64 = archived.0.keys().filter_map(shared).sum();
    assert!(0 < passed && passed < all);
    assert_eq!(lacks(), (all - passed).unsigned_abs());
}

#[test]
fn a_fill_does_not_go_on_where_rows_are_too_late_by_another_delay() {
    let (world, view) = unequal_shards(72);
    pass(&world, &view, &mut filling(&world), Until::Each);
    let table = futures::executor::block_on(world.archive.snapshot(EVENTS));
    let table = table.expect("in memory").id;
    let source = world.sources[0].as_ref();
    assert!(filling(&world).is_from(source, &table));
    let mut delayed = source.clone();
    delayed.watermark_delay_us += 1;
    assert!(!filling(&world).is_from(&delayed, &table));
    assert!(!filling(&world).is_from(source, "another"));
}

#[test]
fn over_a_new_state_a_view_holds_what_the_archive_has_below_where_the_state_begins() {
    let mut world = World::with_events(
        Setup {
            scored: false,
            ..Setup::default()
        },
        80,
        89,
    );
    world.finish(1);
    let before = rows(&world, RECENT);
    // The state is lost, and one partition has nothing left to read, another one half.
    world.store = MemoryStore::new(3, 0, &Arc::default());
    let ends = world.log.ends(TOPIC);
    world.log.delete_before(TOPIC, 0, ends[0]);
    world.log.delete_before(TOPIC, 1, ends[1] / 2);
    let archived = futures::executor::block_on(world.archive.progress(EVENTS));
    let archived = archived.expect("in memory");
    let unbegun = |world: &World| {
        let shards = (0..3).map(|shard| world.store.applied(shard));
        not_begun(&world.sources[0], &archived, &shards.collect::<Vec<_>>())
    };
    assert!(unbegun(&world).is_some());
    let process = world.start(Fate::default(), 2);
    wait_until("every shard has a mark of both partitions", || {
        unbegun(&world).is_none()
    });
    let view = added(&world);
    world
        .store
        .register_view(Arc::clone(view.spec()))
        .expect("a new view");
    let mut filling = filling(&world);
    pass(&world, &view, &mut filling, Until::Shared(&archived));
    wait_until("the log is read", || world.is_done());
    process.stop().expect("nothing is in the way");
    pass(&world, &view, &mut filling, Until::Each);
    assert_eq!(filling.rows(), world.archive.rows(EVENTS).len() as u64);
    assert_eq!(rows(&world, ADDED), before);
    assert_ne!(rows(&world, RECENT), before, "the log has lost rows");
}

#[test]
fn over_a_new_state_rows_are_too_late_by_what_only_the_archive_has_below_them() {
    let setup = Setup {
        scored: false,
        far_ahead: true,
        ..Setup::default()
    };
    let mut world = World::with_events(setup, 160, 41);
    world.finish(1);
    let before = rows(&world, RECENT);
    world.store = MemoryStore::new(3, 0, &Arc::default());
    for (partition, end) in world.log.ends(TOPIC).into_iter().enumerate() {
        world.log.delete_before(TOPIC, partition, end / 2);
    }
    let process = world.start(Fate::default(), 2);
    wait_until("all is read", || {
        world.log.is_assigned(TOPIC) && world.is_done()
    });
    process.stop().expect("nothing is in the way");
    let (mut seen, mut late) = (0, 0);
    for (shard, rows) in rows(&world, RECENT).into_iter().enumerate() {
        for row in rows {
            assert!(before[shard].contains(&row), "{row:?} is dated otherwise");
            seen += 1;
            late += usize::from(row.late);
        }
    }
    assert!(seen > 40 && late > 0, "{seen} rows, {late} of them late");
}

/// One pass of the fill by a process under `fate`, up to what each shard has applied.
fn pass_under(world: &World, view: &PlainView, fate: Fate) -> Result<usize, PipelineError> {
    let store = world.store.under(&Arc::new(fate));
    let memory = unbounded_budget();
    let stores = (
        &world.archive as &dyn Archive,
        &store as &dyn FillWriter,
        &memory,
    );
    let pass = (&mut filling(world), Until::Each);
    futures::executor::block_on(backfill(view, &world.sources[0], stores, pass, |_| {}))
}

#[test]
fn a_fill_that_is_cut_off_at_any_write_goes_on_from_its_place() {
    let world = World::with_events(Setup::default(), 80, 97);
    world.finish(1);
    // A crash has left the shards at different places.
    for shard in 0..3 {
        let lost = (world.store.writes(shard) * shard) / 4;
        world.store.lose_writes(shard, lost);
    }
    let view = added(&world);
    let expected = rows(&world, RECENT);
    let whole = fill(&world, &view).expect("it takes all rows");
    assert_eq!(rows(&world, ADDED), expected);
    assert!(expected.iter().flatten().any(|row| row.late));
    let batches = world.archive.batches(EVENTS);
    let batch = batches.iter().map(RecordBatch::num_rows).max();
    let batch = batch.expect("there are events");
    let mut noted_most = 0;
    for write in 0.. {
        let mut is_over = false;
        for done in [false, true] {
            world.store.drop_view(ADDED).expect("in memory");
            let spec = Arc::clone(view.spec());
            world.store.register_view(spec).expect("a new view");
            is_over |= pass_under(&world, &view, Fate::killed_at(write, done)).is_ok();
            let noted = usize::try_from(filling(&world).rows()).expect("few");
            noted_most = noted_most.max(noted);
            // In every shard once: the store refuses a row that it has.
            let rest = pass_under(&world, &view, Fate::default()).expect("it takes all rows");
            assert_eq!(rows(&world, ADDED), expected, "cut off at write {write}");
            // A batch that some shards had, and others had not, may count twice or not at all.
            let read = noted + rest;
            assert!(
                read.abs_diff(whole) <= batch,
                "{noted} and {rest} of {whole}"
            );
        }
        if is_over {
            break;
        }
    }
    assert_eq!(noted_most, whole);
}

#[test]
fn a_fill_does_not_go_on_over_a_table_that_took_the_place_of_its_own() {
    let world = World::with_events(Setup::default(), 40, 101);
    world.finish(1);
    let view = added(&world);
    fill(&world, &view).expect("it takes all rows");
    world.archive.lose(EVENTS);
    let schema = world.sources[0].archive_schema();
    let opened = world.archive.open_table(EVENTS, schema);
    futures::executor::block_on(opened).expect("opened");
    let error = pass_under(&world, &view, Fate::default()).expect_err("another table");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("was replaced"), "{error}");
}

#[test]
fn a_fill_leaves_out_the_rows_that_ingest_would_leave_out() {
    let world = World::with_events(Setup::default(), 80, 73);
    world.finish(1);
    let view = added(&world).leaving_out(0.5);
    fill(&world, &view).expect("it leaves out what it cannot take");
    let has_it = |row: &&forebay_testkit::ArchivedRow| row.values["x"] == Value::Float(0.5);
    let archived = world.archive.rows(EVENTS);
    let left_out = archived.iter().filter(has_it).count();
    assert!(left_out > 0, "there are such rows");
    let half = Value::Float(0.5);
    let filled = rows(&world, ADDED);
    assert!(filled.iter().flatten().all(|row| row.arguments[0] != half));
    let with_key = |row: &&forebay_testkit::ArchivedRow| row.values["k"] != Value::Null;
    let expected = archived.iter().filter(with_key).filter(|row| !has_it(row));
    assert_eq!(filled.iter().flatten().count(), expected.count());
}

#[test]
fn an_empty_archive_fills_nothing() {
    let world = World::new(Setup::default());
    let source = &world.sources[0];
    let opened = world.archive.open_table(EVENTS, source.archive_schema());
    futures::executor::block_on(opened).expect("opened");
    assert_eq!(fill(&world, &added(&world)).expect("nothing to do"), 0);
}

#[test]
fn a_fill_reads_the_columns_of_its_view_in_log_order_and_what_shards_have_applied() {
    let world = World::with_events(Setup::default(), 80, 79);
    world.finish(1);
    let view = added(&world);
    fill(&world, &view).expect("it takes all rows");
    let scans = world.archive.scans();
    let [(table, scan)] = scans.as_slice() else {
        panic!("one pass over the table, not {}", scans.len());
    };
    assert_eq!(table, EVENTS);
    let source = &world.sources[0];
    let mut wanted: Vec<&str> = view
        .reads()
        .iter()
        .map(|column| source.columns[*column].name.as_str())
        .collect();
    assert!(
        wanted.len() < source.columns.len(),
        "there is a column to leave out"
    );
    wanted.extend([meta::TOPIC, meta::PARTITION, meta::OFFSET, meta::KAFKA_TIME]);
    assert_eq!(scan.columns.as_deref().expect("projected"), wanted);
    assert_eq!(scan.order, ScanOrder::Log);
    let below = scan.below.as_ref().expect("bounded");
    for shard in 0..3 {
        let applied = world.store.applied(shard);
        for (partition, applied) in applied.0.iter().filter(|(p, _)| *p.topic == *TOPIC) {
            assert!(below.next_offset(partition) >= applied.next_offset);
        }
    }
}

#[test]
fn a_view_is_not_filled_from_a_table_that_lacks_what_the_state_had_applied() {
    let world = World::with_events(Setup::default(), 80, 83);
    world.finish(1);
    let lost = world.archive.under(&Arc::default());
    let place = TopicPartition::new(world.sources[0].topic.as_str(), 7);
    let from = PartitionProgress {
        next_offset: 50,
        ..PartitionProgress::default()
    };
    let stump = Beginnings {
        from: Applied([(place.clone(), from)].into()),
        cut: [(place, 50)].into(),
    };
    futures::executor::block_on(lost.begin(EVENTS, &stump, &BTreeMap::new())).expect("noted");
    let error = fill(&world, &added(&world)).expect_err("a stump");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let words = error.to_string();
    for needle in [EVENTS, "offset 50", "-7", "backup"] {
        assert!(words.contains(needle), "{needle}: {words}");
    }
}

#[test]
fn a_pass_that_is_refused_memory_has_noted_how_far_it_is_and_the_next_one_goes_on() {
    let world = World::with_events(Setup::default(), 80, 67);
    let process = world.start(Fate::default(), 1);
    wait_until("the log is read", || world.is_done());
    process.stop().expect("nothing is in the way");
    let view = added(&world);
    let known = world.store.register_view(Arc::clone(view.spec()));
    known.expect("a new view");
    let memory = Budget::whole(1 << 20);
    let pass = |filling: &mut Filling| {
        let stores = (
            &world.archive as &dyn Archive,
            &world.store as &dyn FillWriter,
            &memory,
        );
        let pass = (filling, Until::Each);
        futures::executor::block_on(backfill(&view, &world.sources[0], stores, pass, |_| {}))
    };
    let others = memory.reserve(Part::Answers, 1 << 20).expect("free");
    let mut filling = filling(&world);
    let error = pass(&mut filling).expect_err("all memory is used");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    drop(others);
    pass(&mut filling).expect("there is memory");
    assert_eq!(memory.used_bytes(Part::Fills), 0, "nothing leaks");
    assert_eq!(rows(&world, ADDED), rows(&world, RECENT));
}
