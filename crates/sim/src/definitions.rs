//! What the definitions of a simulated server say beyond the sources and views of its world, and
//! what is saved of them, which outlives a process.

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_core::ports::CompiledView;
use forebay_core::time::{MINUTE_US, Micros};
use forebay_core::view::{ViewId, Window};
use forebay_testkit::PlainView;
use parking_lot::Mutex;

use crate::deployed::Routes;
use crate::setup::Setup;
use crate::world::{LEFT_OUT, World};

/// Views that definitions may add, each by its first text.
pub const EXTRA: [ViewId; 3] = [10, 11, 12];
/// The next version of each of them: another text under the same name.
pub const NEXT: [ViewId; 3] = [20, 21, 22];

/// Definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definitions {
    /// Views beyond those of the world: of each name one version at most.
    pub views: BTreeSet<ViewId>,
    /// Those of the deployment, where it is there.
    pub routes: Option<Routes>,
    /// Whether the monitor is there.
    pub monitored: bool,
}

/// What definitions a start finds.
#[derive(Debug, Default)]
pub struct Disk(Mutex<Option<Definitions>>);

impl Disk {
    /// What is saved; where nothing is, those that a world of this `setup` begins with.
    #[must_use]
    pub fn saved(&self, setup: &Setup) -> Definitions {
        let saved = self.0.lock().clone();
        saved.unwrap_or_else(|| Definitions {
            views: BTreeSet::new(),
            routes: setup.scored.then(|| Routes::of(setup)),
            monitored: setup.monitored && !setup.monitor_comes_later,
        })
    }

    /// The views that are saved.
    #[must_use]
    pub fn views(&self) -> BTreeSet<ViewId> {
        let saved = self.0.lock();
        let views = saved.as_ref().map(|saved| saved.views.clone());
        views.unwrap_or_default()
    }

    pub(crate) fn save(&self, definitions: &Definitions) {
        *self.0.lock() = Some(definitions.clone());
    }
}

impl Definitions {
    /// The same with these views.
    #[must_use]
    pub fn with_views(&self, views: &BTreeSet<ViewId>) -> Self {
        Self {
            views: views.clone(),
            ..self.clone()
        }
    }
}

/// Another version of the view `id`.
#[must_use]
pub fn twin(id: ViewId) -> ViewId {
    let twins = EXTRA.iter().zip(&NEXT);
    let twin = twins.flat_map(|(first, next)| [(*first, *next), (*next, *first)]);
    let mut twin = twin.filter(|(one, _)| *one == id);
    twin.next().expect("a view that definitions may add").1
}

/// How far the view `id` looks back.
#[must_use]
pub fn looks_back_us(id: ViewId) -> Micros {
    if NEXT.contains(&id) {
        2 * MINUTE_US
    } else {
        MINUTE_US
    }
}

/// The view `id`, over the events of `world`.
#[must_use]
pub fn extra(world: &World, id: ViewId) -> Arc<dyn CompiledView> {
    let window = Window::Range {
        preceding_us: looks_back_us(id),
    };
    Arc::new(PlainView::new(id, &world.sources[0], "k", "x", window).leaving_out(LEFT_OUT))
}
