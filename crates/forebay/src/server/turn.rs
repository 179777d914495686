//! Whose turn it is to change the definitions: one at a time. A fill may take hours, and an apply
//! does not wait for it: it asks the change that fills to give way ([`takeover`]). What is wrong
//! with the apply is said before.
//!
//! [`takeover`]: super::takeover

use std::time::Duration;

use anyhow::Result;
use forebay_control::Phase;
use forebay_core::{ErrorKind, PortError};
use forebay_engine::{Catalog, DefinitionFile};
use parking_lot::MutexGuard;

use super::app::App;
use super::change::differs;
use super::plannings::Caller;
use super::takeover::Waiting;
use super::transition::named;

/// How long an apply waits for a start or for another change.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// Time between two looks at what the other change does.
const CHANGE_POLL: Duration = Duration::from_millis(100);
/// The same, where that change fills what is to be applied: each look plans it.
const SAME_POLL: Duration = Duration::from_secs(5);

impl App {
    /// The right to change the definitions, which one has at a time.
    ///
    /// # Errors
    /// Another one has it, or the server is still starting.
    pub(super) fn alone(&self) -> Result<MutexGuard<'_, ()>> {
        let changing = self.changing.try_lock();
        // A start may not have got this lock yet: ingest must not begin twice.
        let starts = self.life.phase() == Phase::Starting;
        Ok(changing.filter(|_| !starts).ok_or_else(|| self.busy())?)
    }

    /// The right to make the states of views anew: it waits for the short steps of another change,
    /// such as the start of ingest, and never for a fill, which may take hours.
    ///
    /// # Errors
    /// A fill is under way, or another change does not end.
    pub(super) fn alone_to_rebuild(&self) -> Result<MutexGuard<'_, ()>> {
        let mut waited = Duration::ZERO;
        loop {
            let tried = self.alone();
            // An apply that waits goes on with what is left.
            let is_left = self.takeover.lock().left().is_some();
            if tried.is_ok() && !is_left {
                return tried;
            }
            if self.fills() || waited >= CHANGE_WAIT || !self.stop.wait(CHANGE_POLL) {
                return Err(self.busy().into());
            }
            waited += CHANGE_POLL;
        }
    }

    /// The right to apply `files`, with what has to be kept meanwhile: a change that fills views
    /// gives way to it. One that brings all of `files` already is waited for where the caller
    /// `waits`.
    ///
    /// # Errors
    /// A definition is wrong; the change that fills brings them already; another change does not
    /// end.
    pub(super) fn alone_to_apply(
        &self,
        files: &[DefinitionFile],
        caller: &Caller,
        waits: bool,
    ) -> Result<(MutexGuard<'_, ()>, Option<Waiting<'_>>)> {
        let (mut waited, mut waiting) = (Duration::ZERO, None);
        loop {
            if let Ok(changing) = self.alone() {
                return Ok((changing, waiting));
            }
            let mut pause = CHANGE_POLL;
            let under_way = self.takeover.lock().under_way();
            if let Some((next, own)) = under_way.filter(|_| self.fills()) {
                waited = Duration::ZERO;
                if own.is_asked() || self.adds(&next, files, caller)? {
                    // What was asked to give way does: it is waited for, however long.
                    waiting.get_or_insert_with(|| Waiting::on(&self.takeover));
                    own.ask();
                } else if waits {
                    pause = SAME_POLL;
                } else {
                    return Err(self.busy().into());
                }
            }
            let is_over = waited >= CHANGE_WAIT && waiting.is_none();
            if is_over || !self.stop.wait(pause) {
                return Err(self.busy().into());
            }
            waited += pause;
        }
    }

    /// The definitions that an apply adds to: those that a change brings which gave way or fills,
    /// or else those in force.
    pub(super) fn wished(&self) -> Catalog {
        let takeover = self.takeover.lock();
        let under_way = takeover.under_way().map(|(next, _)| next);
        let wished = takeover.left().or(under_way.as_deref()).cloned();
        drop(takeover);
        wished.unwrap_or_else(|| self.catalog())
    }

    fn fills(&self) -> bool {
        matches!(self.life.phase(), Phase::Changing { fills: true, .. })
    }

    /// Whether an apply of `files` adds anything to a change that brings `next` and fills.
    ///
    /// # Errors
    /// A definition is wrong, or a view of it cannot be filled.
    fn adds(&self, next: &Catalog, files: &[DefinitionFile], caller: &Caller) -> Result<bool> {
        let (planned, _) = self.planned(next, files, caller)?;
        let known = named(next);
        let views = planned.catalog.views().values().map(|view| view.spec());
        for view in views.filter(|view| !known.contains(&view.id)) {
            self.refuse_aside(&view.source)?;
        }
        let adds = differs(&planned);
        if adds {
            tracing::info!(
                "a change that fills views gives way to an apply, which goes on with it"
            );
        }
        Ok(adds)
    }

    fn busy(&self) -> PortError {
        let what = match self.life.phase() {
            Phase::Starting => "the server is still starting".to_owned(),
            Phase::Changing { step, rows, .. } => {
                let rows = rows.map(|(done, all)| format!(" ({done} of {all} rows)"));
                format!(
                    "another change is under way: {step}{}",
                    rows.unwrap_or_default()
                )
            }
            Phase::Stopping => {
                let words = "the server is stopping; try again when it is up";
                return PortError::new(ErrorKind::Unavailable, words);
            }
            Phase::Running => "the server is busy with another change".to_owned(),
        };
        let words = format!("{what}; try again when it is done");
        PortError::new(ErrorKind::FailedPrecondition, words)
    }
}
