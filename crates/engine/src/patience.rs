//! How long planning may go on. The engine has no clock: who plans hands in whether the time is
//! over, and cancels when nobody waits for the answer any more. Planning asks between its steps; a
//! step of DataFusion that has begun runs to its end.

use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::error::DataFusionError;
use forebay_core::limits::PLAN_MAX_MS;
use forebay_core::{ErrorKind, PortError};
use parking_lot::Mutex;

use crate::error::EngineError;

/// Whether planning goes on, and what it is at.
pub struct Patience {
    cancelled: AtomicBool,
    is_over: Box<dyn Fn() -> bool + Send + Sync>,
    /// Kind and name of what is planned.
    object: Mutex<String>,
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience")
            .field("cancelled", &self.cancelled)
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}

impl Patience {
    /// Until `is_over`, or until it is cancelled. What `is_over` holds is let go of when the thread
    /// that plans has ended too.
    #[must_use]
    pub fn new(is_over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            is_over: Box::new(is_over),
            object: Mutex::default(),
        }
    }

    /// Until it is cancelled.
    pub(crate) fn endless() -> Self {
        Self::new(|| false)
    }

    /// Nobody waits any more.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// What is planned now: kind and name.
    #[must_use]
    pub fn object(&self) -> String {
        let object = self.object.lock();
        if object.is_empty() {
            return "its first definition".to_owned();
        }
        object.clone()
    }

    /// Planning of `object` begins.
    ///
    /// # Errors
    /// Planning is given up.
    pub(crate) fn begin(&self, object: &str) -> Result<(), GivenUp> {
        object.clone_into(&mut self.object.lock());
        self.ask()
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// Planning is given up.
    pub(crate) fn ask(&self) -> Result<(), GivenUp> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(GivenUp::Cancelled(self.object()));
        }
        if (self.is_over)() {
            return Err(GivenUp::OverTime(self.object()));
        }
        Ok(())
    }
}

/// Planning ends without an answer, at this object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GivenUp {
    #[error("planning was given up at {0}: nobody waits for it any more")]
    Cancelled(String),
    #[error(
        "planning takes longer than {PLAN_MAX_MS} ms (PLAN_MAX_MS), and was given up at {0}; split \
         that definition, or apply fewer at a time"
    )]
    OverTime(String),
}

impl From<GivenUp> for EngineError {
    fn from(given_up: GivenUp) -> Self {
        let kind = match given_up {
            GivenUp::Cancelled(_) => ErrorKind::Unavailable,
            GivenUp::OverTime(_) => ErrorKind::DeadlineExceeded,
        };
        Self::Port(PortError::new(kind, given_up.to_string()))
    }
}

impl From<GivenUp> for DataFusionError {
    fn from(given_up: GivenUp) -> Self {
        Self::External(Box::new(given_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planning_is_given_up_by_who_waits_and_by_the_time_and_says_where() {
        let patience = Patience::endless();
        patience.begin("feature view v").expect("nobody left");
        patience.cancel();
        let error = EngineError::from(patience.ask().expect_err("nobody waits"));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("feature view v"), "{error}");
        let patience = Patience::new(|| true);
        let error = EngineError::from(patience.begin("monitor m").expect_err("the time is over"));
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
        let limit = format!("longer than {} ms (PLAN_MAX_MS)", PLAN_MAX_MS);
        assert!(error.to_string().contains(&limit), "{error}");
        assert!(error.to_string().contains("monitor m"), "{error}");
    }
}
