//! Where the server is in its life, for readiness, `status` and logs. Written by the executor and
//! by the binary as it starts and stops, read by the listeners; a lock held for moments only.

use std::sync::Arc;

use forebay_core::time::Micros;
use parking_lot::Mutex;

use crate::step::Step;

/// What the server does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// State is opened and definitions are bound; reads are not answered yet.
    Starting,
    /// Definitions are in force.
    Running,
    /// Definitions change: the step, and how far it is where that can be said.
    Changing {
        /// The step in words.
        step: String,
        /// Whether it fills views beside ingest, which may take hours.
        fills: bool,
        /// Rows done and rows in all, of a fill.
        rows: Option<(u64, u64)>,
        /// When the step began.
        since_us: Micros,
    },
    /// The server stops.
    Stopping,
}

/// The phase; clones share it.
#[derive(Debug, Clone)]
pub struct Life(Arc<Mutex<Phase>>);

impl Default for Life {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Phase::Starting)))
    }
}

impl Life {
    /// Now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.lock().clone()
    }

    /// Definitions are in force. A stop that was asked for stays.
    pub fn running(&self) {
        self.enter(Phase::Running);
    }

    /// The server stops, from now on.
    pub fn stopping(&self) {
        *self.0.lock() = Phase::Stopping;
    }

    /// `step` has begun; those of a start are all one phase.
    pub(crate) fn began(&self, step: &Step, now_us: Micros) {
        if self.phase() == Phase::Starting {
            return;
        }
        self.enter(Phase::Changing {
            step: step.to_string(),
            fills: step.is_fill(),
            rows: None,
            since_us: now_us,
        });
    }

    /// The fill that is under way has done `done` of `all` rows.
    pub fn filled(&self, done: u64, all: u64) {
        if let Phase::Changing { rows, .. } = &mut *self.0.lock() {
            *rows = Some((done, all.max(done)));
        }
    }

    fn enter(&self, next: Phase) {
        let mut phase = self.0.lock();
        if *phase != Phase::Stopping {
            *phase = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_the_last_phase() {
        let life = Life::default();
        assert_eq!(life.phase(), Phase::Starting);
        life.running();
        life.filled(1, 2);
        assert_eq!(life.phase(), Phase::Running, "a fill is a part of a change");
        life.began(&Step::FillBeside("v".to_owned()), 7);
        life.filled(5, 3);
        let Phase::Changing {
            step, fills, rows, ..
        } = life.phase()
        else {
            panic!("changing");
        };
        assert!(fills && step.contains("view v"), "{step}");
        assert_eq!(rows, Some((5, 5)));
        life.stopping();
        life.running();
        assert_eq!(life.phase(), Phase::Stopping);
    }
}
