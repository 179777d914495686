//! What of a fill outlives its process. A crash leaves state that no definition names, with notes
//! of how far its fill was; the same change, applied again, goes on with it. Of another definition,
//! or from another table of the archive, nothing of it is right: it is deleted.

use std::collections::HashSet;
use std::sync::Arc;

use forebay_core::ports::{CompiledView, FillWriter};
use forebay_core::source::SourceDef;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_core::{ErrorKind, PortResult};
use forebay_pipeline::backfill::Filling;

use super::{FillError, Filler};

/// What of the state that no definition names is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// All of it: new definitions are in force.
    All,
    /// What no fill can go on with: the server starts.
    ButFills,
}

/// Delete the state of views that are not in `named`.
///
/// # Errors
/// The store fails.
pub fn delete_leftovers(
    store: &dyn FillWriter,
    named: &HashSet<ViewId>,
    leftovers: Leftovers,
) -> PortResult<()> {
    let views = store.views()?;
    for view in views.into_iter().filter(|view| !named.contains(view)) {
        let filling = Filling::of(store, view)?;
        if leftovers == Leftovers::ButFills && filling.is_begun() {
            let rows = filling.rows();
            tracing::info!(view, rows, "keeps what a fill that was cut off has folded");
            continue;
        }
        tracing::info!(view, "deletes the state of a view that no definition names");
        store.drop_view(view)?;
    }
    Ok(())
}

/// Make `view`, which ingest is to fold from now on, known to the store. No fill goes on with it
/// any more.
///
/// # Errors
/// The store fails, or has a view of the same id and another definition.
pub fn take_over(store: &dyn FillWriter, view: &Arc<ViewSpec>) -> PortResult<()> {
    store.register_view(Arc::clone(view))?;
    store.end_fill(view.id)
}

impl Filler<'_> {
    /// Make a new `view` known to the store, with what a fill that was cut off has folded of
    /// `source`, or without any state.
    ///
    /// # Errors
    /// The store or the archive fails.
    pub fn begin(&self, source: &SourceDef, view: &dyn CompiledView) -> Result<(), FillError> {
        let spec = view.spec();
        let filling = Filling::of(self.store, spec.id)?;
        let table = self.archive.snapshot(&source.name);
        let table = self.ask(source, "opening the archive", table)?;
        if filling.is_from(source, &table.id) {
            match self.store.register_view(Arc::clone(spec)) {
                Ok(()) => {
                    let (view, rows) = (&spec.name, filling.rows());
                    tracing::info!(view, rows, "goes on with a fill that was cut off");
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.store.drop_view(spec.id)?;
        Ok(self.store.register_view(Arc::clone(spec))?)
    }
}
