//! A view that is added later and filled from the archive holds the rows, with the watermarks, that
//! it would hold had it been there from the first event; a shard that a crash left behind the
//! archive gets the rest from the log.

use std::sync::Arc;

use forebay_core::ports::{CompiledView, OnlineStore};
use forebay_core::time::MINUTE_US;
use forebay_core::view::{ViewId, Window};
use forebay_pipeline::backfill::backfill;
use forebay_testkit::{PlainView, StoredRow};

use crate::oracle::check;
use crate::world::{EVENTS, RECENT, Setup, World};

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
}

fn fill(world: &World, view: &PlainView) -> Result<usize, forebay_pipeline::PipelineError> {
    world
        .store
        .register_view(Arc::clone(view.spec()))
        .expect("a new view");
    let mut told = 0;
    let rows = backfill(
        view,
        &world.sources[0],
        &world.archive.batches(EVENTS),
        &world.store,
        |done| told = done,
    );
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

#[test]
fn a_row_that_the_view_refuses_is_named() {
    let world = World::with_events(Setup::default(), 40, 73);
    world.finish(1);
    let error = fill(&world, &added(&world).refusing(0.5))
        .expect_err("there are such rows")
        .to_string();
    let first = world
        .archive
        .rows(EVENTS)
        .into_iter()
        .find(|row| row.values["x"] == forebay_core::value::Value::Float(0.5));
    let first = first.expect("there is one");
    assert!(
        error.contains(&format!(
            "offset {} of {}-{}",
            first.offset, first.place.topic, first.place.partition
        )),
        "{error}"
    );
    assert!(error.contains("view 'view_9': division by zero"), "{error}");
}

#[test]
fn an_empty_archive_fills_nothing() {
    let world = World::new(Setup::default());
    assert_eq!(fill(&world, &added(&world)).expect("nothing to do"), 0);
}
