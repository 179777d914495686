//! One change of definitions under way: what was in force, what comes, and what is bound to it.
//! Data of [`change`], which makes one and carries out its steps on it.
//!
//! [`change`]: super::change

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use forebay_control::{Course, Stop, Which};
use forebay_core::ports::CompiledView;
use forebay_core::source::SourceDef;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_engine::Catalog;

use super::wiring::Wiring;

/// Which of two states of a view: the one that a rebuild makes, and the one that it replaces.
const STATE_ANEW: &str = "anew";
const STATE_BEFORE: &str = "before";
/// How long an apply waits for requests that began with a view that it drops.
const RETIRE_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at them.
const RETIRE_POLL: Duration = Duration::from_millis(20);

/// One change of definitions under way.
pub(crate) struct Transition {
    pub(super) current: Catalog,
    /// Those, and the new sources.
    pub(super) sources: Catalog,
    pub(super) next: Catalog,
    /// Those once more, as long as another change may take this one over.
    pub(super) for_others: Option<Arc<Catalog>>,
    /// What the new definitions run on, until ingest starts with it.
    pub(super) wiring: Option<Wiring>,
    pub(super) added: BTreeMap<String, Arc<dyn CompiledView>>,
    /// Every view that only the definitions before or only the new ones have.
    pub(super) states: BTreeMap<String, Retired>,
    /// Tables of sources that only the new definitions have.
    pub(super) new_tables: Vec<String>,
    /// Ends its fills: it gives way to another change, or the server stops.
    pub(super) own: Stop,
    /// How the fill of the new views goes.
    pub(super) course: Course,
    /// Archived rows that were read for each new view.
    pub(super) filled: BTreeMap<String, u64>,
}

/// A view whose state may have to go. Reads that are under way hold the view.
pub(super) struct Retired {
    pub(super) id: ViewId,
    view: Weak<dyn CompiledView>,
}

impl Retired {
    fn of(view: &Arc<dyn CompiledView>) -> Self {
        Self {
            id: view.spec().id,
            view: Arc::downgrade(view),
        }
    }

    fn is_used(&self) -> bool {
        self.view.strong_count() > 0
    }

    /// Wait until nobody answers with it any more, for a while at most: a request that began before
    /// the change, or before its undoing, would miss its state. The view must have left the catalog
    /// by now.
    pub(super) fn wait_unused(&self, stop: &Stop) {
        let mut left = RETIRE_WAIT;
        while self.is_used() && !left.is_zero() && stop.wait(RETIRE_POLL) {
            left = left.saturating_sub(RETIRE_POLL);
        }
    }
}

impl Transition {
    /// From `current` to `next`; it ends early with the `server`'s stop.
    pub(super) fn new(
        (current, next): (Catalog, Catalog),
        wiring: Option<Wiring>,
        server: &Stop,
    ) -> Self {
        let added = only_in(&next, &current, STATE_ANEW);
        let removed = only_in(&current, &next, STATE_BEFORE);
        let both = added.iter().chain(&removed);
        let is_new = |table: &&String| !current.sources().contains_key(*table);
        Self {
            new_tables: next.sources().keys().filter(is_new).cloned().collect(),
            states: both
                .map(|(label, view)| (label.clone(), Retired::of(view)))
                .collect(),
            added,
            sources: current.clone(),
            for_others: Some(Arc::new(next.clone())),
            current,
            next,
            wiring,
            own: server.under(),
            course: Course::default(),
            filled: BTreeMap::new(),
        }
    }

    /// The view `label` goes: nothing here holds it any more, nor the definitions that have it.
    /// They are not in force: a new view goes when the change is undone, one of before after the
    /// change.
    pub(super) fn retire(&mut self, label: &str) -> Result<&Retired> {
        if self.added.remove(label).is_some() {
            (self.wiring, self.for_others) = (None, None);
            self.next = self.current.clone();
        } else {
            self.current = self.next.clone();
        }
        self.sources = self.current.clone();
        let known = self.states.get(label);
        known.ok_or_else(|| anyhow!("view {label} is no view of this change"))
    }

    pub(super) fn of(&self, which: Which) -> &Catalog {
        match which {
            Which::Current => &self.current,
            Which::Sources => &self.sources,
            Which::Next | Which::Saved => &self.next,
        }
    }

    /// What a new view reads.
    pub(super) fn source_of(&self, view: &Arc<dyn CompiledView>) -> Result<Arc<SourceDef>> {
        let source = self.next.sources().get(&view.spec().source);
        let source = source.context("a view reads a source that is not defined: a defect")?;
        Ok(Arc::clone(source))
    }

    pub(super) fn added(&self, view: &str) -> Result<&Arc<dyn CompiledView>> {
        let known = self.added.get(view);
        known.ok_or_else(|| anyhow!("view {view} is no view of the new definitions"))
    }
}

/// As steps, logs and errors name a view: versions of one name live side by side for a while, and
/// so do two states of one version, of which `of_two` says which it is.
fn label(spec: &ViewSpec, of_two: Option<&str>) -> String {
    let which = of_two.map(|which| format!(" ({which})"));
    format!(
        "{} version {}{}",
        spec.name,
        spec.version,
        which.unwrap_or_default()
    )
}

/// The ids of the views of `catalog`.
pub(super) fn named(catalog: &Catalog) -> HashSet<ViewId> {
    catalog.views().values().map(|v| v.spec().id).collect()
}

/// The views of `these` that `those` do not have, by label. One that they have in the same version
/// has another state there; `of_two` tells this one from it.
fn only_in(
    these: &Catalog,
    those: &Catalog,
    of_two: &str,
) -> BTreeMap<String, Arc<dyn CompiledView>> {
    let known = named(those);
    let only = these
        .views()
        .values()
        .filter(|v| !known.contains(&v.spec().id));
    only.map(|view| {
        let spec = view.spec();
        let twin = those.views().get(&spec.name);
        let twin = twin.filter(|twin| twin.spec().version == spec.version);
        (label(spec, twin.map(|_| of_two)), Arc::clone(view))
    })
    .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use forebay_engine::DefinitionFile;
    use forebay_pipeline::SystemRuntime;

    use super::*;

    const DEFINITIONS: &str = "
        CREATE SOURCE events (k VARCHAR, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
            WITH (connector = 'kafka');
        CREATE ENTITY e (k VARCHAR);
        CREATE FEATURE VIEW v ENTITY e AS
            SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events;";

    /// One view, `v`, and what it reads.
    pub(in crate::server) fn defined() -> Catalog {
        let file = DefinitionFile {
            path: "d.sql".to_owned(),
            text: DEFINITIONS.to_owned(),
        };
        let planned = Catalog::empty().plan(&[file]).expect("definitions");
        planned.catalog
    }

    /// A stop on `system`, and nobody asks for it.
    fn stop_on(system: &tokio::runtime::Runtime) -> Stop {
        Stop::new(Arc::new(SystemRuntime::new(system.handle().clone())))
    }

    #[test]
    fn a_state_goes_when_no_request_answers_from_it_whether_the_change_was_made_or_undone() {
        let system = tokio::runtime::Runtime::new().expect("a runtime");
        let stop = stop_on(&system);
        for label in ["v version 1 (anew)", "v version 1 (before)"] {
            let before = defined();
            let views = before.views_of("v").expect("a view");
            let anew = before.renewed(&views).expect("the same definitions");
            let of_label = if label.ends_with("(anew)") {
                &anew
            } else {
                &before
            };
            let request = Arc::clone(&of_label.views()["v"]);
            let mut change = Transition::new((before, anew), None, &stop);
            let retired = change.retire(label).expect("a view of the change");
            assert_eq!(retired.id, request.spec().id);
            assert!(retired.is_used(), "{label}: a request holds it");
            drop(request);
            assert!(!retired.is_used(), "{label}: nobody holds it");
            let for_others = change.for_others.is_some();
            assert_eq!(for_others, label.ends_with("(before)"), "{label}");
        }
    }

    #[test]
    fn an_undone_change_waits_for_the_request_that_answers_from_its_view() {
        let system = tokio::runtime::Runtime::new().expect("a runtime");
        let stop = stop_on(&system);
        let next = defined();
        let request = Arc::clone(&next.views()["v"]);
        let mut change = Transition::new((Catalog::empty(), next), None, &stop);
        let retired = change.retire("v version 1").expect("a view of the change");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| retired.wait_unused(&stop));
            assert!(stop.wait(3 * RETIRE_POLL));
            assert!(!waiting.is_finished(), "a request holds the view");
            drop(request);
            waiting.join().expect("it only waits");
        });
        assert!(!retired.is_used());
        // A request that does not end holds up a change for a bounded time.
        let next = defined();
        let _request = Arc::clone(&next.views()["v"]);
        let mut change = Transition::new((Catalog::empty(), next), None, &stop);
        stop.ask();
        let retired = change.retire("v version 1").expect("a view of the change");
        retired.wait_unused(&stop);
        assert!(retired.is_used());
    }
}
