//! One pass over the events of one key and the probes of that key, both in order of time: each
//! event enters every window once and leaves it once. Exact states take rows away again where they
//! can; minimum and maximum keep a monotone deque; the last value is the last row that entered, as
//! long as it is inside.

use forebay_core::aggregate::cells::Cell;
use forebay_core::aggregate::{AggregateKind, Partial, PartialClass, PartialSpec, compare_values};
use forebay_core::exact::{CANONICAL_NAN, canonical};
use forebay_core::value::Value;
use forebay_core::view::{FeatureStatus, ViewSpec, feature_status};

use super::answers::Answers;
use super::collect::{Columns, Event};
use super::fold::fold;
use super::plan::{Probe, WindowPlan};
use crate::error::{EngineError, Result};
use crate::functions::Frontier;

/// Answer `probes` (ascending in time) over all of `events` (ascending in the total order).
pub(super) fn slide(
    spec: &ViewSpec,
    plans: &[WindowPlan],
    columns: &Columns,
    events: &[Event],
    probes: &[Probe],
    answers: &mut Answers,
) -> Result<()> {
    let mut windows: Vec<SlidingWindow<'_>> = plans
        .iter()
        .map(|plan| SlidingWindow::new(spec, plan, columns, events))
        .collect();
    let mut head = 0;
    for probe in probes {
        while events
            .get(head)
            .is_some_and(|event| event.time_us <= probe.at_us)
        {
            windows
                .iter_mut()
                .try_for_each(|window| window.enter(head))?;
            head += 1;
        }
        let newest_us = head.checked_sub(1).map(|last| events[last].time_us);
        answers.set_newest(probe.row, newest_us);
        if feature_status(newest_us, probe.at_us, spec.ttl_us) != FeatureStatus::Present {
            continue;
        }
        for window in &mut windows {
            window.leave_before(probe, head)?;
            window.read(probe, answers)?;
        }
    }
    Ok(())
}

/// One window over one key's events.
struct SlidingWindow<'a> {
    plan: &'a WindowPlan,
    columns: &'a Columns,
    events: &'a [Event],
    /// First event inside.
    tail: usize,
    slots: Vec<Slot<'a>>,
}

impl<'a> SlidingWindow<'a> {
    fn new(
        spec: &'a ViewSpec,
        plan: &'a WindowPlan,
        columns: &'a Columns,
        events: &'a [Event],
    ) -> Self {
        let slides = plan.preceding_us.is_some();
        let slots = plan
            .partials
            .iter()
            .map(|index| Slot::new(&spec.partials[*index], slides))
            .collect();
        Self {
            plan,
            columns,
            events,
            tail: 0,
            slots,
        }
    }

    fn enter(&mut self, index: usize) -> Result<()> {
        let event = &self.events[index];
        self.slots
            .iter_mut()
            .try_for_each(|slot| slot.enter(self.columns, event, index))
    }

    /// Take out what lies before the window of `probe`; events from `head` on have not entered.
    fn leave_before(&mut self, probe: &Probe, head: usize) -> Result<()> {
        let Some(preceding_us) = self.plan.preceding_us else {
            return Ok(());
        };
        let from_us = probe.at_us.saturating_sub(preceding_us);
        while self.tail < head && self.events[self.tail].time_us < from_us {
            let event = &self.events[self.tail];
            self.slots
                .iter_mut()
                .try_for_each(|slot| slot.leave(self.columns, event))?;
            self.tail += 1;
        }
        Ok(())
    }

    fn read(&self, probe: &Probe, answers: &mut Answers) -> Result<()> {
        for (output, slot, kind) in &self.plan.outputs {
            let value = self.slots[*slot].value(*kind, self)?;
            answers.set(probe.row, *output, &value)?;
        }
        Ok(())
    }
}

/// One state of one window.
struct Slot<'a> {
    spec: &'a PartialSpec,
    state: State,
}

enum State {
    /// Rows come in, and go out where the state can take them away.
    Exact(Partial),
    /// Minimum or maximum of a window that slides.
    Extremum(Frontier<Value>),
    /// Last row of a window that slides: its index.
    Newest(Option<usize>),
}

impl<'a> Slot<'a> {
    fn new(spec: &'a PartialSpec, slides: bool) -> Self {
        let state = match spec.class {
            PartialClass::Min | PartialClass::Max if slides => State::Extremum(Frontier::default()),
            PartialClass::Last if slides => State::Newest(None),
            _ => State::Exact(Partial::new(spec)),
        };
        Self { spec, state }
    }

    fn enter(&mut self, columns: &Columns, event: &Event, index: usize) -> Result<()> {
        if !columns.passes(self.spec, event) {
            return Ok(());
        }
        match &mut self.state {
            State::Newest(newest) => *newest = Some(index),
            State::Exact(state) => fold(state, self.spec, columns, event)?,
            State::Extremum(frontier) => {
                let value = argument(self.spec, columns, event)?;
                if value != Value::Null {
                    let is_min = self.spec.class == PartialClass::Min;
                    frontier.push(canonical_value(value), |newer, older| {
                        let order = compare_values(newer, older);
                        if is_min { order.is_le() } else { order.is_ge() }
                    });
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self, columns: &Columns, event: &Event) -> Result<()> {
        if matches!(self.state, State::Newest(_)) || !columns.passes(self.spec, event) {
            return Ok(());
        }
        let value = match self.spec.argument {
            Some(_) => argument(self.spec, columns, event)?,
            None => Value::Null,
        };
        match &mut self.state {
            State::Exact(state) if self.spec.argument.is_none() => state.update_count(-1),
            State::Exact(state) => {
                if !state.retract(&value) {
                    return Err(EngineError::Internal(format!(
                        "a state of {:?} cannot slide",
                        self.spec.class
                    )));
                }
            }
            State::Extremum(frontier) if value != Value::Null => frontier.pop_oldest(1),
            State::Extremum(_) | State::Newest(_) => {}
        }
        Ok(())
    }

    fn value(&self, kind: AggregateKind, window: &SlidingWindow<'_>) -> Result<Cell> {
        Ok(Ok(match &self.state {
            State::Exact(state) => return Ok(state.evaluate(kind)),
            State::Extremum(frontier) => frontier.best().cloned().unwrap_or(Value::Null),
            State::Newest(Some(index)) if *index >= window.tail => {
                match argument(self.spec, window.columns, &window.events[*index])? {
                    // As a last value is kept everywhere: as it is, but for NaN, which has one
                    // form.
                    Value::Float(value) if value.is_nan() => Value::Float(CANONICAL_NAN),
                    value => value,
                }
            }
            State::Newest(_) => Value::Null,
        }))
    }
}

fn argument(spec: &PartialSpec, columns: &Columns, event: &Event) -> Result<Value> {
    match spec.argument {
        Some(index) => columns.value(index, event),
        None => Err(EngineError::Internal(format!(
            "a state of {:?} was planned without an argument",
            spec.class
        ))),
    }
}

fn canonical_value(value: Value) -> Value {
    match value {
        Value::Float(value) => Value::Float(canonical(value)),
        value => value,
    }
}
