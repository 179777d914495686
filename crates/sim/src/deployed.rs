//! Which routes the one deployment of a world has had, noted by offsets where definitions are
//! saved: an event is the matter of those under which its shard has applied it. The oracle reads
//! it; the server, which has records of its own, does not.

use std::sync::Arc;

use forebay_core::prediction::Role;
use forebay_core::progress::{Applied, TopicPartition};
use parking_lot::Mutex;

use crate::setup::Setup;

/// Versions of the model, from 1 on.
pub const VERSIONS: u32 = 3;

/// Where the events of a deployment go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routes {
    /// The version whose predictions come back.
    pub live: u32,
    /// One that is asked beside it.
    pub shadow: Option<u32>,
}

impl Routes {
    /// Each version with its role.
    pub fn versions(self) -> impl Iterator<Item = (u32, Role)> {
        let shadow = self.shadow.map(|version| (version, Role::Shadow));
        std::iter::once((self.live, Role::Live)).chain(shadow)
    }

    /// Those of a setup whose events are scored.
    #[must_use]
    pub fn of(setup: &Setup) -> Self {
        Self {
            live: setup.version,
            shadow: setup.shadow.then_some(2),
        }
    }
}

/// All that the deployment has been; None: it was not there.
#[derive(Debug)]
pub struct Deployed {
    spans: Mutex<Vec<Span>>,
    cuts: Mutex<Vec<Cut>>,
}

/// A power cut that has taken back writes of a shard.
#[derive(Debug)]
struct Cut {
    shard: u16,
    left: Arc<Applied>,
    before: Arc<Applied>,
    /// Spans by then.
    spans: usize,
}

#[derive(Debug, Clone)]
struct Span {
    routes: Option<Routes>,
    /// By shard what that has of the log under the routes before.
    from: Vec<Arc<Applied>>,
}

impl Deployed {
    /// With `routes` from the first event on.
    #[must_use]
    pub fn new(routes: Option<Routes>) -> Self {
        let from = Vec::new();
        Self {
            spans: Mutex::new(vec![Span { routes, from }]),
            cuts: Mutex::default(),
        }
    }

    /// What a shard has not applied by now goes by `routes`.
    pub(crate) fn change(&self, routes: Option<Routes>, applied: Vec<Arc<Applied>>) {
        let mut spans = self.spans.lock();
        let last = spans.last().expect("there is a first one");
        if last.routes != routes {
            let from = applied;
            spans.push(Span { routes, from });
        }
    }

    /// A power cut has taken back writes of `shard`, which had `before` and has `left`.
    pub(crate) fn note_cut(&self, shard: u16, left: Arc<Applied>, before: Arc<Applied>) {
        let spans = self.spans.lock().len();
        self.cuts.lock().push(Cut {
            shard,
            left,
            before,
            spans,
        });
    }

    /// What holds for events that are still to come.
    #[must_use]
    pub fn now(&self) -> Option<Routes> {
        self.spans.lock().last().and_then(|span| span.routes)
    }

    /// Whether it has changed at all.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.spans.lock().len() > 1
    }

    /// Whether there was a power cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.cuts.lock().is_empty()
    }

    /// The routes under which `shard` had applied the event at `offset` before power cuts took that
    /// back.
    #[must_use]
    pub fn taken_back(&self, shard: u16, place: &TopicPartition, offset: i64) -> Vec<Routes> {
        let (spans, cuts) = (self.spans.lock(), self.cuts.lock());
        let lost = |cut: &&Cut| {
            let lost = cut.left.next_offset(place)..cut.before.next_offset(place);
            cut.shard == shard && lost.contains(&offset)
        };
        let routes = |cut: &Cut| spans[holding(&spans[..cut.spans], shard, place, offset)].routes;
        cuts.iter().filter(lost).filter_map(routes).collect()
    }

    /// The routes under which `shard` applies the event at `offset`, and all that came later.
    #[must_use]
    pub fn since(&self, shard: u16, place: &TopicPartition, offset: i64) -> Vec<Option<Routes>> {
        let spans = self.spans.lock();
        let at = holding(&spans, shard, place, offset);
        spans[at..].iter().map(|span| span.routes).collect()
    }
}

/// Which of `spans` has the event at `offset`, where `shard` holds it.
fn holding(spans: &[Span], shard: u16, place: &TopicPartition, offset: i64) -> usize {
    let begins = |span: &Span| {
        let from = span.from.get(usize::from(shard));
        from.map_or(0, |applied| applied.next_offset(place))
    };
    let at = spans.iter().rposition(|span| begins(span) <= offset);
    at.expect("the first one begins with the log")
}
