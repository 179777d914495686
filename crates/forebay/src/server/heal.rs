//! The server as the recovery of `control` sees it: that one decides when ingest that has ended by
//! itself is started again, when tables that are set aside are looked at, and when the process
//! gives up. Here is only how, on threads that may block.

use std::sync::Arc;

use forebay_control::{Aside, Cause, RecoveryHost, WantedTable, source_tables};
use forebay_core::PortResult;

use super::app::App;
use super::blocking::blocking;

/// The server that recovers.
pub(super) struct Recovering(pub(super) Arc<App>);

impl RecoveryHost for Recovering {
    fn is_changing(&self) -> bool {
        self.0.changing.is_locked()
    }

    fn ended(&self) -> Option<String> {
        let why = || self.0.status().failed;
        self.0
            .has_ended()
            .then(|| why().unwrap_or_else(|| "the log says why".to_owned()))
    }

    fn aside(&self) -> (Aside, Vec<WantedTable>) {
        let running = self.0.running.lock();
        let sources = running.sources.iter().map(|read| &read.source);
        let sources = sources.filter(|source| running.aside.why.contains_key(&source.name));
        (running.aside.clone(), source_tables(sources))
    }

    async fn begin_anew(&self, cause: Cause) -> PortResult<()> {
        let app = Arc::clone(&self.0);
        blocking(move || {
            app.begin_anew(&cause);
            Ok(())
        })
        .await
    }
}
