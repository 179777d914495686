//! How far a server is with going away: serving, draining, stopping. One value in a watch channel
//! that the listeners advance and that calls wait for; it only ever goes forward.

use std::future::Future;

use tokio::sync::watch;

/// How far a server is with going away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// No new connections; exchanges go on.
    Draining,
    /// Exchanges end.
    Stopping,
}

/// Completes once the server is in phase `at_least`. A server that is gone without a word counts as
/// stopped.
pub(crate) fn reached(
    phase: &watch::Receiver<Phase>,
    at_least: Phase,
) -> impl Future<Output = ()> + Send + use<> {
    let mut phase = phase.clone();
    async move {
        drop(phase.wait_for(|now| *now >= at_least).await);
    }
}

/// Go on to `next`, never back.
pub(crate) fn advance(phase: &watch::Sender<Phase>, next: Phase) {
    phase.send_if_modified(|phase| {
        let advances = *phase < next;
        if advances {
            *phase = next;
        }
        advances
    });
}
