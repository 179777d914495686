//! Changes of definitions, with a fault, a crash or a stop at every step.

use std::error::Error;

use forebay_control::{Parts, Phase, execute};

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
        (&world.life, &world.stop, world),
    )
}

fn known(world: &World) -> Definitions {
    world.disk.lock().views.keys().cloned().collect()
}

#[test]
fn an_apply_brings_the_new_definitions_into_force_and_deletes_what_none_names() {
    let world = World::running(&BEFORE);
    apply(&world).expect("nothing fails");
    let next = definitions(&NEXT);
    assert_eq!(*world.running.lock(), Some(next.clone()));
    assert_eq!(world.disk.lock().saved, next);
    assert_eq!(known(&world), next);
    assert_eq!(world.life.phase(), Phase::Running);
}

#[test]
fn whatever_step_fails_the_definitions_before_are_in_force_or_the_new_ones_are() {
    let steps = World::running(&BEFORE).steps(&definitions(&NEXT)).len();
    for at in 0..steps {
        for fault in [Fault::Before, Fault::After] {
            let world = World {
                fault: Some((at, fault)),
                ..World::running(&BEFORE)
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
    let steps = World::running(&BEFORE).steps(&definitions(&NEXT));
    for at in 0..=steps.len() {
        let world = World::running(&BEFORE);
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
    let steps = World::running(&BEFORE).steps(&definitions(&NEXT)).len();
    for at in 0..steps {
        let world = World {
            stop_at: Some(at),
            ..World::running(&BEFORE)
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
