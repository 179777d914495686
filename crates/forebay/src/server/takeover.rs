//! What one change of definitions knows of another. An apply takes over a change that fills views:
//! that one gives way, with its definitions and with what it has folded; the apply is planned over
//! those definitions, so that it adds to what was applied before it or drops it again, and goes on
//! with the fills of the views that are left. [`turn`] asks for it, [`change`] says when a change
//! begins and ends.
//!
//! What gave way is kept only while an apply waits for it, and goes with the last one that waits:
//! no later apply finds definitions that nobody asks for any more.
//!
//! [`turn`]: super::turn
//! [`change`]: super::change

use std::sync::{Arc, Weak};

use forebay_control::Stop;
use forebay_engine::Catalog;
use parking_lot::Mutex;

/// The change under way, and what one that gave way leaves.
#[derive(Default)]
pub(super) struct Takeover {
    /// The definitions that the change under way brings, and its stop. They hold none of its views:
    /// it waits until nobody does before it deletes what it has filled.
    under_way: Option<(Weak<Catalog>, Stop)>,
    /// The definitions of one that gave way, until an apply goes on with them.
    left: Option<Catalog>,
    /// Applies that have asked one to give way, and have not begun.
    waiting: usize,
}

impl Takeover {
    /// A change that brings the definitions `next` begins, and gives way by `own`. It goes on with
    /// what is left.
    pub(super) fn begin(&mut self, next: &Arc<Catalog>, own: &Stop) {
        self.under_way = Some((Arc::downgrade(next), own.clone()));
        self.left = None;
    }

    /// The change to `next` has ended.
    pub(super) fn end(&mut self, next: &Catalog, gave_way: bool) {
        self.under_way = None;
        if gave_way && self.waiting > 0 {
            self.left = Some(next.clone());
        }
    }

    /// What the change under way brings, and what makes it give way; None where there is none.
    pub(super) fn under_way(&self) -> Option<(Arc<Catalog>, Stop)> {
        let (next, own) = self.under_way.as_ref()?;
        Some((next.upgrade()?, own.clone()))
    }

    /// The definitions of a change that gave way, to go on with.
    pub(super) fn left(&self) -> Option<&Catalog> {
        self.left.as_ref()
    }
}

/// An apply that has asked a change to give way, until it begins or gives up.
pub(super) struct Waiting<'a>(&'a Mutex<Takeover>);

impl<'a> Waiting<'a> {
    /// One more.
    pub(super) fn on(takeover: &'a Mutex<Takeover>) -> Self {
        takeover.lock().waiting += 1;
        Self(takeover)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut takeover = self.0.lock();
        takeover.waiting -= 1;
        if takeover.waiting == 0 && takeover.left.take().is_some() {
            tracing::warn!(
                "a change that gave way is not gone on with, since the apply that asked for it has \
                 failed; apply it again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_pipeline::SystemRuntime;

    use super::*;

    #[test]
    fn what_gave_way_is_left_to_those_who_asked_and_to_nobody_later() {
        let system = tokio::runtime::Runtime::new().expect("a runtime");
        let stop = Stop::new(Arc::new(SystemRuntime::new(system.handle().clone())));
        let next = Arc::new(Catalog::empty());
        let takeover = Mutex::<Takeover>::default();
        let gives_way = || {
            takeover.lock().begin(&next, &stop.under());
            assert!(takeover.lock().under_way().is_some());
            takeover.lock().end(&next, true);
            assert!(takeover.lock().under_way().is_none());
        };
        let is_left = || takeover.lock().left().is_some();
        gives_way();
        assert!(!is_left(), "nobody waits");
        let (first, second) = (Waiting::on(&takeover), Waiting::on(&takeover));
        gives_way();
        assert!(is_left());
        drop(first);
        assert!(is_left(), "another one waits");
        drop(second);
        assert!(!is_left(), "the last one gave up");
        let waiting = Waiting::on(&takeover);
        gives_way();
        takeover.lock().begin(&next, &stop.under());
        assert!(!is_left(), "it is gone on with");
        takeover.lock().end(&next, false);
        drop(waiting);
        assert!(!is_left());
    }
}
