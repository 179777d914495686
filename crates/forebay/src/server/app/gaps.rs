//! What is halted in the running pipeline, and the acceptance of gaps. Nothing is decided here: the
//! pipeline's watch over the log does both.

use std::time::Duration;

use anyhow::{Context, Result};
use forebay_pipeline::gaps::{Accepted, Listed};
use tokio::time::timeout;

use super::App;

/// How long an acceptance may take: probes of a damaged stretch, an append, a synced write.
const ACCEPT_MAX: Duration = Duration::from_secs(120);

impl App {
    /// Sources and partitions that are not read, and why.
    #[must_use]
    pub(crate) fn halts(&self) -> Vec<Listed> {
        let running = self.running.lock();
        running
            .pipeline
            .as_ref()
            .map(forebay_pipeline::Pipeline::halts)
            .unwrap_or_default()
    }

    /// Accept the gaps of `source`, or of one of its partitions.
    ///
    /// # Errors
    /// There is none, a store fails, or ingest does not run.
    pub(crate) fn accept_gaps(
        &self,
        source: &str,
        partition: Option<i32>,
    ) -> Result<Vec<Accepted>> {
        let now_us = self.clock.now_us();
        let answer = {
            let running = self.running.lock();
            let pipeline = running.pipeline.as_ref();
            let pipeline = pipeline.context("ingest does not run; try again when it does")?;
            pipeline.accept_gaps(source, partition, now_us)
        };
        let accepted = self
            .runtime
            .block_on(async { timeout(ACCEPT_MAX, answer).await });
        Ok(accepted
            .context("the gap was not accepted in time; look with `forebay gap list`")?
            .context("ingest has stopped meanwhile; try again when it runs")??)
    }
}
