//! How a server plans definitions: on a thread that nobody has to wait for, for as long as it may
//! take, as long as somebody waits, and until the server stops. `change` and `turn` plan by it;
//! the engine plans ([`Catalog::planning`]) and asks between its steps whether to go on.
//!
//! A planning that is given up inside of a step of DataFusion goes on until that step ends. It
//! keeps no lock and no stop, but it does keep its place among `PLANNINGS_MAX`: otherwise a text
//! that hangs, sent again and again, takes all cores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_core::limits::PLAN_MAX_MS;
use forebay_core::{ErrorKind, PortError};
use forebay_engine::{Catalog, CatalogPlan, DefinitionFile, Patience};

use super::app::App;
use super::plannings::Caller;

const PLAN_MAX: Duration = Duration::from_millis(PLAN_MAX_MS);
/// How much later than the engine, which names the object, the server says that time is over.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// Why nobody waits for a planning any more.
enum GivenUp {
    Time,
    Caller,
    Stop,
}

impl GivenUp {
    fn label(&self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Caller => "caller",
            Self::Stop => "stop",
        }
    }

    fn error(&self, object: &str) -> PortError {
        match self {
            Self::Time => PortError::new(
                ErrorKind::DeadlineExceeded,
                format!(
                    "planning {object} takes longer than {PLAN_MAX_MS} ms (PLAN_MAX_MS) and was \
                     given up; split that definition, or apply fewer at a time"
                ),
            ),
            Self::Caller => PortError::new(
                ErrorKind::Unavailable,
                format!("planning {object} was given up: nobody waits for it any more"),
            ),
            Self::Stop => PortError::new(
                ErrorKind::Unavailable,
                "the server is stopping; try again when it is up",
            ),
        }
    }
}

impl App {
    /// `files` over the definitions `base`. Binds nothing.
    ///
    /// # Errors
    /// A definition is wrong; it takes too long, `caller` has left, or the server stops; too many
    /// plan already.
    pub(super) fn plan_over(
        &self,
        base: &Catalog,
        in_force: &Catalog,
        files: &[DefinitionFile],
        caller: &Caller,
    ) -> Result<CatalogPlan> {
        let alive = self.plannings.begin().inspect_err(|_| {
            self.metrics.limit_rejections.with(["PLANNINGS_MAX"]).inc();
        })?;
        let until = Instant::now() + PLAN_MAX;
        let patience = Arc::new(Patience::new(move || {
            // Held by the thread that asks.
            let _alive = &alive;
            Instant::now() >= until
        }));
        let planning = base.planning(files, Some(in_force), &patience)?;
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                planned = planning => Ok(planned),
                () = tokio::time::sleep(PLAN_MAX + ANSWER_WAIT) => Err(GivenUp::Time),
                () = caller.left() => Err(GivenUp::Caller),
                () = self.stop.asked() => Err(GivenUp::Stop),
            }
        });
        let given_up = match outcome {
            Ok(planned) => {
                let mut planned = planned?;
                self.try_views(&mut planned)?;
                return Ok(planned);
            }
            Err(given_up) => given_up,
        };
        patience.cancel();
        let (object, why) = (patience.object(), given_up.label());
        tracing::warn!(object, why, "a planning was given up");
        self.metrics.plannings_given_up.with([why]).inc();
        Err(given_up.error(&object).into())
    }
}
