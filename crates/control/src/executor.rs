//! Carries out the steps of a start, of a change and of its undoing when one fails, of a new
//! beginning of ingest, and of a stop. Knows no store and no broker: [`Parts`] does the work.

use forebay_core::error::with_causes;
use forebay_core::time::Clock;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::life::Life;
use crate::plan::{Undone, plan_again, plan_start, plan_stop, plan_undo};
use crate::step::Step;
use crate::stop::Stop;

/// What the binary does for each step. It may block, and returns soon after the [`Stop`] that both
/// were given was asked for.
pub trait Parts: Send + Sync {
    /// What one change works on: the definitions before and after, and what is bound to them.
    type Change: Send;

    /// Carry out `step`. A step may be carried out again after it failed, and by an undoing after
    /// it had half of its effect; but a [`Step::Resume`] that fails has started nothing, because
    /// what ingest folds with the new definitions is missing in the views that these have dropped.
    ///
    /// # Errors
    /// What is wrong, in words for the user who asked for the change.
    fn carry_out(&self, change: &mut Self::Change, step: &Step) -> PortResult<()>;
}

/// A change that did not come about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}; {after}")]
pub struct ChangeFailed {
    /// The step that failed, in words.
    step: String,
    /// What holds now, in words.
    after: String,
    /// Whether another change goes on with it.
    is_taken_over: bool,
    /// Why it failed.
    source: PortError,
}

impl ChangeFailed {
    /// Whether another change goes on with it.
    #[must_use]
    pub fn is_taken_over(&self) -> bool {
        self.is_taken_over
    }

    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

/// What the executor needs beside the parts: where it posts each step, the stop, the clock.
pub type Around<'a> = (&'a Life, &'a Stop, &'a dyn Clock);

/// Go on with the saved definitions; `change` is one from them to themselves.
///
/// # Errors
/// The first step that failed.
pub fn begin<P: Parts>(
    parts: &P,
    change: &mut P::Change,
    (life, stop, clock): Around<'_>,
) -> Result<(), ChangeFailed> {
    for step in plan_start() {
        life.began(&step, clock.now_us());
        let outcome = if stop.is_asked() {
            Err(stopped())
        } else {
            parts.carry_out(change, &step)
        };
        outcome.map_err(|source| failed(&step, "the server does not start", source))?;
    }
    life.running();
    Ok(())
}

/// Begin ingest anew with the definitions in force, where it has failed.
///
/// # Errors
/// The first step that failed; ingest stands.
pub fn begin_again<P: Parts>(parts: &P, change: &mut P::Change) -> Result<(), ChangeFailed> {
    if let Err(error) = parts.carry_out(change, &Step::Pause) {
        tracing::warn!(%error, "ingest had failed");
    }
    for step in plan_again() {
        let outcome = parts.carry_out(change, &step);
        outcome.map_err(|source| failed(&step, "ingest stands", source))?;
    }
    Ok(())
}

/// Stop, whatever the server was doing; `change` is one from the definitions in force to
/// themselves.
///
/// # Errors
/// The first step that failed: what was read and not written is read again by the next start.
pub fn end<P: Parts>(parts: &P, change: &mut P::Change) -> Result<(), ChangeFailed> {
    for step in plan_stop() {
        let outcome = parts.carry_out(change, &step);
        outcome
            .map_err(|source| failed(&step, "a restart goes on from what was written", source))?;
    }
    Ok(())
}

fn failed(step: &Step, after: &str, source: PortError) -> ChangeFailed {
    ChangeFailed {
        step: step.to_string(),
        after: after.to_owned(),
        is_taken_over: false,
        source,
    }
}

/// Carry out `steps` in order. After a failure the definitions before are in force again, unless
/// the text says otherwise; state that could not be deleted at the end fails nothing. While it
/// fills views the change gives way to another one that has asked for `own`, which is under the
/// server's stop and ends what [`Parts`] fills.
///
/// # Errors
/// The first step that failed, with what holds now.
pub fn execute<P: Parts>(
    parts: &P,
    change: &mut P::Change,
    steps: &[Step],
    own: &Stop,
    (life, stop, clock): Around<'_>,
) -> Result<(), ChangeFailed> {
    for (at, step) in steps.iter().enumerate() {
        life.began(step, clock.now_us());
        let gives_way = || own.is_asked() && !stop.is_asked() && step.may_give_way();
        let outcome = if stop.is_asked() {
            Err(stopped())
        } else if gives_way() {
            Err(taken_over())
        } else {
            parts.carry_out(change, step)
        };
        let Err(mut source) = outcome else {
            continue;
        };
        if step.is_deletion() {
            // The new definitions are in force already.
            tracing::warn!(%step, error = %source, "state is left; the next start or apply deletes it");
            continue;
        }
        let why = match stop.is_asked() {
            true => Undone::Stopping,
            false if gives_way() => Undone::TakenOver,
            false => Undone::Failed,
        };
        if why == Undone::TakenOver {
            source = taken_over();
        }
        let undone = undo(parts, change, &plan_undo(&steps[..at], step, why));
        let undone = undone.unwrap_or_else(|| why.words().to_owned());
        life.running();
        return Err(ChangeFailed {
            is_taken_over: why == Undone::TakenOver,
            ..failed(step, &undone, source)
        });
    }
    life.running();
    Ok(())
}

/// Carry out the steps of an undoing, whatever fails; what holds then, in words, where one has.
///
/// Where the definitions before cannot be saved, the new ones are what a restart finds, and their
/// views have all up to here. So ingest does not go on with others, which would leave those views
/// behind, and their state is not deleted.
fn undo<P: Parts>(parts: &P, change: &mut P::Change, steps: &[Step]) -> Option<String> {
    let mut failures = Vec::new();
    let mut is_saved = true;
    for step in steps {
        if !is_saved && matches!(step, Step::Resume(_) | Step::DropView(_)) {
            continue;
        }
        if let Err(error) = parts.carry_out(change, step) {
            is_saved &= !matches!(step, Step::Save(_));
            tracing::error!(%step, error = with_causes(&error), "a step of an undoing failed");
            failures.push(format!("and then cannot {step}: {error}"));
        }
    }
    if !is_saved {
        failures.push("ingest stands; apply again, or restart".to_owned());
    }
    (!failures.is_empty()).then(|| failures.join("; "))
}

fn taken_over() -> PortError {
    PortError::new(
        ErrorKind::FailedPrecondition,
        "another apply took this change over, with what was filled, and its outcome is that of both",
    )
}

fn stopped() -> PortError {
    PortError::new(
        ErrorKind::Unavailable,
        "the server is stopping; try again when it is up",
    )
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::step::Which;

    /// Carries out steps by noting them; those in `fails` do not succeed.
    #[derive(Default)]
    struct Noting {
        fails: Vec<Step>,
        done: Mutex<Vec<Step>>,
    }

    impl Parts for Noting {
        type Change = ();

        fn carry_out(&self, (): &mut (), step: &Step) -> PortResult<()> {
            if self.fails.contains(step) {
                return Err(PortError::new(ErrorKind::Unavailable, "the disk is full"));
            }
            self.done.lock().push(step.clone());
            Ok(())
        }
    }

    #[test]
    fn where_the_definitions_before_cannot_be_saved_ingest_stands_and_the_new_state_stays() {
        let view = || "v".to_owned();
        let steps = [
            Step::Save(Which::Current),
            Step::Resume(Which::Current),
            Step::DropView(view()),
        ];
        let parts = Noting::default();
        assert_eq!(undo(&parts, &mut (), &steps), None);
        assert_eq!(*parts.done.lock(), steps);
        let parts = Noting {
            fails: vec![Step::Save(Which::Current)],
            ..Noting::default()
        };
        let words = undo(&parts, &mut (), &steps).expect("one has failed");
        assert!(words.contains("the disk is full") && words.contains("ingest stands"));
        assert_eq!(*parts.done.lock(), []);
        // One that cannot go on deletes the new state all the same: a start goes on by itself.
        let parts = Noting {
            fails: vec![Step::Resume(Which::Current)],
            ..Noting::default()
        };
        undo(&parts, &mut (), &steps);
        assert_eq!(
            *parts.done.lock(),
            [Step::Save(Which::Current), Step::DropView(view())]
        );
    }
}
