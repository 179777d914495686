//! What of a fill outlives its process. A crash leaves state that no definition names, with notes
//! of how far its fill was; the same change, applied again, goes on with it. Of another definition,
//! or from another table of the archive, nothing of it is right: it is deleted.

use std::collections::HashSet;
use std::sync::Arc;

use forebay_core::ports::{CompiledView, FillWriter};
use forebay_core::source::SourceDef;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_pipeline::backfill::Filling;

use super::caught_up::furthest;
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
        if leftovers == Leftovers::ButFills
            && let Some(rows) = begun_rows(store, view)?
        {
            tracing::info!(view, rows, "keeps what a fill that was cut off has folded");
            continue;
        }
        tracing::info!(view, "deletes the state of a view that no definition names");
        store.drop_view(view)?;
    }
    Ok(())
}

/// Rows that a fill of `view` which was cut off has folded; None where no fill can go on with it.
fn begun_rows(store: &dyn FillWriter, view: ViewId) -> PortResult<Option<u64>> {
    match Filling::of(store, view) {
        Ok(filling) => Ok(filling.is_begun().then(|| filling.rows())),
        // A note that does not decode.
        Err(error) if error.kind() == ErrorKind::DataLoss => Ok(None),
        Err(error) => Err(error),
    }
}

/// The server starts with the saved definitions, which have `views` and others whose state is
/// `kept` though they cannot be used now: state that none of them names is deleted, but for what a
/// fill can go on with.
///
/// # Errors
/// The store fails. One of the views has no record in it, although events were applied: what was
/// saved is older than the state, and the view would lack all of them without a word.
pub fn begin_states(
    store: &dyn FillWriter,
    views: &[Arc<ViewSpec>],
    kept: &HashSet<ViewId>,
) -> PortResult<()> {
    let known: HashSet<ViewId> = store.views()?.into_iter().collect();
    // A view's record is there before any definition of it is saved.
    let lacking = views.iter().find(|view| !known.contains(&view.id));
    if let Some(view) = lacking
        && !furthest(store).0.is_empty()
    {
        let words = format!(
            "view '{}' of the saved definitions has no state, although events were applied: these definitions are older \
             than the state; put the newer ones back, or move the saved ones away and apply the definitions again",
            view.name
        );
        return Err(PortError::new(ErrorKind::FailedPrecondition, words));
    }
    let named = views.iter().map(|view| view.id).chain(kept.iter().copied());
    let named = named.collect();
    delete_leftovers(store, &named, Leftovers::ButFills)
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
