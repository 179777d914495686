//! One pass over the events of one key and the probes of that key, both in order of time: each
//! event enters every window once and leaves it once. How it leaves depends on the state
//! ([`Sliding`]).

use forebay_core::aggregate::cells::Cell;
use forebay_core::aggregate::{AggregateKind, Partial, PartialSpec};
use forebay_core::view::{FeatureStatus, ViewSpec, feature_status};

use super::answers::Answers;
use super::collect::{Columns, Event};
use super::fold::fold;
use super::plan::{Probe, WindowPlan};
use crate::error::Result;
use crate::functions::Sliding;

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
            .try_for_each(|slot| slot.enter(self.columns, event))
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
            let cell = self.slots[*slot].value(*kind);
            answers.set(probe.row, *output, &cell)?;
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
    /// No row leaves.
    Growing(Partial),
    /// The window slides.
    Sliding(Sliding),
}

impl<'a> Slot<'a> {
    fn new(spec: &'a PartialSpec, slides: bool) -> Self {
        let state = if slides {
            State::Sliding(Sliding::new(spec))
        } else {
            State::Growing(Partial::new(spec))
        };
        Self { spec, state }
    }

    fn enter(&mut self, columns: &Columns, event: &Event) -> Result<()> {
        if !columns.passes(self.spec, event) {
            return Ok(());
        }
        match &mut self.state {
            State::Growing(state) => fold(state, self.spec, columns, event)?,
            State::Sliding(rows) => {
                let arguments = columns.arguments(self.spec, event)?;
                rows.enter(self.spec, &arguments, event.order());
            }
        }
        Ok(())
    }

    fn leave(&mut self, columns: &Columns, event: &Event) -> Result<()> {
        if let State::Sliding(rows) = &mut self.state
            && columns.passes(self.spec, event)
        {
            rows.leave(self.spec, &columns.arguments(self.spec, event)?);
        }
        Ok(())
    }

    fn value(&self, kind: AggregateKind) -> Cell {
        match &self.state {
            State::Growing(state) => state.evaluate(kind),
            State::Sliding(rows) => rows.evaluate(self.spec, kind),
        }
    }
}
