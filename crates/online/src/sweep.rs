//! Walks over all records of a view, some with each commit: which view is due, and where its walk
//! stands. A walk is due when the view's floor has moved far enough since the last one. `expiry`
//! walks over tiles, `presence_expiry` over presence records; what a record says is read there.

use std::collections::HashMap;

use forebay_core::invariant;
use forebay_core::time::{Micros, SECOND_US};
use forebay_core::view::ViewId;

use crate::database::Database;
use crate::error::OnlineResult;
use crate::format;
use crate::view::{ViewRuntime, Views};

/// Records that one commit looks at while a sweep is on its way.
const SWEEP_RECORDS: usize = 256;
/// A sweep starts when the floor has moved by this share of the view's reach, and of the history.
const SWEEP_REACH_SHARE: Micros = 16;
const SWEEP_HISTORY_SHARE: Micros = 4;

/// The sweep that is on its way, and how far each view was swept.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    current: Option<Sweep>,
    swept: HashMap<ViewId, Micros>,
}

/// A walk over the records of one view in one family.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) view: ViewId,
    pub(crate) floor: Micros,
    pub(crate) cursor: Vec<u8>,
}

impl Sweep {
    /// Hand `visit` the keys and values of the next records of `family`. Whether the view's end was
    /// reached.
    pub(crate) fn step(
        &mut self,
        database: &Database,
        family: &'static str,
        mut visit: impl FnMut(&[u8], &[u8]) -> OnlineResult<()>,
    ) -> OnlineResult<bool> {
        let end = format::view_range(self.view).1;
        let from = std::mem::take(&mut self.cursor);
        let (mut seen, mut finished) = (0, true);
        let cursor = &mut self.cursor;
        database.scan(family, &from, Some(&end), |key, value| {
            if seen == SWEEP_RECORDS {
                *cursor = key.to_vec();
                finished = false;
                return Ok(false);
            }
            seen += 1;
            visit(key, value)?;
            Ok(true)
        })?;
        invariant!(
            SweepAscends,
            finished || from < self.cursor,
            "view {}: a cursor of {} bytes",
            self.view,
            self.cursor.len()
        );
        Ok(finished)
    }
}

impl Sweeper {
    /// Drop what is known of a view.
    pub(crate) fn forget(&mut self, view: ViewId) {
        self.swept.remove(&view);
        self.current.take_if(|sweep| sweep.view == view);
    }

    /// The sweep that is on its way, to be gone on with.
    pub(crate) fn take(&mut self) -> Option<Sweep> {
        self.current.take()
    }

    /// After a step of a sweep: it goes on with the next commit, or it has seen the whole view.
    pub(crate) fn put_back(&mut self, sweep: Sweep, finished: bool) {
        if finished {
            self.swept.insert(sweep.view, sweep.floor);
        } else {
            self.current = Some(sweep);
        }
    }

    /// Start a sweep of the view whose floor has moved furthest beyond its last sweep, when one has
    /// moved far enough and none is on its way.
    pub(crate) fn start(
        &mut self,
        views: &Views,
        floor_of: impl Fn(&ViewRuntime) -> Option<Micros>,
        history_us: Micros,
    ) {
        if self.current.is_some() {
            return;
        }
        let due = views.iter().filter_map(|(id, view)| {
            let floor = floor_of(view)?;
            let step = (view.reach_us / SWEEP_REACH_SHARE)
                .max(history_us / SWEEP_HISTORY_SHARE)
                .max(SECOND_US);
            let swept = *self
                .swept
                .entry(*id)
                .or_insert_with(|| floor.saturating_sub(step));
            (floor.saturating_sub(swept) >= step).then_some((
                floor.saturating_sub(swept),
                *id,
                floor,
            ))
        });
        if let Some((_, view, floor)) = due.max() {
            self.current = Some(Sweep {
                view,
                floor,
                cursor: format::view_range(view).0,
            });
        }
    }
}
