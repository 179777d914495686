//! Runs a thread of one deployment, or of one version of it, again when it has failed for good or
//! has panicked: alone, with growing pauses and its reason in the deployment's status. What it had
//! under way is read from the store again, which has changed by whole writes only. Meanwhile its
//! events wait on disk, and beyond their limit each gets a note ([`super::intake`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_core::PortError;
use forebay_core::error::with_causes;

use crate::error::PipelineError;
use crate::retry::Outage;
use crate::score::lane::Lane;
use crate::status::DeploymentStatus;

/// A run that lasts so long has recovered: the next failure is a new one, with short pauses.
const RECOVERED: Duration = Duration::from_secs(60);

/// `run` until it ends without an error, or the pipeline stops; `what` names it, `who` says whose
/// it is, and `show` shows its reason.
pub(crate) fn run_again(
    lane: &Lane,
    (what, who): (&'static str, &str),
    show: impl Fn(&mut DeploymentStatus, String),
    run: impl Fn() -> Result<(), PipelineError>,
) {
    let mut outage = Outage::new(what);
    loop {
        let began = lane.runtime().elapsed();
        let outcome = catch_unwind(AssertUnwindSafe(&run)).unwrap_or_else(|_| {
            let counter = &lane.parts.counters.panics;
            counter.fetch_add(1, Ordering::Relaxed);
            Err(panicked(what))
        });
        let Err(error) = outcome else {
            return;
        };
        let words = with_causes(&error);
        lane.show(|status| show(status, words.clone()));
        if lane.runtime().elapsed().saturating_sub(began) >= RECOVERED {
            outage = Outage::new(what);
        }
        let told = format_args!("{who}: {words}");
        let goes_on = outage.wait(lane.retry(), error.kind(), &told);
        if !goes_on || lane.is_abandoned() {
            tracing::warn!(
                who,
                what,
                error = words,
                "what waits is left for the next start"
            );
            return;
        }
    }
}

fn panicked(what: &str) -> PipelineError {
    let words =
        format!("{what} panicked, which is a defect of Forebay: please report it with the log");
    PortError::internal(words).into()
}
