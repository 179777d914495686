//! A registered view, prepared once for folding and reading: which argument columns its tiles hold,
//! which partial states each window merges, how far back a read looks. Made from `core`'s
//! [`ViewSpec`]; shared by all shards.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::aggregate::{AggregateKind, PartialSpec};
use forebay_core::time::Micros;
use forebay_core::view::{ViewId, ViewSpec, Window};

use crate::error::{OnlineError, OnlineResult};
use crate::rows::{ColumnKind, kind_of};
use crate::stats::ViewCounters;

/// The registered views.
pub(crate) type Views = HashMap<ViewId, Arc<ViewRuntime>>;

/// All aggregates of a view over one window: they are computed in one walk.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    pub(crate) window: Window,
    /// Indices into [`ViewSpec::partials`], each once.
    pub(crate) partials: Vec<usize>,
    /// (index into [`ViewSpec::aggregates`], index into `partials`, function).
    pub(crate) outputs: Vec<(usize, usize, AggregateKind)>,
}

/// A view as the shards see it.
#[derive(Debug)]
pub(crate) struct ViewRuntime {
    pub(crate) spec: Arc<ViewSpec>,
    pub(crate) kinds: Vec<ColumnKind>,
    /// At least one, also for a view without aggregates: a walk is what finds the newest event.
    pub(crate) windows: Vec<WindowPlan>,
    /// Greatest of the range windows and the TTL: rows further back count in lifetime windows only.
    pub(crate) reach_us: Micros,
    /// Partials of the lifetime windows: expired rows live on in these.
    pub(crate) lifetime_partials: Vec<usize>,
    pub(crate) counters: ViewCounters,
}

impl ViewRuntime {
    pub(crate) fn new(spec: Arc<ViewSpec>) -> OnlineResult<Self> {
        let kinds = spec
            .arguments
            .iter()
            .map(kind_of)
            .collect::<OnlineResult<Vec<_>>>()?;
        for partial in &spec.partials {
            check_partial(&spec, partial)?;
        }
        let mut windows: Vec<WindowPlan> = Vec::new();
        let mut reach_us = spec.ttl_us.unwrap_or(0);
        for (output, aggregate) in spec.aggregates.iter().enumerate() {
            if aggregate.partial >= spec.partials.len() {
                return Err(mismatch(
                    &spec,
                    "an aggregate names a state that the view does not have",
                ));
            }
            if let Window::Range { preceding_us } = aggregate.window {
                if preceding_us < 0 {
                    return Err(mismatch(&spec, "a window is negative"));
                }
                reach_us = reach_us.max(preceding_us);
            }
            let at = windows
                .iter()
                .position(|plan| plan.window == aggregate.window)
                .unwrap_or_else(|| {
                    windows.push(WindowPlan {
                        window: aggregate.window,
                        partials: Vec::new(),
                        outputs: Vec::new(),
                    });
                    windows.len() - 1
                });
            let plan = &mut windows[at];
            let place = plan
                .partials
                .iter()
                .position(|p| *p == aggregate.partial)
                .unwrap_or_else(|| {
                    plan.partials.push(aggregate.partial);
                    plan.partials.len() - 1
                });
            plan.outputs.push((output, place, aggregate.kind));
        }
        if windows.is_empty() {
            let window = Window::Range { preceding_us: 0 };
            windows.push(WindowPlan {
                window,
                partials: Vec::new(),
                outputs: Vec::new(),
            });
        }
        let lifetime_partials = windows
            .iter()
            .find(|plan| plan.window == Window::Lifetime)
            .map_or_else(Vec::new, |plan| plan.partials.clone());
        Ok(Self {
            spec,
            kinds,
            windows,
            reach_us,
            lifetime_partials,
            counters: ViewCounters::default(),
        })
    }

    /// Least instant that is answered exactly when rows up to `gone_us` were dropped or have
    /// expired: none of them may lie in a range window or decide the TTL.
    pub(crate) fn t_min_us(&self, gone_us: Option<Micros>) -> Option<Micros> {
        gone_us.map(|gone| gone.saturating_add(self.reach_us).saturating_add(1))
    }

    /// Whether expired rows still count, in states.
    pub(crate) fn folds_expired(&self) -> bool {
        !self.lifetime_partials.is_empty()
    }
}

fn check_partial(spec: &ViewSpec, partial: &PartialSpec) -> OnlineResult<()> {
    let mut arguments = partial.arguments.iter();
    if arguments.any(|a| *a >= spec.arguments.len())
        || partial.filter.is_some_and(|f| f >= spec.filters)
    {
        return Err(mismatch(
            spec,
            "a state names an argument or a filter that the view does not have",
        ));
    }
    let types = partial.arguments.iter().map(|a| &spec.arguments[*a]);
    if !types.eq(&partial.argument_types) {
        let why = "a state and its argument columns have different types";
        return Err(mismatch(spec, why));
    }
    Ok(())
}

fn mismatch(spec: &ViewSpec, why: &str) -> OnlineError {
    OnlineError::Mismatch(format!("view {}: {why}", spec.name))
}
