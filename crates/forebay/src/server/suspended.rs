//! A part of the definitions that is set aside alone, as `status` and metrics show it: one that
//! could not be started, found where definitions are bound, one that does not compile, or a view
//! whose state the store found damaged, or which is outdated, or whose SQL fails. Everything else
//! runs, and other definitions may change meanwhile.

use anyhow::Result;
use forebay_core::ports::ViewDamage;
use forebay_core::view::ViewSpec;
use forebay_engine::{Catalog, Change, ChangeAction, ObjectKind};
use forebay_online::RocksStore;

/// Why a view is set aside whose state follows another meaning of its text.
const OUTDATED: &str = "it was made when the saved definition meant something else: by a build \
                        whose functions differ, or from another text in catalog.json";

/// Why a view is set aside whose definition is the same.
const OTHER_LAYOUT: &str =
    "it was made by a build that kept aggregates over integers in another way";

/// Why a view is set aside whose definition could not be used.
const UNKNOWN: &str =
    "a build that does not take its definition has run, and no event was folded into it meanwhile";

/// A part that is set aside alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Suspended {
    /// Model, monitor, view, or any kind of definition that does not compile.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) name: String,
    /// Why, in words.
    pub(crate) reason: String,
}

impl Suspended {
    /// Whether `other` is the same part, for whatever reason.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }

    /// Whether `change` defines the part anew: then it must start.
    fn is_made_by(&self, change: &Change) -> bool {
        // A model is `name/version` in a change.
        let name = change.name.replace('/', " version ");
        let makes = matches!(change.action, ChangeAction::Create | ChangeAction::Replace);
        makes && self.name == name && self.kind == change.kind.to_string()
    }
}

/// The views of `catalog` that are set aside in any shard, each once: its shards and first damage.
pub(super) fn damaged_views(catalog: &Catalog, damages: &[ViewDamage]) -> Vec<Suspended> {
    let views = catalog.views().values();
    let part = |spec: &ViewSpec| {
        let of_view = || damages.iter().filter(|damage| damage.view == spec.id);
        let (name, why) = (&spec.name, &of_view().next()?.why);
        let shards: Vec<String> = of_view().map(|damage| damage.shard.to_string()).collect();
        Some(Suspended {
            kind: "view",
            name: name.clone(),
            reason: format!(
                "its state cannot be used (shard {}): {why}; `forebay rebuild {name}` makes it anew \
                 from the archive once the cause is mended",
                shards.join(", ")
            ),
        })
    };
    views.filter_map(|view| part(view.spec())).collect()
}

/// Set aside the state of views that nothing may read or fold into: before anything does.
///
/// # Errors
/// The disk fails, or a record of the state cannot be read.
pub(super) fn set_unusable_aside(store: &RocksStore, catalog: &Catalog) -> Result<()> {
    set_outdated_aside(store, catalog)?;
    set_broken_aside(store, catalog)
}

/// Set aside the views of `catalog` whose state was folded while their definitions meant something
/// else, or by a build that kept it in another way: before anything reads it or folds into it.
///
/// # Errors
/// The disk fails, or a record of the state cannot be read.
fn set_outdated_aside(store: &RocksStore, catalog: &Catalog) -> Result<()> {
    for (name, view) in catalog.views() {
        let why = if catalog.outdated().contains(name) {
            OUTDATED
        } else {
            OTHER_LAYOUT
        };
        if store.set_outdated_aside(view.spec(), why)? {
            tracing::error!(view = name, "a view is set aside: {why}; rebuild it");
        }
    }
    Ok(())
}

/// The definitions of `catalog` that this build does not take, and what depends on them.
pub(super) fn broken_parts(catalog: &Catalog) -> impl Iterator<Item = Suspended> {
    catalog.broken().map(|broken| Suspended {
        kind: kind(broken.kind),
        // As a model that cannot be loaded is named.
        name: broken.name.replace('/', " version "),
        reason: format!(
            "{}; correct the definition and apply it, or drop it",
            broken.why
        ),
    })
}

fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Source => "source",
        ObjectKind::Entity => "entity",
        ObjectKind::View => "view",
        ObjectKind::Service => "service",
        ObjectKind::Model => "model",
        ObjectKind::Deployment => "deployment",
        ObjectKind::Monitor => "monitor",
    }
}

/// Set aside the state of views of `catalog` that do not compile: what is read meanwhile is not
/// folded into it, which a build that takes the definition again has to know.
///
/// # Errors
/// The disk fails.
fn set_broken_aside(store: &RocksStore, catalog: &Catalog) -> Result<()> {
    for broken in catalog.broken() {
        let (kind, name, reason) = (broken.kind.to_string(), broken.name, broken.why);
        tracing::error!(
            kind,
            name,
            reason,
            "a saved definition cannot be used; it is set aside, and everything else runs"
        );
        if let Some(view) = broken.view_id {
            store.set_unknown_aside(view, UNKNOWN)?;
        }
    }
    Ok(())
}

/// Those of `now` that `changes` leave as they are: such a part stands in the way of no change of
/// anything else.
pub(super) fn left_aside(now: Vec<Suspended>, changes: &[Change]) -> Vec<Suspended> {
    let is_left = |part: &Suspended| !changes.iter().any(|change| part.is_made_by(change));
    now.into_iter().filter(is_left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_left_aside_unless_it_is_defined_anew() {
        let part = |kind, name: &str| Suspended {
            kind,
            name: name.to_owned(),
            reason: "its directory is gone".to_owned(),
        };
        let change = |action, kind, name: &str| Change {
            action,
            kind,
            name: name.to_owned(),
            version: 1,
            before: None,
            after: None,
            note: String::new(),
            warnings: Vec::new(),
        };
        let now = [part("model", "m version 2"), part("monitor", "m")];
        let left = |changes: &[Change]| left_aside(now.to_vec(), changes);
        assert_eq!(left(&[]), now);
        let others = [
            change(ChangeAction::Create, ObjectKind::Model, "m/1"),
            change(ChangeAction::Replace, ObjectKind::View, "m"),
            change(ChangeAction::Unchanged, ObjectKind::Monitor, "m"),
        ];
        assert_eq!(left(&others), now);
        let model = change(ChangeAction::Replace, ObjectKind::Model, "m/2");
        assert_eq!(left(&[model]), now[1..]);
        let monitor = change(ChangeAction::Create, ObjectKind::Monitor, "m");
        assert_eq!(left(&[monitor]), now[..1]);
    }
}
