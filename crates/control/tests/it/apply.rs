//! Changes of definitions, with a fault, a crash or a stop at every step.

use std::error::Error;

use forebay_control::{Parts, Phase, Step, Which, execute};
use forebay_core::time::Clock;

use crate::world::{Change, Definitions, Fault, World, definitions};

const BEFORE: [&str; 2] = ["kept", "old"];
const NEXT: [&str; 3] = ["a", "b", "kept"];

fn change() -> Change {
    Change {
        before: definitions(&BEFORE),
        next: definitions(&NEXT),
    }
}

fn apply(world: &World) -> Result<(), forebay_control::ChangeFailed> {
    let mut change = change();
    let steps = world.steps(&change.next);
    execute(
        world,
        &mut change,
        &steps,
        &world.own,
        (&world.life, &world.stop, world),
    )
}

/// A server that runs, before a change of views that may name a source which nobody reads too.
fn server(unread: bool) -> World {
    World {
        unread,
        ..World::running(&BEFORE)
    }
}

fn steps_of(unread: bool) -> Vec<Step> {
    server(unread).steps(&definitions(&NEXT))
}

/// Every step of either change, by its number.
fn places() -> impl Iterator<Item = (bool, usize)> {
    let places = |unread| (0..steps_of(unread).len()).map(move |at| (unread, at));
    [false, true].into_iter().flat_map(places)
}

fn known(world: &World) -> Definitions {
    world.disk.lock().views.keys().cloned().collect()
}

#[test]
fn an_apply_brings_the_new_definitions_into_force_and_deletes_what_none_names() {
    for world in [false, true].map(server) {
        apply(&world).expect("nothing fails");
        let next = definitions(&NEXT);
        assert_eq!(*world.running.lock(), Some(next.clone()));
        assert_eq!(world.disk.lock().saved, next);
        assert_eq!(known(&world), next);
        assert_eq!(world.life.phase(), Phase::Running);
    }
}

#[test]
fn a_source_that_is_unread_is_read_before_any_view_is_filled_from_it() {
    let steps = steps_of(true);
    let at = |wanted: &Step| steps.iter().position(|step| step == wanted);
    let reads = at(&Step::Resume(Which::Sources)).expect("it is read first");
    let begins = at(&Step::BeginView("a".to_owned())).expect("a view is added");
    assert!(reads < begins, "{steps:?}");
    assert_eq!(steps.len(), steps_of(false).len() + 2);
}

#[test]
fn whatever_step_fails_the_definitions_before_are_in_force_or_the_new_ones_are() {
    for (unread, at) in places() {
        let steps = steps_of(unread).len();
        for fault in [Fault::Before, Fault::After] {
            let world = World {
                fault: Some((at, fault)),
                ..server(unread)
            };
            let outcome = apply(&world);
            let dropping = at + 2 >= steps;
            let expected = definitions(if dropping { &NEXT } else { &BEFORE });
            assert_eq!(outcome.is_ok(), dropping, "step {at} {fault:?}");
            assert_eq!(
                *world.running.lock(),
                Some(expected.clone()),
                "step {at} {fault:?}"
            );
            assert_eq!(world.disk.lock().saved, expected, "step {at} {fault:?}");
            if let Err(error) = outcome {
                assert_eq!(known(&world), expected, "step {at} {fault:?}");
                let words = error.to_string();
                assert!(words.contains("definitions before are in force"), "{words}");
                assert!(error.source().is_some(), "{words}");
            }
        }
    }
}

#[test]
fn after_a_crash_between_any_two_steps_the_saved_definitions_are_in_force() {
    // As many steps as there are may be done, and none.
    let places = places().flat_map(|(unread, at)| [(unread, at), (unread, at + 1)]);
    for (unread, at) in places {
        let (world, steps) = (server(unread), steps_of(unread));
        let mut change = change();
        for step in &steps[..at] {
            world.carry_out(&mut change, step).expect("nothing fails");
        }
        let world = world.restart();
        let saved = world.disk.lock().saved.clone();
        assert!(
            saved == change.before || saved == change.next,
            "after {at} steps"
        );
        assert_eq!(*world.running.lock(), Some(saved), "after {at} steps");
        // What the crash left behind does not stand in the way of the same change.
        let next = definitions(&NEXT);
        if world.disk.lock().saved != next {
            apply(&world).expect("nothing fails");
        }
        assert_eq!(*world.running.lock(), Some(next));
    }
}

#[test]
fn a_stop_at_any_step_ends_the_apply_with_saved_definitions_that_start() {
    for (unread, at) in places() {
        let steps = steps_of(unread).len();
        let world = World {
            stop_at: Some(at),
            ..server(unread)
        };
        world.life.stopping();
        let outcome = apply(&world);
        // The last three steps, starting ingest and deleting, end with the new ones in force.
        assert_eq!(outcome.is_ok(), at + 3 >= steps, "step {at}: {outcome:?}");
        if let Err(error) = outcome {
            assert_eq!(
                world.disk.lock().saved,
                definitions(&BEFORE),
                "step {at}: {error}"
            );
        }
        assert_eq!(world.life.phase(), Phase::Stopping);
        world.restart();
    }
}

#[test]
fn a_change_gives_way_while_it_fills_and_leaves_what_it_filled_to_the_next() {
    for (unread, at) in places() {
        let steps = steps_of(unread);
        let world = World {
            gives_way_at: Some(at),
            ..server(unread)
        };
        let outcome = apply(&world);
        // It is seen before the next step, where that may take long.
        let gives_way = |step: &Step| {
            use Step::{BeginView, CatchUp, FillBeside};
            matches!(step, BeginView(_) | FillBeside(_) | CatchUp)
        };
        let seen = steps.iter().skip(at + 1).position(gives_way);
        let Some(seen) = seen.map(|after| at + 1 + after) else {
            outcome.expect("what is left takes a moment");
            assert_eq!(known(&world), definitions(&NEXT), "step {at}");
            continue;
        };
        let error = outcome.expect_err("it gives way");
        assert!(error.is_taken_over(), "step {at}: {error}");
        let words = format!("{error}: {}", error.source().expect("a cause"));
        assert!(
            words.contains("another apply took this change over"),
            "{words}"
        );
        assert_eq!(
            *world.running.lock(),
            Some(definitions(&BEFORE)),
            "step {at}"
        );
        assert_eq!(world.disk.lock().saved, definitions(&BEFORE), "step {at}");
        let begun = steps[..seen].iter().filter_map(|step| match step {
            Step::BeginView(view) => Some(view.clone()),
            _ => None,
        });
        let left: Definitions = definitions(&BEFORE).into_iter().chain(begun).collect();
        assert_eq!(known(&world), left, "step {at}");
        // The next change brings one of the two, and deletes what was folded of the other.
        let next = definitions(&["b", "kept", "old"]);
        let mut change = Change {
            before: definitions(&BEFORE),
            next: next.clone(),
        };
        let steps = world.steps(&next);
        let around = (&world.life, &world.stop, &world as &dyn Clock);
        execute(&world, &mut change, &steps, &world.stop.under(), around).expect("nothing fails");
        assert_eq!(*world.running.lock(), Some(next.clone()), "step {at}");
        assert_eq!(known(&world), next, "step {at}");
    }
}
