//! What is asked of the events of one key: the view's windows, each once with the states over it,
//! and the probes, rows of the spine. Plain values that the slide and the tree both answer.

use forebay_core::aggregate::AggregateKind;
use forebay_core::time::Micros;
use forebay_core::view::{ViewSpec, Window};

/// All aggregates over one window.
#[derive(Debug)]
pub(super) struct WindowPlan {
    /// None: every event at or before t.
    pub(super) preceding_us: Option<Micros>,
    /// Indices into the view's partials, each once.
    pub(super) partials: Vec<usize>,
    /// (index among the view's aggregates, index into `partials`, function).
    pub(super) outputs: Vec<(usize, usize, AggregateKind)>,
}

/// The windows of `spec`, each once.
pub(super) fn window_plans(spec: &ViewSpec) -> Vec<WindowPlan> {
    let mut plans: Vec<WindowPlan> = Vec::new();
    for (output, aggregate) in spec.aggregates.iter().enumerate() {
        let preceding_us = match aggregate.window {
            Window::Range { preceding_us } => Some(preceding_us),
            Window::Lifetime => None,
        };
        let known = plans
            .iter()
            .position(|plan| plan.preceding_us == preceding_us);
        let index = known.unwrap_or_else(|| {
            plans.push(WindowPlan {
                preceding_us,
                partials: Vec::new(),
                outputs: Vec::new(),
            });
            plans.len() - 1
        });
        let plan = &mut plans[index];
        let known = plan
            .partials
            .iter()
            .position(|partial| *partial == aggregate.partial);
        let slot = known.unwrap_or_else(|| {
            plan.partials.push(aggregate.partial);
            plan.partials.len() - 1
        });
        plan.outputs.push((output, slot, aggregate.kind));
    }
    plans
}

/// One row of the spine, for one view.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    pub(super) key: u32,
    /// Index of its cut; 0 where all events count.
    pub(super) cut: u32,
    pub(super) at_us: Micros,
    pub(super) row: u32,
}
